import { once } from 'node:events';
import { createServer as createHttp2, createSecureServer } from 'node:http2';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import { createServer as createTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

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

const tls = () => authority.issue('IP:127.0.0.1');
const SETTINGS = Buffer.from('000000040000000000', 'hex');
const GOAWAY = Buffer.from('0000080700000000000000000000000001', 'hex');

/** Ways of a server to accept HTTP/2 only: the URL where it is. */
const SERVERS: [string, () => Promise<string>][] = [
  [
    'by TLS, which finds no protocol',
    async () => `https://127.0.0.1:${await listen(createSecureServer(tls()) as unknown as Server)}`,
  ],
  [
    'by an alert',
    async () => `https://127.0.0.1:${await listen(createTls({ ...tls(), ALPNProtocols: ['h2'] }))}`,
  ],
  ['over plain TCP', async () => `http://127.0.0.1:${await listen(createHttp2() as Server)}`],
  [
    'with a frame of settings',
    async () => {
      const server = createTcp((socket) => void socket.on('error', () => {}).end(SETTINGS));
      return `http://127.0.0.1:${await listen(server)}`;
    },
  ],
  [
    'with a frame of settings over TLS',
    async () => {
      const server = createTls(tls(), (socket) => void socket.on('error', () => {}).end(SETTINGS));
      return `https://127.0.0.1:${await listen(server)}`;
    },
  ],
  [
    'with a frame that says goodbye',
    async () => {
      const server = createTcp((socket) => void socket.on('error', () => {}).end(GOAWAY));
      return `http://127.0.0.1:${await listen(server)}`;
    },
  ],
  ...(
    [
      ['with 505', 505, {}, ''],
      ['with 426', 426, { upgrade: 'h2c', connection: 'upgrade' }, ''],
      [
        'with the words of Node.js',
        403,
        {},
        'Missing ALPN Protocol, expected `h2` to be available.',
      ],
    ] as const
  ).map(([name, status, headers, body]): [string, () => Promise<string>] => [
    name,
    async () => {
      const { url } = await startGateway((_, response) => {
        response.writeHead(status, headers).end(body);
      });
      return new URL(url).origin;
    },
  ]),
];

describe.each(SERVERS)('a server that accepts HTTP/2 only, %s', (_, start) => {
  it('is called that', async () => {
    const proxy = startProxy(`${await start()}/v1/mcp`, { args: ['--ca', authority.certFile] });
    const { error } = await proxy.request(1, 'tools/list');
    const { message, data } = error as { message: string; data: Json };
    expect(message).toMatch(/only accepts HTTP\/2|HTTP\/2 only|an HTTP\/2 frame/);
    expect(data.hint).toContain('HTTP/1.1');
    expect(data.attempts ?? 1).toBe(1);
  });
});
