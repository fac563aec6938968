import type { ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { answer, type Received, sendJson, startGateway } from './loopback-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const result = (capabilities: Json = {}) => ({
  protocolVersion: '2025-06-18',
  capabilities,
  serverInfo: { name: 's', version: '1' },
});

/** Says that a request's session is not known. */
type Refuse = (received: Received, response: ServerResponse) => void;

const notFound: Refuse = (_, response) => void response.writeHead(404).end();

interface SessionGatewayOptions {
  refuse?: Refuse;
  /** What `initialize` answers; the count is 1 the first time. */
  initialize?: (received: Received, response: ServerResponse, count: number) => void;
  /** Everything else, once the session is known. */
  respond?: (received: Received, response: ServerResponse) => void;
}

/** A gateway with sessions that it can be made to forget. */
async function sessionGateway(options: SessionGatewayOptions = {}) {
  const {
    refuse = notFound,
    initialize = (received, response) => answer(received, response, result()),
    respond = answer,
  } = options;
  let known: string | undefined;
  let count = 0;
  const gateway = await startGateway((received, response) => {
    if (received.message.method === 'initialize') {
      known = `session-${++count}`;
      response.setHeader('Mcp-Session-Id', known);
      initialize(received, response, count);
    } else if (received.headers['mcp-session-id'] !== known) refuse(received, response);
    else respond(received, response);
  });
  return {
    ...gateway,
    forget: () => {
      known = undefined;
    },
    /** What came, by method and session, without the GET streams. */
    posts: () =>
      gateway.received
        .filter(({ method }) => method === 'POST')
        .map(
          ({ message, headers }) => `${message.method} in ${headers['mcp-session-id'] ?? 'none'}`,
        ),
    of: (method: string) => gateway.received.filter(({ message }) => message.method === method),
  };
}

const INITIALIZE =
  '{"params":{"capabilities":{"roots":{}},"protocolVersion":"2025-06-18","clientInfo":{"name":"é\\u00e9","version":"1"},"n":1.0},"method":"initialize","id":12345678901234567890,"jsonrpc":"2.0"}';
const INITIALIZED = '{"method":"notifications/initialized","jsonrpc":"2.0","params":{"x":1e2}}';

/** Shakes hands with messages whose bytes no other program would write. */
async function shakeHands(proxy: RunningProxy): Promise<void> {
  proxy.send(INITIALIZE, INITIALIZED);
  await proxy.until(() => proxy.stderr.includes('initialized, revision'));
}

it.each<[string, Refuse]>([
  ['404', notFound],
  [
    '404 with a JSON-RPC error to no id',
    (_, response) => {
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Not found"}}');
    },
  ],
  [
    "404 with a JSON-RPC error to the request's id that names the session",
    ({ message }, response) => {
      const error = { code: -32001, message: 'Session not found' };
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, error }));
    },
  ],
  [
    '400 that names the session',
    (_, response) => void response.writeHead(400).end('Bad Request: No valid session ID provided'),
  ],
])(
  'a session lost with %s is replaced with the same bytes, and the client sees nothing',
  async (_, refuse) => {
    const gateway = await sessionGateway({ refuse });
    const proxy = startProxy(gateway.url);
    await shakeHands(proxy);
    await proxy.request('before', 'tools/list');
    gateway.forget();
    expect(await proxy.request('lost', 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    expect(gateway.posts()).toEqual([
      'initialize in none',
      'notifications/initialized in session-1',
      'tools/list in session-1',
      'tools/call in session-1',
      'initialize in none',
      'notifications/initialized in session-2',
      'tools/call in session-2',
    ]);
    expect(gateway.of('initialize').map(({ body }) => body)).toEqual([INITIALIZE, INITIALIZE]);
    expect(gateway.of('notifications/initialized').map(({ body }) => body)).toEqual([
      INITIALIZED,
      INITIALIZED,
    ]);
    expect(proxy.messages).toHaveLength(3);
    const ended = gateway.received.filter(({ method }) => method === 'DELETE');
    expect(ended.map(({ headers }) => headers['mcp-session-id'])).toEqual(['session-2']);
  },
);

it('one new handshake serves all requests in flight, and each is carried out once', async () => {
  const done = new Map<unknown, number>();
  const gateway = await sessionGateway({
    respond: (received, response) => {
      const { id } = received.message;
      if (id !== undefined) done.set(id, (done.get(id) ?? 0) + 1);
      answer(received, response);
    },
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  await proxy.request('before', 'tools/list');
  gateway.forget();
  const ids = Array.from({ length: 100 }, (_, at) => at);
  await Promise.all(ids.map((id) => proxy.request(id, 'tools/call', { name: 'x' })));
  expect(gateway.of('initialize')).toHaveLength(2);
  expect(proxy.messages).toHaveLength(ids.length + 2);
  expect(proxy.messages.some((message) => 'error' in message)).toBe(false);
  expect(ids.map((id) => done.get(id))).toEqual(ids.map(() => 1));
});

it('the GET stream follows, without the old event id', async () => {
  const streams: ServerResponse[] = [];
  const gateway = await sessionGateway({
    respond: (received, response) => {
      if (received.method !== 'GET') return answer(received, response);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('id: old-1\ndata: {"jsonrpc":"2.0","method":"notifications/a"}\n\n');
      streams.push(response);
    },
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  await proxy.message(({ method }) => method === 'notifications/a');
  const closed = new Promise((resolve) => streams[0]?.once('close', resolve));
  gateway.forget();
  await proxy.request(1, 'ping');
  await closed;
  const second = await gateway.request(
    ({ method, headers }) => method === 'GET' && headers['mcp-session-id'] === 'session-2',
  );
  expect(second.headers).not.toHaveProperty('last-event-id');
  await proxy.until(() => proxy.messages.length === 4);
  streams[1]?.write('data: {"jsonrpc":"2.0","method":"notifications/b"}\n\n');
  await proxy.message(({ method }) => method === 'notifications/b');
});

it('the GET stream alone finds out, for a client that asks for nothing', async () => {
  let stream: ServerResponse | undefined;
  const gateway = await sessionGateway({
    respond: (received, response) => {
      if (received.method !== 'GET') return answer(received, response);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('retry: 100\ndata: {"jsonrpc":"2.0","method":"notifications/a"}\n\n');
      stream = response;
    },
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  await proxy.message(({ method }) => method === 'notifications/a');
  gateway.forget();
  stream?.end();
  await gateway.request(
    ({ method, headers }) => method === 'GET' && headers['mcp-session-id'] === 'session-2',
  );
  expect(gateway.of('initialize').map(({ body }) => body)).toEqual([INITIALIZE, INITIALIZE]);
});

it('a client is told to ask again for each list whose changes it was promised to be told of', async () => {
  const before = {
    tools: { listChanged: true },
    prompts: { listChanged: true },
    resources: { subscribe: true },
  };
  const after = { tools: { listChanged: true, more: 1 }, prompts: { listChanged: true } };
  const gateway = await sessionGateway({
    initialize: (received, response, count) =>
      answer(received, response, result(count === 1 ? before : after)),
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  gateway.forget();
  await proxy.request('lost', 'ping');
  expect(proxy.messages.slice(1)).toEqual([
    { jsonrpc: '2.0', method: 'notifications/tools/list_changed' },
    { jsonrpc: '2.0', method: 'notifications/prompts/list_changed' },
    { jsonrpc: '2.0', id: 'lost', result: {} },
  ]);
});

it.each<[string, (response: ServerResponse, id: unknown) => void, string]>([
  ['with 403', (response) => response.writeHead(403).end(), 'forbidden'],
  [
    'with a JSON-RPC error',
    (response, id) => sendJson(response, { jsonrpc: '2.0', id, error: { code: 1, message: 'no' } }),
    'gateway_error',
  ],
])(
  'a new handshake that is refused %s is told, and tried again with the next request',
  async (_, refuse, reason) => {
    const gateway = await sessionGateway({
      initialize: (received, response, count) => {
        if (count === 2) refuse(response, received.message.id);
        else answer(received, response, result());
      },
    });
    const proxy = startProxy(gateway.url);
    await shakeHands(proxy);
    await proxy.request('before', 'ping');
    gateway.forget();
    expect(await proxy.request('lost', 'tools/call')).toMatchObject({
      error: { data: { reason } },
    });
    gateway.forget();
    expect(await proxy.request('next', 'tools/call')).toHaveProperty('result');
    expect(gateway.of('initialize')).toHaveLength(3);
    expect(proxy.messages).toHaveLength(4);
  },
);

it('a gateway that loses the new session in the middle of the handshake holds nothing up', async () => {
  const gateway = await sessionGateway({
    initialize: (received, response, count) => {
      answer(received, response, result());
      if (count === 2) gateway.forget();
    },
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  await proxy.request('before', 'ping');
  gateway.forget();
  expect(await proxy.request('lost', 'ping')).toMatchObject({
    error: { data: { reason: 'gateway_error' } },
  });
  expect(await proxy.request('next', 'ping')).toHaveProperty('result');
});

it('a gateway that forgets every session at once gets two tries at a request', async () => {
  const gateway = await sessionGateway({
    respond: (received, response) => {
      if (received.message.method === 'notifications/initialized') answer(received, response);
      else notFound(received, response);
    },
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  expect(await proxy.request(1, 'ping')).toMatchObject({
    error: {
      message: expect.stringContaining('it loses its sessions'),
      data: { reason: 'gateway_error' },
    },
  });
  expect(gateway.of('ping')).toHaveLength(2);
  expect(gateway.of('initialize')).toHaveLength(2);
});

it("a 404 with the gateway's own answer to the request is not a lost session", async () => {
  const error = { code: -32601, message: 'Method not found: x/y' };
  const gateway = await sessionGateway({
    respond: (received, response) => {
      if (received.message.method !== 'x/y') return answer(received, response);
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id: received.message.id, error }));
    },
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  expect(await proxy.request(1, 'x/y')).toMatchObject({ error: { code: -32601 } });
  expect(gateway.of('initialize')).toHaveLength(1);
  expect(gateway.of('x/y')).toHaveLength(1);
});

it('a request that waits to be repeated is repeated in the new session, not in none', async () => {
  let finish: (() => void) | undefined;
  let isBusy = true;
  const gateway = await sessionGateway({
    initialize: (received, response, count) => {
      if (count === 1) answer(received, response, result());
      else finish = () => answer(received, response, result());
    },
    respond: (received, response) => {
      if (received.message.id === 'waits' && isBusy) {
        isBusy = false;
        response.writeHead(429, { 'retry-after': '1' }).end();
      } else answer(received, response);
    },
  });
  const proxy = startProxy(gateway.url);
  await shakeHands(proxy);
  proxy.send({ jsonrpc: '2.0', id: 'waits', method: 'tools/call', params: { name: 'x' } });
  await proxy.until(() => proxy.stderr.includes('attempt 1 failed'));
  gateway.forget();
  proxy.send({ jsonrpc: '2.0', id: 'finds out', method: 'ping' });
  await gateway.request(({ body }) => body === INITIALIZE && gateway.of('initialize').length === 2);
  // Held until after the second that the other request waits.
  setTimeout(() => finish?.(), 1_200);
  expect(await proxy.reply('waits')).toHaveProperty('result');
  expect(gateway.of('tools/call').map(({ headers }) => headers['mcp-session-id'])).toEqual([
    'session-1',
    'session-2',
  ]);
});
