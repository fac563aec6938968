import { describe, expect, it } from 'vitest';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, type LoopbackGateway, type Received, startGateway } from './loopback-gateway.ts';
import { modern } from './modern-messages.ts';
import { runToEnd, startProxy } from './running-proxy.ts';

const INTERVAL = { args: ['--ping-interval', '0.1'] };

const isPing = ({ message }: Received) => message.method === 'ping';
const pings = ({ received }: LoopbackGateway) => received.filter(isPing);

/** Resolves with the `count`-th ping. */
const ping = (gateway: LoopbackGateway, count: number) =>
  gateway.request((received) => pings(gateway)[count - 1] === received);

describe('--ping-interval', () => {
  it('keeps an idle session warm, in the session, with ids of its own', async () => {
    const gateway = await startGateway((received, response) => {
      response.setHeader('mcp-session-id', 's-1');
      answer(received, response);
    });
    const proxy = startProxy(gateway.url, INTERVAL);
    await proxy.initialize();
    await ping(gateway, 3);
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
    const handshakes = gateway.received.filter(({ message }) => message.method === 'initialize');
    expect(handshakes).toHaveLength(1);
    const ids = pings(gateway).map(({ message }) => message.id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { headers } of pings(gateway)) expect(headers['mcp-session-id']).toBe('s-1');
    // The client hears nothing of them.
    expect(proxy.messages.map(({ id }) => id)).toEqual(['init', 1]);
    expect(await proxy.end()).toBe(0);
  });

  it('begins a session again that was lost all the same', async () => {
    let session = 0;
    const gateway = await startGateway((received, response) => {
      const { message, headers } = received;
      if (message.method === 'initialize') response.setHeader('mcp-session-id', `s-${++session}`);
      const isLost = message.method === 'ping' && headers['mcp-session-id'] === 's-1';
      if (isLost) response.writeHead(404).end();
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url, INTERVAL);
    await proxy.initialize();
    const renewed = await gateway.request(
      (received) => isPing(received) && received.headers['mcp-session-id'] === 's-2',
    );
    expect(renewed.message.id).toBe(pings(gateway)[0]?.message.id);
  });

  it('goes on after pings that fail, and tells the client nothing', async () => {
    const gateway = await startGateway((received, response) => {
      if (isPing(received)) response.writeHead(418).end('no tea');
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url, INTERVAL);
    await proxy.initialize();
    await ping(gateway, 3);
    expect(proxy.messages).toHaveLength(1);
    expect(proxy.stderr).toContain('a ping of its own failed: http_error');
  });

  it('waits for the answer to a ping before the next', async () => {
    const gateway = await startGateway((received, response) => {
      // Longer than the interval.
      if (!isPing(received)) setTimeout(() => answer(received, response), 50);
    });
    const proxy = startProxy(gateway.url, { args: ['--ping-interval', '0.02'] });
    await proxy.initialize();
    await ping(gateway, 1);
    for (const id of [1, 2, 3, 4, 5]) await proxy.request(id, 'tools/list');
    expect(pings(gateway)).toHaveLength(1);
    expect(await proxy.end()).toBe(0);
  });

  it('pings over HTTP+SSE, too', async () => {
    const gateway = await startHttpSseGateway();
    const proxy = startProxy(gateway.url, INTERVAL);
    await proxy.initialize();
    await ping(gateway, 2);
    expect(gateway.posts()).toContain('ping in 1');
  });

  it('is off by itself, before a handshake, and where a revision has no sessions', async () => {
    const gateway = await startGateway(answer);
    const off = startProxy(gateway.url);
    await off.initialize();
    const early = startProxy(gateway.url, INTERVAL);
    await early.request(1, 'tools/list');
    const sessionless = await startGateway(({ message: { id } }, response) => {
      const result = { resultType: 'complete', tools: [] };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
    });
    const newer = startProxy(sessionless.url, INTERVAL);
    await newer.request(1, 'tools/list', modern());
    const on = await startGateway(answer);
    await startProxy(on.url, { args: ['--ping-interval', '0.5'] }).initialize();
    await ping(on, 1);
    expect([...pings(gateway), ...pings(sessionless)]).toEqual([]);
  });

  it('must be a number of seconds', async () => {
    const { code, stderr } = await runToEnd(['https://gateway.test/', '--ping-interval', 'often']);
    expect(code).toBe(2);
    expect(stderr).toContain('--ping-interval must be a number of seconds');
  });
});
