import { expect, it } from 'vitest';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { secret, startProxy } from './running-proxy.ts';

const AFFINITY = secret('worker-7-9f8e7d6c5b4a39281706');

it('a cookie comes back with every later request of the session, however it is sent', async () => {
  const gateway = await startGateway((received, response) => {
    const { method } = received.message;
    if (method === 'initialize') {
      response.setHeader('mcp-session-id', 's');
      response.setHeader('set-cookie', [`AWSALB=${AFFINITY}; Path=/; HttpOnly`, 'lang=en; Secure']);
    }
    answer(received, response);
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  await gateway.request(({ method }) => method === 'GET');
  expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
  expect(await proxy.end()).toBe(0);
  const cookies = gateway.received.map(({ method, headers }) => [method, headers.cookie]);
  expect(cookies[0]).toEqual(['POST', undefined]);
  expect(cookies.slice(1).map(([, cookie]) => cookie)).toEqual(
    cookies.slice(1).map(() => `AWSALB=${AFFINITY}`),
  );
  expect(new Set(cookies.map(([method]) => method))).toEqual(new Set(['POST', 'GET', 'DELETE']));
});

it('a worker is found again by its cookie, also one that changes with each answer', async () => {
  let turn = 0;
  const gateway = await startGateway((received, response) => {
    const { method } = received.message;
    const expected = turn === 0 ? undefined : `turn=number-${turn}`;
    if (method === 'initialize') response.setHeader('mcp-session-id', 's');
    else if (received.method === 'POST' && received.headers.cookie !== expected) {
      response.writeHead(404).end();
      return;
    }
    if (received.method === 'POST') response.setHeader('set-cookie', `turn=number-${++turn}`);
    answer(received, response);
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  for (const id of [1, 2, 3]) expect(await proxy.request(id, 'ping')).toHaveProperty('result');
  expect(gateway.received.filter(({ message }) => message.method === 'initialize')).toHaveLength(1);
});

it('the user’s own Cookie header comes first, in the same line', async () => {
  const gateway = await startGateway((received, response) => {
    response.setHeader('set-cookie', 'theirs=2');
    answer(received, response);
  });
  const proxy = startProxy(gateway.url, { args: ['-H', 'Cookie: own=1'] });
  await proxy.request(1, 'ping');
  await proxy.request(2, 'ping');
  expect(gateway.received.map(({ headers }) => headers.cookie)).toEqual([
    'own=1',
    'own=1; theirs=2',
  ]);
});

it('what the gateway ends, or means for another path or host, is not sent', async () => {
  const lines = [
    'gone=1',
    'gone=; Max-Age=0',
    'old=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT',
    'path=1; Path=/elsewhere',
    'host=1; Domain=example.com',
    'kept=1; Path=/v1; Domain=127.0.0.1; Max-Age=99',
  ];
  const gateway = await startGateway((received, response) => {
    if (received.message.id === 1) response.setHeader('set-cookie', lines);
    answer(received, response);
  });
  const proxy = startProxy(gateway.url);
  await proxy.request(1, 'ping');
  await proxy.request(2, 'ping');
  expect(gateway.received[1]?.headers.cookie).toBe('kept=1');
});

it('a redirect to another origin gets none', async () => {
  const other = await startGateway(answer);
  const gateway = await startGateway((received, response) => {
    if (received.message.id === 1) answer(received, response.setHeader('set-cookie', 'a=1'));
    else response.writeHead(307, { location: other.url, 'set-cookie': 'b=2' }).end();
  });
  const proxy = startProxy(gateway.url);
  await proxy.request(1, 'ping');
  expect((await proxy.request(2, 'ping')).error).toMatchObject({ data: { reason: 'redirected' } });
  expect(other.received).toEqual([]);
});

it('its value reaches neither the client nor the log where the gateway quotes it, nor does a key meanwhile', async () => {
  const values = Array.from({ length: 100 }, (_, at) => secret(`cookie-value-${at}-0123456789`));
  const gateway = await startGateway((received, response) => {
    const at = Number(received.message.id);
    response.setHeader('set-cookie', `a=${values[at]}`);
    if (at % 3 === 0) return answer(received, response);
    const words = `no ${values[at]} for ${received.headers.authorization}`;
    if (at % 3 === 1) response.writeHead(403).end(words);
    else {
      const error = { code: 1, message: words, data: { words } };
      response.end(JSON.stringify({ jsonrpc: '2.0', id: at, error }));
    }
  });
  const proxy = startProxy(gateway.url);
  for (const at of values.keys()) await proxy.request(at, 'ping');
  expect(JSON.stringify(proxy.messages)).toContain('[secret]');
  // startProxy looks for the values in all that was written.
});

it('works over HTTP+SSE: the POSTs go to the worker that has the stream', async () => {
  const gateway = await startHttpSseGateway({
    open: (stream) => {
      stream.response.setHeader('set-cookie', 'worker=two; Path=/');
      stream.response.writeHead(200, { 'content-type': 'text/event-stream' });
      stream.write(`event: endpoint\ndata: /messages?session=${stream.number}\n\n`);
    },
  });
  const proxy = startProxy(gateway.url, { args: ['--transport', 'sse'] });
  await proxy.initialize();
  const posts = gateway.received.filter(({ method }) => method === 'POST');
  expect(posts.map(({ headers }) => headers.cookie)).toContain('worker=two');
});
