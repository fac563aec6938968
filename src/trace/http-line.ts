import type { RequestHandler } from '../http/request.ts';
import type { Exchange } from '../transport/exchange.ts';
import type { ExchangeOutcome } from '../transport/exchange-outcome.ts';
import type { HttpLine } from './records.ts';

type Writable<Line> = { -readonly [Name in keyof Line]: Line[Name] };
/** Without the numbers that it gets when it is written. */
export type Unnumbered<Line> = Omit<Writable<Line>, 'n' | 'run'>;
/** The line of an HTTP request that is not over; its headers are added in the end. */
export type OpenHttp = Omit<Unnumbered<HttpLine>, 'requestHeaders' | 'responseHeaders'>;

const MOST_BODY_BYTES = 4096;

/** What an HTTP request is for, if it is one of MCP's: `onReceived` can be set on it. */
export function asExchange(handler: RequestHandler): Exchange | undefined {
  // By what it has: each bundle has a class of its own.
  return 'ended' in handler && 'onReceived' in handler ? (handler as Exchange) : undefined;
}

/** `Mcp-Session-Id` in a head, whose names and values come by turns. */
export function sessionOf(raw: readonly string[]): string | undefined {
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] as string;
    if (name.length === 14 && name.toLowerCase() === 'mcp-session-id') return raw[at + 1];
  }
  return undefined;
}

/** Adds to `line` how the exchange came out. */
export function describeOutcome(outcome: ExchangeOutcome, line: OpenHttp): void {
  line.outcome = outcome.kind;
  if (outcome.kind === 'not-mcp') line.error = outcome.what;
  if (outcome.kind === 'transport-error' || outcome.kind === 'bug') {
    const { code, message } = outcome.error as NodeJS.ErrnoException;
    line.error = code === undefined ? message : `${code}: ${message}`;
  }
  if ('body' in outcome && outcome.body.length > 0) {
    const isCut = outcome.body.length > MOST_BODY_BYTES;
    const text = outcome.body.toString('utf8', 0, MOST_BODY_BYTES);
    line.responseBody = isCut ? `${text}…` : text;
  }
}
