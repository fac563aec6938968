import type { Credential, CredentialProvider } from '../auth/credential.ts';
import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Headers } from '../http/request.ts';
import type { Message, Notification, Request, Response } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { type Attempt, DeliveryLoop, type DeliverySteps } from './delivery.ts';
import {
  type FailedAttempt,
  followRedirect,
  type Policy,
  renewCredential,
  renewLostSession,
  retry,
  trustSystemStore,
} from './delivery-policies.ts';
import { DeliveryState } from './delivery-state.ts';
import { FailureDiagnosis } from './diagnose-failure.ts';
import { Endpoint, type EndpointOptions } from './endpoint.ts';
import { Exchange } from './exchange.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { explainEnvelope } from './explain-error.ts';
import { isLostSession, saysSessionIsLost } from './lost-session.ts';
import { isInitialize } from './methods.ts';
import { redirectWithin } from './redirect.ts';
import { resume } from './resumption.ts';
import { RETRY_LIMIT_MS } from './retry-policy.ts';
import { ServerStream } from './server-stream.ts';
import {
  listChanges,
  type Session,
  type SessionHeaders,
  sessionFrom,
  sessionNamedIn,
} from './session.ts';
import { ToolCache } from './tool-cache.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  masked,
  NO_OBSERVER,
  type Transport,
} from './transport.ts';

export interface TransportOptions extends EndpointOptions {
  readonly credentials: CredentialProvider;
  /** Whether expired credentials may be answered with URLElicitationRequired. */
  readonly elicitsUrls: boolean;
  /** Whether a GET stream is opened for what belongs to no request. */
  readonly opensServerStream: boolean;
  readonly maxMessageBytes: number;
  /** Milliseconds after the first attempt in which another may begin (30,000). */
  readonly retryLimitMs?: number;
  /** Whether the client gets to see a tool of `tools/list`; only these are suggested to it. */
  readonly isToolShown?: (tool: Buffer) => boolean;
  readonly log: Log;
}

interface Posted extends Attempt {
  /** The one that the message was sent in. */
  readonly session: Session | undefined;
  /** Where it was sent: path and query. */
  readonly target: string;
}

/** Of a request that was sent. */
interface Context {
  readonly observer: MessageObserver;
  readonly state: DeliveryState;
  /** The one that it was sent in. */
  readonly session: Session | undefined;
  /** Where it was sent. */
  readonly target: string;
}

function isLost({ session, outcome }: Posted): boolean {
  return session !== undefined && isLostSession(outcome, session.id !== undefined);
}

/** How long the end of a session that another one replaces may take. */
const REPLACED_LIMIT_MS = 1_000;

/**
 * A remote MCP endpoint over Streamable HTTP, revisions 2024-11-05 to 2025-11-25: each message is
 * one POST, repeated where that is safe; a lost session is started again; a GET stream is kept for
 * what belongs to no request.
 */
export class StreamableHttp implements Transport {
  readonly #options: TransportOptions;
  readonly #endpoint: Endpoint;
  readonly #failures: FailureDiagnosis;
  readonly #loop: DeliveryLoop<Posted>;
  readonly #tools: ToolCache;
  #session: Session | undefined;
  /** The newest `initialize`: the head of its answer names the session before the reply is there. */
  #handshake: Exchange | undefined;
  #renewal: Promise<Failure | undefined> | undefined;
  /** Whether the gateway has accepted a message at this URL. */
  #hasWorked = false;
  #serverStream: ServerStream | undefined;
  #serverMessages: MessageObserver | undefined;
  /** What was there before an `initialize` that has not succeeded yet. */
  #replaced: Session | undefined;
  /** Sessions that are being ended in the background. */
  readonly #ending = new Set<Promise<void>>();

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#tools = new ToolCache(options.isToolShown);
    this.#endpoint = new Endpoint(options);
    this.#failures = new FailureDiagnosis(options, this.#endpoint.displayUrl);
    const steps: DeliverySteps<Posted> = {
      attempt: (message, observer, state) => this.#attempt(message, observer, state),
      initialized: (notification) => this.#initialized(notification),
      isLostSession: isLost,
      mayRepeat: (request) => this.#tools.mayRepeat(request),
      policies: (state) => this.#policies(state),
      read: (request, reply) => this.#read(request, reply, {}),
      failureOf: ({ outcome, session, ...context }) =>
        this.#failures.failureOf(outcome, {
          ...context,
          isInSession: session?.id !== undefined,
          hasWorked: this.#hasWorked,
        }),
    };
    this.#loop = new DeliveryLoop(steps, options.log);
  }

  listen(observer: MessageObserver): void {
    this.#serverMessages = masked(observer, this.#options.secrets);
  }

  send(message: Message, observer: MessageObserver): Delivery {
    return this.#loop.send(message, observer);
  }

  async close(limitMs: number): Promise<void> {
    this.#serverStream?.close();
    const current = this.#session ?? sessionNamedIn(this.#handshake?.headers);
    const replaced = this.#replaced?.id === current.id ? undefined : this.#replaced;
    const last = [replaced, current].map((session) => this.#deleteSession(session, limitMs));
    await Promise.all([...this.#ending, ...last]);
    await this.#endpoint.close();
  }

  async #attempt(
    message: Message,
    observer: MessageObserver,
    state: DeliveryState,
  ): Promise<Posted | { readonly settled: Failure | undefined }> {
    const credential = await this.#options.credentials.current();
    const failure = this.#endpoint.open(credential);
    if (failure !== undefined) return { settled: failure };
    if (!state.isRenewal) await this.#renewal;
    if (state.isOver) return { settled: undefined };
    const session = this.#sessionFor(message, state.isRenewal);
    state.target ??= this.#endpoint.target;
    const { target } = state;
    const exchange = this.#exchange(message, observer);
    if (session?.id !== undefined) exchange.isRefusal = saysSessionIsLost;
    state.attempt = exchange;
    if (isInitialize(message)) this.#handshake = exchange;
    this.#endpoint.post(exchange, target, message, { credential, session });
    let outcome = await exchange.ended;
    if (
      outcome.kind === 'transport-error' &&
      message.kind === 'request' &&
      message.headers === undefined
    ) {
      const context = { observer, state, session, target };
      outcome = await this.#resume(exchange, outcome, message, context);
    }
    if (outcome.kind === 'replied' && isInitialize(message)) this.#endpoint.sessionTarget = target;
    if (outcome.kind === 'replied' || outcome.kind === 'accepted') {
      // The client's next requests often come together. Not for a command, which listens to nothing.
      if (!this.#hasWorked && this.#serverMessages !== undefined) this.#endpoint.openAhead();
      this.#hasWorked = true;
      this.#serverStream?.works(credential);
    }
    return { outcome, credential, isOfMessage: true, session, target };
  }

  #policies(state: DeliveryState): readonly Policy<Posted & FailedAttempt>[] {
    const { credentials, retryLimitMs = RETRY_LIMIT_MS } = this.#options;
    return [
      // The first: a key that was accepted may cost the user another prompt.
      renewLostSession(
        (failed) => !state.isRenewal && isLost(failed),
        ({ session }) => this.#renewSession(session as Session),
      ),
      renewCredential(credentials, (credential) => this.#endpoint.open(credential)),
      followRedirect(({ outcome }) => this.#follow(outcome, state)),
      trustSystemStore(this.#endpoint),
      retry(retryLimitMs),
    ];
  }

  #follow(outcome: ExchangeOutcome, state: DeliveryState): boolean {
    const redirected = redirectWithin(this.#options.url.origin, state.target as string, outcome);
    if (redirected === undefined) return false;
    state.target = redirected;
    // 308 is for good (RFC 9110 §15.4.9).
    if (outcome.kind === 'http-error' && outcome.status === 308) this.#endpoint.target = redirected;
    return true;
  }

  /**
   * What a message is sent in: `initialize` begins a session and is sent in none, and what brings
   * headers of its own needs none (MCP 2026-07-28, Streamable HTTP).
   */
  #sessionFor(message: Message, isRenewal: boolean): Session | undefined {
    if (message.kind !== 'response' && message.headers !== undefined) return undefined;
    if (isInitialize(message)) {
      if (!isRenewal) this.#replaced ??= this.#session;
      this.#forgetSession();
    }
    return this.#session;
  }

  #exchange(message: Message, observer: MessageObserver): Exchange {
    const { maxMessageBytes, secrets } = this.#options;
    if (message.kind !== 'request') return new Exchange('acceptance', observer, maxMessageBytes);
    const reading = mapMessages(observer, (received) =>
      this.#read(message, secrets.maskMessage(received), exchange.headers),
    );
    const exchange: Exchange = new Exchange(message.id, reading, maxMessageBytes);
    return exchange;
  }

  /** Takes from a reply what matters here; adds to an error of the gateway's how to fix it. */
  #read(request: Request, received: Message, headers: Headers): Message {
    if (received.kind !== 'response' || received.id?.key !== request.id.key) return received;
    if (received.isError) return this.#explained(request, received);
    if (request.method === 'initialize') this.#learnSession(request, received, headers);
    if (request.method === 'tools/list') this.#rememberTools(request, received);
    return received;
  }

  #explained(request: Request, error: Response): Response {
    return explainEnvelope(this.#options.secrets.maskMessage(error), request, {
      toolNames: () => this.#tools.names(),
      gatewayAddress: this.#options.routes.addressOf(this.#options.url),
      elicitsUrls: this.#options.elicitsUrls && this.#session?.clientElicitsUrls === true,
    });
  }

  #rememberTools(request: Request, reply: Response): void {
    this.#tools.remember(request, reply);
    // A list with a tool in it is longer than that.
    if (reply.bytes.length > 256 || this.#tools.names()?.length !== 0) return;
    const filter = this.#options.url.searchParams.get('integrations');
    this.#options.log.warn(
      filter === null
        ? 'the gateway offers no tools, because this account has no connected integrations'
        : `the gateway offers no tools that match the integrations filter '${cleanNetworkText(filter)}'`,
    );
  }

  #learnSession(initialize: Request, reply: Response, headers: Headers): void {
    const session = sessionFrom(initialize, headers, reply);
    this.#session = session;
    this.#endSession(this.#replaced, session);
    this.#replaced = undefined;
    const { id, idProblem, protocolVersion = 'unknown' } = session;
    let kind = id === undefined ? 'without a session' : 'with a session';
    if (idProblem !== undefined) {
      this.#options.log.warn(`cannot use the gateway's Mcp-Session-Id: ${idProblem}`);
      kind = 'with a session id that cannot be used';
    }
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
   * Shakes hands again with the client's own messages, once for all that lost the session (MCP
   * 2025-11-25, Transports §Session Management, 4). Resolves with why it failed.
   */
  #renewSession(lost: Session): Promise<Failure | undefined> {
    if (this.#renewal !== undefined) return this.#renewal;
    if (this.#session !== lost) return Promise.resolve(undefined);
    const renewal = this.#shakeHandsAnew(lost).finally(() => {
      this.#renewal = undefined;
    });
    this.#renewal = renewal;
    this.#loop.holdFor(renewal);
    return renewal;
  }

  async #shakeHandsAnew(lost: Session): Promise<Failure | undefined> {
    this.#options.log.info('the gateway no longer knows the session: initializing again');
    const renew = (message: Message) =>
      this.#loop.deliver(message, NO_OBSERVER, new DeliveryState({ isRenewal: true }));
    let failure = await renew(lost.initialize);
    const renewed = this.#session as Session | undefined;
    if (renewed === undefined) {
      failure ??= this.#sessionFailure('it lost the session. It refused to start another');
    }
    if (lost.initialized !== undefined) failure ??= await renew(lost.initialized);
    if (failure !== undefined || renewed === undefined) {
      this.#endSession(renewed, lost);
      // What comes next tries again.
      this.#session = lost;
      return failure;
    }
    this.#serverMessages?.onNewSession?.();
    for (const change of listChanges(lost)) this.#serverMessages?.onMessage(change);
    return undefined;
  }

  /** Goes on with the event stream that brought some of the answer to a request. */
  #resume(
    first: Exchange,
    broken: ExchangeOutcome,
    request: Request,
    { observer, state, session, target }: Context,
  ): Promise<ExchangeOutcome> {
    const { credentials, log } = this.#options;
    const timeoutMs = this.#endpoint.timeoutMs(request);
    const open = (credential: Credential, lastEventId: string) => {
      log.debug('resuming an event stream that broke off');
      const exchange = this.#exchange(request, observer);
      this.#endpoint.get(exchange, target, lastEventId, { credential, session }, timeoutMs);
      return exchange;
    };
    return resume(first, broken, { credentials, state, timeoutMs, open });
  }

  #openServerStream(): void {
    const observer = this.#serverMessages;
    if (observer === undefined || !this.#options.opensServerStream) return;
    const session = this.#session;
    this.#serverStream?.close();
    this.#serverStream = new ServerStream({
      log: this.#options.log,
      credentials: this.#options.credentials,
      open: (credential, lastEventId) => {
        const exchange = new Exchange('stream', observer, this.#options.maxMessageBytes);
        const target = this.#endpoint.sessionTarget;
        this.#endpoint.get(exchange, target, lastEventId, { credential, session });
        return exchange;
      },
      renewSession: async (end) => {
        if (session?.id === undefined || !isLostSession(end)) return false;
        return (await this.#renewSession(session)) === undefined;
      },
      describe: (end, credential) =>
        this.#failures.failureOf(end, { credential, mayRepeat: () => true, attempts: 1 }),
    });
  }

  /** In the background. Not where the gateway gave its successor the same id. */
  #endSession(session: Session | undefined, successor: Session): void {
    if (session?.id === successor.id) return;
    const ended = this.#deleteSession(session, REPLACED_LIMIT_MS).finally(() => {
      this.#ending.delete(ended);
    });
    this.#ending.add(ended);
  }

  async #deleteSession(session: SessionHeaders | undefined, limitMs: number): Promise<void> {
    if (session?.id === undefined) return;
    const exchange = new Exchange('acceptance', NO_OBSERVER, this.#options.maxMessageBytes);
    const timer = setTimeout(() => exchange.abort(), limitMs);
    // Not awaited: the source of the key may take longer than there is time.
    void this.#options.credentials.current().then((credential) => {
      this.#endpoint.delete(exchange, limitMs, { credential, session });
    });
    const end = await exchange.ended;
    clearTimeout(timer);
    this.#options.log.debug(`session ended: ${end.kind}`);
  }

  #sessionFailure(detail: string): Failure {
    return { reason: 'gateway_error', gateway: this.#endpoint.displayUrl, detail };
  }
}
