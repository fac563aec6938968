import type { Failure } from '../failures/failure.ts';
import { watchForSleep } from '../http/sleep-watch.ts';
import type { Message, Request, Response } from '../jsonrpc/message.ts';
import { type Attempt, DeliveryLoop, type DeliverySteps } from './delivery.ts';
import {
  decide,
  type FailedAttempt,
  followRedirect,
  type Policy,
  renewCredential,
  renewLostSession,
  retry,
  trustSystemStore,
} from './delivery-policies.ts';
import type { DeliveryState } from './delivery-state.ts';
import type { FailureDiagnosis } from './diagnose-failure.ts';
import type { Endpoint } from './endpoint.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { explainEnvelope } from './explain-error.ts';
import { HttpSseStream } from './http-sse-stream.ts';
import { belongsToSession, isLostSession } from './lost-session.ts';
import { isInitialize } from './methods.ts';
import { redirectWithin } from './redirect.ts';
import { RETRY_LIMIT_MS } from './retry-policy.ts';
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

interface Posted extends Attempt {
  /** The one that the message was sent on; undefined where none could be opened. */
  readonly stream: HttpSseStream | undefined;
}

function isLost({ stream, outcome }: Pick<Posted, 'stream' | 'outcome'>): boolean {
  return stream?.isProven === true && isLostSession(outcome);
}

/** A stream that is ready for messages, or why there is none. */
type Readiness =
  | { readonly stream: HttpSseStream }
  | { readonly outcome: ExchangeOutcome }
  | { readonly failure: Failure };

/**
 * A remote MCP server over the deprecated HTTP+SSE transport (MCP 2024-11-05, Transports §HTTP with
 * SSE). A stream that broke off is opened again for the next message; that begins a new session, so
 * the client's own handshake is repeated there first.
 */
export class HttpSse implements Transport {
  readonly #options: TransportOptions;
  readonly #endpoint: Endpoint;
  readonly #failures: FailureDiagnosis;
  readonly #tools: ToolCache;
  readonly #endWatch: () => void;
  #listener: MessageObserver = NO_OBSERVER;
  #session: Session | undefined;
  /** The newest one, open or not. */
  #stream: HttpSseStream | undefined;
  #opening: Promise<Readiness> | undefined;
  #isClosed = false;
  /** What the paths that the gateway names lack at their beginning. */
  #prefix = '';
  readonly #loop: DeliveryLoop<Posted>;

  /** `endpoint` and `failures` come from whoever has loaded what they need; `close` closes both. */
  constructor(options: TransportOptions, endpoint: Endpoint, failures: FailureDiagnosis) {
    this.#options = options;
    this.#tools = new ToolCache(options.isToolShown);
    this.#endpoint = endpoint;
    this.#failures = failures;
    this.#endWatch = watchForSleep(() => this.#stream?.close());
    const steps: DeliverySteps<Posted> = {
      attempt: (message, observer, state) => this.#attempt(message, observer, state),
      initialized: (notification) => {
        if (this.#session !== undefined) this.#session.initialized = notification;
      },
      isLostSession: isLost,
      mayRepeat: (request) => this.#tools.mayRepeat(request),
      policies: () => this.#policies(),
      read: (request, reply) => this.#read(request, reply),
      failureOf: (failed) => this.#failureOf(failed),
    };
    this.#loop = new DeliveryLoop(steps, options.log);
  }

  listen(observer: MessageObserver): void {
    this.#listener = masked(observer, this.#options.secrets);
  }

  /**
   * Whether the gateway speaks this transport: it does once an `endpoint` event came. Where that takes
   * a key first, the failure that says so. Never rejects.
   */
  async isOffered(): Promise<boolean | Failure> {
    const ready = await this.#ready(true);
    if ('outcome' in ready && ready.outcome.kind === 'http-error' && ready.outcome.status === 401) {
      const credential = await this.#options.credentials.current();
      const context = { credential, attempts: 1, mayRepeat: () => true };
      return this.#failures.failureOf(ready.outcome, context);
    }
    return 'stream' in ready || ('failure' in ready && ready.failure.reason === 'redirected');
  }

  send(message: Message, observer: MessageObserver): Delivery {
    return this.#loop.send(message, observer);
  }

  async close(_limitMs: number): Promise<void> {
    this.#isClosed = true;
    this.#endWatch();
    this.#stream?.close();
    await this.#endpoint.close();
  }

  async #attempt(
    message: Message,
    observer: MessageObserver,
    state: DeliveryState,
  ): Promise<Posted | { readonly settled: Failure | undefined }> {
    if (this.#isPointless(message)) {
      this.#options.log.info('a message of a session that has ended is not sent');
      return { settled: undefined };
    }
    const ready = await this.#ready(isInitialize(message));
    if (state.isOver || this.#isClosed) return { settled: undefined };
    if ('failure' in ready) return { settled: ready.failure };
    const credential = await this.#options.credentials.current();
    if (state.isOver) return { settled: undefined };
    const failure = this.#endpoint.open(credential);
    if (failure !== undefined) return { settled: failure };
    if ('outcome' in ready) {
      return { outcome: ready.outcome, credential, isOfMessage: false, stream: undefined };
    }
    const { stream } = ready;
    const posting = stream.send(message, this.#reading(message, observer), credential);
    state.attempt = posting;
    const outcome = await posting.ended;
    if (stream.isProven) this.#prefix = stream.address?.prefix ?? '';
    return { outcome, credential, isOfMessage: true, stream };
  }

  /** Without trust: a stream that is open has settled that. */
  #policies(): readonly Policy<Posted & FailedAttempt>[] {
    const { credentials, retryLimitMs = RETRY_LIMIT_MS } = this.#options;
    return [
      renewLostSession<Posted & FailedAttempt>(isLost, async ({ stream }) => {
        stream?.close();
        return undefined;
      }),
      renewCredential(credentials, (credential) => this.#endpoint.open(credential)),
      followRedirect(
        ({ stream, outcome }) => stream?.address?.follows(outcome, stream.isProven) === true,
      ),
      retry(retryLimitMs),
    ];
  }

  async #failureOf({ stream, outcome, ...context }: Posted & FailedAttempt): Promise<Failure> {
    const failure = await this.#failures.failureOf(outcome, {
      ...context,
      isInSession: stream?.isProven === true,
      hasWorked: this.#session !== undefined,
      target: stream?.address?.named,
      isNamedByGateway: true,
    });
    const isNone = stream === undefined && failure.reason === 'wrong_path';
    return isNone ? { ...failure, detail: 'HTTP+SSE endpoint' } : failure;
  }

  /** What belongs to a session that is gone: no one waits for it in another. */
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
    const { credentials, log, maxMessageBytes, routes, timeoutMs, url } = this.#options;
    const credential = await credentials.current();
    const failure = this.#endpoint.open(credential);
    if (failure !== undefined) return { failure };
    let { target } = this.#endpoint;
    const policies: Policy<{ outcome: ExchangeOutcome }>[] = [
      followRedirect(({ outcome }) => {
        const redirected = redirectWithin(url.origin, target, outcome);
        target = redirected ?? target;
        return redirected !== undefined;
      }),
      trustSystemStore(this.#endpoint),
    ];
    while (!this.#isClosed) {
      const stream = new HttpSseStream({
        endpoint: this.#endpoint,
        origin: url.origin,
        target,
        credential,
        prefix: this.#prefix,
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
        const gateway = this.#endpoint.displayUrl;
        return { failure: { reason: 'redirected', gateway, key: credential.origin, location } };
      }
      const outcome = opening.end;
      if ((await decide(policies, { outcome })) === undefined) return { outcome };
    }
    return { outcome: { kind: 'aborted' } };
  }

  async #shakeHandsAnew(stream: HttpSseStream, lost: Session): Promise<Readiness> {
    this.#options.log.info('the session ended with its event stream: initializing again');
    const credential = await this.#options.credentials.current();
    const giveUp = (why: Readiness): Readiness => {
      // What comes next tries again.
      this.#session = lost;
      stream.close();
      return why;
    };
    const reading = this.#reading(lost.initialize, NO_OBSERVER);
    const hello = await stream.send(lost.initialize, reading, credential).ended;
    if (hello.kind !== 'replied') return giveUp({ outcome: hello });
    const renewed = this.#session as Session;
    if (renewed === lost) {
      const gateway = this.#endpoint.displayUrl;
      const detail = 'it lost the session. It refused to start another';
      return giveUp({ failure: { reason: 'gateway_error', gateway, detail } });
    }
    if (lost.initialized !== undefined) {
      const outcome = await stream.send(lost.initialized, NO_OBSERVER, credential).ended;
      if (outcome.kind !== 'accepted') return giveUp({ outcome });
      renewed.initialized = lost.initialized;
    }
    for (const change of listChanges(lost)) this.#listener.onMessage(change);
    return { stream };
  }

  #reading(message: Message, observer: MessageObserver): MessageObserver {
    if (message.kind !== 'request') return observer;
    return mapMessages(observer, (received) =>
      received.kind === 'response' ? this.#read(message, received) : received,
    );
  }

  /** Takes from a reply what matters here; adds to an error of the gateway's how to fix it. */
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
