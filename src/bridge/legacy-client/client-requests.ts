import { memberOf, stringOf, withMembers } from '../../jsonrpc/json-members.ts';
import type { Response } from '../../jsonrpc/message.ts';
import type { MessageObserver } from '../../transport/transport.ts';
import { notificationOf, proxyId, requestOf } from '../messages.ts';
import type { SendSequence } from '../send-sequence.ts';
import { toLegacyElicitation } from './translate.ts';

/** The client's answers to input requests; `responses` is undefined if there were no requests. */
export type InputResponses =
  | { readonly responses: Buffer | undefined }
  | { readonly error: Response };

/** Sends the input requests in a modern result to a legacy client, as requests of their own kind. */
export class ClientRequests {
  /** Receives messages that belong to no request. */
  readonly #observer: MessageObserver;
  /** Requests that the client has not answered, by key of their id. */
  readonly #pending = new Map<string, (reply: Response) => void>();
  #count = 0;

  constructor(observer: MessageObserver) {
    this.#observer = observer;
  }

  /** Handles a reply of the client. False if no request waits for it. */
  onReply(reply: Response): boolean {
    const resolve = reply.id && this.#pending.get(reply.id.key);
    resolve?.(reply);
    return resolve !== undefined;
  }

  /** Sends all requests to `observer` at once. Resolves when all are answered, or it has ended. */
  async ask(
    inputRequests: readonly (readonly [string, Buffer])[],
    sequence: SendSequence,
    observer: MessageObserver,
  ): Promise<InputResponses> {
    if (inputRequests.length === 0) return { responses: undefined };
    const replies = await Promise.all(
      inputRequests.map(([, request]) => this.#askOne(request, sequence, observer)),
    );
    const error = replies.find((reply) => reply?.isError);
    if (error !== undefined) return { error };
    const results = inputRequests.map(([name], index) => {
      const reply = replies[index];
      return [name, reply && memberOf(reply.bytes, 'result')];
    });
    return { responses: withMembers(undefined, Object.fromEntries(results)) };
  }

  /** Resolves with undefined if the client has cancelled the call. */
  async #askOne(
    inputRequest: Buffer,
    sequence: SendSequence,
    observer: MessageObserver,
  ): Promise<Response | undefined> {
    const id = proxyId(`input:${++this.#count}`);
    const replied = new Promise<Response>((resolve) => this.#pending.set(id.key, resolve));
    const params = toLegacyElicitation(id, memberOf(inputRequest, 'params'));
    observer.onMessage(requestOf(id, stringOf(inputRequest, 'method') ?? '', params));
    const reply = await Promise.race([replied, sequence.ended]);
    this.#pending.delete(id.key);
    if (reply !== undefined) return reply;
    const reason = '"the request was cancelled"';
    this.#observer.onMessage(
      notificationOf('notifications/cancelled', { requestId: id.raw, reason }),
    );
    return undefined;
  }
}
