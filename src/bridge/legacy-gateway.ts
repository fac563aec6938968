import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import {
  INVALID_PARAMS,
  METHOD_NOT_FOUND,
  UNSUPPORTED_VERSION,
  URL_ELICITATION_REQUIRED,
} from '../jsonrpc/error-codes.ts';
import {
  entriesOf,
  itemsOf,
  memberAt,
  memberOf,
  stringOf,
  withMembers,
} from '../jsonrpc/json-members.ts';
import {
  errorCodeOf,
  errorResponse,
  type Message,
  type MessageId,
  type Notification,
  type Request,
  type Response,
} from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import type { Delivery, MessageObserver, Transport } from '../transport/transport.ts';
import {
  canOpenLinks,
  discovered,
  type Handshake,
  isSameCall,
  keyOf,
  levelIn,
  mayAsk,
  metaOf,
  notificationOf,
  type Params,
  QUESTIONS,
  requestOf,
  toLegacyRequest,
  toModernElicitation,
  toModernResult,
  withId,
} from './legacy-messages.ts';
import { LegacySubscriptions } from './legacy-subscriptions.ts';
import { LEGACY, LOG_LEVELS, META, MODERN, revisionOf, TAKES_INPUT } from './revisions.ts';
import { DONE, isReplyTo, ownId, resultFor, SendSequence, withOneReply } from './send-sequence.ts';

/** Calls that wait for the client to come back with input, and questions that wait for a call. */
const MOST_WAITING = 100;
/** How long a call waits for the client to come back with input. */
const WAIT_FOR_INPUT_MS = 15 * 60_000;

/** Methods that this revision has no more. */
const REMOVED: ReadonlySet<string> = new Set([
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
]);

const SILENT: MessageObserver = { onMessage: () => {}, congested: () => undefined };

/** A request of the gateway's to the client. */
type ServerRequest = Request;

/** A question that waits in a call, and whether it came on that call's own stream. */
interface Waiting {
  readonly question: ServerRequest;
  readonly isOwn: boolean;
}

/** The client's request that is to be answered next on behalf of a call. */
interface PendingRequest {
  readonly request: Request;
  /** Looked up once: a large request must not be read at each notification. */
  readonly progressToken: Buffer | undefined;
  readonly level: number;
  readonly observer: MessageObserver;
  readonly course: SendSequence;
  settle(failure?: Failure): void;
}

/** A request at work at the gateway; the client may have to ask more than once for its result. */
interface Call {
  /** Its id at the gateway. */
  id: MessageId;
  readonly request: Request;
  /** What the request says of the client. */
  readonly meta: Buffer | undefined;
  sending: Delivery;
  /** Undefined while the client gathers input. */
  pending: PendingRequest | undefined;
  /** What the gateway has asked on its account and the client has not answered. */
  readonly questions: Map<string, Waiting>;
  /** What the client shows to go on with this call. */
  state: string | undefined;
  expiry: NodeJS.Timeout | undefined;
  /** How it came out, while nobody was there to take it. */
  outcome: Response | { readonly failure: Failure } | undefined;
  /** The gateway has ended it, and it is to be made anew when the client comes back. */
  isToRepeat: boolean;
}

export interface LegacyGatewayOptions {
  readonly upstream: Transport;
  /** Takes what belongs to no request. */
  readonly observer: MessageObserver;
  readonly log: Log;
}

/**
 * A gateway of revision 2025-11-25 or earlier, for a client of 2026-07-28. The proxy holds the
 * handshake; requests lose what is new in them, results get it; what the gateway asks the client
 * during a call becomes an `input_required` result, and the client's next attempt goes on with the
 * call that waits.
 */
export class LegacyGateway implements Transport {
  readonly #upstream: Transport;
  readonly #observer: MessageObserver;
  readonly #log: Log;
  readonly #calls = new Set<Call>();
  readonly #subscriptions = new LegacySubscriptions((method, params) =>
    this.#request(method, params),
  );
  /** Asked when no call was there to carry it. */
  readonly #questions: ServerRequest[] = [];
  #handshake: Promise<Handshake | Response | Failure | undefined> | undefined;
  #serverInfo: Buffer | undefined;
  #logLevel: string | undefined;
  #count = 0;

  constructor(options: LegacyGatewayOptions) {
    this.#upstream = options.upstream;
    this.#observer = options.observer;
    this.#log = options.log;
  }

  listen(): void {}

  send(message: Message, observer: MessageObserver): Delivery {
    if (message.kind === 'response') return DONE;
    if (message.kind === 'notification') return this.#notification(message);
    const revision = revisionOf(message);
    if (revision !== undefined && revision !== MODERN) {
      refuse(message, observer, UNSUPPORTED_VERSION, 'Unsupported protocol version', {
        supported: [MODERN],
        requested: revision,
      });
      return DONE;
    }
    if (REMOVED.has(message.method)) {
      refuse(message, observer, METHOD_NOT_FOUND, 'Method not found');
      return DONE;
    }
    const state = stringOf(memberOf(message.bytes, 'params'), 'requestState');
    if (state !== undefined && TAKES_INPUT.has(message.method)) {
      return this.#resume(message, observer, state);
    }
    return new SendSequence(async (course) => {
      const handshake = await Promise.race([this.shakeHands(message), course.ended]);
      if (handshake === undefined || course.isOver) return undefined;
      if ('reason' in handshake) return handshake;
      if ('kind' in handshake) {
        observer.onMessage(withId(handshake, message.id));
        return undefined;
      }
      switch (message.method) {
        case 'server/discover':
          observer.onMessage(resultFor(message.id, discovered(handshake)));
          return undefined;
        case 'subscriptions/listen':
          return this.#subscriptions.listen(course, message, observer, handshake);
        default:
          return this.#call(course, message, observer, handshake);
      }
    });
  }

  async close(limitMs: number): Promise<void> {
    for (const call of this.#calls) {
      call.sending.abort();
      call.pending?.settle();
    }
    this.#calls.clear();
    await this.#upstream.close(limitMs);
  }

  /**
   * Begins a session with the gateway in the name of the client, once. Resolves with what the
   * gateway said, with the error or the failure that it answered with, or with undefined when it
   * was given up.
   */
  shakeHands(request: Request): Promise<Handshake | Response | Failure | undefined> {
    this.#handshake ??= this.#shakeHands(request).then((outcome) => {
      // What comes next tries again.
      if (!isHandshake(outcome)) this.#handshake = undefined;
      return outcome;
    });
    return this.#handshake;
  }

  async #shakeHands(request: Request): Promise<Handshake | Response | Failure | undefined> {
    const meta = metaOf(request);
    const id = this.#nextId('initialize');
    let reply: Response | undefined;
    const initialize = requestOf(id, 'initialize', {
      protocolVersion: JSON.stringify(LEGACY[0]),
      capabilities: memberOf(meta, META.clientCapabilities) ?? '{}',
      clientInfo: memberOf(meta, META.clientInfo) ?? '{"name":"unknown","version":"unknown"}',
    });
    const failure = await this.#upstream.send(initialize, {
      ...SILENT,
      onMessage: (message) => {
        if (isReplyTo(id, message)) reply = message;
      },
    }).done;
    if (reply === undefined || reply.isError) return reply ?? failure;
    const initialized: Notification = {
      kind: 'notification',
      method: 'notifications/initialized',
      bytes: Buffer.from('{"jsonrpc":"2.0","method":"notifications/initialized"}'),
    };
    const refused = await this.#upstream.send(initialized, SILENT).done;
    if (refused !== undefined) this.#log.warn('the gateway did not take notifications/initialized');
    const result = memberOf(reply.bytes, 'result');
    this.#serverInfo = memberOf(result, 'serverInfo');
    return {
      capabilities: memberOf(result, 'capabilities'),
      serverInfo: this.#serverInfo,
      instructions: memberOf(result, 'instructions'),
    };
  }

  /** Takes what the gateway sends without being asked. */
  onServerMessage(message: Message): void {
    if (message.kind === 'notification') this.#fromGateway(message, undefined);
    else if (message.kind === 'request') this.#question(message, undefined);
  }

  /** Sets anew what the session that was lost had been told. */
  onNewSession(): void {
    this.#logLevel = undefined;
    this.#subscriptions.renew();
  }

  /** Takes a question that no request of the client's can carry. */
  decline(question: Request): void {
    if (question.method === 'ping') this.#answer(question, resultFor(question.id, '{}'));
    else this.#refuse(question);
  }

  // Calls

  async #call(
    course: SendSequence,
    request: Request,
    observer: MessageObserver,
    handshake: Handshake,
  ): Promise<Failure | undefined> {
    const meta = metaOf(request);
    const level = stringOf(meta, META.logLevel);
    if (level !== undefined && !LOG_LEVELS.includes(level)) {
      refuse(request, observer, INVALID_PARAMS, 'Invalid params: no such log level');
      return undefined;
    }
    if (level !== undefined && memberOf(handshake.capabilities, 'logging') !== undefined) {
      await this.#setLogLevel(level);
    }
    if (course.isOver) return undefined;
    const call: Call = {
      id: this.#nextId('call'),
      request,
      meta,
      sending: DONE,
      pending: undefined,
      questions: new Map(),
      state: undefined,
      expiry: undefined,
      outcome: undefined,
      isToRepeat: false,
    };
    this.#calls.add(call);
    const done = this.#attach(call, request, observer, course);
    this.#make(call);
    if (TAKES_INPUT.has(request.method)) {
      for (const question of this.#questions.splice(0)) this.#question(question, call);
    }
    return done;
  }

  #make(call: Call): void {
    const { id, request } = call;
    const message = { ...request, id, bytes: toLegacyRequest(id, request) };
    const observer: MessageObserver = {
      congested: () => (call.pending?.observer ?? this.#observer).congested(),
      onMessage: (received) => this.#fromCall(call, received),
    };
    call.sending = this.#upstream.send(message, withOneReply(message, observer));
    call.pending?.course.follow(call.sending);
    void call.sending.done.then((failure) => {
      if (failure !== undefined && call.id === id) this.#complete(call, { failure });
    });
  }

  /** The client goes on with a call that waits for input. */
  #resume(request: Request, observer: MessageObserver, state: string): Delivery {
    const call = [...this.#calls].find((other) => other.state === state);
    if (call === undefined || !isSameCall(call.request, request)) {
      const why = 'Invalid params: the call that this requestState belongs to is gone, begin anew';
      refuse(request, observer, INVALID_PARAMS, why);
      return DONE;
    }
    call.state = undefined;
    clearTimeout(call.expiry);
    const given = memberAt(request.bytes, 'params', 'inputResponses');
    const responses = entriesOf(given, MOST_WAITING);
    return new SendSequence((course) => {
      const done = this.#attach(call, request, observer, course);
      if (call.isToRepeat) this.#repeat(call, responses);
      for (const [name, response] of responses) {
        const question = call.questions.get(name)?.question;
        if (question === undefined) continue;
        call.questions.delete(name);
        this.#answer(question, resultFor(question.id, response));
      }
      const { outcome } = call;
      call.outcome = undefined;
      if (outcome !== undefined) this.#complete(call, outcome);
      else if (call.questions.size > 0) this.#askForInput(call);
      return done;
    });
  }

  /** From here on the call's outcome is this request's. Resolves when it has been answered. */
  #attach(
    call: Call,
    request: Request,
    observer: MessageObserver,
    course: SendSequence,
  ): Promise<Failure | undefined> {
    void course.ended.then(() => {
      if (call.pending?.request === request) this.#drop(call);
    });
    course.follow(call.sending);
    const meta = metaOf(request);
    const progressToken = memberOf(meta, 'progressToken');
    const level = levelIn(meta);
    return new Promise((resolve) => {
      call.pending = { request, progressToken, level, observer, course, settle: resolve };
    });
  }

  #drop(call: Call): void {
    call.sending.abort();
    this.#end(call);
    call.pending?.settle();
  }

  /** A call that nobody came back for. */
  #expire(call: Call): void {
    const isAtWork = call.outcome === undefined && !call.isToRepeat;
    this.#drop(call);
    this.#log.info(`gave up a ${call.request.method} that the client did not come back to`);
    if (!isAtWork) return;
    const params = { requestId: call.id.raw, reason: '"no input came"' };
    this.#upstream.send(notificationOf('notifications/cancelled', params), SILENT);
  }

  /** What was not answered through it may be through another, unless it is its own. */
  #end(call: Call): void {
    clearTimeout(call.expiry);
    this.#calls.delete(call);
    for (const { question, isOwn } of call.questions.values()) {
      if (isOwn || this.#carrier() === undefined) this.#refuse(question);
      else this.#question(question, undefined);
    }
    call.questions.clear();
  }

  #fromCall(call: Call, message: Message): void {
    if (isReplyTo(call.id, message)) this.#complete(call, message);
    else if (message.kind === 'request') this.#question(message, call);
    else if (message.kind === 'notification') this.#fromGateway(message, call);
  }

  #complete(call: Call, outcome: NonNullable<Call['outcome']>): void {
    const { pending } = call;
    if (pending === undefined) {
      call.outcome = outcome;
      return;
    }
    if ('failure' in outcome) {
      this.#end(call);
      pending.settle(outcome.failure);
      return;
    }
    if (errorCodeOf(outcome) === URL_ELICITATION_REQUIRED && this.#elicitUrls(call, outcome))
      return;
    this.#end(call);
    pending.observer.onMessage(toModernResult(pending.request, outcome, this.#serverInfo));
    pending.settle();
  }

  // Input

  /** Puts a question of the gateway's to the client, through a call that can carry it. */
  #question(question: ServerRequest, own: Call | undefined): void {
    const { method } = question;
    if (!QUESTIONS.has(method) || (own !== undefined && !this.#canCarry(own))) {
      this.decline(question);
      return;
    }
    const call = own ?? this.#carrier();
    if (call !== undefined) {
      const isFull = call.questions.size === MOST_WAITING;
      if (isFull || !mayAsk(call.meta, question)) this.#refuse(question);
      else {
        call.questions.set(`${method}:${++this.#count}`, { question, isOwn: own !== undefined });
        // What the gateway asks in one breath goes to the client in one result.
        setImmediate(() => this.#askForInput(call));
      }
    } else if (this.#questions.length === MOST_WAITING) this.#refuse(question);
    else this.#questions.push(question);
  }

  #carrier(): Call | undefined {
    const calls = [...this.#calls].filter((call) => this.#canCarry(call));
    return calls.find(({ pending }) => pending !== undefined) ?? calls[0];
  }

  #canCarry(call: Call): boolean {
    return TAKES_INPUT.has(call.request.method) && isAtWork(call) && this.#calls.has(call);
  }

  #askForInput(call: Call): void {
    const { pending, questions } = call;
    if (pending === undefined || questions.size === 0 || !this.#calls.has(call)) return;
    const requests: Record<string, Buffer> = {};
    for (const [name, { question }] of questions) {
      const { method, bytes } = question;
      requests[name] = withMembers(undefined, {
        method: JSON.stringify(method),
        params: toModernElicitation(memberOf(bytes, 'params')),
      });
    }
    this.#detach(call, requests);
  }

  /** Answers with a wish for input; the call waits for the client to come back. */
  #detach(call: Call, requests: Record<string, Buffer>): void {
    const pending = call.pending as PendingRequest;
    call.pending = undefined;
    call.state = crypto.randomUUID();
    call.expiry = setTimeout(() => this.#expire(call), WAIT_FOR_INPUT_MS).unref();
    const waiting = [...this.#calls].filter(({ state }) => state !== undefined);
    if (waiting.length > MOST_WAITING) this.#expire(waiting[0] as Call);
    const result = withMembers(undefined, {
      resultType: '"input_required"',
      inputRequests: withMembers(undefined, requests),
      requestState: JSON.stringify(call.state),
    });
    pending.observer.onMessage(resultFor(pending.request.id, result));
    pending.settle();
  }

  /**
   * An error of revision 2025-11-25 that wants the user to open links first: the same as a wish for
   * input here. False when it names none. The call is made anew when the client comes back.
   */
  #elicitUrls(call: Call, { bytes }: Response): boolean {
    const elicitations = memberAt(bytes, 'error', 'data', 'elicitations');
    const links = itemsOf(elicitations, MOST_WAITING + 1) ?? [];
    const mayCarry = TAKES_INPUT.has(call.request.method) && canOpenLinks(call.meta);
    if (links.length === 0 || links.length > MOST_WAITING || !mayCarry) return false;
    if (links.some((link) => stringOf(link, 'url') === undefined)) return false;
    const requests = links.map((link, index): [string, Buffer] => [
      `elicitation/create:${index}`,
      withMembers(undefined, { method: '"elicitation/create"', params: toModernElicitation(link) }),
    ]);
    call.isToRepeat = true;
    this.#detach(call, Object.fromEntries(requests));
    return true;
  }

  #repeat(call: Call, responses: readonly (readonly [string, Buffer])[]): void {
    call.isToRepeat = false;
    call.id = this.#nextId('call');
    if (responses.every(([, response]) => stringOf(response, 'action') === 'accept')) {
      this.#make(call);
      return;
    }
    const error = { code: INVALID_PARAMS, message: 'the link that this needs was not opened' };
    const bytes = errorResponse(call.id, error);
    this.#complete(call, { kind: 'response', id: call.id, bytes, isError: true });
  }

  #answer(question: ServerRequest, response: Response): void {
    const sending = this.#upstream.send(response, SILENT);
    void sending.done.then((failure) => {
      if (failure !== undefined) {
        this.#log.warn(`could not answer ${cleanNetworkText(question.method, 100)}`);
      }
    });
  }

  #refuse(question: ServerRequest): void {
    const error = { code: METHOD_NOT_FOUND, message: 'the client cannot answer this' };
    const bytes = errorResponse(question.id, error);
    this.#answer(question, { kind: 'response', id: question.id, bytes, isError: true });
  }

  // Notifications

  #notification(notification: Notification): Delivery {
    if (notification.method !== 'notifications/cancelled') {
      return this.#upstream.send(notification, SILENT);
    }
    const key = keyOf(memberAt(notification.bytes, 'params', 'requestId'));
    if (key === undefined) return DONE;
    // The newest, should a client have used an id twice: as on the stdio side.
    const call = [...this.#calls].findLast(({ pending }) => pending?.request.id.key === key);
    if (call === undefined) return DONE;
    const bytes = withMembers(notification.bytes, { params: { requestId: call.id.raw } });
    return this.#upstream.send({ ...notification, bytes }, SILENT);
  }

  #fromGateway(notification: Notification, call: Call | undefined): void {
    const { method, bytes } = notification;
    switch (method) {
      case 'notifications/progress':
        this.#progress(notification, call);
        break;
      case 'notifications/message':
        this.#logMessage(notification, call);
        break;
      case 'notifications/cancelled':
        this.#withdraw(keyOf(memberAt(bytes, 'params', 'requestId')));
        break;
      case 'notifications/elicitation/complete':
        break;
      default:
        if (this.#subscriptions.tell(notification)) break;
        (call?.pending?.observer ?? this.#observer).onMessage(notification);
    }
  }

  #progress(notification: Notification, own: Call | undefined): void {
    const token = keyOf(memberAt(notification.bytes, 'params', 'progressToken'));
    const call =
      own ?? [...this.#calls].find(({ meta }) => keyOf(memberOf(meta, 'progressToken')) === token);
    const wanted = call?.pending?.progressToken;
    if (call?.pending === undefined || wanted === undefined) return;
    const bytes = withMembers(notification.bytes, { params: { progressToken: wanted } });
    call.pending.observer.onMessage({ ...notification, bytes });
  }

  /**
   * A log message belongs to a request that asked for it (MCP 2026-07-28, Logging §Per-request log
   * level); on the stream that belongs to none, to any that did.
   */
  #logMessage(notification: Notification, own: Call | undefined): void {
    const level = LOG_LEVELS.indexOf(stringOf(memberOf(notification.bytes, 'params'), 'level'));
    const isWanted = ({ pending }: Call) => pending !== undefined && pending.level <= level;
    const call = own === undefined ? [...this.#calls].find(isWanted) : own;
    if (call !== undefined && isWanted(call)) call.pending?.observer.onMessage(notification);
  }

  /** The gateway no longer wants an answer. */
  #withdraw(key: string | undefined): void {
    for (const { questions } of this.#calls) {
      for (const [name, { question }] of questions) {
        if (question.id.key === key) questions.delete(name);
      }
    }
    const index = this.#questions.findIndex(({ id }) => id.key === key);
    if (index >= 0) this.#questions.splice(index, 1);
  }

  /** Sets the lowest level that any call at work has asked for. */
  async #setLogLevel(level: string): Promise<void> {
    const levels = [...this.#calls].map(({ meta }) => levelIn(meta));
    const lowest = LOG_LEVELS[Math.min(LOG_LEVELS.indexOf(level), ...levels)] as string;
    if (lowest === this.#logLevel) return;
    this.#logLevel = lowest;
    const reply = await this.#request('logging/setLevel', { level: JSON.stringify(lowest) });
    // What comes next tries again.
    if (reply?.isError !== false) this.#logLevel = undefined;
  }

  /** A request of the proxy's own. Undefined when there was no reply. */
  async #request(method: string, params: Params): Promise<Response | undefined> {
    const id = this.#nextId(method);
    let reply: Response | undefined;
    await this.#upstream.send(requestOf(id, method, params), {
      ...SILENT,
      onMessage: (message) => {
        if (isReplyTo(id, message)) reply = message;
      },
    }).done;
    return reply;
  }

  #nextId(name: string): MessageId {
    return ownId(`${name}:${++this.#count}`);
  }
}

function isHandshake(outcome: Handshake | Response | Failure | undefined): boolean {
  return outcome !== undefined && !('kind' in outcome) && !('reason' in outcome);
}

/** Whether the gateway has not said yet how it came out. */
function isAtWork({ outcome, isToRepeat }: Call): boolean {
  return outcome === undefined && !isToRepeat;
}

function refuse(
  { id }: Request,
  observer: MessageObserver,
  code: number,
  message: string,
  data?: unknown,
): void {
  const bytes = errorResponse(id, { code, message, ...(data === undefined ? {} : { data }) });
  observer.onMessage({ kind: 'response', id, bytes, isError: true });
}
