import { wordFailure } from '../failures/catalogue.ts';
import type { Failure } from '../failures/failure.ts';
import type { Log } from '../log.ts';
import type { Exchange, ExchangeEnd } from './exchange.ts';
import { mayPass } from './retry-policy.ts';
import { watchForSleep } from './sleep-watch.ts';

const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

export interface ServerStreamOptions {
  readonly log: Log;
  /** Sends the GET; `lastEventId` goes into `Last-Event-ID`. */
  open(lastEventId: string | undefined): Promise<Exchange>;
  /** Told when the gateway refuses to open a stream again that was open before. */
  onRefused(end: ExchangeEnd): void;
  /** Why a stream could not be opened, for the log. */
  describe(end: ExchangeEnd): Promise<Failure>;
}

/**
 * The GET stream of a session, for messages that belong to no request (MCP 2025-11-25, Transports
 * §Listening for Messages from the Server). It is opened again when it ends, after its last event,
 * until `close`; at once when the machine has slept. A gateway that has none (404, 405, 501) or
 * refuses it from the start is left in peace.
 */
export class ServerStream {
  readonly #options: ServerStreamOptions;
  readonly #endWatch: () => void;
  #exchange: Exchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #wasEverOpen = false;
  #hasWarned = false;
  #lastEventId: string | undefined;
  #waitMs = SHORTEST_WAIT_MS;

  constructor(options: ServerStreamOptions) {
    this.#options = options;
    this.#endWatch = watchForSleep(() => this.#wakeUp());
    void this.#open();
  }

  close(): void {
    this.#isClosed = true;
    this.#endWatch();
    clearTimeout(this.#timer);
    this.#exchange?.abort();
  }

  #wakeUp(): void {
    this.#options.log.debug('the machine has slept');
    clearTimeout(this.#timer);
    this.#wasEverOpen ||= this.#exchange?.headers['content-type'] !== undefined;
    this.#remember(this.#exchange);
    this.#exchange?.abort();
    void this.#open();
  }

  async #open(): Promise<void> {
    this.#exchange = undefined;
    const exchange = await this.#options.open(this.#lastEventId);
    // Closed meanwhile, or opened a second time by `#wakeUp`.
    if (this.#isClosed || this.#exchange !== undefined) {
      exchange.abort();
      return;
    }
    this.#exchange = exchange;
    const end = await exchange.ended;
    if (!this.#isClosed && this.#exchange === exchange) this.#onEnd(exchange, end);
  }

  #onEnd(exchange: Exchange, end: ExchangeEnd): void {
    if (wasOpen(end)) {
      this.#wasEverOpen = true;
      this.#remember(exchange);
      // What is too large now, or a bug, will be so again: after a longer wait each time.
      if (end.kind === 'too-large' || end.kind === 'bug') void this.#warnOnce(end);
      else this.#waitMs = exchange.retryMs ?? SHORTEST_WAIT_MS;
    } else if (this.#wasEverOpen) this.#options.onRefused(end);
    else if (!isAbsence(end)) void this.#warnOnce(end);
    if (!this.#wasEverOpen && !mayPass(end)) {
      this.#endWatch();
      return;
    }
    this.#options.log.debug(`the gateway's own stream ended, again in ${this.#waitMs} ms`);
    this.#timer = setTimeout(() => void this.#open(), this.#waitMs);
    this.#waitMs = Math.min(Math.max(this.#waitMs * 2, SHORTEST_WAIT_MS), LONGEST_WAIT_MS);
  }

  #remember(exchange: Exchange | undefined): void {
    if (exchange !== undefined) this.#lastEventId = exchange.lastEventId;
  }

  async #warnOnce(end: ExchangeEnd): Promise<void> {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const { message } = wordFailure(await this.#options.describe(end));
    this.#options.log.warn(`no stream for the gateway's own messages: ${message}`);
  }
}

function wasOpen(end: ExchangeEnd): boolean {
  if (end.kind === 'accepted') return end.isEventStream;
  return (
    end.kind === 'too-large' || end.kind === 'bug' || (end.kind === 'broken' && end.status === 200)
  );
}

function isAbsence(end: ExchangeEnd): boolean {
  if (end.kind === 'accepted') return !end.isEventStream;
  return end.kind === 'refused' && [404, 405, 501].includes(end.status);
}
