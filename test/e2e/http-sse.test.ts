import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import {
  CallToolRequestSchema,
  CreateMessageResultSchema,
  ListToolsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, it, onTestFinished } from 'vitest';
import { replyOn, type Stream, sendEndpoint, startHttpSseGateway } from './http-sse-gateway.ts';
import { newKey } from './keyed-gateway.ts';
import { answer, type Received, sendJson, startGateway } from './loopback-gateway.ts';
import { type Json, runToEnd, startProxy, TEST_KEY } from './running-proxy.ts';

const dataOf = (reply: Json) => (reply.error as { data: Json }).data;
const messageOf = (reply: Json) => (reply.error as { message: string }).message;
const resultOf = (reply: Json) => reply.result as Json;
const SSE = { args: ['--transport', 'sse'] };

function refuseWith(status: number, body?: object) {
  return ({ message }: Received, response: ServerResponse) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(body && JSON.stringify({ jsonrpc: '2.0', id: message.id, ...body }));
  };
}

describe('--transport auto', () => {
  it.each([400, 404, 405])('falls back to HTTP+SSE where the POST answers %d', async (status) => {
    const gateway = await startHttpSseGateway({ refuse: refuseWith(status) });
    const proxy = startProxy(gateway.url);
    const hello = await proxy.initialize();
    expect(resultOf(hello).protocolVersion).toBe('2024-11-05');
    expect(resultOf(await proxy.request(1, 'tools/list'))).toEqual({ from: 1 });
    expect(gateway.posts()).toEqual([
      'initialize in 1',
      'notifications/initialized in 1',
      'tools/list in 1',
    ]);
    const [first, ...rest] = gateway.received.filter(({ target }) => target === '/v1/mcp');
    expect([first?.method, ...rest.map(({ method }) => method)]).toEqual(['POST', 'GET']);
    for (const { headers } of gateway.received) {
      expect(headers.authorization).toBe(`Bearer ${TEST_KEY}`);
    }
    expect(await proxy.end()).toBe(0);
  });

  it('falls back where the 400 holds an error that is not of a modern gateway', async () => {
    const error = { code: -32000, message: 'Bad Request: no session' };
    const gateway = await startHttpSseGateway({ refuse: refuseWith(400, { error }) });
    const proxy = startProxy(gateway.url);
    expect(resultOf(await proxy.initialize()).protocolVersion).toBe('2024-11-05');
    expect(proxy.messages.filter(({ id }) => id === 'init')).toHaveLength(1);
  });

  it('sends nothing before initialize is answered, and then what came meanwhile in its order', async () => {
    const order: unknown[] = [];
    const gateway = await startHttpSseGateway({
      take: ({ message }, stream, response) => {
        order.push(message.method);
        if (message.method !== 'initialize') return false;
        response.writeHead(202).end();
        setTimeout(() => {
          order.push('its answer');
          replyOn(stream, message);
        }, 100);
        return true;
      },
    });
    const proxy = startProxy(gateway.url);
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: {} };
    proxy.send(
      { jsonrpc: '2.0', id: 0, method: 'initialize', params },
      { jsonrpc: '2.0', method: 'notifications/initialized' },
      { jsonrpc: '2.0', id: 1, method: 'tools/list' },
    );
    await proxy.reply(1);
    expect(order).toEqual(['initialize', 'its answer', 'notifications/initialized', 'tools/list']);
  });

  it.each([
    [400, -32020],
    [400, -32021],
    [400, -32022],
    [404, -32601],
  ])('does not fall back on %d with the modern error %d', async (status, code) => {
    const error = { code, message: 'no', data: { supported: ['2026-07-28'] } };
    const gateway = await startHttpSseGateway({ refuse: refuseWith(status, { error }) });
    const proxy = startProxy(gateway.url);
    const reply = await proxy.request(1, 'initialize');
    expect(reply.error).toMatchObject({ code, data: error.data });
    expect(gateway.streams).toHaveLength(0);
  });

  it('does not fall back on a modern error that is for no request', async () => {
    const body = { id: null, error: { code: -32020, message: 'no' } };
    const gateway = await startHttpSseGateway({ refuse: refuseWith(400, body) });
    const proxy = startProxy(gateway.url);
    expect(dataOf(await proxy.request(1, 'initialize')).reason).toBe('http_error');
    expect(gateway.streams).toHaveLength(0);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ['405', (response) => void response.writeHead(405).end()],
    [
      'a web page',
      (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('x'),
    ],
    [
      'a stream without an endpoint event',
      (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.end('data: {"jsonrpc":"2.0","method":"notifications/x"}\n\n');
      },
    ],
    [
      'a stream that stays silent',
      (response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      },
    ],
  ])('gives the answer of the POST where the GET brings %s', async (_, open) => {
    const error = { code: -32000, message: 'The original' };
    const gateway = await startHttpSseGateway({
      refuse: refuseWith(400, { error }),
      open: ({ response }) => open(response),
    });
    const proxy = startProxy(gateway.url, { args: ['--connect-timeout', '0.2'] });
    const reply = await proxy.request(1, 'initialize');
    expect(reply.error).toEqual(error);
    expect(gateway.streams).toHaveLength(1);
    expect(proxy.messages).toHaveLength(1);
  });

  it('gives the failure of the POST where the GET fails too, and tries again the next time', async () => {
    let isThere = false;
    const gateway = await startHttpSseGateway({
      open: (stream) => {
        if (isThere) sendEndpoint(stream);
        else stream.response.writeHead(404).end();
      },
    });
    const proxy = startProxy(gateway.url);
    const reply = await proxy.request(1, 'initialize');
    expect(dataOf(reply)).toMatchObject({ reason: 'wrong_path', status: 405 });
    isThere = true;
    expect(resultOf(await proxy.request(2, 'initialize')).protocolVersion).toBe('2024-11-05');
  });

  it('asks for no stream of a gateway that speaks Streamable HTTP, before it is initialized', async () => {
    const gateway = await startGateway((received, response) => answer(received, response));
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'initialize');
    await proxy.request(2, 'tools/list');
    expect(gateway.received.map(({ method }) => method)).toEqual(['POST', 'POST']);
  });
});

it('with --transport http, never asks for a stream', async () => {
  const gateway = await startHttpSseGateway();
  const proxy = startProxy(gateway.url, { args: ['--transport', 'http'] });
  const reply = await proxy.request(1, 'initialize');
  expect(dataOf(reply)).toMatchObject({ reason: 'wrong_path', status: 405 });
  expect(gateway.received.map(({ method }) => method)).toEqual(['POST']);
});

it('with --transport sse, never POSTs to the URL itself', async () => {
  const gateway = await startHttpSseGateway();
  const proxy = startProxy(gateway.url, { env: { MCP_LATCHKEY_TRANSPORT: 'sse' } });
  await proxy.initialize();
  await proxy.request(1, 'ping');
  const sent = gateway.received.map(({ method, target }) => `${method} ${target}`);
  expect(sent[0]).toBe('GET /v1/mcp');
  expect(sent).not.toContain('POST /v1/mcp');
});

it('with --transport sse, says where a gateway does not speak it', async () => {
  const gateway = await startGateway((received, response) => answer(received, response));
  const proxy = startProxy(gateway.url, SSE);
  const reply = await proxy.request(1, 'initialize');
  expect(dataOf(reply)).toMatchObject({ reason: 'wrong_path', status: 405 });
  expect(messageOf(reply)).toMatch(/is not an HTTP\+SSE endpoint.*remove --transport/);
});

it('refuses another transport with a sentence', async () => {
  const { code, stderr } = await runToEnd(['http://127.0.0.1:1/', '--transport', 'websocket']);
  expect(code).toBe(2);
  expect(stderr).toContain('--transport must be auto, http or sse');
});

describe("the SDK's own server", () => {
  it('carries a whole session: calls, notifications, requests to the client', async () => {
    const url = await startSdkServer();
    const proxy = startProxy(url);
    const params = {
      protocolVersion: '2025-06-18',
      capabilities: { sampling: {} },
      clientInfo: { name: 'e2e', version: '1' },
    };
    await proxy.request(0, 'initialize', params);
    proxy.notify('notifications/initialized');
    const { tools } = resultOf(await proxy.request(1, 'tools/list')) as { tools: Json[] };
    expect(tools.map(({ name }) => name)).toEqual(['ask']);
    const call = { name: 'ask', arguments: {}, _meta: { progressToken: 7 } };
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: call });
    const question = await proxy.message(({ method }) => method === 'sampling/createMessage');
    const content = { type: 'text', text: 'forty-two ✓' };
    proxy.send({
      jsonrpc: '2.0',
      id: question.id,
      result: { role: 'assistant', model: 'm', content },
    });
    expect(resultOf(await proxy.reply(2)).content).toEqual([content]);
    expect(proxy.messages.filter(({ method }) => method === 'notifications/progress')).toEqual([
      {
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken: 7, progress: 1 },
      },
    ]);
    expect(await proxy.end()).toBe(0);
  });
});

async function startSdkServer(): Promise<string> {
  const transports = new Map<string, SSEServerTransport>();
  const http = createServer(async (request, response) => {
    const url = new URL(request.url ?? '', 'http://127.0.0.1');
    if (request.method === 'GET') {
      const server = new Server({ name: 's', version: '1' }, { capabilities: { tools: {} } });
      server.setRequestHandler(ListToolsRequestSchema, () => ({
        tools: [{ name: 'ask', inputSchema: { type: 'object' } }],
      }));
      server.setRequestHandler(
        CallToolRequestSchema,
        async (_, { sendNotification, sendRequest }) => {
          await sendNotification({
            method: 'notifications/progress',
            params: { progressToken: 7, progress: 1 },
          });
          const { content } = await sendRequest(
            { method: 'sampling/createMessage', params: { messages: [], maxTokens: 1 } },
            CreateMessageResultSchema,
          );
          return { content: [content].flat() as [] };
        },
      );
      const transport = new SSEServerTransport('/messages', response);
      transports.set(transport.sessionId, transport);
      await server.connect(transport);
      return;
    }
    const transport = transports.get(url.searchParams.get('sessionId') ?? '');
    if (transport === undefined) response.writeHead(404).end();
    else await transport.handlePostMessage(request, response);
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    http.closeAllConnections();
    http.close();
  });
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}/sse`;
}

describe('the endpoint event', () => {
  it.each<[string, (origin: string) => string]>([
    ['relative', () => '../messages?session=1'],
    ['absolute', (origin) => `${origin}/messages?session=1`],
    [
      'with a fragment and a user',
      (origin) => `${origin.replace('//', '//u:p@')}/messages?session=1#x`,
    ],
  ])('may be a %s reference', async (_, reference) => {
    const gateway = await startHttpSseGateway({
      open: (stream, { headers }) => sendEndpoint(stream, reference(`http://${headers.host}`)),
    });
    const proxy = startProxy(gateway.url, SSE);
    expect(resultOf(await proxy.initialize()).protocolVersion).toBe('2024-11-05');
  });

  it.each(['auto', 'sse'])(
    'of another origin is refused under %s, and gets no key',
    async (name) => {
      const other = await startGateway((_, response) => sendJson(response, {}));
      const elsewhere = other.url.replace('/v1/mcp', '/messages?session=secret');
      const gateway = await startHttpSseGateway({ endpoint: elsewhere });
      const proxy = startProxy(gateway.url, { args: ['--transport', name] });
      const reply = await proxy.request(1, 'initialize');
      const location = other.url.replace('/v1/mcp', '/messages');
      expect(dataOf(reply)).toMatchObject({ reason: 'redirected', location });
      expect(messageOf(reply)).toContain('The API key was not sent there');
      expect(messageOf(reply)).toContain("Contact the gateway's operator");
      expect(other.received).toHaveLength(0);
      expect(gateway.posts()).toEqual([]);
    },
  );

  it.each([
    ['javascript:alert(1)', 'redirected'],
    ['//', 'invalid_response'],
    ['http://[', 'invalid_response'],
    [`/${'x'.repeat(10_000)}`, 'invalid_response'],
  ])('%.20s is refused as %s', async (reference, reason) => {
    const gateway = await startHttpSseGateway({ endpoint: reference });
    const proxy = startProxy(gateway.url, SSE);
    expect(dataOf(await proxy.request(1, 'initialize')).reason).toBe(reason);
    expect(gateway.received.every(({ method }) => method === 'GET')).toBe(true);
  });

  it('counts the first time only', async () => {
    const gateway = await startHttpSseGateway({
      open: (stream) => {
        sendEndpoint(stream);
        stream.write('event: endpoint\ndata: /elsewhere\n\n');
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    expect(resultOf(await proxy.request(1, 'ping'))).toEqual({ from: 1 });
    expect(gateway.received.some(({ target }) => target === '/elsewhere')).toBe(false);
    expect(proxy.stderr).toContain('ignored a second endpoint event');
  });

  it('that never comes is given up', async () => {
    const gateway = await startHttpSseGateway({ open: () => {} });
    const atOnce = ['--connect-timeout', '0.1', '--start-patience', '0'];
    const proxy = startProxy(gateway.url, { args: ['--transport', 'sse', ...atOnce] });
    const reply = await proxy.request(1, 'initialize');
    expect(dataOf(reply)).toMatchObject({ reason: 'unreachable', cause: 'timeout' });
    expect(messageOf(reply)).toContain('no HTTP+SSE stream was opened within 0.2 seconds');
  });

  it('is looked for behind a redirect within the origin', async () => {
    const gateway = await startHttpSseGateway({
      open: (stream, { target }) => {
        if (target === '/v1/mcp') stream.response.writeHead(307, { location: '/v1/mcp/' }).end();
        else sendEndpoint(stream);
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    expect(resultOf(await proxy.request(1, 'ping'))).toEqual({ from: 2 });
  });
});

describe('a stream that breaks off', () => {
  it.each<[string, (response: ServerResponse) => void]>([
    ['ends', (response) => void response.end()],
    ['is cut', (response) => void response.destroy()],
  ])(
    'where it %s: a call that may have run fails, the next request repeats the handshake',
    async (_, cut) => {
      const gateway = await startHttpSseGateway({
        take: ({ message }, stream, response) => {
          if (message.method !== 'tools/call') return false;
          response.writeHead(202).end(() => cut(stream.response));
          return true;
        },
      });
      const proxy = startProxy(gateway.url, SSE);
      await proxy.initialize();
      const lost = await proxy.request(1, 'tools/call', { name: 'x' });
      expect(dataOf(lost).reason).toBe('interrupted');
      expect(messageOf(lost)).toContain('may have run');
      expect(resultOf(await proxy.request(2, 'ping'))).toEqual({ from: 2 });
      expect(gateway.posts()).toEqual([
        'initialize in 1',
        'notifications/initialized in 1',
        'tools/call in 1',
        'initialize in 2',
        'notifications/initialized in 2',
        'ping in 2',
      ]);
      const [first, second] = gateway.received.filter((r) => r.message.method === 'initialize');
      expect(second?.body).toBe(first?.body);
      // The gateway has promised to tell of changes of its tools.
      const announced = 'notifications/tools/list_changed';
      expect(proxy.messages.map(({ id, method }) => id ?? method)).toEqual([
        ...['init', 1, announced, 2],
      ]);
    },
  );

  it('repeats what is safe to repeat, once for each request', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, stream, response) => {
        if (message.method !== 'ping' || stream.number > 1) return false;
        response.writeHead(202).end();
        if (message.id === 3) setImmediate(() => stream.response.destroy());
        return true;
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    for (const id of [1, 2, 3]) proxy.send({ jsonrpc: '2.0', id, method: 'ping' });
    for (const id of [1, 2, 3]) expect(resultOf(await proxy.reply(id))).toEqual({ from: 2 });
    expect(gateway.posts().filter((post) => post === 'initialize in 2')).toHaveLength(1);
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages.filter(({ id }) => id !== undefined)).toHaveLength(4);
  });

  it('begins a new session too where the gateway forgot the one that is open', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, stream, response) => {
        if (message.method !== 'tools/call' || stream.number > 1) return false;
        response.writeHead(404).end('Could not find session');
        return true;
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    const reply = await proxy.request(1, 'tools/call', { name: 'x' });
    expect(resultOf(reply)).toEqual({ from: 2 });
  });

  it('says so where the new session is refused', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, stream, response) => {
        if (message.method !== 'initialize' || stream.number === 1) return false;
        response.writeHead(202).end();
        const error = { code: -32603, message: 'no more' };
        stream.message({ jsonrpc: '2.0', id: message.id, error });
        return true;
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    gateway.streams[0]?.response.end();
    await proxy.until(() => proxy.stderr.includes('the event stream ended'));
    const reply = await proxy.request(1, 'ping');
    expect(dataOf(reply).reason).toBe('gateway_error');
    expect(messageOf(reply)).toContain('refused to start another');
  });

  it('drops what belongs to the session that ended', async () => {
    const gateway = await startHttpSseGateway();
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    gateway.streams[0]?.message({ jsonrpc: '2.0', id: 'q', method: 'roots/list' });
    await proxy.message(({ method }) => method === 'roots/list');
    gateway.streams[0]?.response.end();
    await proxy.until(() => proxy.stderr.includes('the event stream ended'));
    proxy.send({ jsonrpc: '2.0', id: 'q', result: { roots: [] } });
    proxy.notify('notifications/cancelled', { requestId: 99 });
    await proxy.request(1, 'ping');
    expect(gateway.posts().slice(2)).toEqual([
      'initialize in 2',
      'notifications/initialized in 2',
      'ping in 2',
    ]);
  });
});

it('POSTs a cancellation as it is, and gives no reply to what was cancelled', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, stream, response) => {
      if (message.method !== 'tools/call') {
        if (message.method === 'notifications/cancelled') replyOn(stream, { id: 1, method: 'x' });
        return false;
      }
      response.writeHead(202).end();
      return true;
    },
  });
  const proxy = startProxy(gateway.url, SSE);
  await proxy.initialize();
  proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
  await gateway.request(({ message }) => message.method === 'tools/call');
  const cancelled =
    '{"method":"notifications/cancelled","params":{"requestId":1,"reason":"é"},"jsonrpc":"2.0"}';
  proxy.send(cancelled);
  const { body } = await gateway.request((r) => r.message.method === 'notifications/cancelled');
  expect(body).toBe(cancelled);
  await proxy.request(2, 'ping');
  expect(proxy.messages.map(({ id }) => id)).toEqual(['init', 2]);
  expect(await proxy.end()).toBe(0);
});

describe('401', () => {
  const challenge = { 'www-authenticate': 'Bearer error_description="expired yesterday"' };

  it('to the GET is explained', async () => {
    const gateway = await startHttpSseGateway({
      open: ({ response }) => void response.writeHead(401, challenge).end(),
    });
    const proxy = startProxy(gateway.url, SSE);
    const reply = await proxy.request(1, 'initialize');
    expect(dataOf(reply)).toMatchObject({
      reason: 'unauthorized',
      status: 401,
      keySource: 'key-env',
    });
    expect(messageOf(reply)).toContain('expired yesterday');
  });

  it('to a POST is explained, and the next request works', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, _, response) => {
        if (message.method !== 'tools/call') return false;
        response.writeHead(401, challenge).end();
        return true;
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    const reply = await proxy.request(1, 'tools/call', { name: 'x' });
    expect(messageOf(reply)).toContain('expired yesterday');
    expect(resultOf(await proxy.request(2, 'ping'))).toEqual({ from: 1 });
  });
});

it.each(['GET', 'POST'])('uses a new key after a 401 to the %s, unseen', async (refused) => {
  const [old, renewed] = [newKey(), newKey()];
  const file = join(mkdtempSync(join(tmpdir(), 'latchkey-')), 'key');
  onTestFinished(() => rmSync(dirname(file), { recursive: true }));
  const write = (key: string) => writeFileSync(file, key, { mode: 0o600 });
  write(old);
  const refuses = ({ method, headers }: Received, response: ServerResponse) => {
    if (method !== refused || headers.authorization !== `Bearer ${old}`) return false;
    write(renewed);
    response.writeHead(401).end();
    return true;
  };
  const gateway = await startHttpSseGateway({
    open: (stream, received) => {
      if (!refuses(received, stream.response)) sendEndpoint(stream);
    },
    take: (received, _, response) => refuses(received, response),
  });
  const args = ['--transport', 'sse', '--key-file', file];
  const proxy = startProxy(gateway.url, { args, env: { MCP_LATCHKEY_API_KEY: '' } });
  expect(resultOf(await proxy.initialize()).protocolVersion).toBe('2024-11-05');
  const keys = gateway.received
    .filter(({ method }) => method === refused)
    .map(({ headers }) => headers.authorization);
  expect(keys.slice(0, 2)).toEqual([`Bearer ${old}`, `Bearer ${renewed}`]);
});

it('is found well by the doctor', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, stream, response) => {
      if (message.method !== 'tools/list') return false;
      response.writeHead(202).end();
      const tools = [{ name: 'a_b', inputSchema: { type: 'object' } }];
      stream.message({ jsonrpc: '2.0', id: message.id, result: { tools } });
      return true;
    },
  });
  const { code, stdout } = await runToEnd(['doctor', gateway.url, '--json'], '', {
    MCP_LATCHKEY_API_KEY: TEST_KEY,
  });
  const [{ findings }] = JSON.parse(stdout).gateways as [{ findings: Json[] }];
  const lineOf = (own: string) => findings.find(({ name }) => name === own)?.line;
  expect(lineOf('initialize')).toBe('MCP 2024-11-05, over HTTP+SSE, which is deprecated');
  expect(lineOf('speed')).toMatch(/^median ping .* \(10 pings\)$/);
  const { ms, details } = findings.find(({ name }) => name === 'speed') as Json;
  expect((details as { slowestMs: number }).slowestMs).toBeLessThanOrEqual(ms as number);
  expect(code).toBe(0);
});

it('passes on the error of its own that a gateway refuses a request with', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, _, response) => {
      if (message.method !== 'tools/call') return false;
      refuseWith(400, { error: { code: -32602, message: 'bad' } })(
        { message } as Received,
        response,
      );
      return true;
    },
  });
  const proxy = startProxy(gateway.url, SSE);
  await proxy.initialize();
  const reply = await proxy.request(1, 'tools/call', { name: 'x' });
  expect(reply.error).toEqual({ code: -32602, message: 'bad' });
});

it('takes the reply where a gateway gives it in the POST', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, _, response) => {
      if (message.method !== 'ping') return false;
      sendJson(response, { jsonrpc: '2.0', id: message.id, result: { inline: true } });
      return true;
    },
  });
  const proxy = startProxy(gateway.url, SSE);
  await proxy.initialize();
  expect(resultOf(await proxy.request(1, 'ping'))).toEqual({ inline: true });
});

it('cuts off a message that is too large, and goes on with a new stream', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, stream, response) => {
      if (message.method !== 'tools/call') return false;
      response.writeHead(202).end();
      stream.message({ jsonrpc: '2.0', id: message.id, result: { x: 'x'.repeat(200_000) } });
      return true;
    },
  });
  const args = ['--transport', 'sse', '--max-message-bytes', '100000'];
  const proxy = startProxy(gateway.url, { args });
  await proxy.initialize();
  const reply = await proxy.request(1, 'tools/call', { name: 'x' });
  expect(dataOf(reply)).toMatchObject({ reason: 'invalid_response', limitBytes: 100000 });
  expect(resultOf(await proxy.request(2, 'ping'))).toEqual({ from: 2 });
});

it('survives events that are garbage, and answers each request exactly once', async () => {
  const gateway = await startHttpSseGateway({
    open: (stream) => {
      stream.response.writeHead(200, { 'content-type': 'text/event-stream' });
      stream.write('data: {"jsonrpc":"2.0","method":"notifications/early"}\n\n');
      stream.write(`event: endpoint\ndata: /messages?session=${stream.number}\n\n`);
      stream.write(
        'event: message\ndata: <html>\n\nevent: odd\ndata: x\n\n: comment\n\n\u0000\n\n',
      );
      stream.message({ jsonrpc: '2.0', id: 'nobody', result: {} });
      stream.message([]);
    },
    take: ({ message }, stream, response) => {
      if (message.method !== 'ping') return false;
      response.writeHead(202).end();
      stream.message({ jsonrpc: '2.0', id: String(message.id), result: { of: 'another id' } });
      replyOn(stream, message);
      replyOn(stream, message);
      return true;
    },
  });
  const proxy = startProxy(gateway.url, SSE);
  await proxy.initialize();
  expect(resultOf(await proxy.request(1, 'ping'))).toEqual({ from: 1 });
  expect(resultOf(await proxy.request(2, 'ping'))).toEqual({ from: 1 });
  expect(await proxy.end()).toBe(0);
  expect(proxy.messages.map(({ id }) => id)).toEqual(['init', 1, 2]);
  expect(proxy.stderr).toContain('dropped an event from the gateway that is not a message');
  expect(proxy.stderr).toContain('dropped a reply from the gateway that no request');
  expect(proxy.stderr).toContain('came before its endpoint event');
});

it('fails the request whose reply is broken', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, stream, response) => {
      if (message.method !== 'ping') return false;
      response.writeHead(202).end();
      stream.message({ jsonrpc: '1.0', id: message.id, result: {} });
      return true;
    },
  });
  const proxy = startProxy(gateway.url, SSE);
  await proxy.initialize();
  expect(dataOf(await proxy.request(1, 'ping')).reason).toBe('invalid_response');
});

describe('--timeout', () => {
  it('ends a request that the gateway is silent about', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, _, response) => {
        if (message.method !== 'tools/call') return false;
        response.writeHead(202).end();
        return true;
      },
    });
    const proxy = startProxy(gateway.url, { args: ['--transport', 'sse', '--timeout', '0.3'] });
    await proxy.initialize();
    const reply = await proxy.request(1, 'tools/call', { name: 'x' });
    expect(dataOf(reply)).toMatchObject({ reason: 'interrupted', cause: 'timeout' });
    expect(resultOf(await proxy.request(2, 'ping'))).toEqual({ from: 2 });
  });

  it('does not end one while the gateway says that it is alive', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, stream, response) => {
        if (message.method !== 'tools/call') return false;
        response.writeHead(202).end();
        let beats = 0;
        const timer = setInterval(() => {
          stream.write(': alive\n\n');
          if (++beats < 8) return;
          clearInterval(timer);
          replyOn(stream, message);
        }, 100);
        return true;
      },
    });
    const proxy = startProxy(gateway.url, { args: ['--transport', 'sse', '--timeout', '0.5'] });
    await proxy.initialize();
    expect(resultOf(await proxy.request(1, 'tools/call', { name: 'x' }))).toEqual({ from: 1 });
  });
});

it('slows the gateway down while the client does not read', async () => {
  const total = 200;
  const piece = { jsonrpc: '2.0', method: 'n', params: { text: 'x'.repeat(1024 * 1024) } };
  let sent = 0;
  let onStall: (() => void) | undefined;
  const stalled = new Promise<void>((resolve) => {
    onStall = resolve;
  });
  const gateway = await startHttpSseGateway({
    take: ({ message }, stream, response) => {
      if (message.method !== 'flood') return false;
      response.writeHead(202).end();
      void flood(stream).then(() => replyOn(stream, message));
      return true;
    },
  });
  const proxy = startProxy(gateway.url, SSE);
  await proxy.initialize();
  proxy.child.stdout?.pause();
  proxy.send({ jsonrpc: '2.0', id: 1, method: 'flood' });
  await stalled;
  expect(sent).toBeLessThan(total / 4);
  proxy.child.stdout?.resume();
  await proxy.reply(1);
  expect(proxy.messages).toHaveLength(total + 2);

  async function flood({ response, message }: Stream): Promise<void> {
    let before = -1;
    const watch = setInterval(() => {
      if (sent > 0 && response.writableNeedDrain && sent === before) onStall?.();
      before = sent;
    }, 200);
    for (; sent < total; sent++) {
      message(piece);
      if (response.writableNeedDrain) await once(response, 'drain');
    }
    clearInterval(watch);
  }
});

it('answers what is in flight when the client leaves, and ends', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, stream, response) => {
      if (message.method !== 'tools/call') return false;
      response.writeHead(202).end();
      setTimeout(() => replyOn(stream, message), 50);
      return true;
    },
  });
  const proxy = startProxy(gateway.url, SSE);
  await proxy.initialize();
  proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
  expect(await proxy.end()).toBe(0);
  expect(resultOf(await proxy.reply(1))).toEqual({ from: 1 });
});
