import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { describe, expect, it, onTestFinished } from 'vitest';
import { newKey } from './keyed-gateway.ts';
import { answer, type Received, startGateway } from './loopback-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const event = (message: Json, id?: string) =>
  `${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`;
const progress = (n: number) => ({ method: 'notifications/progress', params: { progress: n } });
const progressSeen = (proxy: RunningProxy) =>
  proxy.messages.flatMap(
    ({ params }) => (params as { progress?: number } | undefined)?.progress ?? [],
  );

/** Writes the head of an event stream and these bytes. */
function stream(response: ServerResponse, bytes: string): ServerResponse {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(bytes);
  return response;
}

/** Ends the response once what was written to it has left, in a way that no HTTP allows. */
const cut = (response: ServerResponse) =>
  void response.write('', () => response.socket?.destroySoon());

/** A key in a file, which can be changed. */
function keyInFile(): { args: string[]; store(key: string): void } {
  const folder = mkdtempSync(`${tmpdir()}/latchkey-streams-`);
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return {
    args: ['--key-file', `${folder}/key`],
    store: (key) => writeFileSync(`${folder}/key`, key, { mode: 0o600 }),
  };
}

/** The endpoint's own: a 401 has metadata asked for too. */
const of = (received: readonly Received[], wanted: string) =>
  received.filter(({ method, target }) => method === wanted && target.startsWith('/v1/mcp'));

describe('an event stream that breaks before the reply', () => {
  it('is gone on with after its last event, after the time it asked for, and nothing comes twice', async () => {
    const times: number[] = [];
    const gateway = await startGateway(({ method, message, headers }, response) => {
      times.push(performance.now());
      if (method === 'POST') {
        cut(
          stream(
            response,
            `retry: 400\n${event(progress(1), 'e-1')}${event(progress(2), 'e-2')}id: e-3\ndata: {"half`,
          ),
        );
        id = message.id;
        return;
      }
      const last = headers['last-event-id'];
      if (last === 'e-2') cut(stream(response, event(progress(3), 'e-3')));
      else stream(response, event(progress(4), 'e-4') + event({ id, result: {} }, 'e-5')).end();
    });
    let id: unknown;
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(progressSeen(proxy)).toEqual([1, 2, 3, 4]);
    expect(of(gateway.received, 'POST')).toHaveLength(1);
    expect(of(gateway.received, 'GET').map(({ headers }) => headers['last-event-id'])).toEqual([
      'e-2',
      'e-3',
    ]);
    const waits = times.slice(1).map((time, at) => time - (times[at] as number));
    for (const wait of waits) expect(wait).toBeGreaterThanOrEqual(395);
    for (const wait of waits) expect(wait).toBeLessThan(5_000);
  });

  it('is gone on with in its session, with the key, also after a clean end', async () => {
    const gateway = await startGateway((received, response) => {
      response.setHeader('Mcp-Session-Id', 's-1');
      const { method, message, headers } = received;
      if (message.method === 'tools/call') {
        stream(response, `id: 7 é\nretry: 100\ndata:\n\n`).end();
      } else if (method === 'GET' && headers['last-event-id'] !== undefined) {
        stream(response, event({ id: 1, result: {} })).end();
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    const { headers } = await gateway.request(({ headers }) => 'last-event-id' in headers);
    expect(headers).toMatchObject({
      'mcp-session-id': 's-1',
      'mcp-protocol-version': '2025-06-18',
      accept: 'text/event-stream',
      authorization: expect.stringMatching(/^Bearer /),
      // The bytes of the id as they came: UTF-8, which node:http shows as Latin-1.
      'last-event-id': Buffer.from('7 é').toString('latin1'),
    });
  });

  it('is gone on with when the gateway is away for a moment', async () => {
    let refusals = 0;
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'POST') cut(stream(response, `retry: 100\n${event(progress(1), 'e-1')}`));
      else if (refusals++ < 2) response.writeHead(503).end();
      else stream(response, event({ id: 1, result: {} })).end();
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(of(gateway.received, 'POST')).toHaveLength(1);
  });

  it.each([
    ['the gateway does not go on with it', `retry: 100\n${event(progress(1), 'e-1')}`, 1],
    ['it has no event ids', event(progress(1)), 0],
    ['its last event id is none that a header can carry', event(progress(1), 'e\u0001'), 0],
    ['its last event took the id back', `${event(progress(1), 'e-1')}id\ndata:\n\n`, 0],
  ])('is interrupted for a call and repeated for a list where %s', async (_, bytes, gets) => {
    const outcome = async (method: string) => {
      let posts = 0;
      const gateway = await startGateway((received, response) => {
        if (received.method === 'GET') response.writeHead(405).end();
        else if (posts++ === 0) cut(stream(response, bytes));
        else answer(received, response);
      });
      const { error } = await startProxy(gateway.url).request(1, method, { name: 'x' });
      const { reason } = (error as { data: Json } | undefined)?.data ?? {};
      return { reason, posts, gets: of(gateway.received, 'GET').length };
    };
    const outcomes = await Promise.all(['tools/call', 'tools/list'].map(outcome));
    expect(outcomes).toEqual([
      { reason: 'interrupted', posts: 1, gets },
      { reason: undefined, posts: 2, gets },
    ]);
  });

  it('is gone on with by the key that its source has by now, at once', async () => {
    const file = keyInFile();
    const [first, second] = [newKey(), newKey()];
    file.store(first);
    const gateway = await startGateway(({ method, headers }, response) => {
      if (method === 'POST') {
        file.store(second);
        cut(stream(response, `retry: 100\n${event(progress(1), 'e-1')}`));
      } else if (headers.authorization !== `Bearer ${second}`) response.writeHead(401).end();
      else stream(response, event({ id: 1, result: {} })).end();
    });
    const proxy = startProxy(gateway.url, { args: file.args });
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(gateway.received.map(({ method, headers }) => [method, headers.authorization])).toEqual([
      ['POST', `Bearer ${first}`],
      ['GET', `Bearer ${first}`],
      ['GET', `Bearer ${second}`],
    ]);
    expect(of(gateway.received, 'GET').map(({ headers }) => headers['last-event-id'])).toEqual([
      'e-1',
      'e-1',
    ]);
  });

  it('is interrupted when no other key is there for it', async () => {
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'GET') response.writeHead(401).end();
      else cut(stream(response, `retry: 100\n${event(progress(1), 'e-1')}`));
    });
    const { error } = await startProxy(gateway.url).request(1, 'tools/call', { name: 'x' });
    expect(error).toHaveProperty('data.reason', 'interrupted');
    expect(gateway.received.map(({ method }) => method)).toEqual(['POST', 'GET']);
  });

  it('waits no longer than --timeout, whatever the gateway asks for', async () => {
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'GET') stream(response, event({ id: 1, result: {} })).end();
      else cut(stream(response, `retry: 86400000\n${event(progress(1), 'e-1')}`));
    });
    const proxy = startProxy(gateway.url, { args: ['--timeout', '2'] });
    const start = performance.now();
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(performance.now() - start).toBeGreaterThan(1_500);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  it.each([
    ['no answer', () => {}],
    ['no more than a stream', (response: ServerResponse) => void stream(response, ': open\n\n')],
  ])('is given up after --timeout when the gateway goes on with %s', async (_, resume) => {
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'GET') resume(response);
      else cut(stream(response, `retry: 100\n${event(progress(1), 'e-1')}`));
    });
    const proxy = startProxy(gateway.url, { args: ['--timeout', '2'] });
    const { error } = await proxy.request(1, 'tools/call', { name: 'x' });
    expect(error).toHaveProperty('data.reason', 'interrupted');
    expect(of(gateway.received, 'GET')).toHaveLength(1);
  });

  it('waits no longer than the client does', async () => {
    const gateway = await startGateway(({ method, message }, response) => {
      if (method === 'GET') response.writeHead(500).end();
      else if (message.id === undefined) response.writeHead(202).end();
      else cut(stream(response, `retry: 99999999999999\n${event(progress(1), 'e-1')}`));
    });
    const proxy = startProxy(gateway.url);
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
    await proxy.message(({ method }) => method === 'notifications/progress');
    proxy.notify('notifications/cancelled', { requestId: 1 });
    expect(await proxy.end()).toBe(0);
    expect(proxy.lastWait.missing).toBe(0);
    // A timer for that long would have fired at once.
    expect(of(gateway.received, 'GET')).toHaveLength(0);
    expect(proxy.messages).toHaveLength(1);
  });
});

describe('answers that stay open after what was due', () => {
  /** A gateway that answers as `respond` says, and how many of its answers are open. */
  async function gatewayThatLingers(
    respond: (received: Received, response: ServerResponse) => void,
  ) {
    const open = new Set<ServerResponse>();
    const gateway = await startGateway((received, response) => {
      if (received.method !== 'POST' || received.message.method === 'initialize') {
        return answer(received, response);
      }
      open.add(response);
      response.once('close', () => open.delete(response));
      respond(received, response);
    });
    const until = async (holds: () => boolean) => {
      while (!holds()) await Promise.race([...open].map((response) => once(response, 'close')));
    };
    return { ...gateway, open, until };
  }

  it.each([
    ['notifications', { method: 'notifications/x' }, ''],
    ["a client's responses", { id: 'asked', result: {} }, ''],
    ['notifications, with events', { method: 'notifications/x' }, event(progress(1))],
  ])('are few, and closed in the end: to %s', async (_, message, events) => {
    const gateway = await gatewayThatLingers((_, response) =>
      stream(response, `: open\n\n${events}`),
    );
    const proxy = startProxy(gateway.url);
    for (let count = 0; count < 50; count++) proxy.send({ jsonrpc: '2.0', ...message });
    await gateway.request(() => of(gateway.received, 'POST').length === 50);
    await gateway.until(() => gateway.open.size <= 8);
    await gateway.until(() => gateway.open.size === 0);
    expect(progressSeen(proxy)).toHaveLength(events === '' ? 0 : 50);
  });

  it('are closed when they bring bytes for ever: to a notification', async () => {
    const gateway = await gatewayThatLingers((_, response) => {
      response.writeHead(202, { 'content-type': 'text/plain' });
      const timer = setInterval(() => response.write('.'), 200);
      response.once('close', () => clearInterval(timer));
    });
    const proxy = startProxy(gateway.url);
    proxy.notify('notifications/x');
    await gateway.request(({ message }) => message.method === 'notifications/x');
    await gateway.until(() => gateway.open.size === 0);
  });

  it('are few: to requests', async () => {
    const gateway = await gatewayThatLingers(({ message: { id } }, response) =>
      stream(response, event({ id, result: {} })),
    );
    const proxy = startProxy(gateway.url);
    await Promise.all(Array.from({ length: 50 }, (_, id) => proxy.request(id, 'tools/list')));
    const start = performance.now();
    await gateway.until(() => gateway.open.size <= 8);
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  it('bring what belongs to no request for as long as they go on', async () => {
    const gateway = await gatewayThatLingers((_, response) => {
      stream(response, ': open\n\n');
      let sent = 0;
      const timer = setInterval(() => response.write(event(progress(++sent))), 2_000);
      response.once('close', () => clearInterval(timer));
    });
    const proxy = startProxy(gateway.url);
    proxy.notify('notifications/x');
    await proxy.until(() => progressSeen(proxy).length === 7);
    expect(gateway.open.size).toBe(1);
  });
});

it('a notification answered with a stream that stays open holds nothing up', async () => {
  const gateway = await startGateway((received, response) => {
    if (received.message.method === 'notifications/initialized') {
      stream(response, event({ method: 'notifications/hello' }));
    } else answer(received, response);
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
  await proxy.message(({ method }) => method === 'notifications/hello');
});

describe('the GET stream', () => {
  /** A gateway whose GET stream does, the n-th time, what `streams` says. */
  async function gatewayWithStreams(
    streams: ((response: ServerResponse, received: Received) => void)[],
  ) {
    const times: number[] = [];
    const gateway = await startGateway((received, response) => {
      if (received.method !== 'GET') return answer(received, response);
      times.push(performance.now());
      const next = streams[times.length - 1];
      if (next === undefined) stream(response, ': open\n\n');
      else next(response, received);
    });
    return { ...gateway, times, gets: () => of(gateway.received, 'GET') };
  }

  it('is opened again after its last event, and nothing comes twice', async () => {
    const gateway = await gatewayWithStreams([
      (response) =>
        cut(stream(response, `retry: 200\n${event(progress(1), 'a')}${event(progress(2), 'b')}`)),
      (response) => stream(response, event(progress(3), 'c')).end(),
      (response) => stream(response, event(progress(4))).end(),
      (response) => stream(response, event(progress(5))),
    ]);
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.until(() => progressSeen(proxy).length === 5);
    expect(progressSeen(proxy)).toEqual([1, 2, 3, 4, 5]);
    expect(gateway.gets().map(({ headers }) => headers['last-event-id'])).toEqual([
      undefined,
      'b',
      'c',
      'c',
    ]);
    const [first, second, third] = gateway.times as [number, number, number];
    expect(second - first).toBeGreaterThanOrEqual(195);
    expect(third - second).toBeGreaterThanOrEqual(900);
  });

  it('is opened again, later each time, while the gateway is away, without noise', async () => {
    const gateway = await gatewayWithStreams([
      (response) => cut(stream(response, 'retry: 100\n\n')),
      (response) => response.writeHead(503).end(),
      (response) => void response.socket?.resetAndDestroy(),
    ]);
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    while (gateway.times.length < 4) {
      const known = gateway.times.length;
      await gateway.request(() => gateway.times.length > known);
    }
    const waits = proxy.stderr.matchAll(/stream ended, again in (\d+) ms/g);
    expect(Array.from(waits, ([, ms]) => Number(ms))).toEqual([100, 1_000, 2_000]);
    const [first, second, third, fourth] = gateway.times as [number, number, number, number];
    expect(second - first).toBeGreaterThanOrEqual(95);
    expect(third - second).toBeGreaterThanOrEqual(950);
    expect(fourth - third).toBeGreaterThanOrEqual(1_950);
    expect(proxy.stderr).not.toMatch(/ warn| error/);
  });

  it('is opened later when the gateway cannot at first, with one warning', async () => {
    const gateway = await gatewayWithStreams([
      (response) => response.writeHead(503).end(),
      (response) => stream(response, event(progress(1))),
    ]);
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.until(() => progressSeen(proxy).length === 1);
    expect(proxy.stderr.match(/ warn: /g)).toHaveLength(1);
    expect(proxy.stderr).toContain("no stream for the gateway's own messages");
  });

  /** A gateway with GET streams that takes these keys, and whose streams can be ended. */
  async function keyedGatewayWithStreams(...keys: string[]) {
    const accepted = new Set(keys);
    const open = new Set<ServerResponse>();
    let streams = 0;
    const gateway = await startGateway((received, response) => {
      const key = received.headers.authorization?.replace('Bearer ', '') ?? '';
      if (!accepted.has(key)) response.writeHead(401).end();
      else if (received.method === 'GET') {
        open.add(stream(response, event(progress(++streams), `e-${streams}`)));
      } else answer(received, response);
    });
    return {
      ...gateway,
      accepted,
      endStreams: () => {
        for (const response of open) response.end();
        open.clear();
      },
      gets: () => of(gateway.received, 'GET'),
      keysOfGets: () => of(gateway.received, 'GET').map(({ headers }) => headers.authorization),
    };
  }

  it('is opened again with the key that its source has by now, each time the old one is rejected', async () => {
    const file = keyInFile();
    const keys = [newKey(), newKey(), newKey()] as const;
    file.store(keys[0]);
    const gateway = await keyedGatewayWithStreams(keys[0]);
    const proxy = startProxy(gateway.url, { args: file.args });
    await proxy.initialize();
    await proxy.until(() => progressSeen(proxy).length === 1);
    for (const [at, key] of keys.slice(1).entries()) {
      gateway.accepted.clear();
      gateway.accepted.add(key);
      file.store(key);
      gateway.endStreams();
      await proxy.until(() => progressSeen(proxy).length === at + 2);
      // The source is asked every two seconds at most.
      if (at === 0) await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
    expect(gateway.keysOfGets()).toEqual(
      [keys[0], keys[0], keys[1], keys[1], keys[2]].map((key) => `Bearer ${key}`),
    );
    expect(gateway.gets().map(({ headers }) => headers['last-event-id'])).toEqual([
      undefined,
      'e-1',
      'e-1',
      'e-2',
      'e-2',
    ]);
    expect(proxy.stderr).not.toMatch(/ warn: /);
  });

  it('is left alone when its source has no other key, until a request brings one', async () => {
    const file = keyInFile();
    const [first, second] = [newKey(), newKey()];
    file.store(first);
    const gateway = await keyedGatewayWithStreams(first);
    const proxy = startProxy(gateway.url, { args: file.args });
    await proxy.initialize();
    await proxy.until(() => progressSeen(proxy).length === 1);
    gateway.accepted.clear();
    gateway.endStreams();
    await proxy.until(() => proxy.stderr.includes("no stream for the gateway's own messages"));
    const gets = gateway.gets().length;
    expect(await proxy.request(2, 'tools/list')).toHaveProperty('error.data.status', 401);
    gateway.accepted.add(second);
    file.store(second);
    let reply: Json = {};
    for (let id = 3; !('result' in reply); id++) reply = await proxy.request(id, 'tools/list');
    await proxy.until(() => progressSeen(proxy).length === 2);
    expect(gets).toBe(2);
    expect(gateway.keysOfGets()).toEqual([first, first, second].map((key) => `Bearer ${key}`));
    expect(gateway.gets().at(-1)?.headers).toHaveProperty('last-event-id', 'e-1');
    expect(proxy.stderr.match(/no stream for/g)).toHaveLength(1);
  });

  it('is asked for with one other key when that one is rejected too', async () => {
    const file = keyInFile();
    const [first, second] = [newKey(), newKey()];
    file.store(first);
    const gateway = await startGateway((received, response) => {
      if (received.method !== 'GET') return answer(received, response);
      file.store(second);
      response.writeHead(401).end();
    });
    const proxy = startProxy(gateway.url, { args: file.args });
    await proxy.initialize();
    await proxy.until(() => proxy.stderr.includes("no stream for the gateway's own messages"));
    // The same key again does not make it ask again.
    for (let id = 2; id < 5; id++) await proxy.request(id, 'tools/list');
    expect(await proxy.end()).toBe(0);
    expect(of(gateway.received, 'GET').map(({ headers }) => headers.authorization)).toEqual([
      `Bearer ${first}`,
      `Bearer ${second}`,
    ]);
    expect(proxy.stderr.match(/no stream for/g)).toHaveLength(1);
  });

  it.each([400, 401, 403, 404, 405, 410, 501])(
    'that was open is not asked for again once it is refused with %i, with one warning',
    async (status) => {
      const gateway = await gatewayWithStreams([
        (response) => cut(stream(response, 'retry: 100\n\n')),
        (response) => response.writeHead(status).end(),
      ]);
      const proxy = startProxy(gateway.url);
      await proxy.initialize();
      await proxy.until(() => proxy.stderr.includes("no stream for the gateway's own messages"));
      await proxy.request(2, 'ping');
      expect(await proxy.end()).toBe(0);
      expect(gateway.gets()).toHaveLength(2);
      expect(proxy.stderr.match(/no stream for/g)).toHaveLength(1);
    },
  );

  it.each([400, 403])(
    'is not asked for again when it is refused with %i at first',
    async (status) => {
      const gateway = await gatewayWithStreams([
        (response) => response.writeHead(status).end(),
        (response) => response.writeHead(status).end(),
      ]);
      const proxy = startProxy(gateway.url);
      await proxy.initialize();
      await proxy.until(() => proxy.stderr.includes("no stream for the gateway's own"));
      expect(await proxy.end()).toBe(0);
      expect(gateway.gets()).toHaveLength(1);
    },
  );
});
