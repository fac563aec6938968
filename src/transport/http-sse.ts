import type { Failure } from '../failures/failure.ts';
import { watchForSleep } from '../http/sleep-watch.ts';
import { type Message, type Request, type Response, readMessages } from '../jsonrpc/message.ts';
import { failureOfKey, replyInErrorResponse } from './classify-outcome.ts';
import { DeliveryState } from './delivery-state.ts';
import type { FailureDiagnosis } from './diagnose-failure.ts';
import type { Endpoint } from './endpoint.ts';
import type { ExchangeOutcome } from './exchange.ts';
import { explainEnvelope } from './explain-error.ts';
import { HandshakeGate } from './handshake-gate.ts';
import { HttpSseStream } from './http-sse-stream.ts';
import { belongsToSession, isLostSession } from './lost-session.ts';
import { isInitialize, isInitialized } from './methods.ts';
import { outcomeOf, wasNotRun } from './not-run.ts';
import { redirectWithin } from './redirect.ts';
import { RETRY_LIMIT_MS, waitBeforeRetry } from './retry-policy.ts';
import { listChanges, type Session, sessionFrom } from './session.ts';
import type { TransportOptions } from './streamable-http.ts';
import { ToolCache } from './tool-cache.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  masked,
  NO_OBSERVER,
  type Transport,
} from './transport.ts';

/** A stream that is ready for messages, or why there is none. */
type Readiness =
  | { readonly stream: HttpSseStream }
  | { readonly end: ExchangeOutcome }
  | { readonly failure: Failure };

const MOST_REDIRECTS = 3;

/**
 * A remote MCP server over the deprecated HTTP+SSE transport (MCP 2024-11-05, Transports §HTTP with
 * SSE). A stream that broke off is opened anew for the next message; that begins a new session, so
 * the client's own handshake is repeated there first.
 */
export class HttpSse implements Transport {
  readonly #options: TransportOptions;
  readonly #endpoint: Endpoint;
  readonly #failures: FailureDiagnosis;
  readonly #tools = new ToolCache();
  readonly #endWatch: () => void;
  #listener: MessageObserver = NO_OBSERVER;
  #session: Session | undefined;
  /** The newest one, open or not. */
  #stream: HttpSseStream | undefined;
  #opening: Promise<Readiness> | undefined;
  #isClosed = false;
  readonly #barrier = new HandshakeGate();

  /** `endpoint` and `failures` come from whoever has loaded what they need; `close` closes both. */
  constructor(options: TransportOptions, endpoint: Endpoint, failures: FailureDiagnosis) {
    this.#options = options;
    this.#endpoint = endpoint;
    this.#failures = failures;
    this.#endWatch = watchForSleep(() => this.#stream?.close());
  }

  listen(observer: MessageObserver): void {
    this.#listener = masked(observer, this.#options.secrets);
  }

  /** Whether the gateway speaks this transport: it does once an `endpoint` event came. Never rejects. */
  async isOffered(): Promise<boolean> {
    const ready = await this.#ready(true);
    return 'stream' in ready || ('failure' in ready && ready.failure.reason === 'redirected');
  }

  send(message: Message, observer: MessageObserver): Delivery {
    const course = new DeliveryState();
    const before = this.#barrier.before(message);
    course.done =
      before === undefined
        ? this.#deliver(message, observer, course)
        : before.then(() => this.#deliver(message, observer, course));
    if (isInitialize(message) || isInitialized(message))
      this.#barrier.raise(message.method, course.done);
    return course;
  }

  async close(_limitMs: number): Promise<void> {
    this.#isClosed = true;
    this.#endWatch();
    this.#stream?.close();
    await this.#endpoint.close();
  }

  /** Sends the message, again where that is safe and may help, until it is settled. */
  async #deliver(
    message: Message,
    observer: MessageObserver,
    course: DeliveryState,
  ): Promise<Failure | undefined> {
    const { keys, log, retryLimitMs: limitMs = RETRY_LIMIT_MS } = this.#options;
    const start = Date.now();
    const reading = this.#reading(message, observer);
    let redirects = 0;
    let hasNewSession = false;
    let hasNewKey = false;
    for (let attempt = 1; ; ) {
      if (this.#isPointless(message)) {
        log.info('a message of a session that has ended is not sent');
        return undefined;
      }
      const ready = await this.#ready(isInitialize(message));
      if (course.isOver || this.#isClosed) return undefined;
      if ('failure' in ready) return ready.failure;
      const key = await keys.current();
      if (key.kind === 'unusable') return failureOfKey(this.#endpoint.displayUrl, key);
      const stream = 'stream' in ready ? ready.stream : undefined;
      let end: ExchangeOutcome;
      if ('end' in ready) end = ready.end;
      else {
        const posting = ready.stream.send(message, reading, key);
        course.attempt = posting;
        end = await posting.ended;
      }
      if (course.isOver || end.kind === 'replied' || end.kind === 'aborted') return undefined;
      if (message.kind !== 'request' && end.kind === 'accepted') {
        if (isInitialized(message) && this.#session !== undefined) {
          this.#session.initialized = message;
        }
        return undefined;
      }
      course.attempt = undefined;
      const isNotRun = stream === undefined || wasNotRun(outcomeOf(end));
      if (!isNotRun) course.hadAttempt = true;
      // Without a stream, the message itself was not sent.
      const mayRepeat = () =>
        stream === undefined || (message.kind === 'request' && this.#tools.mayRepeat(message));
      if (isNotRun || mayRepeat()) {
        if (end.kind === 'http-error' && end.status === 401 && !hasNewKey) {
          hasNewKey = (await keys.renew(key)) !== undefined;
          if (hasNewKey) continue;
        }
        if (stream?.isProven === true && !hasNewSession && isLostSession(end)) {
          hasNewSession = true;
          stream.close();
          continue;
        }
        if (redirects < MOST_REDIRECTS && stream?.follows(end) === true) {
          redirects++;
          continue;
        }
      }
      const elapsedMs = Date.now() - start;
      const waitMs = waitBeforeRetry({ end, attempt, elapsedMs, limitMs, mayRepeat });
      if (waitMs === undefined) {
        const isRequest = stream !== undefined && message.kind === 'request';
        const ownReply = isRequest && replyInErrorResponse(message, end);
        if (ownReply) {
          reading.onMessage(ownReply);
          return undefined;
        }
        const isInSession = stream?.isProven === true;
        const facts = { key, mayRepeat, attempts: attempt, isInSession };
        const failure = await this.#failures.failureOf(end, facts);
        const isNone = stream === undefined && failure.reason === 'wrong_path';
        return isNone ? { ...failure, detail: 'HTTP+SSE endpoint' } : failure;
      }
      log.info(`attempt ${attempt} failed, again in ${Math.round(waitMs)} ms`);
      await course.pause(waitMs);
      if (course.isOver) return undefined;
      attempt++;
    }
  }

  /** What belongs to a session that is gone: nobody waits for it in another. */
  #isPointless(message: Message): boolean {
    if (this.#opening !== undefined || this.#stream?.isOver === false) return false;
    return belongsToSession(message);
  }

  /** `isOwnHandshake`: for the client's `initialize`, which begins a session by itself. */
  #ready(isOwnHandshake: boolean): Promise<Readiness> | Readiness {
    if (this.#opening !== undefined) return this.#opening;
    if (this.#stream?.isOver === false) return { stream: this.#stream };
    this.#opening = this.#open(isOwnHandshake ? undefined : this.#session).finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** Opens a stream, and shakes hands on it as in the session that was `lost`. */
  async #open(lost: Session | undefined): Promise<Readiness> {
    const { keys, log, maxMessageBytes, routes, timeoutMs, url } = this.#options;
    const key = await keys.current();
    const gateway = this.#endpoint.displayUrl;
    if (key.kind === 'unusable') return { failure: failureOfKey(gateway, key) };
    const trouble = this.#endpoint.open();
    if (trouble !== undefined) {
      return { failure: { reason: 'unreachable', gateway, key: key.origin, ...trouble } };
    }
    let { target } = this.#endpoint;
    let hasNewTrust = false;
    for (let redirects = 0; !this.#isClosed; ) {
      const stream = new HttpSseStream({
        endpoint: this.#endpoint,
        origin: url.origin,
        target,
        key,
        listener: this.#listener,
        timeoutMs,
        // As long for the first event as for the connection.
        openLimitMs: 2 * routes.connectTimeoutMs,
        maxMessageBytes,
        log,
      });
      this.#stream = stream;
      const opening = await stream.opened;
      if (opening.kind === 'open') {
        log.debug('an HTTP+SSE stream is open');
        return lost === undefined ? { stream } : this.#shakeHandsAnew(stream, lost);
      }
      if (opening.kind === 'elsewhere') {
        const { location } = opening;
        return { failure: { reason: 'redirected', gateway, key: key.origin, location } };
      }
      const redirected = redirectWithin(url.origin, target, opening.end);
      if (redirected !== undefined && redirects < MOST_REDIRECTS) {
        redirects++;
        target = redirected;
        continue;
      }
      if (hasNewTrust) return { end: opening.end };
      hasNewTrust = this.#endpoint.trustSystemAfter(opening.end);
      if (!hasNewTrust) return { end: opening.end };
    }
    return { end: { kind: 'aborted' } };
  }

  async #shakeHandsAnew(stream: HttpSseStream, lost: Session): Promise<Readiness> {
    this.#options.log.info('the session ended with its event stream: initializing anew');
    const key = await this.#options.keys.current();
    const giveUp = (why: Readiness): Readiness => {
      // What comes next tries again.
      this.#session = lost;
      stream.close();
      return why;
    };
    const reading = this.#reading(lost.initialize, NO_OBSERVER);
    const hello = await stream.send(lost.initialize, reading, key).ended;
    if (hello.kind !== 'replied') return giveUp({ end: hello });
    const renewed = this.#session as Session;
    if (renewed === lost) {
      const gateway = this.#endpoint.displayUrl;
      const detail = 'it lost the session and refuses to begin another';
      return giveUp({ failure: { reason: 'gateway_error', gateway, detail } });
    }
    if (lost.initialized !== undefined) {
      const end = await stream.send(lost.initialized, NO_OBSERVER, key).ended;
      if (end.kind !== 'accepted') return giveUp({ end });
      renewed.initialized = lost.initialized;
    }
    for (const bytes of listChanges(lost, renewed)) {
      for (const message of readMessages(bytes).messages) {
        if (message.kind !== 'unusable') this.#listener.onMessage(message);
      }
    }
    return { stream };
  }

  #reading(message: Message, observer: MessageObserver): MessageObserver {
    if (message.kind !== 'request') return observer;
    return mapMessages(observer, (received) =>
      received.kind === 'response' ? this.#read(message, received) : received,
    );
  }

  /** Takes from a reply what matters here; adds to an error of the gateway's how to mend it. */
  #read(request: Request, reply: Response): Response {
    if (reply.isError) {
      return explainEnvelope(this.#options.secrets.maskMessage(reply), request, {
        toolNames: () => this.#tools.names(),
        gatewayAddress: this.#options.routes.addressOf(this.#options.url),
        elicitsUrls: this.#options.elicitsUrls && this.#session?.clientElicitsUrls === true,
      });
    }
    if (request.method === 'tools/list') this.#tools.remember(request, reply);
    if (request.method === 'initialize') {
      this.#session = sessionFrom(request, {}, reply);
      const { protocolVersion = 'unknown' } = this.#session;
      this.#options.log.info(`initialized, revision ${protocolVersion}, over HTTP+SSE`);
    }
    return reply;
  }
}
