import { describe, expect, it } from 'vitest';
import type { Headers } from '../../src/http/request.ts';
import { retryAfterSeconds } from '../../src/http/retry-after.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import { RETRY_LIMIT_MS, waitBeforeRetry } from '../../src/transport/retry-policy.ts';

const refused = (status: number, headers: Headers = {}): ExchangeOutcome => ({
  kind: 'http-error',
  status,
  headers,
  body: Buffer.alloc(0),
});
const broken = (code: string, sent: boolean): ExchangeOutcome => ({
  kind: 'transport-error',
  error: Object.assign(new Error(code), { code }),
  sent,
});

const wait = (end: ExchangeOutcome, { attempt = 1, elapsedMs = 0, repeatable = true } = {}) =>
  waitBeforeRetry({
    end,
    attempt,
    elapsedMs,
    limitMs: RETRY_LIMIT_MS,
    mayRepeat: () => repeatable,
  });

describe('the wait before another attempt', () => {
  it('is spread over 0.5 s and then over 1 s', () => {
    for (const [attempt, most] of [
      [1, 500],
      [2, 1_000],
    ] as const) {
      const waits = Array.from({ length: 2_000 }, () => wait(refused(503), { attempt }) as number);
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(0);
      expect(Math.min(...waits)).toBeLessThan(most / 10);
      expect(Math.max(...waits)).toBeGreaterThan((most * 9) / 10);
      expect(Math.max(...waits)).toBeLessThanOrEqual(most);
    }
  });

  it('is as long as Retry-After asks, as far as 30 s in all', () => {
    const asking = (seconds: string) => refused(429, { 'retry-after': seconds });
    expect(wait(asking('30'))).toBe(30_000);
    expect(wait(asking('31'))).toBeUndefined();
    expect(wait(asking('20'), { elapsedMs: 10_000 })).toBe(20_000);
    expect(wait(asking('30'), { elapsedMs: 200 })).toBe(30_000);
    expect(wait(asking('20'), { elapsedMs: 11_000 })).toBeUndefined();
    expect(wait(refused(503), { elapsedMs: 31_000 })).toBeUndefined();
  });

  it.each<[string, ExchangeOutcome, always: boolean, ifRepeatable: boolean]>([
    ['429', refused(429), true, true],
    ['503 with Retry-After', refused(503, { 'retry-after': '0' }), true, true],
    ['503 with two Retry-After', refused(503, { 'retry-after': ['0', '1'] }), false, true],
    ['503', refused(503), false, true],
    ['500', refused(500), false, true],
    ['501', refused(501), false, false],
    ['404', refused(404), false, false],
    ['408', refused(408), false, false],
    ['no connection', broken('ECONNREFUSED', false), true, true],
    ['a name that is not found', broken('ENOTFOUND', false), true, true],
    ['a reset', broken('ECONNRESET', true), false, true],
    ['a chunked body that breaks off', broken('HPE_INVALID_EOF_STATE', true), false, true],
    ['a status line that is none', broken('HPE_INVALID_CONSTANT', true), false, true],
    ['a chunk size that is none', broken('HPE_INVALID_CHUNK_SIZE', true), false, true],
    ['headers without end', broken('HPE_HEADER_OVERFLOW', true), false, false],
    ['an expired certificate', broken('CERT_HAS_EXPIRED', false), false, false],
    ['no MCP', { kind: 'not-mcp', status: 200, what: '' }, false, false],
    ['a message too large', { kind: 'too-large', status: 200 }, false, false],
  ])('after %s', (_, end, always, ifRepeatable) => {
    expect(wait(end, { repeatable: false }) !== undefined).toBe(always);
    expect(wait(end, { repeatable: true }) !== undefined).toBe(ifRepeatable);
    expect(wait(end, { attempt: 3 })).toBeUndefined();
  });
});

describe('Retry-After', () => {
  const seconds = (value: string) => retryAfterSeconds({ 'retry-after': value });
  const inTenSeconds = new Date(Date.now() + 10_000);

  it('is read in seconds and as a date, also in the forms of long ago', () => {
    expect(seconds('120')).toBe(120);
    expect(seconds('0')).toBe(0);
    expect(seconds('Sun, 06 Nov 1994 08:49:37 GMT')).toBe(0);
    expect(seconds('Sunday, 06-Nov-94 08:49:37 GMT')).toBe(0);
    expect(seconds('Sun Nov  6 08:49:37 1994')).toBe(0);
    expect(seconds(inTenSeconds.toUTCString())).toBeGreaterThanOrEqual(9);
    expect(seconds(inTenSeconds.toUTCString())).toBeLessThanOrEqual(10);
  });

  it.each(['', 'soon', 'soon 5', '-5', '1.5', '5 s', '1e3', '0x10', '2030-01-01', '9'.repeat(20)])(
    'of %j says nothing',
    (value) => {
      expect(seconds(value)).toBeUndefined();
    },
  );
});
