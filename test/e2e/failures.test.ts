import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { answer, type Respond, sendEvents, sendJson, startGateway } from './loopback-gateway.ts';
import { type Json, program, startProxy, TEST_KEY } from './running-proxy.ts';

interface Case {
  name: string;
  respond: Respond;
  method?: string;
  /** The URL's path; /v1/mcp without. */
  target?: string;
  env?: Record<string, string>;
  code: number;
  reason: string;
  /** What happened and what to do, both in the message. */
  says: [happened: RegExp, remedy: RegExp];
  data?: Json;
}

const status =
  (code: number, body = '', headers: Record<string, string> = {}): Respond =>
  (_, response) =>
    response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(body);

const cases: Case[] = [
  {
    name: 'a 401 without a key',
    respond: status(401, '{"error":"Unauthorized"}'),
    env: { MCP_LATCHKEY_API_KEY: '' },
    code: -32010,
    reason: 'no_api_key',
    says: [
      /HTTP 401.*requires one, but none is set/,
      // Windows always has a keychain.
      process.platform === 'win32' ? /mcp-latchkey\.js login http/ : /MCP_LATCHKEY_API_KEY/,
    ],
    data: { status: 401, keySource: 'none', retryable: false },
  },
  {
    name: 'a key that cannot be sent',
    respond: answer,
    env: { MCP_LATCHKEY_API_KEY: 'a key with spaces in it' },
    code: -32011,
    reason: 'malformed_api_key',
    says: [/it was not sent/, /Set only the key/],
  },
  {
    name: 'a 401 with a key',
    respond: status(401, '{"error":"Unauthorized"}'),
    code: -32012,
    reason: 'unauthorized',
    says: [/API key rejected.*HTTP 401.*ends in cdef/, /Set a new key/],
    data: { status: 401, keySource: 'key-env' },
  },
  {
    name: 'a 403',
    respond: status(403, '{"error":"Forbidden"}'),
    code: -32013,
    reason: 'forbidden',
    says: [/HTTP 403.*is valid/, /Ask your administrator/],
  },
  {
    name: 'a 404',
    respond: status(404),
    code: -32014,
    reason: 'wrong_path',
    says: [/HTTP 404.*is not an MCP endpoint/, /The path looks right/],
  },
  {
    name: 'a 405',
    respond: status(405),
    code: -32014,
    reason: 'wrong_path',
    says: [/HTTP 405/, /The path looks right/],
  },
  {
    name: 'a 406',
    respond: status(406, '{"message":"Client must accept both"}'),
    code: -32015,
    reason: 'not_acceptable',
    says: [/HTTP 406.*Client must accept both/, /proxy may be changing it/],
  },
  {
    name: 'a 413',
    respond: status(413, '{"message":"Request body too large. Maximum size is 50 MB."}'),
    code: -32016,
    reason: 'request_too_large',
    says: [/HTTP 413.*at most 50 MB/, /Send less/],
    data: { limitBytes: 52_428_800 },
  },
  {
    name: 'a 429',
    respond: status(429, '', { 'retry-after': '7' }),
    code: -32017,
    reason: 'rate_limited',
    says: [/HTTP 429/, /Try again in 7 seconds/],
    data: { retryAfter: 7, retryable: true },
  },
  {
    name: 'a 503',
    respond: status(503, '<html>down</html>', { 'content-type': 'text/html' }),
    code: -32018,
    reason: 'gateway_error',
    says: [/HTTP 503.*failed 3 times\./, /Try again/],
    data: { status: 503, retryable: true, attempts: 3 },
  },
  {
    name: 'a redirect to another origin',
    respond: status(307, '', { location: 'https://elsewhere.example/mcp' }),
    code: -32007,
    reason: 'redirected',
    says: [
      /redirects to https:\/\/elsewhere\.example\/mcp instead\. The API key was not sent there/,
      /trust/,
    ],
    data: { location: 'https://elsewhere.example/mcp' },
  },
  {
    name: 'any other status',
    respond: status(418, '{"error":{"message":"I am a \\u001b[31mteapot"}}'),
    code: -32006,
    reason: 'http_error',
    says: [/HTTP 418.*I am a teapot/, /operator/],
  },
  {
    name: 'an HTML page',
    respond: (_, response) =>
      response
        .writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
        .end('<html><title>\n Sign &amp; in\u202e </title>Log in</html>'),
    code: -32009,
    reason: 'invalid_response',
    says: [/a web page, "Sign & in"/, /sign in to the network/],
  },
  {
    name: 'broken JSON',
    respond: (_, response) => sendJson(response, '{"jsonrpc":"2.0","id":1,"res'),
    code: -32009,
    reason: 'invalid_response',
    says: [/not valid JSON/, /Check/],
  },
  {
    name: 'an empty body',
    respond: (_, response) => response.writeHead(202).end(),
    code: -32009,
    reason: 'invalid_response',
    says: [/an empty body/, /Check/],
  },
  {
    name: 'a reply to another request',
    respond: (_, response) => sendJson(response, { jsonrpc: '2.0', id: 'other', result: {} }),
    code: -32009,
    reason: 'invalid_response',
    says: [/an unrelated reply/, /Check/],
  },
  {
    name: 'an event stream that ends before the reply',
    method: 'tools/call',
    respond: (_, response) => {
      sendEvents(response, { jsonrpc: '2.0', method: 'notifications/progress' });
      response.end();
    },
    code: -32008,
    reason: 'interrupted',
    says: [/ended before the reply.*may have run/, /Check whether it took effect/],
  },
  {
    name: 'a connection that is cut before the answer, for a call that may have run',
    method: 'tools/call',
    respond: (_, response) => response.destroy(),
    code: -32008,
    reason: 'interrupted',
    says: [/may have run/, /not retried/],
  },
  {
    name: 'an answer that is cut in the middle',
    respond: (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
      response.write('{"jsonrpc":"2.0",', () => response.destroy());
    },
    code: -32009,
    reason: 'invalid_response',
    says: [/a truncated reply/, /Try again/],
  },
  {
    name: 'a plain 404 where the URL has no path of an endpoint',
    target: '/',
    respond: status(404),
    code: -32014,
    reason: 'wrong_path',
    says: [/is not an MCP endpoint/, /usually at http:\/\/127.0.0.1:\d+\/v1\/mcp/],
  },
  {
    name: 'a 401 with a challenge that says why',
    respond: status(401, '', {
      'www-authenticate':
        'Basic realm="x", Bearer realm="a", error="invalid_token", error_description="The key \\"k\\" expired"',
    }),
    code: -32012,
    reason: 'unauthorized',
    says: [/API key rejected.*: The key "k" expired/, /new key/],
  },
  {
    name: 'a 403 with a challenge that names the scope',
    respond: status(403, '', {
      'www-authenticate': 'Bearer error="insufficient_scope", scope="tools:call"',
    }),
    code: -32013,
    reason: 'forbidden',
    says: [/missing scope tools:call/, /admin/],
  },
  {
    name: 'a connection that is cut before the answer, for a request that may be repeated',
    respond: (_, response) => response.destroy(),
    code: -32019,
    reason: 'unreachable',
    says: [/closed before the gateway replied/, /Try again/],
    data: { cause: 'reset' },
  },
];

it.each(cases)(
  'answers $name with the reason $reason, and the next request works',
  async ({ respond, method = 'tools/list', target, env = {}, code, reason, says, data }) => {
    let isMended = false;
    const gateway = await startGateway((received, response) => {
      (isMended ? answer : respond)(received, response);
    });
    const url = target === undefined ? gateway.url : new URL(target, gateway.url).href;
    const proxy = startProxy(url, { env });
    const reply = await proxy.request('failing', method);
    expect(reply).toMatchObject({
      jsonrpc: '2.0',
      id: 'failing',
      error: { code, data: { reason, gateway: url, hint: expect.any(String), ...data } },
    });
    const { message } = reply.error as { message: string };
    expect(message).toMatch(says[0]);
    expect(message).toMatch(says[1]);
    expect(message).not.toMatch(/[\p{Cc}]/u);
    isMended = true;
    const next = await proxy.request('next', 'tools/list');
    if (reason === 'malformed_api_key') expect(gateway.received).toEqual([]);
    else expect(next).toHaveProperty('result');
    expect(proxy.messages.filter((message) => 'id' in message)).toHaveLength(2);
    expect(await proxy.end()).toBe(0);
  },
);

it('answers a port without a listener with unreachable, cause refused', async () => {
  const gateway = await startGateway(answer);
  await gateway.close();
  const proxy = startProxy(gateway.url);
  expect(await proxy.request(1, 'tools/call')).toMatchObject({
    error: { code: -32019, data: { reason: 'unreachable', cause: 'refused', retryable: true } },
  });
});

it('answers a name that does not resolve with unreachable, cause dns', async () => {
  const proxy = startProxy('https://no-such-host.invalid/v1/mcp');
  expect(await proxy.request(1, 'tools/list')).toMatchObject({
    error: { code: -32019, data: { cause: 'dns', gateway: 'https://no-such-host.invalid/v1/mcp' } },
  });
});

it('answers silence with unreachable, cause timeout, after --timeout', async () => {
  const gateway = await startGateway(() => {});
  const proxy = startProxy(gateway.url, { args: ['--timeout', '1'] });
  expect(await proxy.request(1, 'tools/list')).toMatchObject({
    error: { code: -32019, data: { cause: 'timeout' } },
  });
});

it('answers a server that speaks no HTTP', async () => {
  const server = createServer((socket) => {
    socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as { port: number };
    const proxy = startProxy(`http://127.0.0.1:${port}/v1/mcp`);
    const { error } = await proxy.request(1, 'tools/list');
    expect(error).toMatchObject({
      message: expect.stringContaining('sent invalid HTTP'),
      data: { reason: 'invalid_response' },
    });
  } finally {
    server.close();
  }
});

it("passes on the gateway's own error, whatever the HTTP status", async () => {
  const gateway = await startGateway(({ message }, response) => {
    const error = { code: -32603, message: 'Upstream failed', data: { a: [1.5] } };
    const body = JSON.stringify({ jsonrpc: '2.0', id: message.id, error });
    response.writeHead(400, { 'content-type': 'application/json' }).end(body);
  });
  const proxy = startProxy(gateway.url);
  expect(await proxy.request(1, 'resources/list')).toEqual({
    jsonrpc: '2.0',
    id: 1,
    error: { code: -32603, message: 'Upstream failed', data: { a: [1.5] } },
  });
});

it.each([
  ['from the environment', [], {}],
  ['in a header', ['-H', 'Authorization: Bearer ${ITS_KEY}'], { ITS_KEY: TEST_KEY }],
])('does not repeat a key %s that the gateway quotes', async (_, args, env) => {
  const gateway = await startGateway(({ headers }, response) => {
    const key = headers.authorization?.replace('Bearer ', '');
    const challenge = `Bearer error="invalid_token", error_description="no such key: ${key}"`;
    response.writeHead(401, { 'www-authenticate': challenge });
    response.end(JSON.stringify({ message: `The key ${key} is not known` }));
  });
  const proxy = startProxy(gateway.url, { args, env });
  const { error } = await proxy.request(1, 'tools/list');
  expect((error as { message: string }).message).toContain('no such key: [secret]');
  expect(JSON.stringify(error)).not.toContain(TEST_KEY);
});

it.skipIf(process.platform === 'win32')(
  'prints a login command in which a shell runs and replaces nothing',
  async () => {
    const gateway = await startGateway(status(401, '{"error":"Unauthorized"}'));
    const url = `${new URL(gateway.url).origin}/a$(id);b&'c`;
    const args = ['--account', "Ada's $(id)", '--key-header', 'x`id`'];
    // With --auth key, an account must have a key. Otherwise one that is missing may be a sign-in's.
    const keyOnly = [...args, '--auth', 'key'];
    const proxy = startProxy(url, { args: keyOnly, env: { MCP_LATCHKEY_API_KEY: '' } });
    const { error } = await proxy.request(1, 'tools/list');
    const { message } = error as { message: string };
    const command = /run `(.*)`\. No restart/.exec(message)?.[1] ?? '';
    const node = 'node() { printf "%s\\n" "$@"; }';
    const read = execFileSync('sh', ['-c', `${node}\n${command}`]);
    expect(String(read).split('\n')).toEqual([program, 'login', url, ...args, '']);
  },
);

it('logs a notification that could not be delivered and answers nothing', async () => {
  const gateway = await startGateway(status(500));
  const proxy = startProxy(gateway.url);
  proxy.notify('notifications/roots/list_changed');
  await proxy.until(() => proxy.stderr.includes('could not deliver'));
  expect(proxy.stderr).toContain('could not deliver notifications/roots/list_changed');
  expect(proxy.messages).toEqual([]);
});

it('reads the key file again until it has a key', async () => {
  const { mkdtempSync, rmSync, writeFileSync } = await import('node:fs');
  const { tmpdir } = await import('node:os');
  const folder = mkdtempSync(`${tmpdir()}/latchkey-`);
  try {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, { args: ['--key-file', `${folder}/key`] });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { code: -32010, message: expect.stringContaining('could not be read: ENOENT') },
    });
    writeFileSync(`${folder}/key`, 'Bearer from-the-file-0001\n', { mode: 0o600 });
    expect(await proxy.request(2, 'tools/list')).toHaveProperty('result');
    expect(gateway.received[0]?.headers.authorization).toBe('Bearer from-the-file-0001');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
