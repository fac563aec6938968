import { once } from 'node:events';
import { type OutgoingHttpHeaders, request } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { expect, it, onTestFinished } from 'vitest';
import { openCallbackServer, PortTaken } from '../../../src/auth/oauth/callback-server.ts';
import type { CallbackOptions } from '../../../src/auth/oauth/stored-sign-in.ts';

const STATE = 'the-right-state';
const never = new AbortController().signal;

async function listen(options: Partial<CallbackOptions> = {}) {
  const server = await openCallbackServer({ gatewayHost: 'mcp.example', ...options });
  onTestFinished(() => server.close());
  return server;
}

interface Reply {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

function send(
  port: number,
  path: string,
  { method = 'GET', host = '127.0.0.1', headers = {} as OutgoingHttpHeaders } = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, path, method, headers, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      response.once('end', () => {
        const { statusCode: status = 0 } = response;
        resolve({ status, headers: response.headers as Record<string, string>, body });
      });
    });
    sent.once('error', reject);
    sent.end();
  });
}

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === '::1'),
);

it.each(hasIpv6 ? ['127.0.0.1', '::1'] : ['127.0.0.1'])(
  'takes the redirect on %s, and shows that it worked only once the caller says so',
  async (host) => {
    const server = await listen();
    const received = server.callback(STATE, never);
    let isShown = false;
    const path = `/callback?code=a%2Bb&state=${STATE}&iss=https%3A%2F%2Fas.example`;
    const reply = send(server.port, path, { host }).then((own) => {
      isShown = true;
      return own;
    });
    const { parameters, succeed } = await received;
    expect(Object.fromEntries(parameters)).toEqual({
      code: 'a+b',
      state: STATE,
      iss: 'https://as.example',
    });
    // Nothing else is taken while the page waits.
    await expect(send(server.port, path, { host })).rejects.toThrow(/ECONNREFUSED/);
    expect(isShown).toBe(false);
    await succeed();
    const { status, headers, body } = await reply;
    expect(status).toBe(200);
    expect(body).toContain('You are signed in');
    expect(body).toContain('mcp.example');
    expect(body).not.toContain('a+b');
    expect(body).not.toMatch(/<script|https?:/);
    expect(headers).toMatchObject({
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'content-security-policy': expect.stringMatching(/^default-src 'none'; style-src 'sha256-/),
    });
    await expect(send(server.port, path, { host })).rejects.toThrow(/ECONNREFUSED/);
  },
);

it('shows why it failed, cleaned', async () => {
  const server = await listen();
  const received = server.callback(STATE, never);
  const reply = send(server.port, `/callback?error=access_denied&state=${STATE}`);
  await (await received).fail('Denied: \x1b[31m<script>alert(1)</script>\u202e & "more"');
  const { status, body } = await reply;
  expect(status).toBe(400);
  expect(body).toContain('The sign-in failed');
  expect(body).toContain('Denied: &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;');
  expect(body).not.toMatch(/<script|\x1b|\u202e/);
});

it('resolves after the browser went away while the page waited', async () => {
  const server = await listen();
  const received = server.callback(STATE, never);
  const socket = connect(server.port, '127.0.0.1');
  const closed = once(socket, 'close');
  socket.on('error', () => {});
  socket.write(`GET /callback?state=${STATE} HTTP/1.1\r\nHost: localhost:${server.port}\r\n\r\n`);
  const { succeed } = await received;
  socket.destroy();
  await closed;
  await succeed();
});

const refused: [what: string, path: string, status: number, options?: object][] = [
  ['a wrong state', '/callback?code=a&state=wrong', 400],
  ['no state', '/callback?code=a', 400],
  ['an empty state', '/callback?code=a&state=', 400],
  ['a state that only begins right', `/callback?state=${STATE}2`, 400],
  ['the state in the fragment', `/callback#state=${STATE}`, 404],
  ['two states', `/callback?state=${STATE}&state=${STATE}`, 400],
  ['two codes', `/callback?state=${STATE}&code=a&code=b`, 400],
  ['another path', `/?state=${STATE}`, 404],
  ['a path below', `/callback/?state=${STATE}`, 404],
  ['a path in other letters', `/Callback?state=${STATE}`, 404],
  ['an absolute URL', `http://127.0.0.1/callback?state=${STATE}`, 404],
  ['a favicon', '/favicon.ico', 404],
  ['POST', `/callback?state=${STATE}`, 405, { method: 'POST' }],
  ['HEAD', `/callback?state=${STATE}`, 405, { method: 'HEAD' }],
  ['OPTIONS', `/callback?state=${STATE}`, 405, { method: 'OPTIONS' }],
  ['another host', `/callback?state=${STATE}`, 421, { headers: { host: 'evil.example' } }],
  ['a host below localhost', `/callback?state=${STATE}`, 421, { headers: { host: 'a.localhost' } }],
  ['a host without the port', `/callback?state=${STATE}`, 421, { headers: { host: 'localhost' } }],
  ['a host with another port', '/callback', 421, { headers: { host: '127.0.0.1:1' } }],
  ['an unknown link', '/sign-in/AAAAAAAAAAAAAAAAAAAAAAAA', 404],
  ['a path of the prototype', '/sign-in/__proto__', 404],
];

it('refuses what is not the redirect, and goes on waiting for it', async () => {
  const server = await listen();
  const received = server.callback(STATE, never);
  for (const [what, path, status, options] of refused) {
    const reply = await send(server.port, path, options);
    expect([what, reply.status]).toEqual([what, status]);
    expect(reply.headers['cache-control']).toBe('no-store');
    expect(reply.headers.connection).toBe('close');
    expect(reply.body).not.toContain(STATE);
  }
  const headers = { host: `LOCALHOST:${server.port}` };
  const reply = send(server.port, `/callback?state=${STATE}`, { headers });
  await (await received).succeed();
  expect((await reply).status).toBe(200);
});

it('refuses requests that are too large, broken or slow, and goes on waiting', async () => {
  const server = await listen();
  const received = server.callback(STATE, never);
  const large = await send(server.port, `/callback?state=${'x'.repeat(40_000)}`);
  expect(large.status).toBe(431);
  const answerTo = async (text: string) => {
    const socket = connect(server.port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      answer += chunk;
    });
    socket.on('error', () => {});
    socket.write(text);
    await once(socket, 'close');
    return answer;
  };
  const slow = answerTo(`GET /callback?state=${STATE} HTTP/1.1\r\nHost: `);
  expect(await answerTo('\x16\x03\x01\x02\0\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
  expect(await slow).toMatch(/^HTTP\/1\.1 408 /);
  const reply = send(server.port, `/callback?state=${STATE}`);
  await (await received).succeed();
  expect((await reply).status).toBe(200);
}, 20_000);

it('takes no more connections than a browser makes', async () => {
  const server = await listen();
  const received = server.callback(STATE, never);
  const sockets = Array.from({ length: 64 }, () => connect(server.port, '127.0.0.1'));
  for (const socket of sockets) socket.on('error', () => {});
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  await expect(send(server.port, '/')).rejects.toThrow();
  await Promise.all(
    sockets.map((socket) => {
      socket.destroy();
      return once(socket, 'close');
    }),
  );
  for (;;) {
    const reply = await send(server.port, '/').catch(() => undefined);
    if (reply?.status === 404) break;
  }
  const reply = send(server.port, `/callback?state=${STATE}`);
  await (await received).succeed();
  expect((await reply).status).toBe(200);
});

it('leads to the authorization URL by a link without the state, once', async () => {
  const server = await listen();
  const url = new URL(`https://as.example/authorize?state=${STATE}&code_challenge=x`);
  const link = server.linkTo(url);
  expect(link).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/sign-in\/[\w-]{24}$/);
  const { pathname } = new URL(link);
  expect((await send(server.port, pathname, { headers: { host: 'evil.example' } })).status).toBe(
    421,
  );
  const first = await send(server.port, pathname);
  expect(first).toMatchObject({ status: 303, headers: { location: url.href }, body: '' });
  expect(first.headers['referrer-policy']).toBe('no-referrer');
  const second = await send(server.port, pathname);
  expect(second.status).toBe(410);
  expect(second.headers.location).toBeUndefined();
  const lasting = new URL(server.linkTo(url, false)).pathname;
  for (let time = 0; time < 2; time++) {
    expect((await send(server.port, lasting)).headers.location).toBe(url.href);
  }
});

it.each(['http://as.example/', 'file:///etc/passwd', 'javascript:alert(1)', 'mailto:a@b.example'])(
  'makes no link to %s',
  async (url) => {
    const server = await listen();
    expect(() => server.linkTo(new URL(url))).toThrow(/does not use https/);
  },
);

it('stops waiting when it is told to', async () => {
  const server = await listen();
  const controller = new AbortController();
  const received = server.callback(STATE, controller.signal);
  controller.abort(new Error('the deadline'));
  await expect(received).rejects.toThrow('the deadline');
  await expect(server.callback(STATE, controller.signal)).rejects.toThrow('the deadline');
  expect((await send(server.port, `/callback?state=${STATE}`)).status).toBe(400);
});

it('listens on the port that it is given, and on another where that one is taken', async () => {
  const first = await listen();
  const second = await listen({ port: first.port });
  expect(second.port).not.toBe(first.port);
  const { port } = second;
  await second.close();
  expect((await listen({ port })).port).toBe(port);
});

it.each(hasIpv6 ? ['127.0.0.1', '::1', '0.0.0.0'] : ['127.0.0.1', '0.0.0.0'])(
  'rejects when the fixed port is taken on %s',
  async (host) => {
    const other = createServer();
    other.listen(0, host);
    await once(other, 'listening');
    onTestFinished(() => void other.close());
    const { port } = other.address() as AddressInfo;
    const opening = openCallbackServer({ gatewayHost: 'mcp.example', port, isFixed: true });
    await expect(opening).rejects.toThrow(PortTaken);
    await expect(opening).rejects.toThrow(`callback port ${port} is in use by another program`);
  },
);
