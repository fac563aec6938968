import { describe, expect, it } from 'vitest';
import { answer, type Respond, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy, TEST_KEY } from './running-proxy.ts';

const HTML = { 'content-type': 'text/html; charset=UTF-8' };
const JSON_TYPE = { 'content-type': 'application/json' };
const page = (title: string) => `<!DOCTYPE html><html><head><title>${title}</title></head></html>`;

interface Refused {
  message: string;
  data: Json & { hint: string; reason: string };
}

const respondWith =
  (status: number, headers: Record<string, string> = {}, body = ''): Respond =>
  (_, response) =>
    void response.writeHead(status, headers).end(body);

/** What the first request is answered with; `path` is the URL's. */
async function refusedBy(respond: Respond, env: Json = {}, path = '/v1/mcp'): Promise<Refused> {
  const gateway = await startGateway(respond);
  const url = new URL(path, gateway.url).href;
  const proxy = startProxy(url, { env: env as Record<string, string> });
  const { error } = await proxy.request(1, 'tools/list');
  return error as Refused;
}

const NO_KEY = { MCP_LATCHKEY_API_KEY: '', DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere' };

/** What stands before gateways, and what it answers with. */
const INTERMEDIARIES: Record<
  string,
  { headers: Record<string, string>; body: string; says: string }
> = {
  'a challenge of Cloudflare': {
    headers: { ...HTML, server: 'cloudflare', 'cf-mitigated': 'challenge', 'cf-ray': '8f-FRA' },
    body: page('Just a moment...'),
    says: 'a web page, "Just a moment...". Server: cloudflare, cf-mitigated: challenge',
  },
  'a block of Cloudflare': {
    headers: { ...HTML, server: 'cloudflare' },
    body: page('Attention Required! | Cloudflare'),
    says: 'a web page, "Attention Required! | Cloudflare". Server: cloudflare',
  },
  'a code of Cloudflare': {
    headers: { 'content-type': 'text/plain', server: 'cloudflare' },
    body: 'error code: 1010',
    says: 'error code: 1010. Server: cloudflare',
  },
  'a web application firewall': {
    headers: { ...HTML, server: 'AkamaiGHost' },
    body: `\n<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD></HTML>`,
    says: 'a web page, "Access Denied". Server: AkamaiGHost',
  },
  'a VPN portal': {
    headers: HTML,
    body: page('Sign in to ACME VPN'),
    says: 'a web page, "Sign in to ACME VPN"',
  },
  'a page that is called plain text': {
    headers: { 'content-type': 'text/plain' },
    body: page('Blocked'),
    says: 'a web page, "Blocked"',
  },
  'a storage service': {
    headers: { 'content-type': 'application/xml', server: 'AmazonS3' },
    body: '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    says: 'a body of type application/xml. Server: AmazonS3',
  },
};

describe.each(Object.entries(INTERMEDIARIES))('%s', (_, { headers, body, says }) => {
  it.each([
    [403, 'with a key', {}, 'forbidden'],
    [403, 'without one', NO_KEY, 'forbidden'],
    [401, 'with a key', {}, 'unauthorized'],
    [401, 'without one', NO_KEY, 'no_api_key'],
  ])('with %d, %s, is shown as what it is', async (status, _key, env, reason) => {
    const { message, data } = await refusedBy(respondWith(status, headers, body), env);
    expect(data).toMatchObject({ reason, status });
    expect(message).toMatch(/^Access blocked \(HTTP 40[13]\): /);
    expect(message).toContain(`sent ${says}. `);
    expect(message).not.toMatch(/valid|rejected|Personal API Key|API key|entitle/);
    expect(data.hint).toMatch(/firewall or sign-in page/);
  });
});

describe('a 401', () => {
  it('that asks for the sign-in of a network is not about the key', async () => {
    const { message } = await refusedBy(respondWith(401, { 'www-authenticate': 'Negotiate' }));
    expect(message).toContain('sent a "Negotiate" sign-in. ');
    expect(message).not.toContain('rejected');
  });

  it.each([
    ['text/plain', 'IP address not allowed'],
    ['application/json', '{"error":"Connect to the VPN first"}'],
    ['application/json', '{"message":"Host gateway.test is not served here"}'],
  ])('for a rule of the network is not about the key: %s, %s', async (type, body) => {
    const respond = respondWith(401, { 'content-type': type, server: 'envoy' }, body);
    const { message } = await refusedBy(respond);
    expect(message).toMatch(/^Access blocked .* sent ".*"\. Server: envoy\. /);
    expect(message).not.toContain('rejected');
  });

  it.each(['Unknown key for this host', 'Token is not for this IP address', 'no such user'])(
    'in other words is about the key: %s',
    async (words) => {
      const respond = respondWith(401, { 'content-type': 'text/plain' }, words);
      expect((await refusedBy(respond)).message).toMatch(/^API key rejected /);
    },
  );

  it('with a page and a Bearer challenge is about the key', async () => {
    const headers = { ...HTML, 'www-authenticate': 'Bearer error="invalid_token"' };
    const { message } = await refusedBy(respondWith(401, headers, page('Oops')));
    expect(message).toMatch(/^API key rejected /);
  });

  it('with the page of a web server that asks for a password is not about the key', async () => {
    const headers = { ...HTML, server: 'nginx', 'www-authenticate': 'Basic realm="Staff only"' };
    const respond = respondWith(401, headers, page('401 Authorization Required'));
    expect((await refusedBy(respond)).message).toMatch(/^Access blocked /);
  });

  it('with the plain page of a web server may be, and names the server', async () => {
    const body = page('401 Authorization Required');
    const { message } = await refusedBy(respondWith(401, { ...HTML, server: 'nginx' }, body));
    expect(message).toMatch(/^API key rejected .*"401 Authorization Required"\. Server: nginx\. /);
  });
});

describe('a 403', () => {
  it.each([
    [
      'a host rule',
      'Host not allowed: 127.0.0.1',
      'envoy',
      'Host not allowed: 127.0.0.1. Server: envoy',
    ],
    [
      'an access rule',
      'RBAC: access denied',
      'istio-envoy',
      'RBAC: access denied. Server: istio-envoy',
    ],
    [
      'an IP rule',
      '{"message":"Your IP 10.0.0.1 is not allowed"}',
      '',
      'Your IP 10.0.0.1 is not allowed',
    ],
    ['an API gateway', '{"message":"Forbidden"}', '', ''],
    ['no words', '', 'nginx/1.25', 'no reason given. Server: nginx/1.25'],
    ['nothing at all', '', '', ''],
  ])('of %s is passed on in its words', async (_, body, server, says) => {
    const headers = { ...(server === '' ? {} : { server }), 'content-type': 'application/json' };
    const { message, data } = await refusedBy(respondWith(403, headers, body));
    expect(data.reason).toBe('forbidden');
    expect(message).toContain(says === '' ? 'refused it. ' : `refused it: ${says}. `);
    expect(message).not.toMatch(/valid|Personal API Key/);
  });

  it.each([
    ['Kindo’s', JSON_TYPE, '{"error":"Forbidden"}', {}, '/v1/mcp', true],
    [
      'Kindo’s, in words',
      { 'content-type': 'application/json; charset=utf-8' },
      '{ "error": "Personal API key access is not enabled" }',
      {},
      '/v1/mcp/',
      true,
    ],
    ['Kindo’s, but without a key', JSON_TYPE, '{"error":"Forbidden"}', NO_KEY, '/v1/mcp', false],
    ['the same at another path', JSON_TYPE, '{"error":"Forbidden"}', {}, '/mcp', false],
    ['with more in it', JSON_TYPE, '{"error":"Forbidden","code":7}', {}, '/v1/mcp', false],
    ['with other words', JSON_TYPE, '{"error":"IP not on the list"}', {}, '/v1/mcp', false],
    [
      'in plain text',
      { 'content-type': 'text/plain' },
      '{"error":"Forbidden"}',
      {},
      '/v1/mcp',
      false,
    ],
    [
      'with a challenge',
      { ...JSON_TYPE, 'www-authenticate': 'Bearer error="insufficient_scope"' },
      '{"error":"Forbidden"}',
      {},
      '/v1/mcp',
      false,
    ],
  ])('%s: Personal API Key Access is named only where there is such a thing', async (...given) => {
    const [, headers, body, env, path, isKindo] = given;
    const respond = respondWith(403, headers as Record<string, string>, body);
    const { message, data } = await refusedBy(respond, env, path);
    expect(data.reason).toBe('forbidden');
    expect(/is valid/.test(message)).toBe(isKindo);
    expect(/Personal API Key Access/.test(message)).toBe(isKindo);
  });

  it('without a key tells how to store one', async () => {
    const { data } = await refusedBy(respondWith(403), { MCP_LATCHKEY_API_KEY: '' });
    expect(data.hint).toMatch(/No API key was sent\..* login http/);
  });

  it('does not show the key that a page quotes in its title or headers', async () => {
    const headers = { ...HTML, server: `waf ${TEST_KEY}` };
    const { message } = await refusedBy(respondWith(403, headers, page(`No ${TEST_KEY}`)));
    expect(message).toContain('[secret]');
    expect(message).not.toContain(TEST_KEY);
  });
});

it('a 511 of a network that requires signing in is tried once, and called that', async () => {
  const respond = respondWith(511, HTML, page('Hotel Wi-Fi'));
  const gateway = await startGateway(respond);
  const { error } = await startProxy(gateway.url).request(1, 'tools/list');
  expect((error as Refused).message).toContain('sent a web page, "Hotel Wi-Fi". ');
  expect(gateway.received).toHaveLength(1);
});

describe('a 404 or 405 where the endpoint has worked before', () => {
  it.each([404, 405])('with %d does not tell to check the path', async (status) => {
    let isUp = true;
    const gateway = await startGateway((received, response) => {
      if (isUp) answer(received, response);
      else response.writeHead(status).end();
    });
    const proxy = startProxy(new URL('/mcp', gateway.url).href);
    await proxy.initialize();
    isUp = false;
    for (const method of ['tools/list', 'initialize']) {
      const { error } = await proxy.request(method, method, { protocolVersion: '2025-06-18' });
      const { message, data } = error as Refused;
      expect(data).toMatchObject({ reason: 'gateway_error', status });
      expect(message).toContain('the endpoint is gone');
      expect(message).not.toContain('/v1/mcp');
    }
  });

  it('in a session, and in no session of revision 2026-07-28 either', async () => {
    let isUp = true;
    const gateway = await startGateway((received, response) => {
      response.setHeader('mcp-session-id', 's');
      if (isUp) answer(received, response);
      else response.writeHead(405).end();
    });
    const proxy = startProxy(new URL('/', gateway.url).href);
    await proxy.initialize();
    isUp = false;
    const { error } = await proxy.request(1, 'tools/call', { name: 'x' });
    expect((error as Refused).message).not.toContain('/v1/mcp');
  });
});
