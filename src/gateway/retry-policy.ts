import type { ExchangeEnd } from './exchange.ts';
import type { Headers } from './route.ts';

const MOST_ATTEMPTS = 3;
/** How long after the first attempt another may begin, unless something else is asked for. */
export const RETRY_LIMIT_MS = 30_000;
const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;

/** What is known when an attempt has failed. */
export interface FailedAttempt {
  readonly end: ExchangeEnd;
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
 * (no connection, 429, 503 with Retry-After) always. At most three attempts in `limitMs`, with full
 * jitter, or as long as Retry-After asks.
 */
export function waitBeforeRetry({ end, attempt, elapsedMs, limitMs, mayRepeat }: FailedAttempt) {
  if (attempt >= MOST_ATTEMPTS || !mayPass(end)) return undefined;
  if (!wasNotProcessed(end) && !mayRepeat()) return undefined;
  const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempt - 1));
  const askedSeconds = end.kind === 'refused' ? retryAfterSeconds(end.headers) : undefined;
  const waitMs = askedSeconds === undefined ? Math.random() * backoffMs : askedSeconds * 1000;
  // In whole seconds, so that a Retry-After of 30 is not too long by the time that it took to come.
  const wholeMs = Math.floor((elapsedMs + waitMs) / 1000) * 1000;
  return wholeMs <= limitMs ? waitMs : undefined;
}

/** Seconds from a `Retry-After`, a number or a date (RFC 9110 §10.2.3); undefined without one. */
export function retryAfterSeconds(headers: Headers): number | undefined {
  const value = headers['retry-after'];
  if (typeof value !== 'string') return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  // Date.parse alone takes "soon 5" for a day in May.
  if (!HTTP_DATE.test(value)) return undefined;
  const seconds = Math.ceil((Date.parse(value) - Date.now()) / 1000);
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

const HTTP_DATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\w*,? .*\d\d:\d\d:\d\d/;

/** Whether it may be over the next time. */
export function mayPass(end: ExchangeEnd): boolean {
  if (end.kind === 'broken') {
    const { code = '' } = end.error as NodeJS.ErrnoException;
    return !LASTING.test(code) && !isBadHttp(end.error);
  }
  if (end.kind !== 'refused') return false;
  return end.status === 429 || (end.status >= 500 && end.status !== 501);
}

// Certificates and proxies' refusals stay as they are.
const LASTING =
  /^(?:ERR_TLS|ERR_SSL|ERR_PROXY_(?:REFUSED|UNTRUSTED)|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/;

/** Whether the peer does not keep to HTTP, or has headers without end. */
export function isBadHttp(error: Error): boolean {
  const { code = '' } = error as NodeJS.ErrnoException;
  // A chunked body that breaks off is cut short, not badly made.
  if (code === 'HPE_INVALID_EOF_STATE') return false;
  return code.startsWith('HPE_');
}

/** Whether the gateway may have acted on a message whose exchange ended like this. */
export function mayHaveRun(end: ExchangeEnd): boolean {
  if (end.kind === 'refused' && end.status < 500) return false;
  return !wasNotProcessed(end);
}

function wasNotProcessed(end: ExchangeEnd): boolean {
  if (end.kind === 'broken') return !end.sent;
  if (end.kind !== 'refused') return false;
  return end.status === 429 || (end.status === 503 && retryAfterSeconds(end.headers) !== undefined);
}
