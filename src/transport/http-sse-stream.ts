import type { Credential } from '../auth/credential.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { guarded } from '../http/guarded.ts';
import { withMembers } from '../jsonrpc/json-members.ts';
import {
  asReplyTo,
  type Message,
  type MessageId,
  type Request,
  type Response,
  type Unusable,
} from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { monotonicMs } from '../monotonic-clock.ts';
import type { Endpoint } from './endpoint.ts';
import { Exchange } from './exchange.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { MessageAddress } from './message-address.ts';
import { isSuccess, StreamEnded } from './response-parts.ts';
import type { MessageObserver } from './transport.ts';

/** How the opening of a stream came out. */
export type Opening =
  | { readonly kind: 'open' }
  | { readonly kind: 'failed'; readonly end: ExchangeOutcome }
  /** It names another origin to send messages to; `location` is clean. */
  | { readonly kind: 'elsewhere'; readonly location: string };

export interface HttpSseStreamOptions {
  readonly endpoint: Endpoint;
  readonly origin: string;
  /** Path and query of the GET. */
  readonly target: string;
  readonly credential: Credential;
  /** What the paths that the gateway names are known to lack at their beginning. */
  readonly prefix?: string;
  /** Receives what is not a reply. */
  readonly listener: MessageObserver;
  /** Longest silence while a reply is due, in milliseconds; 0 for no limit. */
  readonly timeoutMs: number;
  /** Longest wait for the `endpoint` event, in milliseconds; 0 for no limit. */
  readonly openLimitMs: number;
  readonly maxMessageBytes: number;
  readonly log: Log;
}

/** A message that is on its way. */
export interface Posting {
  /**
   * Never rejects. `replied` once the observer has the reply to a request, `accepted` once anything
   * else was; else why not.
   */
  readonly ended: Promise<ExchangeOutcome>;
  /** Whether the POST has a connection, and begins to leave this computer. */
  readonly hasBegun: boolean;
  /** Ends it now: nothing more reaches the observer. */
  abort(): void;
}

/** A request whose reply is to come on the stream. */
interface Pending {
  readonly request: Request;
  readonly observer: MessageObserver;
  readonly sentAt: number;
  timer?: NodeJS.Timeout;
  settle(end: ExchangeOutcome): void;
}

const LONGEST_REFERENCE_BYTES = 8192;

/** No `endpoint` event, nor anything else, came in time. */
class StreamSilent extends Error {
  readonly code = 'STREAM_SILENT';
}

/** The gateway said nothing for as long as a route would wait for a body. */
class ReplySilent extends Error {
  readonly code = 'ERR_ANSWER_TIMEOUT';
}

/**
 * One session over HTTP+SSE (MCP 2024-11-05, Transports §HTTP with SSE): a GET whose event stream
 * first names where messages are POSTed, and then brings all replies.
 */
export class HttpSseStream {
  readonly opened: Promise<Opening>;
  /** Whether the gateway has accepted a message on it. */
  isProven = false;
  readonly #options: HttpSseStreamOptions;
  readonly #exchange: Exchange;
  readonly #pending = new Set<Pending>();
  readonly #openTimer: NodeJS.Timeout | undefined;
  #resolveOpened!: (opening: Opening) => void;
  /** Where to POST to, from the `endpoint` event. */
  #address: MessageAddress | undefined;
  #isOver = false;
  #heardAt = 0;
  /** Who took the newest message, and may want a pause. */
  #taker: MessageObserver;

  constructor(options: HttpSseStreamOptions) {
    this.#options = options;
    this.#taker = options.listener;
    this.opened = new Promise((resolve) => {
      this.#resolveOpened = resolve;
    });
    const reading: MessageObserver = {
      onMessage: (message) => this.#take(message),
      // Asked behind each piece of the stream, keep-alive comments too.
      congested: () => {
        this.#heardAt = monotonicMs();
        return this.#taker.congested();
      },
    };
    this.#exchange = new Exchange('stream', reading, options.maxMessageBytes);
    this.#exchange.onOtherEvent = (type, data) => this.#onOtherEvent(type, data);
    this.#exchange.onUnusable = (found) => this.#onUnusable(found);
    const { endpoint, target, credential, openLimitMs } = options;
    if (openLimitMs > 0) {
      const onLimit = guarded(() => this.#tooLate(openLimitMs), this.#crash);
      this.#openTimer = setTimeout(onLimit, openLimitMs);
    }
    endpoint.get(this.#exchange, target, undefined, { credential, session: undefined });
    const onEnd = guarded(
      (end: ExchangeOutcome) => this.#onEnd(end),
      (error) => this.#onEnd({ kind: 'bug', error }),
    );
    void this.#exchange.ended.then(onEnd);
  }

  /** Ends it after a failure of this program in itself. */
  readonly #crash = (bug: Error): void => this.#exchange.onResponseError(bug);

  /** Whether it can no longer carry messages. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** POSTs a message. Only on a stream that is open. */
  send(message: Message, observer: MessageObserver, credential: Credential): Posting {
    if (this.#isOver) {
      // Since a moment ago: nothing was sent, so anything may be sent again.
      const end: ExchangeOutcome = {
        kind: 'transport-error',
        error: new StreamEnded(),
        sent: false,
      };
      return { ended: Promise.resolve(end), hasBegun: false, abort: () => {} };
    }
    if (message.kind === 'request') return this.#request(message, observer, credential);
    const post = this.#post('acceptance', message, observer, credential);
    const ended = post.ended.then((end) => (this.#isAcceptance(end) ? ACCEPTED : end));
    return postingOf(post, ended, () => post.abort());
  }

  /** Where messages are POSTed to; undefined until the gateway has named it. */
  get address(): MessageAddress | undefined {
    return this.#address;
  }

  /** Ends it now. What is in flight on it counts as interrupted. */
  close(): void {
    this.#isOver = true;
    this.#exchange.abort();
  }

  #request(request: Request, observer: MessageObserver, credential: Credential): Posting {
    let resolve!: (end: ExchangeOutcome) => void;
    const ended = new Promise<ExchangeOutcome>((resolveEnded) => {
      resolve = resolveEnded;
    });
    const pending: Pending = {
      request,
      observer,
      sentAt: monotonicMs(),
      settle: (end) => {
        if (!this.#pending.delete(pending)) return;
        clearTimeout(pending.timer);
        resolve(end);
      },
    };
    // Before the POST: the reply may overtake the word that the request was accepted.
    this.#pending.add(pending);
    this.#watch(pending, this.#options.timeoutMs);
    const post = this.#post(request.id, request, observer, credential);
    void post.ended.then((end) => {
      if (!this.#isAcceptance(end)) pending.settle(end);
    });
    const abort = () => {
      pending.settle({ kind: 'aborted' });
      post.abort();
    };
    return postingOf(post, ended, abort);
  }

  #post(
    due: MessageId | 'acceptance',
    message: Message,
    observer: MessageObserver,
    credential: Credential,
  ): Exchange {
    // Some gateways answer in the POST's body all the same.
    const reading: MessageObserver = {
      onMessage: (received) => this.#take(received),
      congested: () => observer.congested(),
    };
    const { endpoint, maxMessageBytes } = this.#options;
    const post = new Exchange(due, reading, maxMessageBytes);
    const { target } = this.#address as MessageAddress;
    endpoint.post(post, target, message, { credential, session: undefined });
    return post;
  }

  /** Any 2xx, whatever its body. */
  #isAcceptance(end: ExchangeOutcome): boolean {
    const isAccepted =
      end.kind === 'accepted' ||
      end.kind === 'replied' ||
      (end.kind !== 'refused' && 'status' in end && isSuccess(end.status ?? 0));
    if (isAccepted) {
      this.isProven = true;
      this.#heardAt = monotonicMs();
    }
    return isAccepted;
  }

  #take(message: Message): void {
    const { listener, log } = this.#options;
    if (this.#address === undefined) {
      log.warn('dropped a message from the gateway that came before its endpoint event');
      return;
    }
    if (message.kind !== 'response') {
      this.#taker = listener;
      listener.onMessage(message);
      return;
    }
    const pending =
      this.#onlyOne(message.id === undefined) ??
      this.#waitingFor(({ key }) => key === message.id?.key) ??
      this.#waitingFor((id) => asReplyTo(id, message) !== undefined);
    const reply = pending && asReplyTo(pending.request.id, withId(message, pending.request.id));
    if (pending === undefined || reply === undefined) {
      log.warn('dropped a reply from the gateway that no request is waiting for');
      return;
    }
    this.#taker = pending.observer;
    const deliver = () => {
      pending.observer.onMessage(reply);
      pending.settle({ kind: 'replied' });
    };
    // The stream has the replies to others too.
    guarded(deliver, (error) => pending.settle({ kind: 'bug', error }))();
  }

  /** The request that waits, where it is the only one: an error that names none is about it. */
  #onlyOne(isAsked = true): Pending | undefined {
    const [only] = this.#pending;
    return isAsked && this.#pending.size === 1 ? only : undefined;
  }

  /** The newest, should a client have used an id twice. */
  #waitingFor(fits: (id: MessageId) => boolean): Pending | undefined {
    return [...this.#pending].findLast(({ request }) => fits(request.id));
  }

  #onUnusable({ why, id }: Unusable): void {
    this.#options.log.warn(`dropped an event from the gateway that is not a message: ${why}`);
    const what = `an invalid message. Reason: ${why}`;
    this.#waitingFor((pending) => pending.key === id?.key)?.settle({
      kind: 'not-mcp',
      status: 200,
      what,
    });
  }

  #onOtherEvent(type: string, data: Buffer): void {
    const { log, origin, target, prefix } = this.#options;
    const waiting = type === 'error' ? this.#onlyOne() : undefined;
    if (waiting !== undefined) {
      const body = Buffer.from(data);
      waiting.settle({ kind: 'refused', status: 200, body, isOwn: false, isFirst: false });
      return;
    }
    if (type !== 'endpoint') {
      log.debug(`ignored an event of the type ${cleanNetworkText(type, 100)}`);
      return;
    }
    if (this.#address !== undefined) {
      log.warn('ignored a second endpoint event');
      return;
    }
    const isShort = data.length <= LONGEST_REFERENCE_BYTES;
    const reference = isShort ? data.toString('utf8') : '';
    this.#address = isShort ? MessageAddress.from(origin, target, reference, prefix) : undefined;
    if (this.#address !== undefined) this.#open({ kind: 'open' });
    else if (isShort && URL.canParse(reference, origin + target)) {
      const url = new URL(reference, origin + target);
      // Without its query, which may contain secrets.
      const named = url.origin === 'null' ? url.protocol : url.origin + url.pathname;
      this.#refuse({ kind: 'elsewhere', location: cleanNetworkText(named, 200) });
    } else this.#refuse(notMcp('a bad endpoint event'));
  }

  #tooLate(limitMs: number): void {
    const isConnected = this.#exchange.headers['content-type'] !== undefined;
    const words = `no HTTP+SSE stream was opened within ${Math.round(limitMs / 100) / 10} seconds`;
    this.#refuse(
      isConnected
        ? notMcp('no endpoint event')
        : {
            kind: 'failed',
            end: { kind: 'transport-error', error: new StreamSilent(words), sent: true },
          },
    );
  }

  #refuse(opening: Opening): void {
    this.#open(opening);
    this.close();
  }

  /** The first time counts. */
  #open(opening: Opening): void {
    clearTimeout(this.#openTimer);
    this.#resolveOpened(opening);
  }

  #watch(pending: Pending, waitMs: number): void {
    const { timeoutMs } = this.#options;
    if (timeoutMs === 0) return;
    const onLimit = () => {
      const silentMs = monotonicMs() - Math.max(pending.sentAt, this.#heardAt);
      if (silentMs < timeoutMs) {
        this.#watch(pending, Math.ceil(timeoutMs - silentMs));
        return;
      }
      pending.settle({ kind: 'transport-error', error: new ReplySilent(), sent: true });
      // The connection may be dead without a sign of it.
      if (this.#pending.size === 0) this.close();
    };
    pending.timer = setTimeout(guarded(onLimit, this.#crash), waitMs);
  }

  #onEnd(end: ExchangeOutcome): void {
    this.#isOver = true;
    this.#open({ kind: 'failed', end: this.#whyNotOpened(end) });
    const inFlight = [...this.#pending];
    // Whose reply was too large is only known where one request waits.
    const own = end.kind === 'too-large' && inFlight.length > 1 ? brokenOff() : interruption(end);
    for (const pending of inFlight) pending.settle(own);
    const { log } = this.#options;
    // Otherwise those in flight log it.
    if (end.kind === 'bug' && inFlight.length === 0) log.error(`bug: ${end.error.stack}`);
    log.debug(`the event stream ended: ${end.kind}`);
  }

  #whyNotOpened(end: ExchangeOutcome): ExchangeOutcome {
    if (end.kind === 'aborted') return brokenOff();
    if (end.kind !== 'accepted') return end;
    const type = [this.#exchange.headers['content-type']].flat()[0] ?? 'no type';
    const what = end.isEventStream
      ? 'no endpoint event'
      : `a body of type ${cleanNetworkText(type, 100)}`;
    return { kind: 'not-mcp', status: 200, what };
  }
}

function postingOf(post: Exchange, ended: Promise<ExchangeOutcome>, abort: () => void): Posting {
  return {
    ended,
    get hasBegun() {
      return post.hasBegun;
    },
    abort,
  };
}

const ACCEPTED: ExchangeOutcome = { kind: 'accepted', isEventStream: false };

/** An error that names no request, as the reply to the one that waits for it. */
function withId(response: Response, id: MessageId): Response {
  if (response.id !== undefined) return response;
  return { ...response, id, bytes: withMembers(response.bytes, { id: id.raw }) };
}

function notMcp(what: string): Opening {
  return { kind: 'failed', end: { kind: 'not-mcp', status: 200, what } };
}

function brokenOff(): ExchangeOutcome {
  return { kind: 'transport-error', error: new StreamEnded(), sent: true, status: 200 };
}

/** What the end of the stream means for a request that waits for its reply. */
function interruption(end: ExchangeOutcome): ExchangeOutcome {
  if (end.kind === 'transport-error') return { ...end, sent: true };
  return end.kind === 'accepted' || end.kind === 'aborted' ? brokenOff() : end;
}
