import type { Headers } from '../http/request.ts';
import { retryAfterSeconds } from '../http/retry-after.ts';
import { memberAt, valueIn } from '../jsonrpc/json-members.ts';
import type { Response } from '../jsonrpc/message.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { saysSessionIsLost } from './lost-session.ts';

/** How a request came out, as far as that shows whether it ran. */
export interface Outcome {
  /** Whether any of the request may have left this computer. */
  readonly sent: boolean;
  /** The HTTP status; undefined for a 2xx, and where no answer came. */
  readonly status?: number | undefined;
  readonly headers?: Headers | undefined;
  /** The JSON-RPC response with the request's own id. */
  readonly reply?: Response | undefined;
  /** Whether there may have been such a response that was not read to its end. */
  readonly isReplyCut?: boolean | undefined;
}

/**
 * Statuses that say something about the HTTP request, so that a body without a reply to the JSON-RPC
 * request shows that it was not looked at. Not 408, 409 or 424: what ran for too long, or halfway,
 * ends with these too.
 */
const REFUSALS: ReadonlySet<number | undefined> = new Set([
  ...[400, 403, 404, 405, 406, 410, 411, 413, 414, 415, 417, 421, 422, 426, 428, 431],
]);

/** HeaderMismatch, MissingRequiredClientCapability, UnsupportedProtocolVersion. */
const CHECKED_FIRST: ReadonlySet<unknown> = new Set([-32020, -32021, -32022]);

const withoutReply = ({ reply, isReplyCut }: Outcome) => reply === undefined && isReplyCut !== true;

/**
 * What proves that a request did not run, so that it may be sent again whatever it does. Everything
 * else may have run. The codes of JSON-RPC itself (-32700, -32600 to -32603) prove nothing in a
 * reply with the request's id: the SDKs let a tool fail with any of them, after whatever it did.
 */
export const PROOFS = {
  'nothing was sent': ({ sent }) => !sent,
  // RFC 9110 §15.4.8, §15.4.9: the request is to be made at another address.
  'HTTP 307 or 308': ({ status }) => status === 307 || status === 308,
  // RFC 9110 §15.5.2: "the request has not been applied".
  'HTTP 401': ({ status }) => status === 401,
  // RFC 6585 §4.
  'HTTP 429': ({ status }) => status === 429,
  // RFC 9110 §15.6.4.
  'HTTP 503 with Retry-After and without a reply': (outcome) =>
    outcome.status === 503 &&
    withoutReply(outcome) &&
    retryAfterSeconds(outcome.headers ?? {}) !== undefined,
  // RFC 9110 §15.5.
  'an HTTP status that refuses the request, without a reply': (outcome) =>
    REFUSALS.has(outcome.status) && withoutReply(outcome),
  // MCP 2025-11-25, Transports §Session Management.
  'a reply that the session is lost, with HTTP 400 or 404': ({ status, reply }) =>
    (status === 400 || status === 404) && reply !== undefined && saysSessionIsLost(reply),
  // MCP 2026-07-28, Streamable HTTP §Protocol Version Header, §Server Validation.
  '-32020, -32021 or -32022 with HTTP 400': ({ status, reply }) =>
    status === 400 &&
    reply !== undefined &&
    CHECKED_FIRST.has(valueIn(memberAt(reply.bytes, 'error', 'code'))),
} satisfies Readonly<Record<string, (outcome: Outcome) => boolean>>;

/** Whether it is certain that a request did not run. */
export function wasNotRun(outcome: Outcome): boolean {
  return Object.values(PROOFS).some((proves) => proves(outcome));
}

/** What the end of an exchange shows. */
export function outcomeOf(end: ExchangeOutcome): Outcome {
  if (end.kind === 'transport-error') return { sent: end.sent };
  if (end.kind !== 'http-error') return { sent: true };
  const { status, headers, reply, isReplyCut } = end;
  return { sent: true, status, headers, reply, isReplyCut };
}
