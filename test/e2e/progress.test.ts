import type { ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { replyOn, startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, sendEvents, startGateway } from './loopback-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const progress = (progressToken: unknown, n: number) => ({
  jsonrpc: '2.0',
  method: 'notifications/progress',
  params: { progressToken, progress: n },
});
const event = (message: object) => `data: ${JSON.stringify(message)}\n\n`;
const seen = (proxy: RunningProxy) =>
  proxy.messages
    .filter(({ method }) => method === 'notifications/progress')
    .map(({ params }) => (params as Json).progress);

/** A gateway with a GET stream to write to. */
async function gatewayWithStream() {
  let get: ServerResponse | undefined;
  const gateway = await startGateway((received, response) => {
    if (received.method === 'GET') {
      get = response;
      sendEvents(response);
      response.write(': open\n\n');
    } else if (received.message.method !== 'tools/call') answer(received, response);
    else if (received.message.id !== 'held') {
      const { params, id } = received.message;
      const isTask = (params as Json).task !== undefined;
      const result = isTask ? { task: { taskId: 't', status: 'working' } } : {};
      sendEvents(
        response,
        progress((params as { _meta: Json })._meta.progressToken, 1),
        { jsonrpc: '2.0', id, result },
        progress((params as { _meta: Json })._meta.progressToken, 2),
      );
      response.end();
    }
  });
  return {
    ...gateway,
    write: async (...messages: object[]) => {
      await gateway.request(({ method }) => method === 'GET');
      for (const message of messages) get?.write(event(message));
    },
  };
}

const HELLO = { jsonrpc: '2.0', method: 'notifications/hello' };
const hello = (proxy: RunningProxy) =>
  proxy.message(({ method }) => method === 'notifications/hello');

it.each(['token', 7, '7', 12345678901234567890n, 1.5])(
  'progress comes until the reply to the request that asked for it, and then stops: %s',
  async (token) => {
    const gateway = await gatewayWithStream();
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    const isBig = typeof token === 'bigint';
    const json = isBig ? String(token) : JSON.stringify(token);
    proxy.send(
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":${json}}}}`,
    );
    expect(await proxy.reply(1)).toHaveProperty('result');
    await gateway.write(progress(isBig ? Number(token) : token, 3), HELLO);
    await hello(proxy);
    expect(seen(proxy)).toEqual([1]);
    expect(proxy.stderr).toContain('dropped progress of a request that is over');
  },
);

it('progress for a token that no request had is dropped, also one that only looks alike', async () => {
  const gateway = await gatewayWithStream();
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  const params = { progressToken: 'outside', _meta: { progressToken: '7' } };
  proxy.send({ jsonrpc: '2.0', id: 'held', method: 'tools/call', params });
  await gateway.request(({ message }) => message.id === 'held');
  const tokens = ['held', 'outside', 7, '07', 'never'];
  await gateway.write(...tokens.map((token) => progress(token, 0)), progress('7', 1), HELLO);
  await hello(proxy);
  expect(seen(proxy)).toEqual([1]);
});

it('progress of a request that was cancelled is dropped', async () => {
  const gateway = await gatewayWithStream();
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  proxy.send({
    ...{ jsonrpc: '2.0', id: 'held', method: 'tools/call' },
    params: { _meta: { progressToken: 't' } },
  });
  await gateway.write(progress('t', 1));
  await proxy.until(() => seen(proxy).length === 1);
  proxy.notify('notifications/cancelled', { requestId: 'held' });
  await gateway.request(({ message }) => message.method === 'notifications/cancelled');
  await gateway.write(progress('t', 2), HELLO);
  await hello(proxy);
  expect(seen(proxy)).toEqual([1]);
});

it('progress of a task goes on after the reply that began it', async () => {
  const gateway = await gatewayWithStream();
  const proxy = startProxy(gateway.url);
  await proxy.initialize('2025-11-25');
  const params = { name: 'x', task: { ttl: 60_000 }, _meta: { progressToken: 't' } };
  expect(await proxy.request(1, 'tools/call', params)).toHaveProperty('result.task');
  await gateway.write(progress('t', 3), progress('u', 4), HELLO);
  await hello(proxy);
  await proxy.until(() => seen(proxy).length === 3);
  expect(seen(proxy).sort()).toEqual([1, 2, 3]);
});

it('progress of the client for a request of the gateway is passed on', async () => {
  const gateway = await gatewayWithStream();
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  proxy.send(progress('of the gateway', 1));
  const { message } = await gateway.request(
    (received) => received.message.method === 'notifications/progress',
  );
  expect(message).toEqual(progress('of the gateway', 1));
});

it('progress over HTTP+SSE for a request that is over is dropped', async () => {
  const gateway = await startHttpSseGateway({
    take: ({ message }, stream, response) => {
      if (message.method !== 'tools/call') return false;
      response.writeHead(202).end();
      stream.message(progress('t', 1));
      replyOn(stream, message);
      stream.message(progress('t', 2));
      stream.message(HELLO);
      return true;
    },
  });
  const proxy = startProxy(gateway.url, { args: ['--transport', 'sse'] });
  await proxy.initialize();
  proxy.send({
    ...{ jsonrpc: '2.0', id: 1, method: 'tools/call' },
    params: { _meta: { progressToken: 't' } },
  });
  await hello(proxy);
  expect(seen(proxy)).toEqual([1]);
});
