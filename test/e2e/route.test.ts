import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type ServerOptions } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { program, type RunningProxy, secret, startProxy } from './running-proxy.ts';

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
      /its certificate for gateway\.test expired on 20\d\d-\d\d-\d\d\. Check this computer's clock/,
    );
  });

  it('names a self-signed certificate, and --ca fixes it', async () => {
    const { key, cert } = authority.selfSigned();
    const port = await tlsGateway({ key, cert });
    const { message } = await failure(startProxy(`https://127.0.0.1:${port}/v1/mcp`));
    expect(message).toMatch(/its certificate for self\.test is self-signed\. .*--ca FILE/);
  });

  it('names the certificate also where a connection has no limit', async () => {
    const { key, cert } = authority.selfSigned();
    const port = await tlsGateway({ key, cert });
    const args = ['--connect-timeout', '0'];
    const { message } = await failure(startProxy(`https://127.0.0.1:${port}/v1/mcp`, { args }));
    expect(message).toContain('its certificate for self.test is self-signed');
  });

  it('names an issuer that is not trusted; --ca and NODE_EXTRA_CA_CERTS fix it', async () => {
    const { key, cert } = authority.issue('DNS:localhost,IP:127.0.0.1');
    const url = `https://127.0.0.1:${await tlsGateway({ key, cert })}/v1/mcp`;
    const { message } = await failure(startProxy(url));
    expect(message).toMatch(
      /for gateway\.test is from Test Authority, which this computer does not trust.*--ca FILE/,
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
    expect(message).toMatch(/does not use TLS on this port\. .*http:\/\//);
  });

  it('shows a client certificate where one is required', async () => {
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

  describe.each(['pkcs8', 'traditional'] as const)(
    'with a private key encrypted as %s',
    (format) => {
      const PASSPHRASE = secret('correct horse battery staple');

      async function gatewayThatAsks(passphrase?: string, args: string[] = []) {
        const { key, cert } = authority.issue('IP:127.0.0.1');
        const ca = readFileSync(authority.certFile);
        const port = await tlsGateway({
          key,
          cert,
          ca,
          requestCert: true,
          rejectUnauthorized: true,
        });
        const [certFile, keyFile] = authority.issue('DNS:client.test').files as [string, string];
        const encrypted = authority.encrypt(keyFile, PASSPHRASE, format);
        return startProxy(`https://127.0.0.1:${port}/v1/mcp`, {
          args: ['--ca', authority.certFile, '--cert', certFile, '--key-pem', encrypted, ...args],
          env: passphrase === undefined ? {} : { KEY_PASSPHRASE: passphrase },
        });
      }
      const NAMED = ['--key-pem-passphrase-env', 'KEY_PASSPHRASE'];

      it('shows the certificate where the passphrase is named', async () => {
        const proxy = await gatewayThatAsks(PASSPHRASE, NAMED);
        expect(await proxy.request(1, 'tools/list')).toMatchObject({
          result: { authorized: true },
        });
      });

      it.each<[string, string | undefined, string[], RegExp]>([
        ['no passphrase is named', PASSPHRASE, [], /the --key-pem file \S+ is encrypted\. /],
        [
          'the variable is not set',
          undefined,
          NAMED,
          /is encrypted, but the variable KEY_PASSPHRASE is not set\. /,
        ],
        [
          'the passphrase is another',
          'wrong',
          NAMED,
          /the passphrase in KEY_PASSPHRASE does not open the --key-pem file \S+\. /,
        ],
      ])('says so where %s', async (_, passphrase, args, words) => {
        const { message, data } = await failure(await gatewayThatAsks(passphrase, args));
        expect(data).toMatchObject({ reason: 'unreachable', cause: 'tls' });
        expect(message).toMatch(words);
        expect(data.hint).toContain('--key-pem-passphrase-env NAME');
      });
    },
  );

  it('masks the passphrase wherever it is quoted', async () => {
    const passphrase = secret('a passphrase that nobody else has');
    const { url } = await startGateway((_, response) => {
      response.writeHead(403).end(`who said ${passphrase}?`);
    });
    const args = ['--key-pem-passphrase-env', 'KEY_PASSPHRASE'];
    const proxy = startProxy(url, { args, env: { KEY_PASSPHRASE: passphrase } });
    expect((await failure(proxy)).message).toContain('who said [secret]?');
  });

  it('does not need the passphrase of a key that is not encrypted', async () => {
    const { key, cert, files } = authority.issue('IP:127.0.0.1');
    const port = await tlsGateway({ key, cert });
    const [certFile, keyFile] = files as [string, string];
    const args = ['--cert', certFile, '--key-pem', keyFile, '--key-pem-passphrase-env', 'UNSET'];
    const proxy = startProxy(`https://127.0.0.1:${port}/v1/mcp`, {
      args: ['--ca', authority.certFile, ...args],
    });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
  });

  it.each([
    ['--ca', 'is missing', '/no/such.pem', 'could not be read: ENOENT'],
    ['--ca', 'is a folder', tmpdir(), `cannot be used: ${tmpdir()} is not a file`],
    ['--ca', 'has no certificate in it', program, 'is not a PEM file'],
    ['--cert', 'is missing', '/no/such.pem', 'could not be read: ENOENT'],
    ['--key-pem', 'is missing', '/no/such.pem', 'could not be read: ENOENT'],
  ])(
    'says which file cannot be used, and why, where that of %s %s',
    async (option, _, file, why) => {
      const proxy = startProxy('https://127.0.0.1:1/v1/mcp', { args: [option, file] });
      const { message, data } = await failure(proxy);
      expect(data).toMatchObject({ cause: 'tls' });
      expect(message).toContain(
        `the ${option} file ${file} ${why}. Check the files passed with --ca, --cert and --key-pem`,
      );
    },
  );

  it('says what is wrong with a key that is not the one of the certificate', async () => {
    const [certFile] = authority.issue('DNS:one.test').files as [string];
    const [, keyFile] = authority.issue('DNS:two.test').files as [string, string];
    const args = ['--cert', certFile, '--key-pem', keyFile];
    const { message } = await failure(startProxy('https://127.0.0.1:1/v1/mcp', { args }));
    expect(message).toContain(
      'a certificate file could not be used: ERR_OSSL_X509_KEY_VALUES_MISMATCH. Check the files',
    );
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
  expect(message).toMatch(/connected, but no reply for 0\.5 seconds.*--timeout/);
});
