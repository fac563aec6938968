import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { answer, type Received, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

const reply = (status: number, body: Json) => (received: Received, response: ServerResponse) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: received.message.id, ...body }));
};

const HELLO = { protocolVersion: '2025-06-18', capabilities: {}, serverInfo: { name: 's' } };

describe('a result with an HTTP status that means an error', () => {
  it.each([
    [400, 'http_error'],
    [402, 'http_error'],
    [404, 'http_error'],
    [405, 'http_error'],
    [409, 'http_error'],
    [500, 'gateway_error'],
    [501, 'gateway_error'],
  ])('is no handshake: initialize fails with %d, in words', async (status, reason) => {
    const gateway = await startGateway((received, response) => {
      if (received.method === 'POST') reply(status, { result: HELLO })(received, response);
      else response.writeHead(405).end();
    });
    const proxy = startProxy(gateway.url);
    const { error } = await proxy.request(1, 'initialize');
    expect(error).toMatchObject({
      message: expect.stringContaining('it also sent a result'),
      data: { reason, status },
    });
    expect(proxy.stderr).not.toContain('error: bug');
    expect(proxy.messages).toHaveLength(1);
  });

  it.each([400, 404, 500, 503])('is the answer to a call that has run: %d', async (status) => {
    const result = { isError: true, content: [{ type: 'text', text: 'no' }] };
    const gateway = await startGateway((received, response) => {
      const { method } = received.message;
      if (method === 'tools/call' || method === 'tools/list') {
        reply(status, { result })(received, response);
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    for (const method of ['tools/call', 'tools/list']) {
      expect((await proxy.request(method, method)).result).toEqual(result);
      const sent = gateway.received.filter(({ message }) => message.method === method);
      expect(sent).toHaveLength(1);
    }
    expect(proxy.stderr).not.toContain('error: bug');
  });
});

describe('a JSON-RPC error with a 5xx', () => {
  const error = { code: -32603, message: 'Database is down', data: { own: 1 } };

  it('is passed on after what is safe to repeat has been repeated', async () => {
    const gateway = await startGateway(reply(500, { error }));
    const proxy = startProxy(gateway.url);
    const [list, call] = await Promise.all([
      proxy.request('list', 'tools/list'),
      proxy.request('call', 'tools/call', { name: 'x' }),
    ]);
    expect([list.error, call.error]).toEqual([error, error]);
    const count = (id: string) =>
      gateway.received.filter(({ message }) => message.id === id).length;
    expect([count('list'), count('call')]).toEqual([3, 1]);
    expect(proxy.messages).toHaveLength(2);
  });

  it('is not seen where the next attempt works', async () => {
    let count = 0;
    const gateway = await startGateway((received, response) => {
      if (++count === 1) reply(503, { error })(received, response);
      else answer(received, response, { tools: [] });
    });
    const proxy = startProxy(gateway.url);
    expect((await proxy.request(1, 'tools/list')).result).toEqual({ tools: [] });
    expect(proxy.messages).toHaveLength(1);
  });

  it('and Retry-After does not have a call repeated that the gateway has answered', async () => {
    const gateway = await startGateway((received, response) => {
      response.setHeader('retry-after', '0');
      reply(503, { error })(received, response);
    });
    const proxy = startProxy(gateway.url);
    expect((await proxy.request(1, 'tools/call', { name: 'x' })).error).toEqual(error);
    expect(gateway.received).toHaveLength(1);
  });
});
