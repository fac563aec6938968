import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, type Received, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

type Take = (received: Received, response: ServerResponse, count: number) => void;

/** A gateway with a session that `take` answers every `tools/call` of; the count is 1 at first. */
async function connect(take: Take) {
  let sessions = 0;
  let calls = 0;
  const gateway = await startGateway((received, response) => {
    const { method } = received.message;
    if (method === 'initialize') response.setHeader('Mcp-Session-Id', `s-${++sessions}`);
    if (method === 'tools/call') take(received, response, ++calls);
    else answer(received, response);
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  await proxy.request('before', 'ping');
  const sent = (method: string) =>
    gateway.received.filter(({ message }) => message.method === method).length;
  return { gateway, proxy, call: () => proxy.request(1, 'tools/call', { name: 'x' }), sent };
}

const refuse = (response: ServerResponse, status: number, type: string, body: string) =>
  void response.writeHead(status, { 'content-type': type }).end(body);
const errorOf = (id: unknown, code: number, message: string): Json => ({
  ...{ jsonrpc: '2.0', id },
  error: { code, message, data: { own: 1 } },
});

describe('an error of a tool that speaks of sessions', () => {
  const WORDS = 'recording session abc does not exist';

  it.each<[number, number, string]>([
    ...[400, 404, 410, 422].map((status): [number, number, string] => [status, -32602, WORDS]),
    [400, -32000, WORDS],
    [404, -32001, WORDS],
    [404, -32602, 'Session not found'],
    [400, -32603, 'the parser is not initialized'],
  ])('is passed on, HTTP %d and %d: %s', async (status, code, message) => {
    const { proxy, call, sent } = await connect(({ message: { id } }, response) =>
      refuse(response, status, 'application/json', JSON.stringify(errorOf(id, code, message))),
    );
    expect((await call()).error).toMatchObject({
      ...{ code, data: { own: 1 } },
      message: expect.stringContaining(message),
    });
    expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
  });

  it.each<[string, string, (json: string) => string]>([
    ['that says it is plain text', 'text/plain', (json) => json],
    ['that says it is nothing', '', (json) => json],
    ['on an event stream', 'text/event-stream', (json) => `event: message\ndata: ${json}\n\n`],
    ['in a batch', 'application/json', (json) => `[${json}]`],
  ])('is passed on from a body %s', async (_, type, body) => {
    const { call, sent } = await connect(({ message: { id } }, response) =>
      refuse(response, 400, type, body(JSON.stringify(errorOf(id, -32602, WORDS)))),
    );
    expect((await call()).error).toMatchObject({ code: -32602, data: { own: 1 } });
    expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
  });

  it('is not a lost session where it breaks off: the call may have run', async () => {
    const { call, sent } = await connect((_, response) => {
      response.writeHead(404, { 'content-type': 'application/json', 'content-length': 1000 });
      response.write('{"jsonrpc":"2.0","error":{"message":"no session","data":"', () =>
        response.destroy(),
      );
    });
    expect(await call()).toHaveProperty('error');
    expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
  });

  it('is a result all the same where it comes as one', async () => {
    const result = { isError: true, content: [{ type: 'text', text: 'no such session' }] };
    const { call, sent } = await connect(({ message: { id } }, response) =>
      refuse(response, 404, 'application/json', JSON.stringify({ jsonrpc: '2.0', id, result })),
    );
    expect((await call()).result).toEqual(result);
    expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
  });
});

describe('an answer that a session is lost', () => {
  it.each<[string, number, string, string]>([
    ['a JSON-RPC error', 400, '', 'Bad Request: Server not initialized'],
    ['a JSON-RPC error', 404, '', 'Session not found'],
    ['plain text', 422, 'Unexpected message, expect initialize request', ''],
    ['plain text', 401, 'Unauthorized: Session not found', ''],
    ['plain text', 403, 'Session expired', ''],
    ['plain text', 410, 'This session has ended', ''],
  ])('as %s with HTTP %d is followed by one handshake: %s%s', async (_, status, text, message) => {
    const { call, sent } = await connect((received, response, count) => {
      if (count > 1) answer(received, response, { content: [] });
      else if (text !== '') refuse(response, status, 'text/plain', text);
      else {
        const { id } = received.message;
        refuse(response, status, 'application/json', JSON.stringify(errorOf(id, -32000, message)));
      }
    });
    expect(await call()).toHaveProperty('result');
    expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
  });

  it('and says the same in the next session is the answer, with its own words', async () => {
    const { call, sent } = await connect(({ message: { id } }, response) =>
      refuse(
        response,
        404,
        'application/json',
        JSON.stringify(errorOf(id, -32001, 'Session expired')),
      ),
    );
    expect((await call()).error).toEqual({
      ...{ code: -32001, message: 'Session expired', data: { own: 1 } },
    });
    expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
  });

  it('and says the same in plain text in the next session is quoted', async () => {
    const { call, sent } = await connect((_, response) =>
      refuse(response, 400, 'text/plain', 'the editing session is locked'),
    );
    expect((await call()).error).toMatchObject({
      message: expect.stringContaining('the editing session is locked'),
      data: { reason: 'http_error', status: 400 },
    });
    expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
  });

  it('is about the key where it comes with a challenge', async () => {
    const { call, sent } = await connect((_, response) => {
      response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' });
      response.end('Session expired');
    });
    expect((await call()).error).toMatchObject({ data: { reason: 'unauthorized' } });
    expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
  });

  it('takes the answers of the client with it, which mean nothing in another session', async () => {
    const gateway = await startGateway((received, response) => {
      const { method, id } = received.message;
      if (method === 'initialize') response.setHeader('Mcp-Session-Id', 's');
      if (id === 'question') response.writeHead(404).end();
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    const sent = (fits: (message: Json) => boolean) =>
      gateway.received.filter(({ message }) => fits(message)).length;
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 'question', result: {} });
    await gateway.request(() => sent(({ method }) => method === 'initialize') === 2);
    await proxy.request(2, 'ping');
    expect(await proxy.end()).toBe(0);
    expect(sent(({ id }) => id === 'question')).toBe(1);
  });
});

describe('over HTTP+SSE', () => {
  const SSE = { args: ['--transport', 'sse'] };

  it('an error of a tool that speaks of sessions is passed on', async () => {
    const message = 'recording session abc does not exist';
    const gateway = await startHttpSseGateway({
      take: ({ message: { method, id } }, _, response) => {
        if (method !== 'tools/call') return false;
        refuse(response, 404, 'application/json', JSON.stringify(errorOf(id, -32602, message)));
        return true;
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    expect((await proxy.request(1, 'tools/call', { name: 'x' })).error).toMatchObject({
      ...{ code: -32602, message: expect.stringContaining(message) },
    });
    expect(gateway.posts().filter((post) => /call|initialize /.test(post))).toEqual([
      'initialize in 1',
      'tools/call in 1',
    ]);
  });

  it('an answer that is the same in the next session is passed on', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message: { method } }, _, response) => {
        if (method !== 'tools/call') return false;
        refuse(response, 400, 'text/plain', 'the editing session is locked');
        return true;
      },
    });
    const proxy = startProxy(gateway.url, SSE);
    await proxy.initialize();
    expect((await proxy.request(1, 'tools/call', { name: 'x' })).error).toMatchObject({
      message: expect.stringContaining('the editing session is locked'),
    });
    expect(gateway.posts().filter((post) => /call/.test(post))).toEqual([
      'tools/call in 1',
      'tools/call in 2',
    ]);
  });
});
