import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Log } from '../log.ts';
import { memberAt, memberOf, membersOf } from '../protocol/json-members.ts';
import type { Message, Request, Response } from '../protocol/message.ts';
import { mayRepeatMethod } from '../protocol/methods.ts';
import type { MessageObserver, Sending, Upstream } from '../protocol/upstream.ts';
import { Course, DONE, isReplyTo, ownId } from './course.ts';
import { LegacyGateway } from './legacy-gateway.ts';
import { asOfNew, withId } from './legacy-messages.ts';
import { ACKNOWLEDGED, type ModernGateway } from './modern-gateway.ts';
import {
  errorCodeOf,
  INTERNAL_ERROR,
  isModernError,
  LEGACY,
  META,
  METHOD_NOT_FOUND,
  MODERN,
  revisionOf,
} from './revisions.ts';

/** What an answer says of the gateway that gave it. */
type Sign = 'modern' | 'legacy' | 'unclear' | 'nothing';

/**
 * A client of revision 2026-07-28 in front of a gateway whose era is not known yet: requests go out
 * as they are, and the first answer tells (MCP 2026-07-28, Streamable HTTP §Backward
 * Compatibility).
 */
export class NewClient implements Upstream {
  readonly #modern: ModernGateway;
  readonly #legacy: LegacyGateway;
  readonly #log: Log;
  #found: Upstream | undefined;
  #probe: Promise<boolean> | undefined;

  /** `upstream` is the gateway, `observer` takes what belongs to no request. */
  constructor(upstream: Upstream, modern: ModernGateway, observer: MessageObserver, log: Log) {
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

  send(message: Message, observer: MessageObserver): Sending {
    if (this.isModern) return this.#modern.send(message, this.#withoutRequests(observer));
    if (this.#found !== undefined) return this.#found.send(message, observer);
    if (message.kind !== 'request') return DONE;
    return new Course((course) => this.#find(course, message, observer));
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

  async #find(
    course: Course,
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
        else if (message.kind === 'request') this.#legacy.turnDown(message);
      },
    });
    if (course.isOver || this.#found === this.#modern) {
      if (reply !== undefined) observer.onMessage(reply);
      return failure;
    }
    let sign = reply === undefined ? signOf(failure) : signIn(request, reply);
    if (sign === 'unclear') sign = (await this.#isModernAfterAll(request)) ? 'modern' : 'legacy';
    if (course.isOver) return undefined;
    if (sign === 'legacy' && reply !== undefined && mayBeAnswerOfOld(request, reply)) {
      if (!reply.isError) this.#isFound(this.#legacy);
      observer.onMessage(asOfNew(request, reply));
      return undefined;
    }
    if (sign === 'legacy') {
      const outcome = await Promise.race([this.#legacy.shakeHands(request), course.ended]);
      if (outcome === undefined || course.isOver) return undefined;
      const isRefusal = 'kind' in outcome || 'reason' in outcome;
      if (!isRefusal) {
        this.#isFound(this.#legacy);
        return course.send(this.#legacy, request, observer);
      }
      if (reply?.isError !== true) {
        if ('reason' in outcome) return outcome;
        reply = failure === undefined ? withId(outcome, request.id) : undefined;
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

  /** Every gateway of the modern era knows `server/discover`. */
  #isModernAfterAll(request: Request): Promise<boolean> {
    if (this.#found !== undefined) return Promise.resolve(this.isModern);
    if (request.method === 'server/discover') return Promise.resolve(false);
    this.#probe ??= this.#discover(request).finally(() => {
      this.#probe = undefined;
    });
    return this.#probe;
  }

  async #discover({ bytes }: Request): Promise<boolean> {
    const id = ownId('discover');
    const meta = memberAt(bytes, 'params', '_meta');
    let isModern = false;
    const head = `{"jsonrpc":"2.0","id":${id.raw},"method":"server/discover","params":{"_meta":`;
    const probe: Request = {
      kind: 'request',
      id,
      method: 'server/discover',
      bytes: Buffer.concat([Buffer.from(head), meta ?? Buffer.from('{}'), Buffer.from('}}')]),
    };
    await this.#modern.send(probe, {
      congested: () => undefined,
      onMessage: (message) => {
        if (isReplyTo(id, message)) isModern = signIn(probe, message) === 'modern';
      },
    }).settled;
    return isModern;
  }
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

/**
 * Whether a gateway of the earlier era has answered this, without a handshake: with a result, or
 * with an error that a call may have run into, which is not to run twice.
 */
function mayBeAnswerOfOld(request: Request, reply: Response): boolean {
  if (NEW_METHODS.has(request.method) || revisionOf(request) !== MODERN) return false;
  return (
    !reply.isError || (errorCodeOf(reply) === INTERNAL_ERROR && !mayRepeatMethod(request.method))
  );
}

const NEW_METHODS: ReadonlySet<string> = new Set(['server/discover', 'subscriptions/listen']);

/** HTTP errors without a JSON-RPC error of the gateway's in them. */
function signOf(failure: Failure | undefined): Sign {
  const { status = 0 } = failure ?? {};
  return status >= 400 && status < 500 && !OF_ANY_ERA.has(status) ? 'legacy' : 'nothing';
}

/** What any gateway may say: about the key, the proxy on the way, the time, the size, the rate. */
const OF_ANY_ERA: ReadonlySet<number> = new Set([401, 403, 407, 408, 413, 429]);
