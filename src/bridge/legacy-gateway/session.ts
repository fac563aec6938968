import type { Failure } from '../../failures/failure.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { METHOD_NOT_FOUND } from '../../jsonrpc/error-codes.ts';
import { memberOf } from '../../jsonrpc/json-members.ts';
import type { MessageId, Request, Response } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import { NO_OBSERVER, type Transport } from '../../transport/transport.ts';
import {
  errorFor,
  metaOf,
  notificationOf,
  type Params,
  proxyId,
  requestOf,
  resultFor,
  type ServerHello,
} from '../messages.ts';
import { LEGACY, META } from '../revisions.ts';
import { onReplyTo } from '../send-sequence.ts';
import type { ServerRequest } from './translate.ts';

/** How a handshake came out; undefined when it was aborted. */
export type HandshakeOutcome = ServerHello | Response | Failure | undefined;

/** The gateway refused the handshake, or could not be asked. */
export function isRefusal(outcome: HandshakeOutcome): outcome is Response | Failure {
  return outcome !== undefined && ('kind' in outcome || 'reason' in outcome);
}

/** The proxy's session with a legacy gateway: what the proxy itself sends there. */
export class LegacySession {
  readonly upstream: Transport;
  readonly #log: Log;
  #handshake: Promise<HandshakeOutcome> | undefined;
  #serverInfo: Buffer | undefined;
  #count = 0;

  constructor(upstream: Transport, log: Log) {
    this.upstream = upstream;
    this.#log = log;
  }

  /** What the gateway said of itself in the handshake. */
  get serverInfo(): Buffer | undefined {
    return this.#serverInfo;
  }

  /** Makes the handshake, once, with what `request` says of the client. Tries again if refused. */
  handshake(request: Request): Promise<HandshakeOutcome> {
    this.#handshake ??= this.#shakeHands(request).then((outcome) => {
      if (outcome === undefined || isRefusal(outcome)) this.#handshake = undefined;
      return outcome;
    });
    return this.#handshake;
  }

  async #shakeHands(request: Request): Promise<HandshakeOutcome> {
    const meta = metaOf(request);
    const { reply, failure } = await this.#send('initialize', {
      protocolVersion: JSON.stringify(LEGACY[0]),
      capabilities: memberOf(meta, META.clientCapabilities) ?? '{}',
      clientInfo: memberOf(meta, META.clientInfo) ?? '{"name":"unknown","version":"unknown"}',
    });
    if (reply === undefined || reply.isError) return reply ?? failure;
    const refused = await this.notify('notifications/initialized');
    if (refused !== undefined) this.#log.warn('the gateway did not take notifications/initialized');
    const result = memberOf(reply.bytes, 'result');
    this.#serverInfo = memberOf(result, 'serverInfo');
    return {
      capabilities: memberOf(result, 'capabilities'),
      serverInfo: this.#serverInfo,
      instructions: memberOf(result, 'instructions'),
    };
  }

  /** Sends a request of the proxy itself. Resolves with undefined if there was no reply. */
  async request(method: string, params: Params): Promise<Response | undefined> {
    return (await this.#send(method, params)).reply;
  }

  async #send(method: string, params: Params): Promise<{ reply?: Response; failure?: Failure }> {
    const id = this.nextId(method);
    const outcome: { reply?: Response; failure?: Failure } = {};
    const observer = onReplyTo(id, (reply) => {
      outcome.reply = reply;
    });
    const failure = await this.upstream.send(requestOf(id, method, params), observer).done;
    return failure === undefined ? outcome : { ...outcome, failure };
  }

  /** Sends a notification of the proxy itself. */
  notify(method: string, params?: Params): Promise<Failure | undefined> {
    return this.upstream.send(notificationOf(method, params), NO_OBSERVER).done;
  }

  answer(request: ServerRequest, response: Response): void {
    void this.upstream.send(response, NO_OBSERVER).done.then((failure) => {
      if (failure === undefined) return;
      this.#log.warn(`could not answer ${cleanNetworkText(request.method, 100)}`);
    });
  }

  refuse(request: ServerRequest): void {
    const why = 'the client cannot answer this';
    this.answer(request, errorFor(request.id, METHOD_NOT_FOUND, why));
  }

  /** Answers a request that no request of the client can carry. */
  decline(request: ServerRequest): void {
    if (request.method === 'ping') this.answer(request, resultFor(request.id, '{}'));
    else this.refuse(request);
  }

  nextId(name: string): MessageId {
    return proxyId(`${name}:${++this.#count}`);
  }
}
