import {
  type Credential,
  type CredentialProvider,
  isOtherCredential,
  isUsable,
} from '../auth/credential.ts';
import { toRpcError } from '../failures/catalogue.ts';
import type { Failure } from '../failures/failure.ts';
import { watchForSleep } from '../http/sleep-watch.ts';
import type { Log } from '../log.ts';
import { monotonicMs } from '../monotonic-clock.ts';
import type { Exchange } from './exchange.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { mayPass } from './retry-policy.ts';

const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
/** A stream that was open for as long has not ended at once, also where nothing came on it. */
const LONG_MS = 10_000;

export interface ServerStreamOptions {
  readonly log: Log;
  readonly credentials: CredentialProvider;
  /** Sends the GET; `lastEventId` goes into `Last-Event-ID`. */
  open(credential: Credential, lastEventId: string | undefined): Exchange;
  /**
   * When `end` means that the session is lost, begins another, whose stream is another too. Resolves
   * with whether it did.
   */
  renewSession(end: ExchangeOutcome): Promise<boolean>;
  /** Why a stream could not be opened with `key`, for the log. */
  describe(end: ExchangeOutcome, credential: Credential): Promise<Failure>;
}

/**
 * The GET stream of a session, for messages that belong to no request (MCP 2025-11-25, Transports
 * §Listening for Messages from the Server). It is opened again when it ends, after its last event,
 * until `close`; later each time while it brings nothing; at once when the machine has slept, and with
 * another key when the gateway rejects the one it has. A gateway that refuses it is left in peace until
 * there is another key.
 */
export class ServerStream {
  readonly #options: ServerStreamOptions;
  #endWatch: () => void = () => {};
  #exchange: Exchange | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #wasEverOpen = false;
  #hasWarned = false;
  #hasNewCredential = false;
  /** The one that it was refused with for good. */
  #refusedCredential: Credential | undefined;
  #lastEventId: string | undefined;
  #openedAt = 0;
  /** Whether the stream has been waited for since it last brought something. */
  #hasWaited = false;
  #waitMs = SHORTEST_WAIT_MS;

  constructor(options: ServerStreamOptions) {
    this.#options = options;
    this.#start();
  }

  close(): void {
    this.#isClosed = true;
    this.#endWatch();
    clearTimeout(this.#timer);
    this.#exchange?.abort();
  }

  /** The gateway takes this key: a stream that it refused with another is opened again. */
  works(credential: Credential): void {
    if (this.#isClosed || this.#refusedCredential === undefined) return;
    if (isOtherCredential(credential, this.#refusedCredential)) this.#start();
  }

  #start(): void {
    this.#refusedCredential = undefined;
    this.#hasWarned = false;
    this.#waitMs = SHORTEST_WAIT_MS;
    this.#hasWaited = false;
    this.#endWatch = watchForSleep(() => this.#wakeUp());
    void this.#open();
  }

  #wakeUp(): void {
    this.#options.log.debug('the computer has slept');
    clearTimeout(this.#timer);
    this.#wasEverOpen ||= this.#exchange?.headers['content-type'] !== undefined;
    this.#remember(this.#exchange);
    this.#exchange?.abort();
    void this.#open();
  }

  async #open(): Promise<void> {
    this.#exchange = undefined;
    const { credentials, open } = this.#options;
    const credential = await credentials.current();
    // Closed meanwhile, or opened a second time by `#wakeUp`.
    if (this.#isClosed || this.#exchange !== undefined) return;
    this.#openedAt = monotonicMs();
    const exchange = open(credential, this.#lastEventId);
    this.#exchange = exchange;
    const isCurrent = () => !this.#isClosed && this.#exchange === exchange;
    const end = await exchange.ended;
    if (!isCurrent()) return;
    if (end.kind === 'http-error' && end.status === 401 && !this.#hasNewCredential) {
      const { status, headers } = end;
      const rejection = { status, headers, renewals: 0, since: Date.now(), isAwaited: false };
      this.#hasNewCredential = isUsable(await credentials.renew(credential, rejection));
      if (!isCurrent()) return;
      if (this.#hasNewCredential) return this.#open();
    }
    this.#hasNewCredential = false;
    this.#onEnd(exchange, end, credential);
  }

  #onEnd(exchange: Exchange, end: ExchangeOutcome, credential: Credential): void {
    if (wasOpen(end)) {
      this.#wasEverOpen = true;
      const { retryMs = SHORTEST_WAIT_MS } = exchange;
      const isUseful =
        exchange.hasMessage ||
        exchange.lastEventId !== this.#lastEventId ||
        monotonicMs() - this.#openedAt > LONG_MS;
      this.#remember(exchange);
      // What is too large now, or a bug, will be so again: after a longer wait each time.
      if (end.kind === 'too-large' || end.kind === 'bug') void this.#warnOnce(end, credential);
      else if (isUseful || !this.#hasWaited) this.#waitMs = retryMs;
      else this.#waitMs = Math.max(this.#waitMs, retryMs);
    } else if (!mayPass(end) && (end.kind === 'http-error' || !this.#wasEverOpen)) {
      void this.#giveUp(end, credential);
      return;
    } else if (!this.#wasEverOpen) void this.#warnOnce(end, credential);
    this.#options.log.debug(`the gateway's own stream ended, again in ${this.#waitMs} ms`);
    this.#timer = setTimeout(() => void this.#open(), this.#waitMs);
    this.#hasWaited = true;
    this.#waitMs = Math.min(Math.max(this.#waitMs * 2, SHORTEST_WAIT_MS), LONGEST_WAIT_MS);
  }

  /** Until there is another key. */
  async #giveUp(end: ExchangeOutcome, credential: Credential): Promise<void> {
    this.#endWatch();
    this.#refusedCredential = credential;
    if (!this.#wasEverOpen) {
      if (!isAbsence(end)) await this.#warnOnce(end, credential);
    } else if (!(await this.#options.renewSession(end))) {
      // It may have had a warning of its beginnings.
      this.#hasWarned = false;
      await this.#warnOnce(end, credential);
    }
  }

  #remember(exchange: Exchange | undefined): void {
    if (exchange !== undefined) this.#lastEventId = exchange.lastEventId;
  }

  async #warnOnce(end: ExchangeOutcome, credential: Credential): Promise<void> {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const { message } = toRpcError(await this.#options.describe(end, credential));
    this.#options.log.warn(`no stream for the gateway's own messages: ${message}`);
  }
}

function wasOpen(end: ExchangeOutcome): boolean {
  if (end.kind === 'accepted') return end.isEventStream;
  return (
    end.kind === 'too-large' ||
    end.kind === 'bug' ||
    (end.kind === 'transport-error' && end.status === 200)
  );
}

function isAbsence(end: ExchangeOutcome): boolean {
  if (end.kind === 'accepted') return !end.isEventStream;
  return end.kind === 'http-error' && [404, 405, 501].includes(end.status);
}
