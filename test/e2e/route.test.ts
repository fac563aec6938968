import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { createServer, type ServerOptions } from 'node:https';
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { type RunningProxy, startProxy, TEST_KEY } from './running-proxy.ts';

let authority: CertificateAuthority;
beforeAll(() => {
  authority = new CertificateAuthority();
});
afterAll(() => authority.remove());

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

async function tlsGateway(options: ServerOptions): Promise<number> {
  const server = createServer(options, (request, response) => {
    const { authorized } = request.socket as TLSSocket;
    request.setEncoding('utf8').on('data', (body) => {
      const { id } = JSON.parse(body);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id, result: { authorized } }));
    });
  });
  return listen(server);
}

const failure = async (proxy: RunningProxy) => {
  const { error } = await proxy.request(1, 'tools/list');
  return error as { message: string; data: Record<string, unknown> };
};

describe('TLS', () => {
  it('names an expired certificate, and the day', async () => {
    const { key, cert } = authority.issue('DNS:localhost,IP:127.0.0.1', { days: -1 });
    const port = await tlsGateway({ key, cert });
    const proxy = startProxy(`https://127.0.0.1:${port}/v1/mcp`, {
      args: ['--ca', authority.certFile],
    });
    const { message, data } = await failure(proxy);
    expect(data).toMatchObject({ reason: 'unreachable', cause: 'tls' });
    expect(message).toMatch(
      /its certificate, for gateway\.test, expired on 20\d\d-\d\d-\d\d\. Check this machine's clock/,
    );
  });

  it('names a self-signed certificate, and --ca mends it', async () => {
    const { key, cert } = authority.selfSigned();
    const port = await tlsGateway({ key, cert });
    const { message } = await failure(startProxy(`https://127.0.0.1:${port}/v1/mcp`));
    expect(message).toMatch(/its certificate, for self\.test, is self-signed\. .*--ca FILE/);
  });

  it('names an issuer that is not trusted; --ca and NODE_EXTRA_CA_CERTS mend it', async () => {
    const { key, cert } = authority.issue('DNS:localhost,IP:127.0.0.1');
    const url = `https://127.0.0.1:${await tlsGateway({ key, cert })}/v1/mcp`;
    const { message } = await failure(startProxy(url));
    expect(message).toMatch(
      /for gateway\.test, was issued by Test Authority, which this machine does not trust.*--ca FILE.*NODE_EXTRA_CA_CERTS/,
    );
    const withCa = startProxy(url, { args: ['--ca', authority.certFile] });
    expect(await withCa.request(1, 'tools/list')).toHaveProperty('result');
    const withEnv = startProxy(url, { env: { NODE_EXTRA_CA_CERTS: authority.certFile } });
    expect(await withEnv.request(1, 'tools/list')).toHaveProperty('result');
  });

  it('names a certificate for another host', async () => {
    const { key, cert } = authority.issue('DNS:elsewhere.test');
    const port = await tlsGateway({ key, cert });
    const proxy = startProxy(`https://127.0.0.1:${port}/v1/mcp`, {
      args: ['--ca', authority.certFile],
    });
    const { message } = await failure(proxy);
    expect(message).toMatch(
      /its certificate is for elsewhere\.test, not for 127\.0\.0\.1\. Check the host/,
    );
  });

  it('tells https on a port that speaks plain http', async () => {
    const { url } = await startGateway(answer);
    const { message } = await failure(startProxy(url.replace('http:', 'https:')));
    expect(message).toMatch(/does not speak TLS on this port\. .*http:\/\//);
  });

  it('shows a client certificate where one is wanted', async () => {
    const { key, cert } = authority.issue('DNS:localhost,IP:127.0.0.1');
    const ca = authority.issue('DNS:client.test', { subject: 'client.test' });
    const trust = (await import('node:fs')).readFileSync(authority.certFile);
    const port = await tlsGateway({
      key,
      cert,
      ca: trust,
      requestCert: true,
      rejectUnauthorized: true,
    });
    const url = `https://127.0.0.1:${port}/v1/mcp`;
    const [certFile, keyFile] = ca.files as [string, string];
    const args = ['--ca', authority.certFile];
    expect((await failure(startProxy(url, { args }))).data.reason).toMatch(
      /unreachable|interrupted/,
    );
    const proxy = startProxy(url, { args: [...args, '--cert', certFile, '--key-pem', keyFile] });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({ result: { authorized: true } });
  });

  it('says that a certificate file cannot be read', async () => {
    const proxy = startProxy('https://127.0.0.1:1/v1/mcp', { args: ['--ca', '/no/such.pem'] });
    const { message, data } = await failure(proxy);
    expect(data).toMatchObject({ cause: 'tls' });
    expect(message).toContain('--ca');
  });
});

describe('an HTTP proxy in the environment', () => {
  /** A proxy that tunnels and forwards, or refuses with a status. Says what it was asked for. */
  async function httpProxy(
    refuseWith?: number,
  ): Promise<{ url: string; asked: string[]; heard: () => string }> {
    const asked: string[] = [];
    let heard = '';
    const server = createHttpServer((request: IncomingMessage, response) => {
      asked.push(`${request.method} ${request.url}`);
      if (refuseWith !== undefined) {
        response.writeHead(refuseWith).end();
        return;
      }
      const { host, port, pathname } = new URL(request.url as string);
      void host;
      const upstream = connect(Number(port), '127.0.0.1', () => {
        upstream.write(
          `POST ${pathname} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${request.headers['content-length']}\r\n\r\n`,
        );
        request.pipe(upstream, { end: false });
        upstream.pipe(response.socket as NodeJS.WritableStream);
      });
    });
    server.on('connect', (request, socket) => {
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
    return { url: `http://127.0.0.1:${await listen(server)}`, asked, heard: () => heard };
  }

  it.each(['HTTPS_PROXY', 'https_proxy'])(
    'is tunnelled through for https, from %s; the key stays inside',
    async (name) => {
      const { key, cert } = authority.issue('DNS:localhost,IP:127.0.0.1');
      const port = await tlsGateway({ key, cert });
      const proxy = await httpProxy();
      const running = startProxy(`https://127.0.0.1:${port}/v1/mcp`, {
        args: ['--ca', authority.certFile],
        env: { [name]: proxy.url },
      });
      expect(await running.request(1, 'tools/list')).toHaveProperty('result');
      expect(proxy.asked).toEqual([`CONNECT 127.0.0.1:${port}`]);
      expect(proxy.heard()).not.toContain(TEST_KEY);
    },
  );

  it('is passed by for a host in NO_PROXY, and for another scheme', async () => {
    const gateway = await startGateway(answer);
    const proxy = await httpProxy();
    for (const env of [
      { HTTP_PROXY: proxy.url, NO_PROXY: 'example.com,127.0.0.1' },
      { http_proxy: proxy.url, no_proxy: '*' },
      { HTTPS_PROXY: proxy.url },
    ]) {
      const running = startProxy(gateway.url, { env });
      expect(await running.request(1, 'tools/list')).toHaveProperty('result');
    }
    expect(proxy.asked).toEqual([]);
  });

  it('is asked for the whole URL for plain http', async () => {
    const gateway = await startGateway(answer);
    const proxy = await httpProxy();
    const running = startProxy(gateway.url, { env: { HTTP_PROXY: proxy.url } });
    expect(await running.request(1, 'tools/list')).toHaveProperty('result');
    expect(proxy.asked).toEqual([`POST ${gateway.url}`]);
  });

  it.each([
    [407, /wants a user name and password\. .*http:\/\/user:password@proxy/],
    [403, /HTTP proxy of this machine answered 403\. Ask your network's admin/],
  ])('that answers %i is named as what refuses', async (status, words) => {
    const proxy = await httpProxy(status);
    const running = startProxy('https://gateway.example/v1/mcp', {
      env: { HTTPS_PROXY: proxy.url },
    });
    const { message, data } = await failure(running);
    expect(data).toMatchObject({ reason: 'unreachable', cause: 'proxy' });
    expect(message).toMatch(words);
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
    expect(message).toMatch(/the HTTP proxy of this machine hung up, tried 3 times\. Ask/);
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
    expect(message).toContain(`the HTTP proxy 127.0.0.1:${port} of this machine does not answer`);
  });

  it('that is no URL is named', async () => {
    const running = startProxy('https://gateway.example/v1/mcp', {
      env: { HTTPS_PROXY: 'http://[' },
    });
    expect((await failure(running)).message).toMatch(/the address of the HTTP proxy is no URL/);
  });
});

it('says after how long no connection came about', async () => {
  // The listen queue of one is full, so the next connection is not answered: a black hole.
  const server = createTcpServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 });
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const proxy = startProxy(`http://127.0.0.1:${port}/v1/mcp`, { args: ['--timeout', '0.5'] });
  const { message, data } = await failure(proxy);
  expect(data).toMatchObject({ cause: 'timeout' });
  expect(message).toMatch(/it is connected, but was silent for 0\.5 s.*--timeout/);
});
