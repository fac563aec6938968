import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { type Stream, sendEndpoint, startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, type Received, startGateway } from './loopback-gateway.ts';
import { modern } from './modern-messages.ts';
import { type Json, startProxy } from './running-proxy.ts';

const errorOf = (reply: Json) => reply.error as { message: string; data: Json };
const resultOf = (reply: Json) => reply.result as Json;

describe('a POST that is answered with a stream of HTTP+SSE', () => {
  const asStream =
    (head = 200, type = 'text/event-stream', before = '') =>
    (_: Received, response: ServerResponse) => {
      response.writeHead(head, { 'content-type': type });
      response.write(`${before}event: endpoint\ndata: /messages?session=99\n\n`);
    };

  it.each([
    ['HTTP 200', asStream()],
    ['HTTP 201', asStream(201)],
    ['a charset', asStream(200, 'text/event-stream; charset=utf-8')],
    ['a comment and a retry before it', asStream(200, 'Text/Event-Stream', ': hi\nretry: 5\n\n')],
  ])('is a gateway of that transport, at once: %s', async (_, refuse) => {
    const gateway = await startHttpSseGateway({ refuse });
    const proxy = startProxy(gateway.url, { args: ['--timeout', '0'] });
    expect(resultOf(await proxy.initialize()).protocolVersion).toBe('2024-11-05');
    expect(resultOf(await proxy.request(1, 'tools/list'))).toEqual({ from: 1 });
    expect(gateway.posts()[0]).toBe('initialize in 1');
  });

  it('is one for a client of revision 2026-07-28 too', async () => {
    const gateway = await startHttpSseGateway({ refuse: asStream() });
    const proxy = startProxy(gateway.url, { args: ['--timeout', '0'] });
    expect(resultOf(await proxy.request(1, 'tools/list', modern()))).toMatchObject({ from: 1 });
  });

  it('is called that under --transport http, with what to change', async () => {
    const gateway = await startHttpSseGateway({ refuse: asStream() });
    const args = ['--transport', 'http', '--timeout', '0'];
    const proxy = startProxy(gateway.url, { args });
    const { message, data } = errorOf(await proxy.request(1, 'initialize'));
    expect(data.reason).toBe('invalid_response');
    expect(message).toContain('an HTTP+SSE stream');
    expect(data.hint).toContain('--transport sse');
  });
});

describe('an endpoint without the beginning of the path of the URL', () => {
  /** A gateway that is reached below `prefix`, and does not know of it. */
  async function behind(prefix: string, own = '/sse', status = 404) {
    const posted: string[] = [];
    const gateway = await startGateway(({ method, target, message }, response) => {
      if (method === 'GET' && target === prefix + own) {
        stream = response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('event: endpoint\ndata: /messages/?session_id=1\n\n');
        return;
      }
      if (method === 'POST' && target !== prefix + own) posted.push(target);
      if (target !== `${prefix}/messages/?session_id=1`) {
        response.writeHead(target === prefix + own ? 405 : status).end();
        return;
      }
      response.writeHead(202).end();
      const { id } = message;
      const result = { protocolVersion: '2024-11-05', capabilities: {}, serverInfo: {} };
      const reply = JSON.stringify({ jsonrpc: '2.0', id, result });
      if (id !== undefined) stream?.write(`data: ${reply}\n\n`);
    });
    let stream: ServerResponse | undefined;
    const url = new URL(prefix + own, gateway.url).href;
    return { url, posted, drop: () => stream?.destroy() };
  }

  it.each([
    ['/team', '/sse', 404],
    ['/a/b', '/sse', 404],
    ['/service', '', 404],
    ['/proxy', '/mcp/sse', 405],
  ])('is found with it: %s before %s', async (prefix, own, status) => {
    const gateway = await behind(prefix, own, status);
    const proxy = startProxy(gateway.url);
    expect(resultOf(await proxy.initialize()).protocolVersion).toBe('2024-11-05');
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(gateway.posted.filter((target) => target.startsWith('/messages'))).toHaveLength(1);
  });

  it('is known for the next stream', async () => {
    const gateway = await behind('/team');
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    gateway.drop();
    await proxy.until(() => proxy.stderr.includes('the event stream ended'));
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
    expect(gateway.posted.filter((target) => target.startsWith('/messages'))).toHaveLength(1);
  });

  it('that is nowhere is named, and not the URL', async () => {
    const gateway = await startHttpSseGateway({
      endpoint: '/nowhere?session=1',
      refuse: (_, response) => void response.writeHead(404).end(),
    });
    const proxy = startProxy(gateway.url);
    const { message, data } = errorOf(await proxy.request(1, 'initialize'));
    const named = new URL('/nowhere', gateway.url).href;
    expect(data).toMatchObject({ reason: 'wrong_path', status: 404, target: named });
    expect(message).toContain(`${named} is not an MCP endpoint. `);
    expect(data.hint).toContain("Contact the gateway's operator");
    expect(message).not.toContain('usually');
  });

  it('gets a call once that fails there', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, _, response) => {
        if (message.method === 'tools/call') response.writeHead(404).end();
        return message.method === 'tools/call';
      },
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.request(1, 'tools/call', { name: 'x' });
    expect(gateway.received.filter(({ target }) => target.startsWith('/v1/messages'))).toEqual([]);
  });
});

it.each([405, 404])(
  'asks for the key where the POST is refused with %d and the GET with 401',
  async (status) => {
    let isKeyGood = false;
    const gateway = await startHttpSseGateway({
      refuse: (_, response) => void response.writeHead(status).end(),
      open: (stream) => {
        if (isKeyGood) sendEndpoint(stream);
        else stream.response.writeHead(401).end();
      },
    });
    const proxy = startProxy(gateway.url);
    const { message, data } = errorOf(await proxy.request(1, 'initialize'));
    expect(data).toMatchObject({ reason: 'unauthorized', status: 401 });
    expect(message).toMatch(/^API key rejected /);
    isKeyGood = true;
    expect(resultOf(await proxy.request(2, 'initialize')).protocolVersion).toBe('2024-11-05');
  },
);

it('names the address that a redirect leads to where there is nothing', async () => {
  const gateway = await startGateway(({ target }, response) => {
    if (target === '/v1/mcp') response.writeHead(307, { location: '/new/mcp?secret=1' }).end();
    else response.writeHead(404).end();
  });
  const proxy = startProxy(gateway.url);
  const { message } = errorOf(await proxy.request(1, 'tools/list'));
  expect(message).toContain(`${new URL('/new/mcp', gateway.url).href} is not an MCP endpoint. `);
});

describe('a refusal that hides a gateway of HTTP+SSE', () => {
  const refuseWith = (status: number) => (_: Received, response: ServerResponse) =>
    void response.writeHead(status, { 'content-type': 'text/html' }).end('<html>no</html>');

  it.each([403, 406, 415, 422, 500, 501, 502])(
    'with %d: the hint has the option',
    async (status) => {
      const gateway = await startHttpSseGateway({ refuse: refuseWith(status) });
      const proxy = startProxy(gateway.url, { args: ['--start-patience', '0'] });
      const { message, data } = errorOf(await proxy.request(1, 'initialize'));
      expect(data.status).toBe(status);
      expect(message).toContain('--transport sse');
      expect(data.hint).toContain('--transport sse');
      expect(gateway.posts()).toEqual([]);
      const told = startProxy(gateway.url, { args: ['--transport', 'sse'] });
      expect(resultOf(await told.initialize()).protocolVersion).toBe('2024-11-05');
    },
  );

  it.each<[string, (stream: Stream) => void]>([
    ['fails', ({ response }) => void response.writeHead(403).end()],
    [
      'opens a stream that stays silent',
      ({ response }) =>
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders(),
    ],
    ['stays silent', () => {}],
  ])('is not assumed where a GET %s', async (_, open) => {
    const gateway = await startHttpSseGateway({ refuse: refuseWith(403), open });
    const proxy = startProxy(gateway.url);
    const { message, data } = errorOf(await proxy.request(1, 'initialize'));
    expect(data.reason).toBe('forbidden');
    expect(message).not.toContain('sse');
    expect(await proxy.end()).toBe(0);
  });

  it('is not looked for with --transport http, and not behind a 401', async () => {
    for (const [status, transport] of [
      [403, 'http'],
      [401, 'auto'],
    ] as const) {
      const gateway = await startHttpSseGateway({ refuse: refuseWith(status) });
      const proxy = startProxy(gateway.url, { args: ['--transport', transport] });
      const { data } = errorOf(await proxy.request(1, 'initialize'));
      expect(data.hint).not.toContain('sse');
      expect(gateway.streams).toEqual([]);
    }
  });

  it('does not keep a gateway of Streamable HTTP from the next handshake', async () => {
    let isUp = false;
    const gateway = await startGateway((received, response) => {
      if (isUp) answer(received, response);
      else if (received.method === 'GET') {
        sendEndpoint({
          number: 1,
          response,
          write: (text) => response.write(text),
          message: () => {},
        });
      } else response.writeHead(501).end();
    });
    const proxy = startProxy(gateway.url);
    expect(errorOf(await proxy.request(1, 'initialize')).data.hint).toContain('--transport sse');
    isUp = true;
    expect(resultOf(await proxy.request(2, 'initialize')).protocolVersion).toBe('2025-06-18');
  });
});
