import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { METHOD_NOT_FOUND } from '../jsonrpc/error-codes.ts';
import { memberOf, membersOf, withMembers } from '../jsonrpc/json-members.ts';
import { errorCodeOf, type Message, type Request, type Response } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { mayRepeatMethod } from '../transport/methods.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  type Transport,
} from '../transport/transport.ts';
import { LegacyGateway } from './legacy-gateway/legacy-gateway.ts';
import { isRefusal } from './legacy-gateway/session.ts';
import { toModernResult } from './legacy-gateway/translate.ts';
import { metaOf, proxyId, requestOf, withId } from './messages.ts';
import type { ModernGateway } from './modern-gateway.ts';
import { ACKNOWLEDGED, isModernError, LEGACY, META, MODERN, revisionOf } from './revisions.ts';
import { DONE, isReplyTo, onReplyTo, SendSequence } from './send-sequence.ts';

/** What a reply or a failure reveals about the gateway's era. */
type Sign = 'modern' | 'legacy' | 'unclear' | 'nothing';

/** The outcome of `server/discover`; `failure` if the gateway gave no answer. */
interface Discovery {
  readonly isModern: boolean;
  readonly failure?: Failure;
}

/**
 * A client of revision 2026-07-28 in front of a gateway whose era is not known yet. A request that
 * may be repeated goes out as it is, and the reply shows the era (MCP 2026-07-28, Streamable HTTP
 * §Backward Compatibility). Any other request could run, fail, and run again after a handshake, so
 * `server/discover` goes first.
 */
export class ModernClientAdapter implements Transport {
  readonly #modern: ModernGateway;
  readonly #legacy: LegacyGateway;
  readonly #log: Log;
  #found: Transport | undefined;
  #probe: Promise<Discovery> | undefined;

  /** `observer` receives messages that belong to no request. */
  constructor(upstream: Transport, modern: ModernGateway, observer: MessageObserver, log: Log) {
    this.#modern = modern;
    this.#legacy = new LegacyGateway({ upstream, observer, log });
    this.#log = log;
  }

  listen(): void {}

  /** Handles a message outside of any request, which only a legacy gateway sends. */
  onServerMessage(message: Message): void {
    this.#legacy.onServerMessage(message);
  }

  onNewSession(): void {
    this.#legacy.onNewSession();
  }

  /** Whether the gateway turned out to be modern. */
  get isModern(): boolean {
    return this.#found === this.#modern;
  }

  send(message: Message, observer: MessageObserver): Delivery {
    if (this.isModern) return this.#modern.send(message, this.#withoutRequests(observer));
    if (this.#found !== undefined) return this.#found.send(message, observer);
    if (message.kind !== 'request') return DONE;
    return new SendSequence((sequence) =>
      mayRepeatMethod(message.method)
        ? this.#find(sequence, message, observer)
        : this.#discoverFirst(sequence, message, observer),
    );
  }

  close(limitMs: number): Promise<void> {
    return this.#legacy.close(limitMs);
  }

  // A modern client must not get requests and cannot answer them (MCP 2026-07-28, stdio §Sending
  // Messages, §Receiving Messages).
  #withoutRequests(observer: MessageObserver): MessageObserver {
    return mapMessages(observer, (message) => {
      if (message.kind !== 'request') return message;
      this.#log.warn(`dropped a request: ${cleanNetworkText(message.method, 100)}`);
      return undefined;
    });
  }

  async #discoverFirst(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    const discovery = await Promise.race([this.#discover(request), sequence.ended]);
    if (discovery === undefined || sequence.isEnded) return undefined;
    if (this.#found === undefined) {
      if (discovery.failure !== undefined) return discovery.failure;
      if (discovery.isModern) this.#setGateway(this.#modern);
      else {
        const refusal = await this.#handshake(sequence, request);
        if (sequence.isEnded) return undefined;
        if (refusal !== undefined && 'reason' in refusal) return refusal;
        if (refusal !== undefined && !isModernRefusal(refusal)) {
          observer.onMessage(withId(refusal, request.id));
          return undefined;
        }
        this.#setGateway(refusal === undefined ? this.#legacy : this.#modern);
      }
    }
    return sequence.send(this, request, observer);
  }

  async #find(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let reply: Response | undefined;
    const undecided = mapMessages(observer, (message) => {
      if (isReplyTo(request.id, message)) {
        if (signIn(request, message) === 'modern') this.#setGateway(this.#modern);
        if (this.isModern) return message;
        reply = message;
      } else if (message.kind === 'notification') {
        if (message.method === ACKNOWLEDGED) this.#setGateway(this.#modern);
        return message;
      } else if (message.kind === 'request') this.#legacy.decline(message);
      return undefined;
    });
    const failure = await sequence.send(this.#modern, request, undecided);
    if (sequence.isEnded || this.isModern) {
      if (reply !== undefined) observer.onMessage(reply);
      return failure;
    }
    let sign = reply === undefined ? signOf(failure) : signIn(request, reply);
    if (sign === 'unclear') {
      const isAsked = request.method === 'server/discover';
      sign = !isAsked && (await this.#discover(request)).isModern ? 'modern' : 'legacy';
    }
    if (sequence.isEnded) return undefined;
    if (sign === 'legacy' && reply !== undefined && isLegacyAnswer(request, reply)) {
      this.#setGateway(this.#legacy);
      observer.onMessage(toModernResult(request, reply));
      return undefined;
    }
    if (sign === 'legacy') {
      const refusal = await this.#handshake(sequence, request);
      if (sequence.isEnded) return undefined;
      if (refusal === undefined) {
        this.#setGateway(this.#legacy);
        return sequence.send(this.#legacy, request, observer);
      }
      if (reply?.isError !== true) {
        if ('reason' in refusal) return refusal;
        reply = failure === undefined ? withId(refusal, request.id) : undefined;
      }
    } else if (sign === 'modern') this.#setGateway(this.#modern);
    if (reply !== undefined) observer.onMessage(reply);
    return failure;
  }

  #setGateway(gateway: ModernGateway | LegacyGateway): void {
    if (this.#found !== undefined) return;
    this.#found = gateway;
    const isModern = gateway === this.#modern;
    this.#log.info(
      `the gateway speaks ${isModern ? MODERN : `${LEGACY[0]} or earlier: translating`}`,
    );
  }

  /** Resolves with the refusal; undefined after a handshake, or if the sequence has ended. */
  async #handshake(
    sequence: SendSequence,
    request: Request,
  ): Promise<Response | Failure | undefined> {
    const outcome = await Promise.race([this.#legacy.handshake(request), sequence.ended]);
    return isRefusal(outcome) ? outcome : undefined;
  }

  /** Asks once for all requests that wait. Every modern gateway knows `server/discover`. */
  #discover(request: Request): Promise<Discovery> {
    if (this.#found !== undefined) return Promise.resolve({ isModern: this.isModern });
    this.#probe ??= this.#probeEra(request).finally(() => {
      this.#probe = undefined;
    });
    return this.#probe;
  }

  async #probeEra(request: Request): Promise<Discovery> {
    const meta = withMembers(metaOf(request), { progressToken: undefined });
    const probe = requestOf(proxyId('discover'), 'server/discover', { _meta: meta });
    let sign: Sign | undefined;
    const observer = onReplyTo(probe.id, (reply) => {
      sign = signIn(probe, reply);
    });
    const failure = await this.#modern.send(probe, observer).done;
    sign ??= signOf(failure);
    return {
      isModern: sign === 'modern',
      ...(sign === 'nothing' && failure !== undefined ? { failure } : {}),
    };
  }
}

/** Whether only a modern gateway refuses `initialize` in this way. */
function isModernRefusal(refusal: Response): boolean {
  return isModernError(refusal) || errorCodeOf(refusal) === METHOD_NOT_FOUND;
}

function signIn({ method }: Request, reply: Response): Sign {
  if (reply.isError) {
    if (isModernError(reply)) return 'modern';
    if (method !== 'server/discover') return 'unclear';
    return errorCodeOf(reply) === METHOD_NOT_FOUND ? 'legacy' : 'unclear';
  }
  const result = memberOf(reply.bytes, 'result');
  const [type, versions, meta] = membersOf(result, ['resultType', 'supportedVersions', '_meta']);
  const isModern = type !== undefined || versions !== undefined;
  return isModern || memberOf(meta, META.serverInfo) !== undefined ? 'modern' : 'legacy';
}

/** Whether a legacy gateway has answered with a result although there was no handshake. */
function isLegacyAnswer(request: Request, reply: Response): boolean {
  return !reply.isError && !MODERN_METHODS.has(request.method) && revisionOf(request) === MODERN;
}

const MODERN_METHODS: ReadonlySet<string> = new Set(['server/discover', 'subscriptions/listen']);

/** Reads the era from an HTTP error without a JSON-RPC error in it. */
function signOf(failure: Failure | undefined): Sign {
  const { status = 0, offersHttpSse } = failure ?? {};
  if (offersHttpSse) return 'legacy';
  return status >= 400 && status < 500 && !ANY_ERA_STATUSES.has(status) ? 'legacy' : 'nothing';
}

/** Any gateway may answer these: they concern the key, a proxy, the time, the size or the rate. */
const ANY_ERA_STATUSES: ReadonlySet<number> = new Set([401, 403, 407, 408, 413, 429]);
