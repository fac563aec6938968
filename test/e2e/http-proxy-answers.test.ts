import { describe, expect, it } from 'vitest';
import { startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

/** How a call or a list ends that an HTTP proxy on plain http answers so. */
async function through(
  { status, headers = {}, body = '' }: Answer,
  method = 'tools/list',
  proxied = true,
) {
  const server = await startGateway((_, response) => {
    response.writeHead(status, headers).end(body);
  });
  const { origin, port } = new URL(server.url);
  const proxy = startProxy(
    proxied ? 'http://gateway.test/v1/mcp' : `http://0.0.0.0:${port}/v1/mcp`,
    {
      args: ['--allow-http'],
      env: proxied ? { HTTP_PROXY: origin } : {},
    },
  );
  const { error } = await proxy.request(1, method, { name: 'x' });
  const { message, data } = error as { message: string; data: Json };
  return { message, data, count: server.received.length };
}

const HTML = { 'content-type': 'text/html' };
const PAGE = '<html><title>ERROR: The requested URL could not be retrieved</title></html>';

/** What an HTTP proxy says in its own name. */
const OWN: [string, Answer][] = [
  [
    'X-Squid-Error',
    { status: 403, headers: { ...HTML, 'x-squid-error': 'ERR_ACCESS_DENIED 0' }, body: PAGE },
  ],
  [
    'Proxy-Status with an error',
    { status: 403, headers: { 'proxy-status': 'corp; error=http_request_denied' } },
  ],
  ['Via', { status: 403, headers: { ...HTML, via: '1.1 proxy.corp (squid/5.7)' }, body: PAGE }],
  [
    'Via and its own name as Server',
    {
      status: 403,
      headers: { ...HTML, server: 'Apache/2.4', via: '1.1 corp (Apache/2.4)' },
      body: PAGE,
    },
  ],
  ['Proxy-Connection', { status: 403, headers: { 'proxy-connection': 'close' } }],
  [
    'X-Cache',
    { status: 403, headers: { server: 'squid/5.7', 'x-cache': 'NONE from proxy' }, body: PAGE },
  ],
];

describe.each(OWN)('an HTTP proxy that refuses plain http with %s', (_, answer) => {
  it('is named, and not the gateway', async () => {
    const { message, data } = await through(answer, 'tools/call');
    expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy' });
    expect(data).not.toHaveProperty('status');
    expect(message).toMatch(/the HTTP proxy answered 403/);
    expect(data.hint).toMatch(/NO_PROXY/);
  });

  it('is named where it could not reach the gateway, after three attempts', async () => {
    const { message, data, count } = await through({ ...answer, status: 502 });
    expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy', attempts: 3 });
    expect(message).toContain('the HTTP proxy answered 502');
    expect(count).toBe(3);
  });

  it('is not looked for where there is none', async () => {
    const { message, data } = await through(answer, 'tools/call', false);
    expect(data).toMatchObject({ reason: 'forbidden', status: 403 });
    expect(message).not.toContain('HTTP proxy');
  });
});

it.each<[string, Answer]>([
  ['a status of its own', { status: 400, headers: { 'proxy-authenticate': 'Basic realm="corp"' } }],
  ['407', { status: 407 }],
])('an HTTP proxy that requires a password is called that, with %s', async (_, answer) => {
  const { message } = await through(answer);
  expect(message).toContain('requires a user name and password');
});

it.each<[string, Answer, string]>([
  [
    'JSON',
    { status: 403, headers: { via: '1.1 corp' }, body: '{"error":"Forbidden"}' },
    'forbidden',
  ],
  [
    'JSON',
    { status: 502, headers: { 'x-cache': 'MISS from corp' }, body: '{"message":"upstream"}' },
    'gateway_error',
  ],
  [
    'a page of another server',
    { status: 502, headers: { ...HTML, server: 'nginx', via: '1.1 corp (squid/5.7)' }, body: PAGE },
    'gateway_error',
  ],
  ['another status', { status: 404, headers: { via: '1.1 corp' } }, 'wrong_path'],
  [
    'Proxy-Status without an error',
    { status: 500, headers: { 'proxy-status': 'corp; received-status=500' } },
    'gateway_error',
  ],
])('a gateway’s own answer through one stays its own: %s', async (_, answer, reason) => {
  const { message, data } = await through(answer);
  expect(data).toMatchObject({ reason, status: answer.status });
  expect(message).not.toContain('HTTP proxy');
});

it.each([
  ['may have run where the proxy lost the answer', 'ERR_READ_ERROR 104', 'interrupted'],
  ['did not run where the proxy could not connect', 'ERR_CONNECT_FAIL 111', 'unreachable'],
  ['did not run where the proxy did not find the name', 'ERR_DNS_FAIL 0', 'unreachable'],
])('a call %s', async (_, code, reason) => {
  const headers = { ...HTML, 'x-squid-error': code };
  const { message, data, count } = await through({ status: 503, headers }, 'tools/call');
  expect(data).toMatchObject({ reason, cause: 'proxy' });
  expect(message).toContain(code.split(' ')[0]);
  expect(count).toBe(1);
});
