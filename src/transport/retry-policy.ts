import { isHttp2Frame } from '../http/bad-http.ts';
import { retryAfterSeconds } from '../http/retry-after.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { outcomeOf, wasNotRun } from './not-run.ts';

const MOST_ATTEMPTS = 3;
/** How long after the first attempt another may begin, unless something else is asked for. */
export const RETRY_LIMIT_MS = 30_000;
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;

/** What is known when an attempt has failed. */
interface RetryFacts {
  readonly end: ExchangeOutcome;
  /** 1 for the first. */
  readonly attempt: number;
  /** Milliseconds since the first attempt began. */
  readonly elapsedMs: number;
  /** Milliseconds after the first attempt in which another may begin. */
  readonly limitMs: number;
  /** Whether the same message twice does no more than once. Asked only when it matters. */
  mayRepeat(): boolean;
}

/**
 * Milliseconds to wait before the next attempt, or undefined when there must be none. A message
 * that may have been processed is repeated only when that does no harm; one that certainly was not
 * (not-run.ts) always. At most three attempts in `limitMs`, with full jitter, or as long as
 * Retry-After asks.
 */
export function waitBeforeRetry({ end, attempt, elapsedMs, limitMs, mayRepeat }: RetryFacts) {
  if (attempt >= MOST_ATTEMPTS || !mayPass(end)) return undefined;
  if (!wasNotRun(outcomeOf(end)) && !mayRepeat()) return undefined;
  const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempt - 1));
  const askedSeconds = end.kind === 'http-error' ? retryAfterSeconds(end.headers) : undefined;
  const waitMs = askedSeconds === undefined ? Math.random() * backoffMs : askedSeconds * 1000;
  // In whole seconds, so that a Retry-After of 30 is not too long by the time that it took to come.
  const wholeMs = Math.floor((elapsedMs + waitMs) / 1000) * 1000;
  return wholeMs <= limitMs ? waitMs : undefined;
}

/** Whether it may be over the next time. */
export function mayPass(end: ExchangeOutcome): boolean {
  if (end.kind === 'transport-error') {
    const { code = '' } = end.error as NodeJS.ErrnoException;
    return !LASTING.test(code) && !isHttp2Frame(end.error);
  }
  // A result has come, whatever the status says.
  if (end.kind !== 'http-error' || end.reply?.isError === false) return false;
  return end.status === 429 || (end.status >= 500 && !LASTING_STATUSES.has(end.status));
}

// Not Implemented, HTTP Version Not Supported, Network Authentication Required.
const LASTING_STATUSES: ReadonlySet<number> = new Set([501, 505, 511]);

// Certificates, proxies' refusals and headers that are too large stay as they are. What is no HTTP at
// all may come of a proxy or a worker that is being replaced.
const LASTING =
  /^(?:HPE_HEADER_OVERFLOW|ERR_TLS|ERR_SSL|ERR_PROXY_(?:REFUSED|UNTRUSTED)|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/;

/** Whether the gateway was silent for longer than it may be. */
export function isTimeout(end: ExchangeOutcome): boolean {
  if (end.kind !== 'transport-error') return false;
  return (end.error as NodeJS.ErrnoException).code === 'ERR_ANSWER_TIMEOUT';
}
