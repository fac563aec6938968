import { expect, it } from 'vitest';
import { type Response, readMessages } from '../../src/jsonrpc/message.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import { type Outcome, outcomeOf, PROOFS, wasNotRun } from '../../src/transport/not-run.ts';

const error = (code: unknown, message = 'No') =>
  readMessages(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, error: { code, message } })))
    .messages[0] as Response;
const result = readMessages(Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}'))
  .messages[0] as Response;

const answered = (status: number, more: Partial<Outcome> = {}): Outcome => ({
  sent: true,
  status,
  ...more,
});
const retryAfter = (value: string) => ({ headers: { 'retry-after': value } });

/** For each proof, what it holds for and what comes close. */
const CASES: Record<keyof typeof PROOFS, { holds: Outcome[]; not: Outcome[] }> = {
  'nothing was sent': { holds: [{ sent: false }], not: [{ sent: true }] },
  'HTTP 307 or 308': {
    holds: [answered(307), answered(308)],
    not: [answered(301), answered(302), answered(303)],
  },
  'HTTP 401': { holds: [answered(401), answered(401, { reply: error(1) })], not: [answered(402)] },
  'HTTP 429': { holds: [answered(429), answered(429, { reply: error(1) })], not: [answered(430)] },
  'HTTP 503 with Retry-After and without a reply': {
    holds: [answered(503, retryAfter('0')), answered(503, retryAfter('120'))],
    not: [
      answered(503),
      answered(503, retryAfter('soon')),
      answered(500, retryAfter('1')),
      answered(502, retryAfter('1')),
      answered(503, { ...retryAfter('1'), reply: error(-32603) }),
      answered(503, { ...retryAfter('1'), isReplyCut: true }),
    ],
  },
  'an HTTP status that refuses the request, without a reply': {
    holds: [
      ...[400, 403, 404, 405, 406, 410, 411, 413, 414, 415, 417, 421, 422, 426, 428, 431],
    ].map((status) => answered(status)),
    not: [
      ...[402, 408, 409, 412, 423, 424, 425, 451, 499, 500, 501, 502, 504].map((status) =>
        answered(status),
      ),
      answered(400, { reply: error(-32602) }),
      answered(404, { reply: error(-32601) }),
      answered(400, { reply: result }),
      answered(400, { isReplyCut: true }),
    ],
  },
  'a reply that the session is lost, with HTTP 400 or 404': {
    holds: [
      answered(404, { reply: error(-32001, 'Session not found') }),
      answered(400, { reply: error(-32000, 'Bad Request: No valid session ID provided') }),
    ],
    not: [
      { sent: true, reply: error(-32001, 'Session not found') },
      answered(500, { reply: error(-32001, 'Session not found') }),
      answered(404, { reply: error(-32602, 'Session not found') }),
      answered(404, { reply: error(-32000, 'recording session abc does not exist') }),
    ],
  },
  '-32020, -32021 or -32022 with HTTP 400': {
    holds: [-32020, -32021, -32022].map((code) => answered(400, { reply: error(code) })),
    not: [
      ...[-32019, -32023, '-32020', 1].map((code) => answered(400, { reply: error(code) })),
      // A tool may use any code.
      ...[-32020, -32021, -32022].map((code) => ({ sent: true, reply: error(code) })),
      ...[404, 500].map((status) => answered(status, { reply: error(-32020) })),
    ],
  },
};

it.each(Object.entries(CASES))('%s proves that a request was not run', (name, { holds, not }) => {
  const proves: (outcome: Outcome) => boolean = PROOFS[name as keyof typeof PROOFS];
  for (const outcome of holds) {
    expect(proves(outcome), JSON.stringify(outcome)).toBe(true);
    expect(wasNotRun(outcome)).toBe(true);
  }
  for (const outcome of not) expect(proves(outcome), JSON.stringify(outcome)).toBe(false);
});

it.each([-32700, -32600, -32601, -32602, -32603, -32000, -32001, -32002, -32042, -32099, 1])(
  'the code %d with the id of the request proves nothing, whatever the HTTP status',
  (code) => {
    expect(wasNotRun({ sent: true, reply: error(code) })).toBe(false);
    for (const status of [400, 403, 404, 405, 409, 422, 500, 503]) {
      expect(wasNotRun(answered(status, { reply: error(code) })), `${status}`).toBe(false);
    }
  },
);

it('an exchange that ended without a refusal proves nothing once it was sent', () => {
  const ends: ExchangeOutcome[] = [
    { kind: 'transport-error', error: new Error('reset'), sent: true },
    { kind: 'transport-error', error: new Error('cut'), sent: true, status: 200 },
    { kind: 'not-mcp', status: 200, what: 'a web page' },
    { kind: 'too-large', status: 200 },
    { kind: 'replied' },
    { kind: 'aborted' },
  ];
  expect(ends.map((end) => wasNotRun(outcomeOf(end)))).toEqual(ends.map(() => false));
  const notSent: ExchangeOutcome = {
    kind: 'transport-error',
    error: new Error('refused'),
    sent: false,
  };
  expect(wasNotRun(outcomeOf(notSent))).toBe(true);
});
