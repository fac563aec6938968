import type { Failure } from '../failures/failure.ts';
import { INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND } from '../jsonrpc/error-codes.ts';
import { memberOf, stringOf } from '../jsonrpc/json-members.ts';
import { errorCodeOf, type Message, type Request, type Response } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  NO_OBSERVER,
  type Transport,
} from '../transport/transport.ts';
import type * as Adapters from './adapters.ts';
import {
  isModernError,
  MAY_REQUIRE_INPUT,
  MODERN,
  revisionOf,
  SIGN_IN_INPUT,
} from './revisions.ts';
import { isReplyTo, SendSequence } from './send-sequence.ts';
import type { SignInLinks } from './sign-in-links.ts';

/**
 * Connects a client and a gateway of any two eras of MCP. A client is legacy if it opens with
 * `initialize`, and modern if its first request has a revision in `_meta` (MCP 2026-07-28,
 * Versioning §Compatibility Matrix). Between a legacy client and a legacy gateway, every message
 * passes unchanged.
 */
export class EraBridge implements Transport {
  readonly #gateway: Transport;
  readonly #log: Log;
  readonly #elicitsUrls: boolean;
  #observer = NO_OBSERVER;
  /** An adapter, or the gateway itself if nothing is translated. Undefined before the opening. */
  #target: Transport | undefined;
  /** While an opening is under way, later messages wait for it. */
  #opening: Promise<unknown> | undefined;
  #modern: Adapters.ModernGateway | undefined;
  /** The client's newest. */
  #initialize: Request | undefined;
  /** Once the client was shown a link to sign in. */
  #links: SignInLinks | undefined;

  /** `elicitsUrls`: whether a client that can show links may be shown one to sign in. */
  constructor(gateway: Transport, log: Log, elicitsUrls: boolean) {
    this.#gateway = gateway;
    this.#log = log;
    this.#elicitsUrls = elicitsUrls;
  }

  /** The gateway's revision, if the client's handshake shows another one. */
  get translatedRevision(): string | undefined {
    return this.#legacyClient && MODERN;
  }

  /**
   * What a request gets in place of the error for `failure`: a link that opens the sign-in which it
   * waits for. Undefined where there is none, or the client cannot show it.
   */
  linkFor(request: Request, failure: Failure): Promise<Response | undefined> | undefined {
    if (!this.#elicitsUrls || failure.signIn?.link === undefined) return undefined;
    return this.#loadLinks().then((links) => links.replyTo(request, failure, this.#initialize));
  }

  async #loadLinks(): Promise<SignInLinks> {
    const { SignInLinks } = await import('./sign-in-links.ts');
    this.#links ??= new SignInLinks(this.#observer);
    return this.#links;
  }

  listen(observer: MessageObserver): void {
    this.#observer = observer;
    this.#gateway.listen({
      congested: () => observer.congested(),
      onNewSession: () => this.#modernClient?.onNewSession(),
      onMessage: (message) => {
        const client = this.#modernClient;
        if (client === undefined) observer.onMessage(message);
        else client.onServerMessage(message);
      },
    });
  }

  send(message: Message, observer: MessageObserver): Delivery {
    if (message.kind !== 'request') return this.#send(message, observer);
    if (this.#links === undefined) {
      if (!this.#mayAnswerLink(message)) return this.#send(message, observer);
      return new SendSequence((sequence) =>
        this.#loadLinks().then(() => sequence.send(this, message, observer)),
      );
    }
    const answered = this.#links.answered(message);
    if ('kind' in answered) return this.#send(answered, observer);
    return new SendSequence(() => Promise.resolve(answered));
  }

  /** Whether it may be a retry after a link that an earlier process of this program has shown. */
  #mayAnswerLink({ method, bytes }: Request): boolean {
    return (
      this.#initialize === undefined &&
      MAY_REQUIRE_INPUT.has(method) &&
      bytes.includes(SIGN_IN_INPUT)
    );
  }

  #send(message: Message, observer: MessageObserver): Delivery {
    const opening = this.#opening;
    if (opening !== undefined && message.kind !== 'response') {
      return new SendSequence((sequence) =>
        opening.then(() => sequence.send(this, message, observer)),
      );
    }
    if (message.kind === 'request' && message.method === 'initialize') {
      this.#initialize = message;
      const handshake = new SendSequence((sequence) =>
        this.#openLegacy(sequence, message, observer),
      );
      this.#open(handshake.done);
      return handshake;
    }
    if (this.#target !== undefined) return this.#target.send(message, observer);
    if (revisionOf(message) === undefined) return this.#gateway.send(message, observer);
    this.#open(this.#openModern());
    return this.#send(message, observer);
  }

  close(limitMs: number): Promise<void> {
    return (this.#target ?? this.#gateway).close(limitMs);
  }

  // It rejects only on a bug: then the messages that wait fail, and later ones open again.
  #open(done: Promise<unknown>): void {
    const opening = done.finally(() => {
      this.#opening = undefined;
    });
    opening.catch(() => {});
    this.#opening = opening;
  }

  async #openModern(): Promise<void> {
    const { ModernClientAdapter, ModernGateway } = await import('./adapters.ts');
    this.#modern ??= new ModernGateway(this.#gateway, this.#log);
    this.#target = new ModernClientAdapter(this.#gateway, this.#modern, this.#observer, this.#log);
  }

  /** Sends `initialize` as it is: the answer shows the gateway's era. */
  async #openLegacy(
    sequence: SendSequence,
    initialize: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let unclear: Response | undefined;
    let failure: Failure | undefined;
    if (this.#legacyClient === undefined && this.#modernClient?.isModern !== true) {
      const undecided = mapMessages(observer, (message) => {
        if (!isReplyTo(initialize.id, message)) return message;
        if (!mayBeModern(message)) {
          if (!message.isError) this.#target = this.#gateway;
          return message;
        }
        unclear = message;
        return undefined;
      });
      failure = await sequence.send(this.#gateway, initialize, undecided);
      if (sequence.isEnded || (unclear === undefined && failure?.status !== 400)) return failure;
    }
    const { LegacyClientAdapter, ModernGateway } = await import('./adapters.ts');
    this.#modern ??= new ModernGateway(this.#gateway, this.#log);
    const client = await LegacyClientAdapter.open(
      { modern: this.#modern, initialize, observer: this.#observer, log: this.#log },
      sequence,
    );
    if (sequence.isEnded) return undefined;
    if (client === undefined) {
      if (unclear?.isError === false) this.#target = this.#gateway;
      if (unclear !== undefined) observer.onMessage(unclear);
      return failure;
    }
    this.#log.info(`the gateway speaks ${MODERN}: translating`);
    this.#legacyClient?.end();
    this.#target = client;
    observer.onMessage(client.initializeResult());
    return undefined;
  }

  get #legacyClient(): Adapters.LegacyClientAdapter | undefined {
    const target = this.#target;
    return target && 'initializeResult' in target
      ? (target as Adapters.LegacyClientAdapter)
      : undefined;
  }

  get #modernClient(): Adapters.ModernClientAdapter | undefined {
    const target = this.#target;
    return target && 'onServerMessage' in target
      ? (target as Adapters.ModernClientAdapter)
      : undefined;
  }
}

/** Whether a modern gateway may answer `initialize` in this way. */
function mayBeModern(reply: Response): boolean {
  if (!reply.isError) {
    const version = stringOf(memberOf(reply.bytes, 'result'), 'protocolVersion');
    return version !== undefined && version >= MODERN && /^\d{4}-\d\d-\d\d$/.test(version);
  }
  const code = errorCodeOf(reply);
  const isUnclear = [INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS].includes(code as number);
  return isUnclear || isModernError(reply);
}
