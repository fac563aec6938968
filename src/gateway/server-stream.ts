import { wordFailure } from '../failures/catalogue.ts';
import type { Failure } from '../failures/failure.ts';
import type { Log } from '../log.ts';
import type { Exchange, ExchangeEnd } from './exchange.ts';

const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const CLOCK_CHECK_MS = 5_000;
/** A clock that jumped this far ahead means that the machine slept: the connection is dead. */
const SLEEP_MS = 10_000;

export interface ServerStreamOptions {
  readonly log: Log;
  /** Sends the GET; `lastEventId` goes into `Last-Event-ID`. */
  open(lastEventId: string | undefined): Promise<Exchange>;
  /** Why a stream could not be opened, for the log. */
  describe(end: ExchangeEnd): Promise<Failure>;
}

/**
 * The GET stream of a session, for messages that belong to no request (MCP 2025-11-25, Transports
 * §Listening for Messages from the Server). It is opened again when it ends, after its last event,
 * until `close`; at once when the machine has slept. A gateway that has none (404, 405, 501) is
 * left in peace.
 */
export class ServerStream {
  readonly #options: ServerStreamOptions;
  readonly #clock: NodeJS.Timeout;
  #exchange: Exchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #wasEverOpen = false;
  #lastEventId: string | undefined;
  #waitMs = SHORTEST_WAIT_MS;

  constructor(options: ServerStreamOptions) {
    this.#options = options;
    let before = Date.now();
    this.#clock = setInterval(() => {
      const gapMs = Date.now() - before;
      before = Date.now();
      if (gapMs > CLOCK_CHECK_MS + SLEEP_MS) this.#wakeUp();
    }, CLOCK_CHECK_MS).unref();
    void this.#open();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#clock);
    clearTimeout(this.#timer);
    this.#exchange?.abort();
  }

  #wakeUp(): void {
    this.#options.log.debug('the machine has slept');
    clearTimeout(this.#timer);
    this.#remember(this.#exchange);
    this.#exchange?.abort();
    void this.#open();
  }

  async #open(): Promise<void> {
    const exchange = await this.#options.open(this.#lastEventId);
    if (this.#isClosed) {
      exchange.abort();
      return;
    }
    this.#exchange = exchange;
    const end = await exchange.ended;
    if (!this.#isClosed && this.#exchange === exchange && end.kind !== 'aborted') {
      this.#onEnd(exchange, end);
    }
  }

  #onEnd(exchange: Exchange, end: ExchangeEnd): void {
    const wasOpen = end.kind === 'accepted' ? end.isEventStream : isBrokenStream(end);
    if (wasOpen) {
      this.#wasEverOpen = true;
      this.#remember(exchange);
      this.#waitMs = exchange.retryMs ?? SHORTEST_WAIT_MS;
    } else if (!this.#wasEverOpen || isAbsence(end)) {
      if (!isAbsence(end)) void this.#warn(end);
      clearInterval(this.#clock);
      return;
    }
    this.#options.log.debug(`the gateway's own stream ended, again in ${this.#waitMs} ms`);
    this.#timer = setTimeout(() => void this.#open(), this.#waitMs);
    this.#waitMs = Math.min(Math.max(this.#waitMs, SHORTEST_WAIT_MS) * 2, LONGEST_WAIT_MS);
  }

  #remember(exchange: Exchange | undefined): void {
    this.#lastEventId = exchange?.lastEventId ?? this.#lastEventId;
  }

  async #warn(end: ExchangeEnd): Promise<void> {
    const { message } = wordFailure(await this.#options.describe(end));
    this.#options.log.warn(`no stream for the gateway's own messages: ${message}`);
  }
}

function isBrokenStream(end: ExchangeEnd): boolean {
  return end.kind === 'broken' && end.status === 200;
}

function isAbsence(end: ExchangeEnd): boolean {
  if (end.kind === 'accepted') return !end.isEventStream;
  return end.kind === 'refused' && [404, 405, 501].includes(end.status);
}
