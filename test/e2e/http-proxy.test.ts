import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Server as TcpServer,
} from 'node:net';
import type { Duplex } from 'node:stream';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { type RunningProxy, startProxy, TEST_KEY } from './running-proxy.ts';

let authority: CertificateAuthority;
beforeAll(() => {
  authority = new CertificateAuthority();
});
afterAll(() => authority.remove());

async function listen(server: TcpServer): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** What a proxy here finds on loopback, and nothing else does. */
const GATEWAY = 'gateway.test';

/** A gateway over TLS, and what the program must be told to trust it. */
async function secureGateway(): Promise<{ url: string; port: number; args: string[] }> {
  const { key, cert } = authority.issue(`DNS:${GATEWAY}`);
  const server = createHttpsServer({ key, cert }, (request, response) => {
    request.setEncoding('utf8').on('data', (body) => {
      const { id } = JSON.parse(body);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id, result: {} }));
    });
  });
  const port = await listen(server);
  return { url: `https://${GATEWAY}:${port}/v1/mcp`, port, args: ['--ca', authority.certFile] };
}

/** A gateway over plain http, and what the program must be told to go there. */
async function plainGateway(host = GATEWAY): Promise<{ url: string; args: string[] }> {
  const { url } = await startGateway(answer);
  return { url: url.replace('127.0.0.1', host), args: ['--allow-http'] };
}

const failure = async (proxy: RunningProxy) => {
  const { error } = await proxy.request(1, 'tools/list');
  return error as { message: string; data: Record<string, unknown> };
};

interface HttpProxy {
  url: string;
  /** What it was asked for: method and target. */
  asked: string[];
  /** What it was sent besides, the bytes in its tunnels too. */
  heard: () => string;
  /** How many of its connections are open. */
  open: () => number;
}

interface HttpProxyOptions {
  refuseWith?: number;
  /** Over TLS. */
  isSecure?: boolean;
}

/** A proxy that tunnels and forwards, or refuses with a status. */
async function httpProxy({
  refuseWith,
  isSecure = false,
}: HttpProxyOptions = {}): Promise<HttpProxy> {
  const asked: string[] = [];
  let heard = '';
  let open = 0;
  const forward: RequestListener = (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    heard += JSON.stringify(request.headers);
    if (refuseWith !== undefined) {
      response.writeHead(refuseWith).end();
      return;
    }
    const { port, pathname } = new URL(request.url as string);
    const upstream = connect(Number(port), '127.0.0.1', () => {
      upstream.write(
        `POST ${pathname} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${request.headers['content-length']}\r\n\r\n`,
      );
      request.pipe(upstream, { end: false });
      upstream.pipe(response.socket as NodeJS.WritableStream);
    });
  };
  const server: Server = isSecure
    ? createHttpsServer(authority.issue('IP:127.0.0.1'), forward)
    : createHttpServer(forward);
  server.on(isSecure ? 'secureConnection' : 'connection', (socket: Duplex) => {
    open++;
    socket.on('close', () => open--);
  });
  server.on('connect', (request, socket: Duplex) => {
    asked.push(`CONNECT ${request.url}`);
    heard += JSON.stringify(request.headers);
    if (refuseWith !== undefined) {
      socket.end(`HTTP/1.1 ${refuseWith} No\r\n\r\n`);
      return;
    }
    const upstream = connect(Number(request.url?.split(':')[1]), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
      socket.on('data', (bytes) => {
        heard += bytes.toString('latin1');
      });
    });
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  const url = `${isSecure ? 'https' : 'http'}://127.0.0.1:${await listen(server)}`;
  return { url, asked, heard: () => heard, open: () => open };
}

it.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'])(
  'is tunnelled through for https, from %s; the key stays inside',
  async (name) => {
    const { url, port, args } = await secureGateway();
    const proxy = await httpProxy();
    const running = startProxy(url, { args, env: { [name]: proxy.url } });
    expect(await running.request(1, 'tools/list')).toHaveProperty('result');
    expect(proxy.asked).toEqual([`CONNECT ${GATEWAY}:${port}`]);
    expect(proxy.heard()).not.toContain(TEST_KEY);
  },
);

it('is spoken to over TLS where its URL begins with https; it gets no key, and must be trusted', async () => {
  const { url, port, args } = await secureGateway();
  const proxy = await httpProxy({ isSecure: true });
  const env = { HTTPS_PROXY: proxy.url };
  const running = startProxy(url, { args, env });
  expect(await running.request(1, 'tools/list')).toHaveProperty('result');
  expect(proxy.asked).toEqual([`CONNECT ${GATEWAY}:${port}`]);
  expect(proxy.heard()).not.toContain(TEST_KEY);
  await running.end();
  await expect.poll(proxy.open).toBe(0);
  const { message, data } = await failure(startProxy(url, { env }));
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy', attempts: 1 });
  expect(message).toMatch(
    /the certificate of the HTTP proxy 127\.0\.0\.1:\d+ is not trusted: UNABLE_TO_VERIFY_LEAF_SIGNATURE\. .*--ca FILE/,
  );
  expect(proxy.asked).toHaveLength(1);
});

it.each([
  ['names another host', { names: 'DNS:other.test' }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ['has expired', { days: -1 }, 'CERT_HAS_EXPIRED'],
])('over TLS whose certificate %s is sent nothing and tried once', async (_, issue, code) => {
  const { names = 'IP:127.0.0.1', ...rest } = issue as { names?: string; days?: number };
  const asked: string[] = [];
  const server = createHttpsServer(authority.issue(names, rest));
  server.on('connect', (request) => asked.push(request.url ?? ''));
  const running = startProxy('https://gateway.example/v1/mcp', {
    args: ['--ca', authority.certFile],
    env: { HTTPS_PROXY: `https://ada:p@127.0.0.1:${await listen(server)}` },
  });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy', attempts: 1 });
  expect(message).toContain(`is not trusted: ${code}`);
  expect(asked).toEqual([]);
});

it('is given its user name and password, for a tunnel and for plain http', async () => {
  const credentials = `Basic ${Buffer.from('ada:p@ss').toString('base64')}`;
  for (const { url, args } of [await secureGateway(), await plainGateway()]) {
    const proxy = await httpProxy();
    const withUser = proxy.url.replace('//', '//ada:p%40ss@');
    const env = { HTTPS_PROXY: withUser, HTTP_PROXY: withUser };
    const running = startProxy(url, { args, env });
    expect(await running.request(1, 'tools/list')).toHaveProperty('result');
    expect(proxy.asked).toHaveLength(1);
    expect(proxy.heard()).toContain(`"proxy-authorization":"${credentials}"`);
  }
});

it.each([
  ['ada:50%off', 'ada:50%off'],
  ['ada', 'ada:'],
  [':p', ':p'],
  ['%C3%BC%00:€', 'ü\0:€'],
])('is given the user name and password in %s as they are meant', async (user, meant) => {
  const { url, args } = await secureGateway();
  const proxy = await httpProxy();
  const env = { HTTPS_PROXY: proxy.url.replace('//', `//${user}@`) };
  expect(await startProxy(url, { args, env }).request(1, 'tools/list')).toHaveProperty('result');
  expect(proxy.heard()).toContain(`"Basic ${Buffer.from(meant).toString('base64')}"`);
});

it('has one tunnel for one request after the other, which is closed at the end', async () => {
  const { url, args } = await secureGateway();
  const proxy = await httpProxy();
  const running = startProxy(url, { args, env: { HTTPS_PROXY: proxy.url } });
  for (const id of [1, 2, 3]) {
    expect(await running.request(id, 'tools/list')).toHaveProperty('result');
  }
  expect(proxy.asked).toHaveLength(1);
  expect(proxy.open()).toBe(1);
  await running.end();
  await expect.poll(proxy.open).toBe(0);
});

it('is passed by for a host in NO_PROXY, and for another scheme', async () => {
  // An address of this computer that is not a loopback address.
  const { url, args } = await plainGateway('0.0.0.0');
  const proxy = await httpProxy();
  for (const env of [
    { HTTP_PROXY: proxy.url, NO_PROXY: 'example.com,0.0.0.0' },
    { http_proxy: proxy.url, no_proxy: '*' },
    { ALL_PROXY: proxy.url, NO_PROXY: '10.0.0.0/8, 0.0.0.0/8' },
    { all_proxy: proxy.url, no_proxy: `0.0.0.0/31:${new URL(url).port}` },
    { HTTP_PROXY: proxy.url, NO_PROXY: 'corp.test 0.0.0.0/0' },
    { ALL_PROXY: proxy.url, HTTP_PROXY: '' },
    { HTTPS_PROXY: proxy.url },
  ]) {
    const running = startProxy(url, { args, env });
    expect(await running.request(1, 'tools/list')).toHaveProperty('result');
  }
  expect(proxy.asked).toEqual([]);
});

it('is passed by for a host below one in NO_PROXY', async () => {
  const proxy = await httpProxy();
  const running = startProxy('https://mcp.corp.invalid/v1/mcp', {
    env: { HTTPS_PROXY: proxy.url, NO_PROXY: 'corp.invalid' },
  });
  // Only the proxy could have found it.
  expect((await failure(running)).data).toMatchObject({ reason: 'unreachable', cause: 'dns' });
  expect(proxy.asked).toEqual([]);
});

it('is not used for a gateway on this computer: it gets no key in plain text', async () => {
  const { url } = await startGateway(answer);
  const proxy = await httpProxy();
  for (const own of [url, url.replace('127.0.0.1', 'localhost')]) {
    const running = startProxy(own, { env: { HTTP_PROXY: proxy.url } });
    expect(await running.request(1, 'tools/list')).toHaveProperty('result');
  }
  expect(proxy.open()).toBe(0);
  expect(proxy.heard()).toBe('');
});

it('is asked for the whole URL for plain http', async () => {
  const { url, args } = await plainGateway();
  const proxy = await httpProxy();
  const running = startProxy(url, { args, env: { HTTP_PROXY: proxy.url } });
  expect(await running.request(1, 'tools/list')).toHaveProperty('result');
  expect(proxy.asked).toEqual([`POST ${url}`]);
});

it.each([
  [407, /requires a user name and password\. .*http:\/\/user:password@proxy/],
  [403, /HTTP proxy answered 403\. Ask your administrator/],
])('that answers %i is named as what refuses', async (status, words) => {
  const proxy = await httpProxy({ refuseWith: status });
  const running = startProxy('https://gateway.example/v1/mcp', {
    env: { HTTPS_PROXY: proxy.url },
  });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy' });
  expect(message).toMatch(words);
});

it('that could not reach the gateway is asked three times', async () => {
  const proxy = await httpProxy({ refuseWith: 502 });
  const running = startProxy('https://gateway.example/v1/mcp', { env: { HTTPS_PROXY: proxy.url } });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy', attempts: 3 });
  expect(message).toMatch(/HTTP proxy answered 502\. .*bypass the proxy with NO_PROXY/);
  expect(proxy.asked).toHaveLength(3);
  await expect.poll(proxy.open).toBe(0);
});

it('that requires a password for plain http is named, not the gateway', async () => {
  const proxy = await httpProxy({ refuseWith: 407 });
  const running = startProxy(`http://${GATEWAY}/v1/mcp`, {
    args: ['--allow-http'],
    env: { HTTP_PROXY: proxy.url },
  });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy' });
  expect(message).toMatch(/requires a user name and password\. .*HTTP_PROXY/);
});

it('gets no request through that was cancelled while its tunnel was being made', async () => {
  const tunnels: (() => void)[] = [];
  const sent: string[] = [];
  const far = createHttpsServer(authority.issue(`DNS:${GATEWAY}`), (request, response) => {
    request.setEncoding('utf8').on('data', (body) => {
      const { id, method } = JSON.parse(body);
      sent.push(method);
      if (id === undefined) response.writeHead(202).end();
      else response.end(JSON.stringify({ jsonrpc: '2.0', id, result: {} }));
    });
  });
  const port = await listen(far);
  const server = createHttpServer().on('connect', (_, socket: Duplex) => {
    tunnels.push(() => {
      const upstream = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        upstream.pipe(socket).pipe(upstream);
      });
      for (const end of [upstream, socket]) end.on('error', () => {});
    });
  });
  const env = { HTTPS_PROXY: `127.0.0.1:${await listen(server)}` };
  const running = startProxy(`https://${GATEWAY}:${port}/v1/mcp`, {
    args: ['--ca', authority.certFile],
    env,
  });
  running.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'pay' } });
  await expect.poll(() => tunnels.length).toBe(1);
  running.notify('notifications/cancelled', { requestId: 1 });
  await expect.poll(() => tunnels.length).toBe(2);
  for (const open of tunnels) open();
  await expect.poll(() => sent).toEqual(['notifications/cancelled']);
  expect(await running.end()).toBe(0);
  expect(sent).toEqual(['notifications/cancelled']);
  expect(running.messages).toEqual([]);
});

it('that hangs up is named, and asked three times', async () => {
  let connections = 0;
  const server = createTcpServer((socket) => {
    connections++;
    socket.once('data', () => socket.end());
  });
  const port = await listen(server);
  const running = startProxy('https://gateway.example/v1/mcp', {
    env: { HTTPS_PROXY: `127.0.0.1:${port}` },
  });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy', attempts: 3 });
  expect(message).toMatch(/the HTTP proxy closed the connection\. Tried 3 times\. Ask/);
  expect(connections).toBe(3);
});

it('that is not there is named as what does not answer', async () => {
  const gone = createTcpServer();
  const port = await listen(gone);
  gone.close();
  const running = startProxy('https://gateway.example/v1/mcp', {
    env: { HTTPS_PROXY: `127.0.0.1:${port}` },
  });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ cause: 'proxy' });
  expect(message).toContain(`the HTTP proxy 127.0.0.1:${port} is not responding`);
});

it('that does not speak HTTP is named', async () => {
  const server = createTcpServer((socket) => socket.on('error', () => {}).write('SSH-2.0-x\r\n'));
  const running = startProxy('https://gateway.example/v1/mcp', {
    env: { HTTPS_PROXY: `127.0.0.1:${await listen(server)}` },
  });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy' });
  expect(message).toContain('the HTTP proxy does not speak HTTP');
});

it('that is silent is given up after --connect-timeout, and named', async () => {
  const silent = createTcpServer((socket) => void socket.resume());
  const host = `127.0.0.1:${await listen(silent)}`;
  const running = startProxy('https://gateway.example/v1/mcp', {
    args: ['--connect-timeout', '0.2'],
    env: { HTTPS_PROXY: `ada:p@${host}` },
  });
  const { message, data } = await failure(running);
  expect(data).toMatchObject({ reason: 'unreachable', cause: 'timeout' });
  expect(message).toContain(`no connection through the HTTP proxy ${host} in 0.2 seconds`);
});

it.each(['http://[', 'socks5://127.0.0.1:1080'])(
  'that is named by %s is named as no URL for one',
  async (HTTPS_PROXY) => {
    const running = startProxy('https://gateway.example/v1/mcp', { env: { HTTPS_PROXY } });
    expect((await failure(running)).message).toMatch(
      /the HTTP proxy address is not an http:\/\/ or https:\/\/ URL\./,
    );
  },
);
