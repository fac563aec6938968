import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import {
  answer,
  type LoopbackGateway,
  type Received,
  sendJson,
  startGateway,
} from './loopback-gateway.ts';
import { MODERN, startModernGateway } from './modern-gateway.ts';
import { modern, said } from './modern-messages.ts';
import { startOldGateway } from './old-gateway.ts';
import { startProxy } from './running-proxy.ts';

const methods = (gateway: LoopbackGateway) =>
  gateway.received.filter(({ method }) => method === 'POST').map(({ message }) => message.method);

const fail = (received: Received, response: ServerResponse, status: number, code: number) => {
  const error = { code, message: `Failed with ${code}`, data: { supported: [MODERN] } };
  const body = { jsonrpc: '2.0', id: received.message.id, error };
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
};

/** A gateway of an earlier era, without sessions, that runs a call and then fails. */
const startFailing = (status: number, code: number, discover = -32601) =>
  startGateway((received, response) => {
    const { method } = received.message;
    if (method === 'tools/call') fail(received, response, status, code);
    else if (method === 'server/discover') fail(received, response, 200, discover);
    else answer(received, response);
  });

const CODES = [
  ...[-32700, -32600, -32601, -32602, -32603, -32000, -32001, -32002, -32042, -32099],
  ...[-32020, -32021, -32022, 1, 404],
];

describe('a tools/call that opens the connection to a gateway of an earlier era', () => {
  it.each(CODES)('runs once where the tool fails with %d', async (code) => {
    const gateway = await startFailing(200, code);
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2]) {
      expect(await proxy.request(id, 'tools/call', modern({ name: 'x' }))).toMatchObject({
        error: { code },
      });
    }
    expect(methods(gateway)).toEqual([
      'server/discover',
      'initialize',
      'notifications/initialized',
      'tools/call',
      'tools/call',
    ]);
    expect(proxy.messages).toHaveLength(2);
  });

  it.each([400, 404, 500, 503])('runs once where the tool fails with HTTP %d', async (status) => {
    const gateway = await startFailing(status, -32000);
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { code: -32000 },
    });
    expect(methods(gateway).filter((method) => method === 'tools/call')).toHaveLength(1);
  });

  it.each([-32000, -32600, -32602, -32603])(
    'is sent after a handshake where server/discover fails with %d',
    async (code) => {
      const gateway = await startFailing(200, -32000, code);
      const proxy = startProxy(gateway.url);
      await proxy.request(1, 'tools/call', modern({ name: 'x' }));
      expect(methods(gateway)).toEqual([
        ...['server/discover', 'initialize', 'notifications/initialized', 'tools/call'],
      ]);
    },
  );

  it.each(['tools/call', 'vendor/method'])(
    'reaches a gateway that insists on a session only in one: %s',
    async (method) => {
      const gateway = await startOldGateway();
      const proxy = startProxy(gateway.url);
      await proxy.request(1, method, modern({ name: 'echo', arguments: { x: 1 } }));
      const sent = gateway.received.filter(({ message }) => message.method === method);
      expect(sent).toHaveLength(1);
      expect(sent[0]?.headers).toHaveProperty('mcp-session-id');
    },
  );

  it('runs once where its connection breaks, and the next request goes on in the session', async () => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'tools/call') response.socket?.resetAndDestroy();
      else if (received.message.method === 'server/discover') fail(received, response, 404, -32601);
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { data: { reason: 'interrupted' } },
    });
    expect(await proxy.request(2, 'tools/list', modern())).toHaveProperty('result');
    expect(methods(gateway)).toEqual([
      ...['server/discover', 'initialize', 'notifications/initialized', 'tools/call', 'tools/list'],
    ]);
  });

  it('is answered with the error of the handshake, and not sent, where that is refused', async () => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'initialize') fail(received, response, 200, -32000);
      else fail(received, response, 404, -32601);
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { code: -32000 },
    });
    expect(methods(gateway)).toEqual(['server/discover', 'initialize']);
  });

  it.each([
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [429, 'rate_limited'],
    [503, 'gateway_error'],
  ])('is not sent where server/discover is answered with HTTP %d', async (status, reason) => {
    const gateway = await startGateway((_, response) => void response.writeHead(status).end());
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { data: { reason, status } },
    });
    expect(methods(gateway)).not.toContain('tools/call');
    expect(methods(gateway)).not.toContain('initialize');
  });

  it('is not sent once it has been cancelled', async () => {
    let discover: (() => void) | undefined;
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'server/discover') {
        discover = () => fail(received, response, 404, -32601);
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    proxy.send(
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: modern({ name: 'x' }) },
      { jsonrpc: '2.0', id: 2, method: 'tools/call', params: modern({ name: 'x' }) },
    );
    await gateway.request(({ message }) => message.method === 'server/discover');
    proxy.notify('notifications/cancelled', { requestId: 1 });
    // It has been read when a line after it is refused.
    proxy.send({ jsonrpc: '1.0', id: 3, method: 'x' });
    await proxy.reply(3);
    discover?.();
    expect(await proxy.reply(2)).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    expect(methods(gateway).filter((method) => method === 'tools/call')).toHaveLength(1);
    expect(proxy.messages.map(({ id }) => id)).toEqual([3, 2]);
  });
});

describe('a tools/call that opens the connection to a gateway of 2026-07-28', () => {
  it('follows one server/discover, once for the process and for all that come at once', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    const ids = Array.from({ length: 5 }, (_, index) => index);
    const params = (id: number) =>
      modern({ name: 'echo', arguments: { text: `${id}` } }, { progressToken: `p-${id}` });
    for (const id of ids)
      proxy.send({ jsonrpc: '2.0', id, method: 'tools/call', params: params(id) });
    for (const id of ids) expect(said(await proxy.reply(id))).toEqual({ text: `${id}` });
    expect(methods(gateway)).toEqual(['server/discover', ...ids.map(() => 'tools/call')]);
    // Progress is asked for by the calls alone.
    expect(gateway.requests('server/discover')[0]?.body).not.toContain('progressToken');
  });

  it.each([
    [404, -32601],
    [400, -32020],
  ])(
    'is sent as it is where server/discover and initialize are refused with %d and %d',
    async (status, code) => {
      const content = { content: [], resultType: 'complete' };
      const gateway = await startGateway((received, response) => {
        const { id, method } = received.message;
        if (method === 'tools/call') sendJson(response, { jsonrpc: '2.0', id, result: content });
        else fail(received, response, status, method === 'initialize' ? code : -32601);
      });
      const proxy = startProxy(gateway.url);
      expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
        result: content,
      });
      expect(methods(gateway)).toEqual(['server/discover', 'initialize', 'tools/call']);
    },
  );

  it('runs once where its tool fails with a code of the revision itself', async () => {
    const gateway = await startGateway((received, response) => {
      const { id, method } = received.message;
      if (method !== 'server/discover') return fail(received, response, 200, -32020);
      const result = { resultType: 'complete', supportedVersions: [MODERN], capabilities: {} };
      sendJson(response, { jsonrpc: '2.0', id, result });
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { code: -32020 },
    });
    expect(methods(gateway)).toEqual(['server/discover', 'tools/call']);
  });
});
