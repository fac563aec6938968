import type { Failure } from '../../failures/failure.ts';
import { entriesOf, memberOf, stringOf, valueIn, withMembers } from '../../jsonrpc/json-members.ts';
import { OPEN_BRACE } from '../../jsonrpc/json-scanner.ts';
import type { Message, Notification, Request } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  type Transport,
} from '../../transport/transport.ts';
import { metaOf, proxyId, requestOf, resultFor, type ServerHello, withId } from '../messages.ts';
import { LEGACY, LOG_LEVELS, META, MODERN, resultTypeOf } from '../revisions.ts';
import { DONE, isReplyTo, onReplyTo, SendSequence } from '../send-sequence.ts';
import { ClientRequests } from './client-requests.ts';
import { SubscriptionStream } from './subscription-stream.ts';
import { invalidParams, toLegacyResult, toModernMeta, withoutSubscriptionId } from './translate.ts';

/** How often a gateway may ask for input during one call. */
const MOST_ROUNDS = 100;
/** How often it may do so without an input request. */
const MOST_EMPTY_ROUNDS = 10;
/** How many input requests one result may contain. */
const MOST_INPUT_REQUESTS = 100;
const SHORTEST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

/** Notifications of a legacy client that a modern gateway does not know. */
const DROPPED_NOTIFICATIONS: ReadonlySet<string> = new Set([
  'notifications/cancelled',
  'notifications/progress',
  'notifications/roots/list_changed',
]);

export interface LegacyClientOptions {
  readonly modern: Transport;
  /** The client's `initialize`. */
  readonly initialize: Request;
  /** Receives messages that belong to no request. */
  readonly observer: MessageObserver;
  readonly log: Log;
}

/**
 * A client of revision 2025-11-25 or earlier in front of a gateway of 2026-07-28. The handshake,
 * `ping` and the log level are answered here. Requests get the `_meta` that the gateway requires.
 * Results that ask for input become requests to the client, and its answers become a retry.
 */
export class LegacyClientAdapter implements Transport {
  readonly #options: LegacyClientOptions;
  readonly #hello: ServerHello;
  readonly #clientRequests: ClientRequests;
  readonly #stream: SubscriptionStream;
  #logLevel: string | undefined;
  #count = 0;

  private constructor(options: LegacyClientOptions, hello: ServerHello) {
    this.#options = options;
    this.#hello = hello;
    this.#clientRequests = new ClientRequests(options.observer);
    this.#stream = new SubscriptionStream(options, hello.capabilities);
  }

  /**
   * Sends `server/discover`. Resolves with undefined if the gateway does not know that method, or
   * supports no revision that can be translated.
   */
  static async open(
    options: LegacyClientOptions,
    sequence: SendSequence,
  ): Promise<LegacyClientAdapter | undefined> {
    const { initialize, modern } = options;
    const _meta = toModernMeta(initialize);
    const request = requestOf(proxyId('discover'), 'server/discover', { _meta });
    let result: Buffer | undefined;
    const observer = onReplyTo(request.id, ({ bytes }) => {
      result = memberOf(bytes, 'result');
    });
    await sequence.send(modern, request, observer);
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
  initializeResult(): Message {
    const { id, bytes } = this.#options.initialize;
    const { capabilities, serverInfo, instructions } = this.#hello;
    const requested = stringOf(memberOf(bytes, 'params'), 'protocolVersion') ?? '';
    const protocolVersion = LEGACY.includes(requested) ? requested : (LEGACY[0] as string);
    return resultFor(
      id,
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
      if (!this.#clientRequests.onReply(message)) {
        this.#options.log.debug('dropped a reply of the client to no request');
      }
      return DONE;
    }
    if (message.kind === 'notification') return this.#notification(message, observer);
    switch (message.method) {
      case 'ping':
        observer.onMessage(resultFor(message.id, '{}'));
        return DONE;
      case 'logging/setLevel':
        this.#setLogLevel(message, observer);
        return DONE;
      case 'resources/subscribe':
      case 'resources/unsubscribe':
        return this.#stream.subscribe(message, observer);
      default:
        return new SendSequence((sequence) => this.#request(sequence, message, observer));
    }
  }

  /** Closes the subscription stream. */
  end(): void {
    this.#stream.end();
  }

  async close(limitMs: number): Promise<void> {
    this.end();
    await this.#options.modern.close(limitMs);
  }

  #notification(notification: Notification, observer: MessageObserver): Delivery {
    const { method } = notification;
    if (method === 'notifications/initialized') {
      void this.#stream.open();
      return DONE;
    }
    if (DROPPED_NOTIFICATIONS.has(method)) return DONE;
    return this.#options.modern.send(notification, observer);
  }

  #setLogLevel(request: Request, observer: MessageObserver): void {
    const level = stringOf(memberOf(request.bytes, 'params'), 'level');
    const isKnown = LOG_LEVELS.includes(level);
    if (isKnown) this.#logLevel = level;
    observer.onMessage(
      isKnown ? resultFor(request.id, '{}') : invalidParams(request, 'no such log level'),
    );
  }

  async #request(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    const { modern, initialize } = this.#options;
    const _meta = toModernMeta(initialize, metaOf(request), this.#logLevel);
    let attempt = { ...request, bytes: withMembers(request.bytes, { params: { _meta } }) };
    let pauseMs = SHORTEST_PAUSE_MS;
    let emptyRounds = 0;
    for (let round = 1; ; round++) {
      const { id } = attempt;
      let inputRequired: Buffer | undefined;
      const toLegacy = mapMessages(observer, (message) => {
        if (!isReplyTo(id, message)) return withoutSubscriptionId(message);
        if (resultTypeOf(message) !== 'input_required') return toLegacyResult(request.id, message);
        inputRequired = memberOf(message.bytes, 'result');
        return undefined;
      });
      const failure = await sequence.send(modern, attempt, toLegacy);
      if (inputRequired === undefined || sequence.isEnded) return failure;
      const inputRequests = entriesOf(
        memberOf(inputRequired, 'inputRequests'),
        MOST_INPUT_REQUESTS + 1,
      );
      if (inputRequests.length === 0) emptyRounds++;
      const why =
        invalidity(inputRequired, inputRequests.length) ??
        (round === MOST_ROUNDS || emptyRounds === MOST_EMPTY_ROUNDS
          ? `the gateway wanted the call repeated ${round} times, and again`
          : undefined);
      if (why !== undefined) {
        observer.onMessage(invalidParams(request, why));
        return undefined;
      }
      const input = await this.#clientRequests.ask(inputRequests, sequence, observer);
      if (sequence.isEnded) return undefined;
      if ('error' in input) {
        observer.onMessage(withId(input.error, request.id));
        return undefined;
      }
      if (inputRequests.length === 0) {
        // The gateway may ask for a retry at once (MCP 2026-07-28, MRTR §Client Requirements, 1).
        await sequence.pause(pauseMs);
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      }
      attempt = this.#retry(request, {
        _meta,
        inputResponses: input.responses,
        requestState: memberOf(inputRequired, 'requestState'),
      });
    }
  }

  #retry(request: Request, params: Record<string, Buffer | undefined>): Request {
    const id = proxyId(`retry:${++this.#count}`);
    return { ...request, id, bytes: withMembers(request.bytes, { id: id.raw, params }) };
  }
}

/** What is wrong with the `inputRequests` of a result; `count` is how many there are. */
function invalidity(result: Buffer, count: number): string | undefined {
  const first = memberOf(result, 'inputRequests')?.[0];
  if (first !== undefined && first !== OPEN_BRACE) {
    return 'the gateway asks for input with what is not an object';
  }
  if (count <= MOST_INPUT_REQUESTS) return undefined;
  return `the gateway asks for input with more than ${MOST_INPUT_REQUESTS} questions`;
}
