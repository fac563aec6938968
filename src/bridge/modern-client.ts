import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { METHOD_NOT_FOUND } from '../jsonrpc/error-codes.ts';
import { memberAt, memberOf, membersOf, withMembers } from '../jsonrpc/json-members.ts';
import { errorCodeOf, type Message, type Request, type Response } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { mayRepeatMethod } from '../transport/methods.ts';
import type { Delivery, MessageObserver, Transport } from '../transport/transport.ts';
import { LegacyGateway } from './legacy-gateway.ts';
import { requestOf, toModernResult, withId } from './legacy-messages.ts';
import { ACKNOWLEDGED, type ModernGateway } from './modern-gateway.ts';
import { isModernError, LEGACY, META, MODERN, revisionOf } from './revisions.ts';
import { DONE, isReplyTo, ownId, SendSequence } from './send-sequence.ts';

/** What an answer says of the gateway that gave it. */
type Sign = 'modern' | 'legacy' | 'unclear' | 'nothing';

/** What came of asking the gateway what it is; `failure` where it gave no answer. */
interface Discovery {
  readonly isModern: boolean;
  readonly failure?: Failure;
}

/**
 * A client of revision 2026-07-28 in front of a gateway whose era is not known yet. A request that
 * may be repeated goes out as it is, and the answer shows the era (MCP 2026-07-28, Streamable HTTP
 * §Backward Compatibility). Any other could run there and fail, and would run again after a
 * handshake: before it, the gateway is asked with `server/discover`.
 */
export class ModernClientAdapter implements Transport {
  readonly #modern: ModernGateway;
  readonly #legacy: LegacyGateway;
  readonly #log: Log;
  #found: Transport | undefined;
  #probe: Promise<Discovery> | undefined;

  /** `upstream` is the gateway, `observer` takes what belongs to no request. */
  constructor(upstream: Transport, modern: ModernGateway, observer: MessageObserver, log: Log) {
    this.#modern = modern;
    this.#legacy = new LegacyGateway({ upstream, observer, log });
    this.#log = log;
  }

  listen(): void {}

  /** Takes what the gateway sends without being asked: only one of the earlier era does. */
  onServerMessage(message: Message): void {
    this.#legacy.onServerMessage(message);
  }

  onNewSession(): void {
    this.#legacy.onNewSession();
  }

  /** Whether the gateway turned out to be of the modern era. */
  get isModern(): boolean {
    return this.#found === this.#modern;
  }

  send(message: Message, observer: MessageObserver): Delivery {
    if (this.isModern) return this.#modern.send(message, this.#withoutRequests(observer));
    if (this.#found !== undefined) return this.#found.send(message, observer);
    if (message.kind !== 'request') return DONE;
    return new SendSequence((course) =>
      mayRepeatMethod(message.method)
        ? this.#find(course, message, observer)
        : this.#discoverFirst(course, message, observer),
    );
  }

  close(limitMs: number): Promise<void> {
    return this.#legacy.close(limitMs);
  }

  // The client must be sent none, and has no way to answer (MCP 2026-07-28, stdio §Sending
  // Messages, §Receiving Messages).
  #withoutRequests(observer: MessageObserver): MessageObserver {
    return {
      congested: () => observer.congested(),
      onMessage: (message) => {
        if (message.kind !== 'request') observer.onMessage(message);
        else this.#log.warn(`dropped a request: ${cleanNetworkText(message.method, 100)}`);
      },
    };
  }

  async #discoverFirst(
    course: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    const discovery = await Promise.race([this.#discover(request), course.ended]);
    if (discovery === undefined || course.isOver) return undefined;
    if (this.#found === undefined) {
      if (discovery.failure !== undefined) return discovery.failure;
      if (discovery.isModern) this.#isFound(this.#modern);
      else {
        const refusal = await this.#shakeHands(course, request);
        if (course.isOver) return undefined;
        if (refusal !== undefined && 'reason' in refusal) return refusal;
        if (refusal !== undefined && !isOfModern(refusal)) {
          observer.onMessage(withId(refusal, request.id));
          return undefined;
        }
        this.#isFound(refusal === undefined ? this.#legacy : this.#modern);
      }
    }
    return course.send(this, request, observer);
  }

  async #find(
    course: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let reply: Response | undefined;
    const failure = await course.send(this.#modern, request, {
      congested: () => observer.congested(),
      onMessage: (message) => {
        if (isReplyTo(request.id, message)) {
          if (signIn(request, message) === 'modern') this.#isFound(this.#modern);
          if (this.#found !== this.#modern) reply = message;
          else observer.onMessage(message);
          return;
        }
        if (message.kind === 'notification' && message.method === ACKNOWLEDGED) {
          this.#isFound(this.#modern);
        }
        if (message.kind === 'notification') observer.onMessage(message);
        else if (message.kind === 'request') this.#legacy.decline(message);
      },
    });
    if (course.isOver || this.#found === this.#modern) {
      if (reply !== undefined) observer.onMessage(reply);
      return failure;
    }
    let sign = reply === undefined ? signOf(failure) : signIn(request, reply);
    if (sign === 'unclear') {
      const isAsked = request.method === 'server/discover';
      sign = !isAsked && (await this.#discover(request)).isModern ? 'modern' : 'legacy';
    }
    if (course.isOver) return undefined;
    if (sign === 'legacy' && reply !== undefined && isAnswerOfOld(request, reply)) {
      this.#isFound(this.#legacy);
      observer.onMessage(toModernResult(request, reply));
      return undefined;
    }
    if (sign === 'legacy') {
      const refusal = await this.#shakeHands(course, request);
      if (course.isOver) return undefined;
      if (refusal === undefined) {
        this.#isFound(this.#legacy);
        return course.send(this.#legacy, request, observer);
      }
      if (reply?.isError !== true) {
        if ('reason' in refusal) return refusal;
        reply = failure === undefined ? withId(refusal, request.id) : undefined;
      }
    } else if (sign === 'modern') this.#isFound(this.#modern);
    if (reply !== undefined) observer.onMessage(reply);
    return failure;
  }

  #isFound(gateway: ModernGateway | LegacyGateway): void {
    if (this.#found !== undefined) return;
    this.#found = gateway;
    const isModern = gateway === this.#modern;
    this.#log.info(
      `the gateway speaks ${isModern ? MODERN : `${LEGACY[0]} or earlier: translating`}`,
    );
  }

  /** Undefined when hands were shaken, or when it is over; else why not. */
  async #shakeHands(
    course: SendSequence,
    request: Request,
  ): Promise<Response | Failure | undefined> {
    const outcome = await Promise.race([this.#legacy.shakeHands(request), course.ended]);
    return outcome !== undefined && ('kind' in outcome || 'reason' in outcome)
      ? outcome
      : undefined;
  }

  /** Every gateway of the modern era knows `server/discover`. One question for all who wait. */
  #discover(request: Request): Promise<Discovery> {
    if (this.#found !== undefined) return Promise.resolve({ isModern: this.isModern });
    this.#probe ??= this.#askWhatItIs(request).finally(() => {
      this.#probe = undefined;
    });
    return this.#probe;
  }

  async #askWhatItIs({ bytes }: Request): Promise<Discovery> {
    const id = ownId('discover');
    const meta = withMembers(memberAt(bytes, 'params', '_meta'), { progressToken: undefined });
    const probe = requestOf(id, 'server/discover', { _meta: meta });
    let sign: Sign | undefined;
    const failure = await this.#modern.send(probe, {
      congested: () => undefined,
      onMessage: (message) => {
        if (isReplyTo(id, message)) sign = signIn(probe, message);
      },
    }).done;
    sign ??= signOf(failure);
    return {
      isModern: sign === 'modern',
      ...(sign === 'nothing' && failure !== undefined ? { failure } : {}),
    };
  }
}

/** Whether only a gateway of the modern era refuses `initialize` in this way. */
function isOfModern(refusal: Response): boolean {
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

/** Whether a gateway of the earlier era has answered this, with a result, without a handshake. */
function isAnswerOfOld(request: Request, reply: Response): boolean {
  return !reply.isError && !NEW_METHODS.has(request.method) && revisionOf(request) === MODERN;
}

const NEW_METHODS: ReadonlySet<string> = new Set(['server/discover', 'subscriptions/listen']);

/** HTTP errors without a JSON-RPC error of the gateway's in them. */
function signOf(failure: Failure | undefined): Sign {
  const { status = 0 } = failure ?? {};
  return status >= 400 && status < 500 && !OF_ANY_ERA.has(status) ? 'legacy' : 'nothing';
}

/** What any gateway may say: about the key, the proxy on the way, the time, the size, the rate. */
const OF_ANY_ERA: ReadonlySet<number> = new Set([401, 403, 407, 408, 413, 429]);
