import { wordFailure } from '../failures/catalogue.ts';
import type { Failure } from '../failures/failure.ts';
import type { Log } from '../log.ts';
import type { Exchange, ExchangeEnd } from './exchange.ts';

const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

export interface ServerStreamOptions {
  readonly log: Log;
  /** Sends the GET; `lastEventId` goes into `Last-Event-ID`. */
  open(lastEventId: string | undefined): Exchange;
  /** Why a stream could not be opened, for the log. */
  describe(end: ExchangeEnd): Failure;
}

/**
 * The GET stream of a session, for messages that belong to no request (MCP 2025-11-25, Transports
 * §Listening for Messages from the Server). It is opened again when it ends, with the last event
 * id, until `close`. A gateway that has none (404, 405, 501) is left in peace.
 */
export class ServerStream {
  readonly #options: ServerStreamOptions;
  #exchange: Exchange;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #lastEventId: string | undefined;
  #waitMs = SHORTEST_WAIT_MS;
  #wasEverOpen = false;

  constructor(options: ServerStreamOptions) {
    this.#options = options;
    this.#exchange = this.#open();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#exchange.abort();
  }

  #open(): Exchange {
    const exchange = this.#options.open(this.#lastEventId);
    void exchange.ended.then((end) => this.#onEnd(exchange, end));
    return exchange;
  }

  #onEnd(exchange: Exchange, end: ExchangeEnd): void {
    if (this.#isClosed) return;
    const wasOpen = end.kind === 'accepted' ? end.isEventStream : isBrokenStream(end);
    if (wasOpen) {
      this.#wasEverOpen = true;
      this.#lastEventId = exchange.lastEventId ?? this.#lastEventId;
      this.#waitMs = exchange.retryMs ?? SHORTEST_WAIT_MS;
    } else if (!this.#wasEverOpen || end.kind === 'refused' || end.kind === 'accepted') {
      if (!isAbsence(end)) {
        const why = wordFailure(this.#options.describe(end)).message;
        this.#options.log.warn(`no stream for the gateway's own messages: ${why}`);
      }
      return;
    }
    this.#options.log.debug(`the gateway's own stream ended, again in ${this.#waitMs} ms`);
    this.#timer = setTimeout(() => {
      this.#exchange = this.#open();
    }, this.#waitMs);
    this.#waitMs = Math.min(this.#waitMs * 2, LONGEST_WAIT_MS);
  }
}

function isBrokenStream(end: ExchangeEnd): boolean {
  return end.kind === 'broken' && end.status === 200;
}

function isAbsence(end: ExchangeEnd): boolean {
  if (end.kind === 'accepted') return true;
  return end.kind === 'refused' && [404, 405, 501].includes(end.status);
}
