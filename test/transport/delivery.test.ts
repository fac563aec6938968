import { expect, it, vi } from 'vitest';
import type { Credential } from '../../src/auth/credential.ts';
import type { Failure } from '../../src/failures/failure.ts';
import type { Message, Response } from '../../src/jsonrpc/message.ts';
import { type Attempt, DeliveryLoop } from '../../src/transport/delivery.ts';
import type { Policy } from '../../src/transport/delivery-policies.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import { NO_OBSERVER } from '../../src/transport/transport.ts';

const credential: Credential = { kind: 'none', origin: { source: 'none', origin: 'none' } };
const FAILURE: Failure = { reason: 'gateway_error', gateway: 'https://a.test/mcp' };
const request = (method: string): Message => ({
  kind: 'request',
  method,
  id: { raw: '1', key: 'n1' },
  bytes: Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"${method}"}`),
});
const httpError = (status: number, reply?: Response): ExchangeOutcome => ({
  kind: 'http-error',
  status,
  headers: {},
  body: Buffer.alloc(0),
  ...(reply === undefined ? {} : { reply }),
});
const REPLIED: ExchangeOutcome = { kind: 'replied' };

/** A loop whose attempts come out as `outcomes` say, one after the other. */
function loopOf(outcomes: ExchangeOutcome[], policy: Policy<Attempt>, isOfMessage = true) {
  const sent: string[] = [];
  const policies = vi.fn(() => [policy]);
  const loop = new DeliveryLoop<Attempt>(
    {
      attempt: async (message) => {
        sent.push('method' in message ? message.method : message.kind);
        return { outcome: outcomes.shift() as ExchangeOutcome, credential, isOfMessage };
      },
      initialized: () => {},
      isLostSession: () => false,
      mayRepeat: ({ method }) => method === 'ping',
      policies,
      read: (_request, reply) => reply,
      failureOf: async ({ attempts }) => ({ ...FAILURE, attempts }),
    },
    { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} },
  );
  return { loop, sent, policies };
}

it('asks no policy as long as all goes well', async () => {
  const { loop, sent, policies } = loopOf([REPLIED], () => undefined);
  expect(await loop.send(request('tools/call'), NO_OBSERVER).done).toBeUndefined();
  expect(sent).toEqual(['tools/call']);
  expect(policies).not.toHaveBeenCalled();
});

it('sends again as a policy decides, and counts the attempts after a wait', async () => {
  const decisions = ['send-again', { waitMs: 0 }, undefined] as const;
  let asked = 0;
  const failing = [httpError(500), httpError(500), httpError(500)];
  const { loop, sent } = loopOf(failing, () => decisions[asked++]);
  const failure = await loop.send(request('ping'), NO_OBSERVER).done;
  expect(sent).toEqual(['ping', 'ping', 'ping']);
  expect(failure).toEqual({ ...FAILURE, attempts: 2 });
});

it('ends with the failure that a policy settles on', async () => {
  const { loop } = loopOf([httpError(500)], () => ({ settled: FAILURE }));
  expect(await loop.send(request('ping'), NO_OBSERVER).done).toBe(FAILURE);
});

it('asks no policy about a call that may have run', async () => {
  const { loop, sent, policies } = loopOf([httpError(500)], () => 'send-again');
  const delivery = loop.send(request('tools/call'), NO_OBSERVER);
  expect(await delivery.done).toEqual({ ...FAILURE, attempts: 1 });
  expect(delivery.mayHaveRun).toBe(true);
  expect(sent).toEqual(['tools/call']);
  expect(policies).not.toHaveBeenCalled();
});

it('asks about a call where something else failed, which had to succeed first', async () => {
  const decisions = ['send-again', undefined] as const;
  let asked = 0;
  const { loop, sent } = loopOf([httpError(500), httpError(500)], () => decisions[asked++], false);
  const delivery = loop.send(request('tools/call'), NO_OBSERVER);
  expect(await delivery.done).toEqual({ ...FAILURE, attempts: 1 });
  expect(delivery.mayHaveRun).toBe(false);
  expect(sent).toHaveLength(2);
});

it('hands on a reply that came with an error status', async () => {
  const bytes = Buffer.from('{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}');
  const reply: Response = {
    kind: 'response',
    id: { raw: '1', key: 'n1' },
    isError: true,
    bytes,
  };
  const onMessage = vi.fn();
  const { loop } = loopOf([httpError(400, reply)], () => undefined);
  const { done } = loop.send(request('tools/call'), { ...NO_OBSERVER, onMessage });
  expect(await done).toBeUndefined();
  expect(onMessage.mock.calls).toEqual([[{ ...reply, refusedWith: 400 }]]);
});

it('begins nothing new after it was stopped during a wait', async () => {
  const { loop, sent } = loopOf([httpError(503)], () => ({ waitMs: 60_000 }));
  const delivery = loop.send(request('ping'), NO_OBSERVER);
  await vi.waitFor(() => expect(sent).toHaveLength(1));
  delivery.stop();
  expect(await delivery.done).toBeUndefined();
  expect(sent).toHaveLength(1);
});

it('lets messages wait for the handshake before them', async () => {
  const { loop, sent } = loopOf([REPLIED, REPLIED], () => undefined);
  const initialize = loop.send(request('initialize'), NO_OBSERVER);
  const ping = loop.send(request('ping'), NO_OBSERVER);
  expect(sent).toEqual(['initialize']);
  await initialize.done;
  await ping.done;
  expect(sent).toEqual(['initialize', 'ping']);
});
