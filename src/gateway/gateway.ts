import type { KeyFinding } from '../auth/key.ts';
import { explainEnvelope } from '../failures/envelope.ts';
import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Secrets } from '../failures/secrets.ts';
import type { Log } from '../log.ts';
import {
  type Message,
  type Notification,
  type Request,
  type Response,
  readMessages,
} from '../protocol/message.ts';
import type { MessageObserver, Sending, Upstream } from '../protocol/upstream.ts';
import { Endpoint, type EndpointOptions } from './endpoint.ts';
import { Exchange, type ExchangeEnd } from './exchange.ts';
import { FailureExplainer } from './failure-explainer.ts';
import { failureOfKey, replyInRefusal } from './failure-of-end.ts';
import { HandshakeBarrier } from './handshake-barrier.ts';
import { KnownTools } from './known-tools.ts';
import { redirectWithin } from './redirect.ts';
import { mayPass, RETRY_LIMIT_MS, waitBeforeRetry } from './retry-policy.ts';
import { ServerStream } from './server-stream.ts';
import { isLostSession, listChanges, type Session, sessionFrom } from './session.ts';
import type { Diagnosis } from './trouble.ts';

/** Where the key comes from. */
export interface Keys {
  /** Never rejects. */
  current(): Promise<KeyFinding>;
  /** Another key than the one the gateway rejected, if the source has one by now. */
  renew(rejected: KeyFinding): Promise<KeyFinding | undefined>;
}

export interface GatewayOptions extends EndpointOptions {
  readonly keys: Keys;
  /** Whether expired credentials may be answered with URLElicitationRequired. */
  readonly elicitsUrls: boolean;
  readonly maxMessageBytes: number;
  /** Milliseconds after the first attempt in which another may begin (30,000). */
  readonly retryLimitMs?: number;
  readonly secrets: Secrets;
  readonly log: Log;
}

/** What one `send` is at, so that it can be ended. */
interface Course {
  /** Nothing new is begun for it. */
  isOver: boolean;
  /** It renews the session, so it must not wait for that. */
  readonly isRenewal?: true;
  exchange?: Exchange;
  /** Ends a wait. */
  wake?: () => void;
}

/** What going on with a request's event stream takes. */
interface ResumptionContext {
  readonly observer: MessageObserver;
  readonly course: Course;
  /** The one that the request was sent in. */
  readonly session: Session | undefined;
  /** Where the request was sent. */
  readonly target: string;
}

const DEFAULT_RESUME_MS = 1_000;
const MOST_FAILED_RESUMPTIONS = 3;
const MOST_REDIRECTS = 3;
const MOST_RENEWALS = 2;

/**
 * A remote MCP endpoint over Streamable HTTP, revisions 2024-11-05 to 2025-11-25: each message is
 * one POST, repeated where that is safe; a lost session is begun anew; a GET stream is kept for
 * what belongs to no request.
 */
export class Gateway implements Upstream {
  readonly #options: GatewayOptions;
  readonly #endpoint: Endpoint;
  readonly #failures: FailureExplainer;
  readonly #tools = new KnownTools();
  #session: Session | undefined;
  #renewal: Promise<Failure | undefined> | undefined;
  #serverStream: ServerStream | undefined;
  #serverMessages: MessageObserver | undefined;
  readonly #barrier = new HandshakeBarrier();

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#endpoint = new Endpoint(options);
    this.#failures = new FailureExplainer(options, this.#endpoint.displayUrl);
  }

  listen(observer: MessageObserver): void {
    this.#serverMessages = this.#options.secrets.masking(observer);
  }

  send(message: Message, observer: MessageObserver): Sending {
    const course: Course = { isOver: false };
    const before = this.#barrier.before(message);
    const settled =
      before === undefined
        ? this.#deliver(message, observer, course)
        : before.then(() => this.#deliver(message, observer, course));
    if (isInitialize(message) || isInitialized(message))
      this.#barrier.raise(message.method, settled);
    const cease = () => {
      course.isOver = true;
      course.wake?.();
      // Of a request that still waits for its connection the gateway need not hear.
      if (course.exchange?.hasBegun === false) course.exchange.abort();
    };
    return {
      settled,
      cease,
      abort: () => {
        cease();
        course.exchange?.abort();
      },
    };
  }

  async close(limitMs: number): Promise<void> {
    this.#serverStream?.close();
    if (this.#session?.id !== undefined) await this.#deleteSession(limitMs);
    await this.#endpoint.close();
  }

  /** Sends the message, again where that is safe and may help, until it is settled. */
  async #deliver(
    message: Message,
    observer: MessageObserver,
    course: Course,
  ): Promise<Failure | undefined> {
    const start = Date.now();
    const mayRepeat = () => message.kind === 'request' && this.#tools.mayRepeat(message);
    let target = this.#endpoint.target;
    let redirects = 0;
    let renewals = 0;
    let hasNewKey = false;
    let hasNewTrust = false;
    for (let attempt = 1; ; ) {
      const key = await this.#options.keys.current();
      if (key.kind === 'unusable') return failureOfKey(this.#endpoint.displayUrl, key);
      const trouble = this.#endpoint.open();
      if (trouble !== undefined) return this.#unreachable(trouble, key);
      if (course.isRenewal !== true) await this.#renewal;
      if (course.isOver) return undefined;
      const session = this.#sessionFor(message);
      const exchange = this.#exchange(message, observer);
      course.exchange = exchange;
      this.#endpoint.post(exchange, target, message, { key, session });
      let end = await exchange.ended;
      if (end.kind === 'broken' && message.kind === 'request' && message.headers === undefined) {
        end = await this.#resume(exchange, end, message, { observer, course, session, target });
      }
      if (end.kind === 'replied' && isInitialize(message)) this.#endpoint.sessionTarget = target;
      if (course.isOver || end.kind === 'replied' || end.kind === 'aborted') return undefined;
      if (message.kind !== 'request' && end.kind === 'accepted') {
        if (isInitialized(message)) this.#initialized(message);
        return undefined;
      }
      if (end.kind === 'refused' && end.status === 401 && !hasNewKey) {
        hasNewKey = (await this.#options.keys.renew(key)) !== undefined;
        if (hasNewKey) continue;
      }
      if (session?.id !== undefined && isLostSession(end)) {
        if (course.isRenewal === true || renewals === MOST_RENEWALS) {
          return this.#sessionFailure('it forgets its sessions as soon as they are begun');
        }
        renewals++;
        const failure = await this.#renewSession(session);
        if (failure !== undefined) return failure;
        continue;
      }
      const redirected = redirectWithin(this.#options.url.origin, target, end);
      if (redirected !== undefined && redirects < MOST_REDIRECTS) {
        redirects++;
        target = redirected;
        // 308 is for good (RFC 9110 §15.4.9).
        if (end.kind === 'refused' && end.status === 308) this.#endpoint.target = target;
        continue;
      }
      if (!hasNewTrust) {
        hasNewTrust = this.#endpoint.trustSystemAfter(end);
        if (hasNewTrust) continue;
      }
      const ownReply = replyInRefusal(end);
      if (message.kind === 'request' && ownReply !== undefined) {
        observer.onMessage(this.#read(message, ownReply, exchange));
        return undefined;
      }
      const { retryLimitMs: limitMs = RETRY_LIMIT_MS } = this.#options;
      const elapsedMs = Date.now() - start;
      const waitMs = waitBeforeRetry({ end, attempt, elapsedMs, limitMs, mayRepeat });
      if (waitMs === undefined) {
        return this.#failures.failureOf(end, { key, mayRepeat, attempts: attempt });
      }
      this.#options.log.info(`attempt ${attempt} failed, again in ${Math.round(waitMs)} ms`);
      await pause(waitMs, course);
      if (course.isOver) return undefined;
      attempt++;
    }
  }

  /**
   * What a message is sent in: `initialize` begins a session and is sent in none, and what brings
   * headers of its own needs none (MCP 2026-07-28, Streamable HTTP).
   */
  #sessionFor(message: Message): Session | undefined {
    if (message.kind !== 'response' && message.headers !== undefined) return undefined;
    if (isInitialize(message)) this.#forgetSession();
    return this.#session;
  }

  #exchange(message: Message, observer: MessageObserver): Exchange {
    const { maxMessageBytes, secrets } = this.#options;
    if (message.kind !== 'request') return new Exchange('acceptance', observer, maxMessageBytes);
    const reading: MessageObserver = {
      congested: () => observer.congested(),
      onMessage: (received) => observer.onMessage(this.#read(message, received, exchange)),
    };
    const exchange: Exchange = new Exchange(message.id, secrets.masking(reading), maxMessageBytes);
    return exchange;
  }

  /** Takes from a reply what matters here; adds to an error of the gateway's how to mend it. */
  #read(request: Request, received: Message, exchange: Exchange): Message {
    if (received.kind !== 'response' || received.id?.key !== request.id.key) return received;
    if (received.isError) return this.#explained(request, received);
    if (request.method === 'initialize') this.#learnSession(request, received, exchange);
    if (request.method === 'tools/list') this.#rememberTools(request, received);
    return received;
  }

  #explained(request: Request, error: Response): Response {
    return explainEnvelope(this.#options.secrets.maskMessage(error), request, {
      toolNames: () => this.#tools.names(),
      elicitsUrls: this.#options.elicitsUrls && this.#session?.clientElicitsUrls === true,
    });
  }

  #rememberTools(request: Request, reply: Response): void {
    this.#tools.remember(request, reply);
    // A list with a tool in it is longer than that.
    if (reply.bytes.length > 256 || this.#tools.names().length > 0) return;
    const filter = this.#options.url.searchParams.get('integrations');
    this.#options.log.warn(
      filter === null
        ? 'the gateway offers no tools: the account has no integrations connected'
        : `the gateway offers no tools: the integration filter '${cleanNetworkText(filter)}' matches nothing that the account can reach`,
    );
  }

  #learnSession(initialize: Request, reply: Response, { headers }: Exchange): void {
    const session = sessionFrom(initialize, headers, reply);
    this.#session = session;
    const { id, protocolVersion = 'unknown' } = session;
    const kind = id === undefined ? 'without a session' : 'with a session';
    this.#options.log.info(`initialized, revision ${protocolVersion}, ${kind}`);
  }

  #forgetSession(): void {
    this.#serverStream?.close();
    this.#serverStream = undefined;
    this.#session = undefined;
  }

  #initialized(notification: Notification): void {
    if (this.#session !== undefined) this.#session.initialized = notification;
    this.#openServerStream();
  }

  /**
   * Shakes hands anew with the client's own messages, once for all that lost the session (MCP
   * 2025-11-25, Transports §Session Management, 4). Resolves with why it failed.
   */
  #renewSession(lost: Session): Promise<Failure | undefined> {
    if (this.#renewal !== undefined) return this.#renewal;
    if (this.#session !== lost) return Promise.resolve(undefined);
    const renewal = this.#shakeHandsAnew(lost).finally(() => {
      this.#renewal = undefined;
    });
    this.#renewal = renewal;
    this.#barrier.raise('initialize', renewal);
    return renewal;
  }

  async #shakeHandsAnew(lost: Session): Promise<Failure | undefined> {
    this.#options.log.info('the gateway no longer knows the session: initializing anew');
    const renew = (message: Message) =>
      this.#deliver(message, SILENT, { isOver: false, isRenewal: true });
    let failure = await renew(lost.initialize);
    const renewed = this.#session as Session | undefined;
    if (renewed === undefined) {
      failure ??= this.#sessionFailure('it lost the session and refuses to begin another');
    }
    if (lost.initialized !== undefined) failure ??= await renew(lost.initialized);
    if (failure !== undefined || renewed === undefined) {
      // What comes next tries again.
      this.#session = lost;
      return failure;
    }
    this.#serverMessages?.onNewSession?.();
    for (const bytes of listChanges(lost, renewed)) {
      for (const message of readMessages(bytes).messages) {
        if (message.kind !== 'unusable') this.#serverMessages?.onMessage(message);
      }
    }
    return undefined;
  }

  /**
   * Goes on with an event stream that broke off, from its last event (MCP 2025-11-25, Transports
   * §Resumability and Redelivery; 2026-07-28 has none). Resolves with how that ended; with `broken`
   * when it cannot be.
   */
  async #resume(
    first: Exchange,
    broken: ExchangeEnd,
    request: Request,
    { observer, course, session, target }: ResumptionContext,
  ): Promise<ExchangeEnd> {
    let { lastEventId, retryMs = DEFAULT_RESUME_MS } = first;
    for (let failures = 0; lastEventId !== undefined && failures < MOST_FAILED_RESUMPTIONS; ) {
      await pause(retryMs, course);
      const key = await this.#options.keys.current();
      if (course.isOver) return { kind: 'aborted' };
      this.#options.log.debug('going on with an event stream that broke off');
      const exchange = this.#exchange(request, observer);
      course.exchange = exchange;
      this.#endpoint.get(exchange, target, lastEventId, { key, session });
      const end = await exchange.ended;
      if (end.kind === 'replied' || end.kind === 'aborted') return end;
      if (!mayPass(end)) return broken;
      // Closing without the reply is how a gateway lets its clients poll (MCP 2025-11-25,
      // Transports §Sending Messages to the Server, 6): no failure.
      failures = end.kind === 'broken' && end.status !== undefined ? 0 : failures + 1;
      lastEventId = exchange.lastEventId;
      retryMs = exchange.retryMs ?? retryMs;
    }
    return broken;
  }

  #openServerStream(): void {
    const observer = this.#serverMessages;
    if (observer === undefined) return;
    const session = this.#session;
    this.#serverStream?.close();
    this.#serverStream = new ServerStream({
      log: this.#options.log,
      open: async (lastEventId) => {
        const key = await this.#options.keys.current();
        const exchange = new Exchange('stream', observer, this.#options.maxMessageBytes);
        const target = this.#endpoint.sessionTarget;
        this.#endpoint.get(exchange, target, lastEventId, { key, session });
        return exchange;
      },
      onRefused: (end) => {
        if (session?.id !== undefined && isLostSession(end)) void this.#renewSession(session);
      },
      describe: async (end) => {
        const key = await this.#options.keys.current();
        return this.#failures.failureOf(end, { key, mayRepeat: () => true, attempts: 1 });
      },
    });
  }

  async #deleteSession(limitMs: number): Promise<void> {
    const exchange = new Exchange('acceptance', SILENT, this.#options.maxMessageBytes);
    const timer = setTimeout(() => exchange.abort(), limitMs);
    const key = await this.#options.keys.current();
    this.#endpoint.delete(exchange, limitMs, { key, session: this.#session });
    const end = await exchange.ended;
    clearTimeout(timer);
    this.#options.log.debug(`session ended: ${end.kind}`);
  }

  #sessionFailure(detail: string): Failure {
    return { reason: 'gateway_error', gateway: this.#endpoint.displayUrl, detail };
  }

  #unreachable(diagnosis: Diagnosis, key: KeyFinding): Failure {
    const gateway = this.#endpoint.displayUrl;
    return { reason: 'unreachable', gateway, key: key.origin, ...diagnosis };
  }
}

const SILENT: MessageObserver = { onMessage: () => {}, congested: () => undefined };

function isInitialize(message: Message): message is Request {
  return message.kind === 'request' && message.method === 'initialize';
}

function isInitialized(message: Message): message is Notification {
  return message.kind === 'notification' && message.method === 'notifications/initialized';
}

function pause(milliseconds: number, course: Course): Promise<void> {
  if (course.isOver) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    course.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
