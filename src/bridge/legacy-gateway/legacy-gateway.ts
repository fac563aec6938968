import type { Failure } from '../../failures/failure.ts';
import {
  INVALID_PARAMS,
  METHOD_NOT_FOUND,
  UNSUPPORTED_VERSION,
} from '../../jsonrpc/error-codes.ts';
import { memberOf, stringOf } from '../../jsonrpc/json-members.ts';
import type { Message, Request } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import type { Delivery, MessageObserver, Transport } from '../../transport/transport.ts';
import { errorFor, metaOf, resultFor, type ServerHello, withId } from '../messages.ts';
import { LOG_LEVELS, MAY_REQUIRE_INPUT, META, MODERN, revisionOf } from '../revisions.ts';
import { DONE, SendSequence } from '../send-sequence.ts';
import { Call, type CallContext } from './call.ts';
import { Notifications } from './notifications.ts';
import { ServerRequests } from './server-requests.ts';
import { type HandshakeOutcome, isRefusal, LegacySession } from './session.ts';
import { LegacySubscriptions } from './subscriptions.ts';
import { discovered } from './translate.ts';

/** Methods that the modern revision has removed. */
const REMOVED_METHODS: ReadonlySet<string> = new Set([
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
]);

export interface LegacyGatewayOptions {
  readonly upstream: Transport;
  /** Receives messages that belong to no request. */
  readonly observer: MessageObserver;
  readonly log: Log;
}

/**
 * A gateway of revision 2025-11-25 or earlier, for a client of 2026-07-28. The proxy makes the
 * handshake. Requests lose the members that a legacy gateway does not know, and results gain those
 * that a modern client requires. What the gateway asks the client during a call becomes an
 * `input_required` result, and the client's retry goes on with the call, which has waited.
 */
export class LegacyGateway implements Transport {
  readonly #session: LegacySession;
  readonly #calls = new Set<Call>();
  readonly #callContext: CallContext;
  readonly #serverRequests: ServerRequests;
  readonly #subscriptions: LegacySubscriptions;
  readonly #notifications: Notifications;

  constructor({ upstream, observer, log }: LegacyGatewayOptions) {
    const session = new LegacySession(upstream, log);
    const calls = this.#calls;
    const serverRequests = new ServerRequests(session, calls);
    const subscriptions = new LegacySubscriptions(session);
    this.#session = session;
    this.#serverRequests = serverRequests;
    this.#subscriptions = subscriptions;
    this.#notifications = new Notifications({
      session,
      calls,
      serverRequests,
      subscriptions,
      observer,
    });
    this.#callContext = {
      session,
      calls,
      observer,
      log,
      onMessage: (message, call) => this.#onMessage(message, call),
      onOrphan: (request) => serverRequests.reassign(request),
    };
  }

  listen(): void {}

  send(message: Message, observer: MessageObserver): Delivery {
    if (message.kind === 'response') return DONE;
    if (message.kind === 'notification') return this.#notifications.fromClient(message);
    const refuse = (code: number, why: string, data?: unknown) => {
      observer.onMessage(errorFor(message.id, code, why, data));
      return DONE;
    };
    const requested = revisionOf(message);
    if (requested !== undefined && requested !== MODERN) {
      const data = { supported: [MODERN], requested };
      return refuse(UNSUPPORTED_VERSION, 'Unsupported protocol version', data);
    }
    if (REMOVED_METHODS.has(message.method)) return refuse(METHOD_NOT_FOUND, 'Method not found');
    const state = stringOf(memberOf(message.bytes, 'params'), 'requestState');
    if (state !== undefined && MAY_REQUIRE_INPUT.has(message.method)) {
      const call = [...this.#calls].find((other) => other.isWaitingFor(message, state));
      if (call === undefined) {
        const why = 'the call that this requestState belongs to is gone, start again';
        return refuse(INVALID_PARAMS, `Invalid params: ${why}`);
      }
      return new SendSequence((sequence) => call.resume(message, observer, sequence));
    }
    return new SendSequence((sequence) => this.#afterHandshake(sequence, message, observer));
  }

  async close(limitMs: number): Promise<void> {
    for (const call of this.#calls) call.close();
    this.#calls.clear();
    await this.#session.upstream.close(limitMs);
  }

  /** Begins a session with the gateway on behalf of the client, once. */
  handshake(request: Request): Promise<HandshakeOutcome> {
    return this.#session.handshake(request);
  }

  /** Handles a message that the gateway sends outside of any request. */
  onServerMessage(message: Message): void {
    this.#onMessage(message, undefined);
  }

  /** Sets in the new session what was set in the lost one. */
  onNewSession(): void {
    this.#notifications.onNewSession();
    this.#subscriptions.onNewSession();
  }

  /** Answers a request that no request of the client can carry. */
  decline(request: Request): void {
    this.#session.decline(request);
  }

  async #afterHandshake(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    const hello = await Promise.race([this.handshake(request), sequence.ended]);
    if (hello === undefined || sequence.isEnded) return undefined;
    if (isRefusal(hello)) {
      if ('reason' in hello) return hello;
      observer.onMessage(withId(hello, request.id));
      return undefined;
    }
    switch (request.method) {
      case 'server/discover':
        observer.onMessage(resultFor(request.id, discovered(hello)));
        return undefined;
      case 'subscriptions/listen':
        return this.#subscriptions.listen(sequence, request, observer, hello);
      default:
        return this.#call(sequence, request, observer, hello);
    }
  }

  async #call(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
    { capabilities }: ServerHello,
  ): Promise<Failure | undefined> {
    const level = stringOf(metaOf(request), META.logLevel);
    if (level !== undefined && !LOG_LEVELS.includes(level)) {
      const why = 'Invalid params: no such log level';
      observer.onMessage(errorFor(request.id, INVALID_PARAMS, why));
      return undefined;
    }
    if (level !== undefined && memberOf(capabilities, 'logging') !== undefined) {
      await this.#notifications.setLogLevel(level);
    }
    if (sequence.isEnded) return undefined;
    const call = new Call(this.#callContext, request);
    const done = call.start(observer, sequence);
    if (MAY_REQUIRE_INPUT.has(request.method)) this.#serverRequests.assignTo(call);
    return done;
  }

  /** `call` is the one on whose stream the message came, if any. */
  #onMessage(message: Message, call: Call | undefined): void {
    if (message.kind === 'notification') this.#notifications.fromGateway(message, call);
    else if (message.kind === 'request') this.#serverRequests.ask(message, call);
  }
}
