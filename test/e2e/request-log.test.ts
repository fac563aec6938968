import { expect, it } from 'vitest';
import { answer, startGateway } from './loopback-gateway.ts';
import { startProxy } from './running-proxy.ts';

it('logs one line for each request at info, and no headers', async () => {
  let lists = 0;
  const gateway = await startGateway((received, response) => {
    const { method } = received.message;
    if (method === 'initialize') response.setHeader('mcp-session-id', 'session-abc');
    if (method === 'tools/list' && ++lists === 1) response.writeHead(503).end();
    else if (method === 'prompts/get') response.writeHead(403).end();
    else if (method !== 'slow/call') answer(received, response);
  });
  const proxy = startProxy(gateway.url, { args: ['--log-level', 'info'] });
  await proxy.initialize();
  await proxy.request(2, 'tools/list');
  await proxy.request(3, 'tools/call', { name: 'search\u202e' });
  await proxy.request(4, 'prompts/get', { name: 'p' });
  proxy.send({ jsonrpc: '2.0', id: 5, method: 'slow/call' });
  await gateway.request(({ message }) => message.id === 5);
  proxy.notify('notifications/cancelled', { requestId: 5 });
  await proxy.request(6, 'ping');
  await proxy.end();

  const line = (what: string, how: string) =>
    new RegExp(`info: ${what}: ${how}, \\d+ bytes sent, \\d+ bytes received, session 1\n`);
  expect(proxy.stderr).toMatch(
    line('initialize \\(id "init"\\)', 'ok, HTTP 200, \\d+ ms, 1 attempt'),
  );
  expect(proxy.stderr).toMatch(line('tools/list \\(id 2\\)', 'ok, HTTP 200, \\d+ ms, 2 attempts'));
  expect(proxy.stderr).toMatch(
    line('tools/call search \\(id 3\\)', 'ok, HTTP 200, \\d+ ms, 1 attempt'),
  );
  expect(proxy.stderr).toMatch(
    line('prompts/get p \\(id 4\\)', 'error -320\\d\\d, HTTP 403, \\d+ ms, 1 attempt'),
  );
  expect(proxy.stderr).toMatch(/info: slow\/call \(id 5\): cancelled, \d+ ms\n/);
  expect(proxy.stderr).not.toContain('headers {');
  expect(proxy.stderr).not.toContain('session-abc');
});

it('logs connections and headers at debug, never a credential', async () => {
  const gateway = await startGateway((received, response) => {
    response.setHeader('set-cookie', 'sid=cookie-value-1234');
    response.setHeader('x-served-by', 'node-7');
    answer(received, response);
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  await proxy.request(2, 'ping');
  await proxy.end();
  expect(proxy.stderr).toMatch(/debug: connection 1 to 127\.0\.0\.1:\d+: open, TCP after \d+ ms\n/);
  expect(proxy.stderr).toMatch(/debug: POST \/v1\/mcp: HTTP 200, replied, sent after \d+ ms/);
  expect(proxy.stderr).toContain('authorization: [secret]');
  expect(proxy.stderr).toContain('set-cookie: [secret]');
  expect(proxy.stderr).toContain('x-served-by: node-7');
  expect(proxy.stderr).not.toContain('cookie-value-1234');
});
