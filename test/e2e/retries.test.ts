import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { answer, type Received, startGateway } from './loopback-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const REPEATABLE = [
  ...['ping', 'tools/list', 'prompts/list', 'prompts/get', 'resources/list', 'resources/read'],
  ...['resources/templates/list', 'completion/complete', 'server/discover'],
];
const NOT_REPEATABLE = ['tools/call', 'logging/setLevel', 'resources/subscribe', 'vendor/method'];

const faults: Record<string, (response: ServerResponse) => void> = {
  500: (response) => response.writeHead(500).end(),
  502: (response) => response.writeHead(502).end(),
  503: (response) => response.writeHead(503).end(),
  504: (response) => response.writeHead(504).end(),
  'a cut connection': (response) => response.destroy(),
  'a reset connection': (response) => response.socket?.resetAndDestroy(),
};

/** Answers each request as `fault` says the first time and properly after that. */
async function faultyGateway(fault: (received: Received, response: ServerResponse) => void) {
  const seen = new Set<unknown>();
  const gateway = await startGateway((received, response) => {
    const { id, method } = received.message;
    if (id === undefined || method === undefined || seen.has(id)) answer(received, response);
    else {
      seen.add(id);
      fault(received, response);
    }
  });
  return {
    ...gateway,
    /** How often the request came. */
    count: (id: unknown) => gateway.received.filter(({ message }) => message.id === id).length,
  };
}

const reason = (reply: Json) => (reply.error as { data?: Json } | undefined)?.data?.reason;

describe('a request that may have run', () => {
  it('is repeated after a 5xx or a broken connection only when its method allows it', async () => {
    const gateway = await faultyGateway(({ message }, response) => {
      const [fault] = String(message.id).split(': ') as [string];
      faults[fault]?.(response);
    });
    const proxy = startProxy(gateway.url);
    const outcomes = Object.keys(faults).flatMap((fault) =>
      [...REPEATABLE, ...NOT_REPEATABLE].map(async (method) => {
        const id = `${fault}: ${method}`;
        const reply = await proxy.request(id, method);
        return [id, gateway.count(id), reason(reply)];
      }),
    );
    expect(await Promise.all(outcomes)).toEqual(
      Object.keys(faults).flatMap((fault) => [
        ...REPEATABLE.map((method) => [`${fault}: ${method}`, 2, undefined]),
        ...NOT_REPEATABLE.map((method) => [
          `${fault}: ${method}`,
          1,
          /\d/.test(fault) ? 'gateway_error' : 'interrupted',
        ]),
      ]),
    );
    expect(proxy.messages).toHaveLength(outcomes.length);
  });

  it('is repeated when it is initialize', async () => {
    const gateway = await faultyGateway((_, response) => response.writeHead(502).end());
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'initialize')).toHaveProperty('result');
    expect(gateway.count(1)).toBe(2);
  });

  it('is a tools/call: repeated only for tools whose annotations say so', async () => {
    const hints: Record<string, Json> = {
      reads: { readOnlyHint: true },
      sets: { idempotentHint: true, destructiveHint: true },
      writes: { readOnlyHint: false, idempotentHint: false },
      says_yes: { readOnlyHint: 'true', idempotentHint: 1 },
      is_silent: {},
    };
    const tools = Object.entries(hints).map(([name, annotations]) => ({ name, annotations }));
    const gateway = await faultyGateway((received, response) => {
      if (received.message.method === 'tools/list') answer(received, response, { tools });
      else response.destroy();
    });
    const proxy = startProxy(gateway.url);
    const call = (name: string) => proxy.request(name, 'tools/call', { name });
    expect(reason(await proxy.request('unlisted', 'tools/call', { name: 'reads' }))).toBe(
      'interrupted',
    );
    await proxy.request('list', 'tools/list');
    const names = [...Object.keys(hints), 'unknown'];
    const replies = await Promise.all(names.map(call));
    expect(
      names.map((name, at) => [name, gateway.count(name), reason(replies[at] as Json)]),
    ).toEqual([
      ['reads', 2, undefined],
      ['sets', 2, undefined],
      ['writes', 1, 'interrupted'],
      ['says_yes', 1, 'interrupted'],
      ['is_silent', 1, 'interrupted'],
      ['unknown', 1, 'interrupted'],
    ]);
    expect(replies[2]).toMatchObject({
      error: { message: expect.stringContaining('It was not retried') },
    });
  });
});

describe('a request that was certainly not processed', () => {
  const inTwoSeconds = () => new Date(Date.now() + 2_000).toUTCString();
  it.each([
    ['429', 429, () => undefined, 0],
    ['429 with Retry-After in seconds', 429, () => '1', 1_000],
    ['503 with Retry-After in seconds', 503, () => '1', 1_000],
    // In whole seconds, so it may be due in a little more than one.
    ['503 with Retry-After as a date', 503, inTwoSeconds, 1_000],
    ['503 with Retry-After as a date of the past', 503, () => 'Sun, 06 Nov 1994 08:49:37 GMT', 0],
  ])('is repeated, a tools/call too, after %s', async (_, status, retryAfter, atLeastMs) => {
    const times: number[] = [];
    const gateway = await faultyGateway((_received, response) => {
      times.push(performance.now());
      const value = retryAfter();
      response.writeHead(status, value === undefined ? {} : { 'retry-after': value }).end();
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(gateway.count(1)).toBe(2);
    // A timer may fire a millisecond early.
    expect(performance.now() - (times[0] as number)).toBeGreaterThanOrEqual(atLeastMs - 2);
    expect(performance.now() - (times[0] as number)).toBeLessThan(atLeastMs + 8_000);
  });

  it('is not what a 503 says whose Retry-After says nothing', async () => {
    const gateway = await faultyGateway((_, response) =>
      response.writeHead(503, { 'retry-after': 'soon 5' }).end(),
    );
    const proxy = startProxy(gateway.url);
    expect(reason(await proxy.request(1, 'tools/call'))).toBe('gateway_error');
    expect(gateway.count(1)).toBe(1);
  });

  it('is repeated when no connection was made, a notification as well', async () => {
    const { url, close } = await startGateway(answer);
    await close();
    const proxy = startProxy(url);
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
    proxy.notify('notifications/roots/list_changed');
    await proxy.until(() => (proxy.stderr.match(/attempt 1 failed/g)?.length ?? 0) === 2);
    const gateway = await startGateway(answer, Number(new URL(url).port));
    expect(await proxy.reply(1)).toHaveProperty('result');
    await gateway.request(({ message }) => message.method === 'notifications/roots/list_changed');
    expect(gateway.received).toHaveLength(2);
  });
});

describe('repeating ends', () => {
  it('after three attempts', async () => {
    const gateway = await startGateway((_, response) => response.writeHead(503).end());
    const proxy = startProxy(gateway.url);
    const { error } = await proxy.request(1, 'tools/list');
    expect(error).toMatchObject({ data: { reason: 'gateway_error', attempts: 3 } });
    expect(gateway.received).toHaveLength(3);
  });

  it('before it begins when the gateway asks for more than 30 s', async () => {
    const gateway = await startGateway((_, response) =>
      response.writeHead(429, { 'retry-after': '31' }).end(),
    );
    const proxy = startProxy(gateway.url);
    const start = performance.now();
    const { error } = await proxy.request(1, 'tools/list');
    expect(error).toMatchObject({
      data: { reason: 'rate_limited', retryAfter: 31, attempts: 1, retryable: true },
    });
    expect(performance.now() - start).toBeLessThan(20_000);
    expect(gateway.received).toHaveLength(1);
  });

  /** Waits, with one request, until the first attempt has failed. */
  async function inBackoff(proxy: RunningProxy): Promise<void> {
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
    await proxy.until(() => proxy.stderr.includes('attempt 1 failed'));
  }

  it('at once when the request is cancelled', async () => {
    const gateway = await faultyGateway((_, response) =>
      response.writeHead(429, { 'retry-after': '20' }).end(),
    );
    const proxy = startProxy(gateway.url);
    await inBackoff(proxy);
    proxy.notify('notifications/cancelled', { requestId: 1 });
    expect(await proxy.end()).toBe(0);
    expect(proxy.lastWait.missing).toBe(0);
    expect(gateway.received.map(({ message }) => message.method)).toEqual([
      'tools/call',
      'notifications/cancelled',
    ]);
    expect(proxy.messages).toEqual([]);
  });

  it('at once also while the gateway is slow to take the cancellation', async () => {
    const gateway = await startGateway(({ message }, response) => {
      if (message.method === 'tools/call') response.writeHead(429).end();
      else setTimeout(() => response.writeHead(202).end(), 800);
    });
    const proxy = startProxy(gateway.url);
    await inBackoff(proxy);
    proxy.notify('notifications/cancelled', { requestId: 1 });
    expect(await proxy.end()).toBe(0);
    expect(gateway.received.at(-1)?.message.method).toBe('notifications/cancelled');
    expect(proxy.messages).toEqual([]);
  });
});
