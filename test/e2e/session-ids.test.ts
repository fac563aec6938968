import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { answer, startGateway } from './loopback-gateway.ts';
import { startProxy } from './running-proxy.ts';

const INITIALIZE = { jsonrpc: '2.0', method: 'initialize', params: {} };

/** A gateway that begins a session with the header as `begin` sets it. */
const startWith = (begin: (response: ServerResponse) => void) =>
  startGateway((received, response) => {
    if (received.message.method === 'initialize') begin(response);
    answer(received, response);
  });

describe('a session id', () => {
  it.each<[string, string | string[], string]>([
    ['of 1,503 characters, as a JWT has', 'e'.repeat(1503), 'e'.repeat(1503)],
    ['of 14,000 characters', 'x'.repeat(14_000), 'x'.repeat(14_000)],
    ['that comes twice, the same', ['twice', 'twice'], 'twice'],
  ])('%s is sent with every later request', async (_, value, id) => {
    const gateway = await startWith((response) => response.setHeader('Mcp-Session-Id', value));
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    expect(await proxy.request(1, 'ping')).toHaveProperty('result');
    expect(proxy.stderr).toContain('with a session');
    expect(await proxy.end()).toBe(0);
    const later = gateway.received.slice(1);
    expect(later.length).toBeGreaterThan(2);
    for (const { headers } of later) expect(headers['mcp-session-id']).toBe(id);
  });

  it.each<[string, string | string[], string]>([
    ['with a space', 'two words', 'it is not visible ASCII'],
    ['with an umlaut', 'schl\u00fcssel', 'it is not visible ASCII'],
    ['that is empty', '', 'it is empty'],
    ['that comes twice, not the same', ['one-id', 'another-id'], 'different values'],
  ])('%s is not sent, and the log says why without the id', async (_, value, why) => {
    const gateway = await startWith((response) => response.setHeader('Mcp-Session-Id', value));
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    expect(await proxy.request(1, 'ping')).toHaveProperty('result');
    const [, warning] = / warn: (.*)/.exec(proxy.stderr) ?? [];
    expect(warning).toContain('Mcp-Session-Id');
    expect(warning).toContain(why);
    expect(proxy.stderr).not.toContain('without a session');
    for (const line of [value].flat().filter(Boolean)) expect(proxy.stderr).not.toContain(line);
    for (const { headers } of gateway.received)
      expect(headers).not.toHaveProperty('mcp-session-id');
  });
});

describe('a session that another one replaces', () => {
  it('is ended when the client initializes again, and the last one with the proxy', async () => {
    let count = 0;
    const gateway = await startWith((response) =>
      response.setHeader('Mcp-Session-Id', `s-${++count}`),
    );
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2, 3]) proxy.send({ ...INITIALIZE, id });
    await proxy.reply(3);
    expect(await proxy.end()).toBe(0);
    const ended = gateway.received.filter(({ method }) => method === 'DELETE');
    expect(ended.map(({ headers }) => headers['mcp-session-id'])).toEqual(['s-1', 's-2', 's-3']);
  });

  it('is not ended where the next one has the same id, or is not there yet', async () => {
    const initialized = { status: 200 };
    const gateway = await startGateway((received, response) => {
      const { method } = received.message;
      if (method === 'initialize') response.setHeader('Mcp-Session-Id', 'same');
      if (method === 'initialize' && initialized.status !== 200) {
        response.writeHead(initialized.status).end();
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'initialize');
    expect(await proxy.request(2, 'initialize')).toHaveProperty('result');
    initialized.status = 403;
    expect(await proxy.request(3, 'initialize')).toHaveProperty('error');
    await proxy.request(4, 'ping');
    const ended = () => gateway.received.filter(({ method }) => method === 'DELETE');
    expect(ended()).toEqual([]);
    expect(await proxy.end()).toBe(0);
    expect(ended().map(({ headers }) => headers['mcp-session-id'])).toEqual(['same']);
  });

  it('holds up neither the new handshake nor the end where the gateway is silent', async () => {
    let count = 0;
    const gateway = await startGateway((received, response) => {
      if (received.method === 'DELETE') return;
      if (received.message.method === 'initialize') {
        response.setHeader('Mcp-Session-Id', `s-${++count}`);
      }
      answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'initialize');
    expect(await proxy.request(2, 'initialize')).toHaveProperty('result');
    const start = performance.now();
    expect(await proxy.end()).toBe(0);
    expect(performance.now() - start).toBeLessThan(4_000);
    const ended = gateway.received.filter(({ method }) => method === 'DELETE');
    expect(ended.map(({ headers }) => headers['mcp-session-id'])).toEqual(['s-1', 's-2']);
  });

  it('is not ended where the gateway has lost it, but its half-begun successor is', async () => {
    let count = 0;
    const gateway = await startGateway((received, response) => {
      const { message, headers } = received;
      if (message.method === 'initialize') response.setHeader('Mcp-Session-Id', `s-${++count}`);
      if (message.method === 'ping') response.writeHead(404).end();
      else if (message.method === 'notifications/initialized' && count === 2) {
        response.writeHead(403).end();
      } else if (received.method === 'DELETE' && headers['mcp-session-id'] === 's-1') {
        response.writeHead(404).end();
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    expect(await proxy.request(1, 'ping')).toMatchObject({ error: { data: { status: 403 } } });
    const { headers } = await gateway.request(({ method }) => method === 'DELETE');
    expect(headers['mcp-session-id']).toBe('s-2');
  });
});
