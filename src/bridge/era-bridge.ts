import type { Failure } from '../failures/failure.ts';
import { INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND } from '../jsonrpc/error-codes.ts';
import { memberOf, stringOf } from '../jsonrpc/json-members.ts';
import { errorCodeOf, type Message, type Request, type Response } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import type { Delivery, MessageObserver, Transport } from '../transport/transport.ts';
import type * as Translators from './adapters.ts';
import { isModernError, MODERN, revisionOf } from './revisions.ts';
import { isReplyTo, SendSequence } from './send-sequence.ts';

/** How what the client opened with is translated. */
type Translation = 'none' | Translators.ModernClientAdapter | Translators.LegacyClientAdapter;

/**
 * Between the client and the gateway, whichever era of MCP each of them is of: with `initialize`
 * the client chooses the earlier era, with `_meta` in its first request the modern one
 * (MCP 2026-07-28, Versioning §Compatibility Matrix). Where both are of the earlier era, every
 * message passes as it is.
 */
export class EraBridge implements Transport {
  readonly #gateway: Transport;
  readonly #log: Log;
  #observer: MessageObserver = { onMessage: () => {}, congested: () => undefined };
  #translation: Translation | undefined;
  /** The opening that is under way: what comes later waits for it. */
  #opening: Promise<unknown> | undefined;
  #modern: Translators.ModernGateway | undefined;

  constructor(gateway: Transport, log: Log) {
    this.#gateway = gateway;
    this.#log = log;
  }

  /** The gateway's revision, where it is not the one in the handshake that the client was given. */
  get translatedRevision(): string | undefined {
    return this.#isOld(this.#translation) ? MODERN : undefined;
  }

  listen(observer: MessageObserver): void {
    this.#observer = observer;
    this.#gateway.listen({
      congested: () => observer.congested(),
      onNewSession: () => {
        const translation = this.#translation;
        if (typeof translation === 'object' && 'onNewSession' in translation) {
          translation.onNewSession();
        }
      },
      onMessage: (message) => {
        const translation = this.#translation;
        if (typeof translation === 'object' && 'onServerMessage' in translation) {
          translation.onServerMessage(message);
        } else observer.onMessage(message);
      },
    });
  }

  send(message: Message, observer: MessageObserver): Delivery {
    const opening = this.#opening;
    if (opening !== undefined && message.kind !== 'response') {
      return new SendSequence((course) => opening.then(() => course.send(this, message, observer)));
    }
    if (message.kind === 'request' && message.method === 'initialize') {
      const handshake = new SendSequence((course) => this.#openLegacy(course, message, observer));
      this.#open(handshake.done);
      return handshake;
    }
    const translation = this.#translation;
    if (translation === 'none') return this.#gateway.send(message, observer);
    if (translation !== undefined) return translation.send(message, observer);
    if (revisionOf(message) === undefined) return this.#gateway.send(message, observer);
    this.#open(this.#openModern());
    return this.send(message, observer);
  }

  close(limitMs: number): Promise<void> {
    const translation = this.#translation;
    return (typeof translation === 'object' ? translation : this.#gateway).close(limitMs);
  }

  // Should it reject, which is a bug, those who wait learn of it, and what comes later tries anew.
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
    this.#translation = new ModernClientAdapter(
      this.#gateway,
      this.#modern,
      this.#observer,
      this.#log,
    );
  }

  /** The gateway is asked as it is, and its answer tells what it is. */
  async #openLegacy(
    course: SendSequence,
    initialize: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let unclear: Response | undefined;
    let failure: Failure | undefined;
    if (!this.#isModernForSure()) {
      failure = await course.send(this.#gateway, initialize, {
        congested: () => observer.congested(),
        onMessage: (message) => {
          if (isReplyTo(initialize.id, message)) {
            if (mayBeModern(message)) {
              unclear = message;
              return;
            }
            if (!message.isError) this.#translation = 'none';
          }
          observer.onMessage(message);
        },
      });
      if (course.isOver || (unclear === undefined && failure?.status !== 400)) return failure;
    }
    const { LegacyClientAdapter, ModernGateway } = await import('./adapters.ts');
    this.#modern ??= new ModernGateway(this.#gateway, this.#log);
    const client = await LegacyClientAdapter.open(
      { modern: this.#modern, initialize, observer: this.#observer, log: this.#log },
      course,
    );
    if (course.isOver) return undefined;
    if (client === undefined) {
      if (unclear?.isError === false) this.#translation = 'none';
      if (unclear !== undefined) observer.onMessage(unclear);
      return failure;
    }
    this.#log.info(`the gateway speaks ${MODERN}: translating`);
    if (this.#isOld(this.#translation)) this.#translation.end();
    this.#translation = client;
    observer.onMessage(client.handshake());
    return undefined;
  }

  #isModernForSure(): boolean {
    const translation = this.#translation;
    if (typeof translation !== 'object') return false;
    return this.#isOld(translation) || translation.isModern;
  }

  #isOld(translation: Translation | undefined): translation is Translators.LegacyClientAdapter {
    return typeof translation === 'object' && 'handshake' in translation;
  }
}

/** Answers to `initialize` that a gateway of the modern era may give. */
function mayBeModern(reply: Response): boolean {
  if (!reply.isError) {
    const version = stringOf(memberOf(reply.bytes, 'result'), 'protocolVersion');
    return version !== undefined && version >= MODERN && /^\d{4}-\d\d-\d\d$/.test(version);
  }
  const code = errorCodeOf(reply);
  const isUnclear = [INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS].includes(code as number);
  return isUnclear || isModernError(reply);
}
