import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { answer, type LoopbackGateway, type Respond, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy, TEST_KEY } from './running-proxy.ts';

/** A gateway that points from each of these paths to a location, and answers elsewhere. */
async function redirectingGateway(
  redirects: Record<string, { status: number; location: string }>,
  respond: Respond = answer,
): Promise<LoopbackGateway> {
  return startGateway((received, response) => {
    const redirect = redirects[received.target];
    if (redirect === undefined) respond(received, response);
    else response.writeHead(redirect.status, { location: redirect.location }).end();
  });
}

const targets = ({ received }: LoopbackGateway) =>
  received.map(({ method, target }) => `${method} ${target}`);

const withSession: Respond = (received, response) => {
  response.setHeader('Mcp-Session-Id', 's-1');
  answer(received, response);
};

describe('a redirect within the origin', () => {
  it('by 307 is followed with method, body, key and session, and asked for each time', async () => {
    const gateway = await redirectingGateway(
      { '/v1/mcp': { status: 307, location: 'mcp/?a=1#part' } },
      withSession,
    );
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    expect(await proxy.request(2, 'tools/call', { name: 'x' })).toHaveProperty('result');
    await gateway.request(({ method }) => method === 'GET');
    expect(await proxy.end()).toBe(0);
    const [first, followed] = gateway.received.filter(({ message }) => message.id === 2);
    expect(followed).toMatchObject({
      target: '/v1/mcp/?a=1',
      body: first?.body,
      headers: { authorization: `Bearer ${TEST_KEY}`, 'mcp-session-id': 's-1' },
    });
    // The GET stream and the end of the session go to where the session was begun.
    expect(targets(gateway).filter((target) => !target.startsWith('POST'))).toEqual([
      'GET /v1/mcp/?a=1',
      'DELETE /v1/mcp/?a=1',
    ]);
  });

  it('by 308 is followed, and not asked for again', async () => {
    const gateway = await redirectingGateway({
      '/v1/mcp': { status: 308, location: '/new' },
    });
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2]) {
      expect(await proxy.request(id, 'tools/call', { name: 'x' })).toHaveProperty('result');
    }
    expect(targets(gateway)).toEqual(['POST /v1/mcp', 'POST /new', 'POST /new']);
  });

  it('is followed at most three times, also in a circle', async () => {
    const gateway = await redirectingGateway({
      '/v1/mcp': { status: 307, location: '/1' },
      '/1': { status: 307, location: '/2' },
      '/2': { status: 308, location: '/3' },
      '/3': { status: 307, location: '/4' },
      '/circle': { status: 307, location: '/circle' },
    });
    const failed = (url: string) => startProxy(url).request(1, 'tools/list');
    expect(await failed(gateway.url)).toMatchObject({
      error: { data: { reason: 'redirected', location: new URL('/4', gateway.url).href } },
    });
    expect(targets(gateway)).toEqual(['/v1/mcp', '/1', '/2', '/3'].map((path) => `POST ${path}`));
    expect(await failed(new URL('/circle', gateway.url).href)).toHaveProperty('error');
    expect(gateway.received).toHaveLength(8);
  });

  it.each([301, 302, 303])('by %i, which loses the body, is reported', async (status) => {
    const gateway = await redirectingGateway({ '/v1/mcp': { status, location: '/new' } });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: {
        message: expect.stringContaining(new URL('/new', gateway.url).href),
        data: { reason: 'redirected', status },
      },
    });
    expect(targets(gateway)).toEqual(['POST /v1/mcp']);
  });

  it.each(['', 'http://[', 'blob:ORIGIN/v1/mcp', 'data:,x'])(
    'to %j is not one',
    async (location) => {
      const gateway: LoopbackGateway = await startGateway((_, response) => {
        const { origin } = new URL(gateway.url);
        response.writeHead(307, { location: location.replace('ORIGIN', origin) }).end();
      });
      const { error } = await startProxy(gateway.url).request(1, 'tools/list');
      expect((error as { data: Json }).data.reason).toMatch(/redirected|http_error/);
      expect(new Set(targets(gateway))).toEqual(new Set(['POST /v1/mcp']));
    },
  );
});

describe('a redirect from https to http', () => {
  let authority: CertificateAuthority;
  beforeAll(() => {
    authority = new CertificateAuthority();
  });
  afterAll(() => authority.remove());

  /** What a redirect to `location` is answered with; PORT is the gateway's own there. */
  async function redirected(location: string, status = 301) {
    const server = createServer(authority.issue('IP:127.0.0.1,DNS:localhost'));
    server.on('request', (_, response) => {
      const { port } = server.address() as AddressInfo;
      response.writeHead(status, { location: location.replace('PORT', String(port)) }).end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const proxy = startProxy(`${origin}/v1/mcp`, { args: ['--ca', authority.certFile] });
    const { error } = await proxy.request(1, 'tools/list');
    return { ...(error as { message: string; data: Json }), origin };
  }

  it.each([
    ['http://127.0.0.1/new/mcp', 301],
    ['http://127.0.0.1:PORT/new/mcp', 307],
    ['http://127.0.0.1:8080/new/mcp', 308],
    ['HTTP://127.0.0.1/new/mcp#part', 302],
  ])('of the same host is advised as https: %s', async (location, status) => {
    const { message, data, origin } = await redirected(location, status);
    expect(data).toMatchObject({ reason: 'redirected', status, location: `${origin}/new/mcp` });
    expect(data.hint).toContain(`${origin}/new/mcp `);
    expect(message).toContain('redirects to plain http. The API key was not sent there');
    expect(JSON.stringify({ message, data })).not.toMatch(/http:\/\//i);
  });

  it('of another host is not advised', async () => {
    const { message, data } = await redirected('http://elsewhere.example/mcp');
    expect(message).toContain(
      'redirects to http://elsewhere.example/mcp instead. The API key was not sent',
    );
    expect(data.hint).toBe(
      "That address is not encrypted. Ask the gateway's operator for its https URL.",
    );
  });
});

describe('a key stays home', () => {
  it.each([301, 302, 303, 307, 308])('when a %i points to another origin', async (status) => {
    const other = await startGateway(answer);
    for (const location of [other.url, other.url.replace('http:', ''), other.url.toUpperCase()]) {
      const gateway = await redirectingGateway({ '/v1/mcp': { status, location } });
      const proxy = startProxy(gateway.url);
      expect(await proxy.request(1, 'tools/call', { name: 'x' })).toMatchObject({
        error: { data: { reason: 'redirected' } },
      });
    }
    expect(other.received).toEqual([]);
  });

  it('when the GET stream, a resumption and the end of a session are pointed there', async () => {
    const other = await startGateway(answer);
    const gateway = await startGateway((received, response) => {
      const { method, message } = received;
      if (method !== 'POST') response.writeHead(307, { location: other.url }).end();
      else if (message.method === 'tools/call') {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.end('retry: 100\nid: 1\ndata:\n\n');
      } else withSession(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/call')).toMatchObject({
      error: { data: { reason: 'interrupted' } },
    });
    expect(await proxy.end()).toBe(0);
    expect(gateway.received.filter(({ method }) => method === 'GET').length).toBeGreaterThan(1);
    expect(gateway.received.at(-1)?.method).toBe('DELETE');
    expect(other.received).toEqual([]);
  });

  it('when the gateway names another origin for its metadata, which points back and on', async () => {
    const other: LoopbackGateway = await startGateway(({ target }, response) => {
      const next = target === '/meta' ? gateway.url : '/again';
      response.writeHead(307, { location: next, 'www-authenticate': 'Bearer' }).end();
    });
    const gateway = await startGateway((_, response) => {
      const metadata = new URL('/meta', other.url);
      response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${metadata}"` });
      response.end();
    });
    const proxy = startProxy(gateway.url, { args: ['-H', `X-Secret: ${TEST_KEY}`] });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { data: { reason: 'unauthorized' } },
    });
    expect(targets(other)).toEqual(['GET /meta']);
    expect(JSON.stringify(other.received)).not.toContain(TEST_KEY);
    for (const { method, headers } of gateway.received) {
      if (method === 'GET') expect(JSON.stringify(headers)).not.toContain(TEST_KEY);
    }
  });

  it('when an HTTP proxy answers in place of the gateway', async () => {
    const proxyServer = await startGateway(answer);
    const running = startProxy('https://gateway.example/v1/mcp', {
      env: { HTTPS_PROXY: new URL(proxyServer.url).origin },
    });
    expect(await running.request(1, 'tools/call')).toMatchObject({
      error: { data: { reason: 'unreachable', cause: 'proxy' } },
    });
    expect(JSON.stringify(proxyServer.received)).not.toContain(TEST_KEY);
  });
});
