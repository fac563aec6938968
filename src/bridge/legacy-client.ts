import type { Failure } from '../failures/failure.ts';
import { INVALID_PARAMS } from '../jsonrpc/error-codes.ts';
import {
  entriesOf,
  itemsOf,
  memberAt,
  memberOf,
  stringOf,
  valueIn,
  withMembers,
} from '../jsonrpc/json-members.ts';
import { OPEN_BRACE } from '../jsonrpc/json-scanner.ts';
import {
  errorResponse,
  type Message,
  type MessageId,
  type Notification,
  type Request,
  type Response,
} from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import type { Delivery, MessageObserver, Transport } from '../transport/transport.ts';
import { ACKNOWLEDGED } from './modern-gateway.ts';
import { LEGACY, LOG_LEVELS, META, MODERN, resultTypeOf } from './revisions.ts';
import { DONE, isReplyTo, ownId, resultFor, SendSequence } from './send-sequence.ts';

/** How often a gateway may ask on account of one call; and how often without a question. */
const MOST_ROUNDS = 100;
/** How much it may ask at once. */
const MOST_QUESTIONS = 100;
const MOST_BARE_ROUNDS = 10;
const SHORTEST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;
/** After the gateway ended the stream for changes in good order. */
const REOPEN_MS = 5_000;
/** After it could not be opened. */
const RETRY_MS = 60_000;

/** Notifications of the earlier era that mean nothing to a gateway of this one. */
const WITHOUT_MEANING: ReadonlySet<string> = new Set([
  'notifications/cancelled',
  'notifications/progress',
  'notifications/roots/list_changed',
]);

/** What a gateway says of itself in answer to `server/discover`, in its own bytes. */
interface Discovered {
  readonly capabilities: Buffer | undefined;
  readonly serverInfo: Buffer | undefined;
  readonly instructions: Buffer | undefined;
}

const SILENT: Pick<MessageObserver, 'congested'> = { congested: () => undefined };

/**
 * A client of revision 2025-11-25 or earlier in front of a gateway of 2026-07-28. The handshake,
 * `ping` and the log level are answered here; requests get the `_meta` that the gateway needs;
 * results that ask for input become requests to the client, and its answers the next attempt.
 */
export class LegacyClientAdapter implements Transport {
  readonly #modern: Transport;
  readonly #log: Log;
  readonly #initialize: Request;
  readonly #discovered: Discovered;
  readonly #server: MessageObserver;
  /** Requests to the client that it has not answered, by id. */
  readonly #asked = new Map<string, (answer: Response) => void>();
  readonly #resources = new Set<string>();
  #logLevel: string | undefined;
  #stream: Subscription | undefined;
  /** The stream that was begun last. */
  #opening: Promise<unknown> = Promise.resolve();
  /** The one to begin after that. */
  #nextOpening: Promise<Subscription> | undefined;
  #hasEnded = false;
  #count = 0;

  private constructor(options: LegacyClientOptions, discovered: Discovered) {
    this.#modern = options.modern;
    this.#log = options.log;
    this.#initialize = options.initialize;
    this.#server = options.observer;
    this.#discovered = discovered;
  }

  /**
   * Asks the gateway what it is. Undefined when it does not know `server/discover`, or nothing of a
   * revision that can be translated.
   */
  static async open(
    options: LegacyClientOptions,
    course: SendSequence,
  ): Promise<LegacyClientAdapter | undefined> {
    const { initialize, modern } = options;
    const id = ownId('discover');
    let result: Buffer | undefined;
    const bytes = Buffer.from(`{"jsonrpc":"2.0","id":${id.raw},"method":"server/discover"}`);
    const params = withMembers(undefined, { _meta: metaOf(initialize, undefined, undefined) });
    const request: Request = {
      kind: 'request',
      id,
      method: 'server/discover',
      bytes: withMembers(bytes, { params }),
    };
    await course.send(modern, request, {
      ...SILENT,
      onMessage: (message) => {
        if (isReplyTo(id, message)) result = memberOf(message.bytes, 'result');
      },
    });
    const versions = valueIn(memberOf(result, 'supportedVersions'));
    if (!Array.isArray(versions) || !versions.includes(MODERN)) return undefined;
    const serverInfo = memberOf(memberOf(result, '_meta'), META.serverInfo);
    return new LegacyClientAdapter(options, {
      capabilities: memberOf(result, 'capabilities'),
      serverInfo: serverInfo ?? memberOf(result, 'serverInfo'),
      instructions: memberOf(result, 'instructions'),
    });
  }

  /** The reply to the client's `initialize`. */
  handshake(): Message {
    const { capabilities, serverInfo, instructions } = this.#discovered;
    const asked = stringOf(memberOf(this.#initialize.bytes, 'params'), 'protocolVersion') ?? '';
    const protocolVersion = LEGACY.includes(asked) ? asked : (LEGACY[0] as string);
    return resultFor(
      this.#initialize.id,
      withMembers(undefined, {
        protocolVersion: JSON.stringify(protocolVersion),
        capabilities: capabilities ?? '{}',
        serverInfo: serverInfo ?? '{"name":"unknown","version":"unknown"}',
        instructions,
      }),
    );
  }

  listen(): void {}

  send(message: Message, observer: MessageObserver): Delivery {
    if (message.kind === 'response') {
      const take = message.id && this.#asked.get(message.id.key);
      if (take === undefined) this.#log.debug('dropped a reply of the client to no request');
      else take(message);
      return DONE;
    }
    if (message.kind === 'notification') return this.#notification(message, observer);
    const answer = (result: Buffer | string) => {
      observer.onMessage(resultFor(message.id, result));
      return DONE;
    };
    switch (message.method) {
      case 'ping':
        return answer('{}');
      case 'logging/setLevel': {
        const level = stringOf(memberOf(message.bytes, 'params'), 'level');
        if (!LOG_LEVELS.includes(level)) return invalid(message, observer, 'no such log level');
        this.#logLevel = level;
        return answer('{}');
      }
      case 'resources/subscribe':
      case 'resources/unsubscribe':
        return this.#subscribe(message, observer);
      default:
        return new SendSequence((course) => this.#request(course, message, observer));
    }
  }

  /** Closes the stream for changes. */
  end(): void {
    this.#hasEnded = true;
    this.#stream?.course.abort();
  }

  async close(limitMs: number): Promise<void> {
    this.end();
    await this.#modern.close(limitMs);
  }

  #notification(notification: Notification, observer: MessageObserver): Delivery {
    const { method } = notification;
    if (method === 'notifications/initialized') {
      void this.#openStream();
      return DONE;
    }
    return WITHOUT_MEANING.has(method) ? DONE : this.#modern.send(notification, observer);
  }

  async #request(
    course: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    const meta = metaOf(
      this.#initialize,
      this.#logLevel,
      memberAt(request.bytes, 'params', '_meta'),
    );
    const changes = { params: { _meta: meta } };
    let attempt: Request = { ...request, bytes: withMembers(request.bytes, changes) };
    let pauseMs = SHORTEST_PAUSE_MS;
    let bareRounds = 0;
    for (let round = 1; ; round++) {
      const { id } = attempt;
      let wanted: Buffer | undefined;
      const failure = await course.send(this.#modern, attempt, {
        congested: () => observer.congested(),
        onMessage: (message) => {
          if (!isReplyTo(id, message)) observer.onMessage(withoutSubscription(message));
          else if (resultTypeOf(message) !== 'input_required') {
            observer.onMessage(toLegacyResult(request.id, message));
          } else wanted = memberOf(message.bytes, 'result');
        },
      });
      if (wanted === undefined || course.isOver) return failure;
      const inputRequests = memberOf(wanted, 'inputRequests');
      const questions = entriesOf(inputRequests, MOST_QUESTIONS + 1);
      const isNone = inputRequests !== undefined && inputRequests[0] !== OPEN_BRACE;
      if (isNone || questions.length > MOST_QUESTIONS) {
        const what = isNone ? 'what is not an object' : `more than ${MOST_QUESTIONS} questions`;
        fail(request, observer, `the gateway asks for input with ${what}`);
        return undefined;
      }
      if (questions.length === 0) bareRounds++;
      if (round === MOST_ROUNDS || bareRounds === MOST_BARE_ROUNDS) {
        fail(request, observer, `the gateway wanted the call repeated ${round} times, and again`);
        return undefined;
      }
      const answers = await this.#ask(questions, course, observer);
      if (course.isOver) return undefined;
      if ('error' in answers) {
        const bytes = withMembers(answers.error.bytes, { id: request.id.raw });
        observer.onMessage({ kind: 'response', bytes, id: request.id, isError: true });
        return undefined;
      }
      if (answers.responses === undefined) {
        // Nothing to wait for (MCP 2026-07-28, MRTR §Client Requirements, 1): not a busy loop.
        await course.pause(pauseMs);
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      }
      const retryId = ownId(`retry:${++this.#count}`);
      const params = {
        _meta: meta,
        inputResponses: answers.responses,
        requestState: memberOf(wanted, 'requestState'),
      };
      attempt = {
        ...request,
        id: retryId,
        bytes: withMembers(request.bytes, { id: retryId.raw, params }),
      };
    }
  }

  /** Puts the gateway's questions to the client, all at once. */
  async #ask(
    questions: readonly (readonly [string, Buffer])[],
    course: SendSequence,
    observer: MessageObserver,
  ): Promise<{ readonly responses: Buffer | undefined } | { readonly error: Response }> {
    const answers = await Promise.all(
      questions.map(async ([name, question]) => {
        const answer = await this.#askOne(question, course, observer);
        return { name, answer };
      }),
    );
    const error = answers.find(({ answer }) => answer?.isError)?.answer;
    if (error !== undefined) return { error };
    const results = answers.map(({ name, answer }) => [
      name,
      answer && memberOf(answer.bytes, 'result'),
    ]);
    return {
      responses:
        answers.length === 0 ? undefined : withMembers(undefined, Object.fromEntries(results)),
    };
  }

  /** Undefined when the client has cancelled what this is about. */
  async #askOne(
    question: Buffer,
    course: SendSequence,
    observer: MessageObserver,
  ): Promise<Response | undefined> {
    const id = ownId(`input:${++this.#count}`);
    const method = stringOf(question, 'method') ?? '';
    const answered = new Promise<Response>((resolve) => this.#asked.set(id.key, resolve));
    const bytes = withMembers(Buffer.from(`{"jsonrpc":"2.0","id":${id.raw}}`), {
      method: JSON.stringify(method),
      params: toLegacyElicitation(id, memberOf(question, 'params')),
    });
    observer.onMessage({ kind: 'request', bytes, id, method });
    const answer = await Promise.race([answered, course.ended]);
    this.#asked.delete(id.key);
    if (answer !== undefined) return answer;
    const params = { requestId: JSON.parse(id.raw), reason: 'the request was cancelled' };
    const cancelled = { jsonrpc: '2.0', method: 'notifications/cancelled', params };
    this.#server.onMessage({
      kind: 'notification',
      method: cancelled.method,
      bytes: Buffer.from(JSON.stringify(cancelled)),
    });
    return undefined;
  }

  #subscribe(request: Request, observer: MessageObserver): Delivery {
    const uri = stringOf(memberOf(request.bytes, 'params'), 'uri');
    if (uri === undefined) return invalid(request, observer, 'a uri is missing');
    return new SendSequence(async (course) => {
      const isWanted = request.method === 'resources/subscribe';
      course.begun();
      if (isWanted) this.#resources.add(uri);
      else this.#resources.delete(uri);
      const stream = await Promise.race([this.#openStream(), course.ended]);
      if (stream === undefined || course.isOver) return undefined;
      if (isWanted && !stream.resources.has(uri)) {
        this.#resources.delete(uri);
        if (stream.failure !== undefined) return stream.failure;
        if (stream.error !== undefined) {
          const bytes = withMembers(stream.error.bytes, { id: request.id.raw });
          observer.onMessage({ ...stream.error, bytes, id: request.id });
        } else fail(request, observer, 'the gateway does not tell of changes of this resource');
        return undefined;
      }
      observer.onMessage(resultFor(request.id, '{}'));
      return undefined;
    });
  }

  /**
   * A stream for all that the client is to be told, in the place of the one before, which ends as
   * soon as this one is there. Resolves with it then, or when it cannot be opened. What is wanted
   * while one is being opened waits for it and shares the next: acknowledged in another order than
   * asked for, an older stream would stay beside a newer one.
   */
  #openStream(): Promise<Subscription> {
    this.#nextOpening ??= this.#opening.then(() => {
      this.#nextOpening = undefined;
      const opening = this.#beginStream();
      this.#opening = opening;
      return opening;
    });
    return this.#nextOpening;
  }

  async #beginStream(): Promise<Subscription> {
    const before = this.#stream;
    const filter = this.#filter();
    const stream = new Subscription();
    if (this.#hasEnded) return stream;
    this.#stream = stream;
    if (filter === undefined) {
      before?.course.abort();
      return stream;
    }
    const id = ownId(`subscription:${++this.#count}`);
    const request: Request = {
      kind: 'request',
      id,
      method: 'subscriptions/listen',
      bytes: withMembers(Buffer.from(`{"jsonrpc":"2.0","id":${id.raw}}`), {
        method: '"subscriptions/listen"',
        params: withMembers(undefined, {
          _meta: metaOf(this.#initialize, undefined, undefined),
          notifications: JSON.stringify(filter),
        }),
      }),
    };
    const { promise: opened, resolve: onOpened } = withResolver();
    stream.course = new SendSequence(async (course) => {
      stream.failure = await course.send(this.#modern, request, {
        congested: () => this.#server.congested(),
        onMessage: (message) => {
          if (isReplyTo(id, message)) stream.error = message.isError ? message : undefined;
          else if (message.kind === 'notification' && message.method === ACKNOWLEDGED) {
            const agreed = memberAt(
              message.bytes,
              'params',
              'notifications',
              'resourceSubscriptions',
            );
            for (const item of itemsOf(agreed) ?? []) {
              const uri = valueIn(item);
              if (typeof uri === 'string') stream.resources.add(uri);
            }
            stream.isOpen = true;
            before?.course.abort();
            onOpened();
          } else if (stream.isCurrent(this.#stream)) {
            this.#server.onMessage(withoutSubscription(message));
          }
        },
      });
      onOpened();
      if (course.isOver || this.#stream !== stream) return undefined;
      if (!stream.isOpen) {
        this.#log.info('the gateway opens no stream for changes');
        if (before?.isOpen === true) this.#stream = before;
        if (stream.failure === undefined || before?.isOpen === true) return undefined;
      }
      await course.pause(stream.isOpen ? REOPEN_MS : RETRY_MS);
      if (!course.isOver && this.#stream === stream) void this.#openStream();
      return undefined;
    });
    await opened;
    return stream;
  }

  /** Undefined when there is nothing to listen for. */
  #filter(): Record<string, unknown> | undefined {
    const { capabilities } = this.#discovered;
    const filter: Record<string, unknown> = {};
    for (const kind of ['tools', 'prompts', 'resources']) {
      const tells = valueIn(memberOf(memberOf(capabilities, kind), 'listChanged'));
      if (tells === true) filter[`${kind}ListChanged`] = true;
    }
    if (this.#resources.size > 0) filter.resourceSubscriptions = [...this.#resources];
    return Object.keys(filter).length === 0 ? undefined : filter;
  }
}

export interface LegacyClientOptions {
  readonly modern: Transport;
  readonly initialize: Request;
  /** Takes what belongs to no request. */
  readonly observer: MessageObserver;
  readonly log: Log;
}

/** A `subscriptions/listen` stream and what is known of it. */
class Subscription {
  /** What the gateway agreed to tell of. */
  readonly resources = new Set<string>();
  isOpen = false;
  error: Response | undefined;
  failure: Failure | undefined;
  course: Delivery = DONE;

  /** Whether it is the newest that is open: between two, each change is told of once. */
  isCurrent(newest: Subscription | undefined): boolean {
    return newest === this || newest?.isOpen === false;
  }
}

function withResolver(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** What each request says of the client, beside what the client itself put there. */
function metaOf(
  initialize: Request,
  logLevel: string | undefined,
  own: Buffer | undefined,
): Buffer {
  const params = memberOf(initialize.bytes, 'params');
  return withMembers(own, {
    [META.protocolVersion]: JSON.stringify(MODERN),
    [META.clientInfo]: memberOf(params, 'clientInfo'),
    [META.clientCapabilities]: memberOf(params, 'capabilities') ?? '{}',
    [META.logLevel]: logLevel && JSON.stringify(logLevel),
  });
}

/** A reply in the form that a client of the earlier era knows. */
function toLegacyResult(id: MessageId, reply: Response): Response {
  const result = { resultType: undefined, ttlMs: undefined, cacheScope: undefined };
  const changes = reply.isError ? { id: id.raw } : { id: id.raw, result };
  return { ...reply, id, bytes: withMembers(reply.bytes, changes) };
}

function withoutSubscription(message: Message): Message {
  const meta = memberAt(message.bytes, 'params', '_meta');
  if (memberOf(meta, META.subscriptionId) === undefined) return message;
  const _meta = withMembers(meta, { [META.subscriptionId]: undefined });
  const left = _meta.length > '{}'.length ? _meta : undefined;
  return { ...message, bytes: withMembers(message.bytes, { params: { _meta: left } }) };
}

// URL elicitation had an id until 2025-11-25, and its clients insist on it.
function toLegacyElicitation(id: MessageId, params: Buffer | undefined): Buffer | undefined {
  if (stringOf(params, 'mode') !== 'url' || memberOf(params, 'elicitationId')) return params;
  return withMembers(params, { elicitationId: id.raw });
}

function invalid(request: Request, observer: MessageObserver, why: string): Delivery {
  fail(request, observer, why);
  return DONE;
}

function fail({ id }: Request, observer: MessageObserver, why: string): void {
  const bytes = errorResponse(id, { code: INVALID_PARAMS, message: `Invalid params: ${why}` });
  observer.onMessage({ kind: 'response', bytes, id, isError: true });
}
