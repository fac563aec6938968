import { describe, expect, it, vi } from 'vitest';
import type { Credential, CredentialProvider } from '../../src/auth/credential.ts';
import type { Failure } from '../../src/failures/failure.ts';
import type { Headers } from '../../src/http/request.ts';
import type { Message } from '../../src/jsonrpc/message.ts';
import {
  decide,
  followRedirect,
  type Policy,
  renewCredential,
  renewLostSession,
  retry,
  trustSystemStore,
} from '../../src/transport/delivery-policies.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import { isLostSession } from '../../src/transport/lost-session.ts';

const KEY: Credential = { kind: 'none', origin: { source: 'none', origin: 'none' } };
const CALL: Message = {
  kind: 'request',
  method: 'tools/call',
  id: { raw: '1', key: 'n1' },
  bytes: Buffer.from('{"jsonrpc":"2.0","id":1,"method":"tools/call"}'),
};
const RESPONSE: Message = {
  kind: 'response',
  id: { raw: '1', key: 'n1' },
  isError: false,
  bytes: Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}'),
};

const httpError = (status: number, headers: Headers = {}, body = ''): ExchangeOutcome => ({
  kind: 'http-error',
  status,
  headers,
  body: Buffer.from(body),
});
const transportError = (code: string): ExchangeOutcome => ({
  kind: 'transport-error',
  error: Object.assign(new Error(code), { code }),
  sent: false,
});

describe('the credential policy', () => {
  const failed = (outcome: ExchangeOutcome, message: Message = CALL) => ({
    outcome,
    credential: KEY,
    message,
    startedAt: 4711,
  });
  const policyWith = (...renewed: (Credential | undefined)[]) => {
    const renew = vi.fn<CredentialProvider['renew']>(async () => renewed.shift());
    const failureOf = (credential: Credential): Failure | undefined =>
      credential.kind === 'unusable' ? { reason: credential.reason, gateway: 'g' } : undefined;
    return { renew, policy: renewCredential({ current: async () => KEY, renew }, failureOf) };
  };

  it('sends again with what replaces the credential, and tells how many there were', async () => {
    const { policy, renew } = policyWith(KEY, KEY, undefined);
    const headers = { 'www-authenticate': 'Bearer' };
    expect(await policy(failed(httpError(401, headers)))).toBe('send-again');
    expect(await policy(failed(httpError(403, headers)))).toBe('send-again');
    expect(await policy(failed(httpError(401, headers)))).toBeUndefined();
    expect(renew.mock.calls).toEqual([
      [KEY, { status: 401, headers, renewals: 0, since: 4711, isAwaited: true }],
      [KEY, { status: 403, headers, renewals: 1, since: 4711, isAwaited: true }],
      [KEY, { status: 401, headers, renewals: 2, since: 4711, isAwaited: true }],
    ]);
  });

  it('has no opinion without another credential, and asks for one again the next time', async () => {
    const { policy } = policyWith(undefined, KEY);
    expect(await policy(failed(httpError(401)))).toBeUndefined();
    expect(await policy(failed(httpError(401)))).toBe('send-again');
  });

  it('settles with why a credential cannot be used, and with the status', async () => {
    const { policy } = policyWith({ kind: 'unusable', reason: 'no_api_key', origin: KEY.origin });
    expect(await policy(failed(httpError(401)))).toEqual({
      settled: { reason: 'no_api_key', gateway: 'g', status: 401 },
    });
  });

  it('says of what no client waits for that it is not awaited', async () => {
    const { policy, renew } = policyWith();
    await policy(failed(httpError(401), RESPONSE));
    expect(renew.mock.calls[0]?.[1].isAwaited).toBe(false);
  });

  it('ends after eight credentials', async () => {
    const { policy, renew } = policyWith(...Array(10).fill(KEY));
    for (let i = 0; i < 8; i++) expect(await policy(failed(httpError(401)))).toBe('send-again');
    expect(await policy(failed(httpError(401)))).toBeUndefined();
    expect(renew).toHaveBeenCalledTimes(8);
  });

  it.each([httpError(404), httpError(500), transportError('ECONNRESET')])(
    'asks for no credential after another outcome',
    async (outcome) => {
      const { policy, renew } = policyWith(KEY);
      expect(await policy(failed(outcome))).toBeUndefined();
      expect(renew).not.toHaveBeenCalled();
    },
  );
});

describe('the session policy', () => {
  const policyWith = (failure?: Failure, isInSession = true) => {
    const renew = vi.fn(async () => failure);
    const isLost = ({ outcome }: { outcome: ExchangeOutcome }) =>
      isInSession && isLostSession(outcome);
    return { renew, policy: renewLostSession(isLost, renew) };
  };
  const lost = { outcome: httpError(404), message: CALL };

  it('begins another session and sends again, once', async () => {
    const { policy, renew } = policyWith();
    expect(await policy(lost)).toBe('send-again');
    expect(await policy(lost)).toBeUndefined();
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it('ends with the failure when another session cannot be had', async () => {
    const failure: Failure = { reason: 'unreachable', gateway: 'https://a.test/mcp' };
    expect(await policyWith(failure).policy(lost)).toEqual({ settled: failure });
  });

  it('ends without a failure for a message that belongs to the lost session', async () => {
    const { policy, renew } = policyWith();
    expect(await policy({ ...lost, message: RESPONSE })).toEqual({ settled: undefined });
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it('has no opinion outside a session, or when the session is not lost', async () => {
    const outside = policyWith(undefined, false);
    expect(await outside.policy(lost)).toBeUndefined();
    expect(outside.renew).not.toHaveBeenCalled();
    const inside = policyWith();
    expect(await inside.policy({ ...lost, outcome: httpError(500) })).toBeUndefined();
    expect(inside.renew).not.toHaveBeenCalled();
  });
});

describe('the redirect policy', () => {
  it('follows three times', async () => {
    const follow = vi.fn(() => true);
    const policy = followRedirect(follow);
    const decisions = [1, 2, 3, 4].map(() => policy({}));
    expect(decisions).toEqual(['send-again', 'send-again', 'send-again', undefined]);
    expect(follow).toHaveBeenCalledTimes(3);
  });

  it('does not count what cannot be followed', () => {
    const answers = [false, false, false, true];
    const policy = followRedirect(() => answers.shift() === true);
    const decisions = [1, 2, 3, 4].map(() => policy({}));
    expect(decisions).toEqual([undefined, undefined, undefined, 'send-again']);
  });
});

describe('the trust policy', () => {
  it("sends again with the system's store, once", () => {
    const trustSystemAfter = vi.fn(() => true);
    const policy = trustSystemStore({ trustSystemAfter });
    const outcome = transportError('SELF_SIGNED_CERT_IN_CHAIN');
    expect(policy({ outcome })).toBe('send-again');
    expect(policy({ outcome })).toBeUndefined();
    expect(trustSystemAfter.mock.calls).toEqual([[outcome]]);
  });

  it('has no opinion where the store cannot help', () => {
    const policy = trustSystemStore({ trustSystemAfter: () => false });
    expect(policy({ outcome: transportError('ECONNREFUSED') })).toBeUndefined();
  });
});

describe('the retry policy', () => {
  const failed = (outcome: ExchangeOutcome, more = {}) => ({
    outcome,
    attempts: 1,
    startedAt: Date.now(),
    mayRepeat: () => true,
    ...more,
  });

  it('waits as long as Retry-After asks', () => {
    const outcome = httpError(429, { 'retry-after': '2' });
    expect(retry(30_000)(failed(outcome))).toEqual({ waitMs: 2_000 });
  });

  it('has no opinion on what does not pass by itself, or once the limit is over', () => {
    expect(retry(30_000)(failed(httpError(400)))).toBeUndefined();
    expect(retry(30_000)(failed(httpError(503), { attempts: 3 }))).toBeUndefined();
    const late = { startedAt: Date.now() - 31_000 };
    expect(retry(30_000)(failed(httpError(503), late))).toBeUndefined();
  });

  it('does not repeat what may have run and does more when sent twice', () => {
    const outcome = httpError(500);
    expect(retry(30_000)(failed(outcome, { mayRepeat: () => false }))).toBeUndefined();
    expect(retry(30_000)(failed(outcome))).toEqual({ waitMs: expect.any(Number) });
  });
});

it('takes the first opinion, and asks no further', async () => {
  const last = vi.fn();
  const policies: Policy<object>[] = [
    () => undefined,
    async () => undefined,
    () => ({ waitMs: 1 }),
    last,
  ];
  expect(await decide(policies, {})).toEqual({ waitMs: 1 });
  expect(last).not.toHaveBeenCalled();
  expect(await decide([() => undefined], {})).toBeUndefined();
});
