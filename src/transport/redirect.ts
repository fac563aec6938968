import type { ExchangeOutcome } from './exchange-outcome.ts';

/** Path and query of a redirect that keeps the method and the origin (RFC 9110 §15.4.8, §15.4.9). */
export function redirectWithin(
  origin: string,
  target: string,
  end: ExchangeOutcome,
): string | undefined {
  if (end.kind !== 'http-error' || (end.status !== 307 && end.status !== 308)) return undefined;
  const { location } = end.headers;
  return typeof location === 'string' ? targetWithin(origin, target, location) : undefined;
}

/**
 * Path and query of a URI reference (RFC 3986 §4.1) found at `target`; undefined when it is invalid or
 * leaves the origin.
 */
export function targetWithin(
  origin: string,
  target: string,
  reference: string,
): string | undefined {
  if (!URL.canParse(reference, origin + target)) return undefined;
  const url = new URL(reference, origin + target);
  // Not `origin` alone, which a blob: URL borrows from the URL inside it.
  const isWithin = url.origin === origin && /^https?:$/.test(url.protocol);
  return isWithin ? url.pathname + url.search : undefined;
}
