import { describe, expect, it } from 'vitest';
import { answer, sendEvents, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

/** A gateway that asks the client something, with this id, before it answers a `tools/call`. */
async function askingGateway(id: string | number) {
  const question = { jsonrpc: '2.0', id, method: 'roots/list', params: {} };
  let finish = () => {};
  const gateway = await startGateway((received, response) => {
    const { message } = received;
    if (message.method === 'tools/call') {
      sendEvents(response, question);
      finish = () =>
        void response.end(
          `data: ${JSON.stringify({ jsonrpc: '2.0', id: message.id, result: {} })}\n\n`,
        );
      return;
    }
    answer(received, response);
    if (message.method === undefined && received.method === 'POST') finish();
  });
  const replies = () =>
    gateway.received.filter(
      ({ method, message }) => method === 'POST' && message.method === undefined,
    );
  return { ...gateway, replies };
}

describe('a reply of the client to a request of the gateway', () => {
  it.each<[string, string]>([
    ['{"result":{"roots":[]},"error":null', '{"result":{"roots":[]}'],
    ['{"error":null,"result":{"roots":[]}', '{"result":{"roots":[]}'],
    ['{"result":null,"error":{"code":-1,"message":"no"}', '{"error":{"code":-1,"message":"no"}'],
    ['{"method":null,"params":null,"result":{"roots":[]}', '{"params":null,"result":{"roots":[]}'],
    ['{"result":null', '{"result":null'],
    ['{"result":null,"error":null', '{"result":null'],
  ])('%s … reaches the gateway without the null that does not count', async (text, sent) => {
    const gateway = await askingGateway('ask');
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    const call = proxy.request(1, 'tools/call', { name: 'x' });
    await proxy.message(({ method }) => method === 'roots/list');
    proxy.send(`${text},"jsonrpc":"2.0","id":"ask"}`);
    expect(await call).toHaveProperty('result');
    expect(gateway.replies().map(({ body }) => body)).toEqual([
      `${sent},"jsonrpc":"2.0","id":"ask"}`,
    ]);
    expect(proxy.messages.filter((message) => message.id === 'ask')).toHaveLength(1);
  });

  it.each([
    '{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":"both"}}',
    '{"jsonrpc":"2.0","id":7,"error":null}',
    '{"jsonrpc":"2.0","id":7,"error":"a text"}',
    '{"jsonrpc":"2.0","id":7,"method":"x","result":{}}',
    '{"jsonrpc":"2.0","id":7,"method":null,"error":null}',
    '{"id":7,"result":{}}',
    '{"jsonrpc":"2.0","id":{},"result":{}}',
    '{"jsonrpc":"2.0","id":7,"result":{"cut":"off',
    '{"jsonrpc":"2.0","id":7,"result":{}} and more',
    '[{"jsonrpc":"2.0","id":7,"error":null},{"jsonrpc":"2.0","method":"notifications/x"}]',
  ])('is never answered, whatever is wrong with it: %s', async (line) => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    proxy.send(line);
    expect(await proxy.request(8, 'ping')).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages.map(({ id }) => id)).toEqual(['init', 8]);
    expect(proxy.stderr).toContain('a line from the client is not a JSON-RPC message');
  });

  it.each<[string, Json]>([
    ['a result', { result: { roots: [] } }],
    ['an error', { error: { code: -1, message: 'no' } }],
  ])('with the id of a request of its own is told apart from that: %s', async (_, outcome) => {
    const gateway = await askingGateway(1);
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    const call = proxy.request(1, 'tools/call', { name: 'x' });
    const question = await proxy.message(({ method }) => method === 'roots/list');
    expect(question).toMatchObject({ id: 1 });
    proxy.send({ jsonrpc: '2.0', id: 1, ...outcome });
    expect(await call).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
    expect(gateway.replies().map(({ message }) => message)).toEqual([
      { jsonrpc: '2.0', id: 1, ...outcome },
    ]);
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(2);
  });
});

it.each<[string, (reply: Json) => Json]>([
  ['error', (reply) => ({ ...reply, error: null })],
  ['method', (reply) => ({ method: null, ...reply })],
])('a reply of the gateway with a null %s reaches the client without that', async (_, change) => {
  const gateway = await startGateway((received, response) => {
    const { method, id } = received.message;
    if (method !== 'tools/call') return answer(received, response);
    const reply = change({ jsonrpc: '2.0', id, result: { content: [] } });
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(reply));
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  expect(await proxy.request(1, 'tools/call', { name: 'x' })).toEqual({
    ...{ jsonrpc: '2.0', id: 1, result: { content: [] } },
  });
});
