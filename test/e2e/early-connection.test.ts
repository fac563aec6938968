import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { startProxy } from './running-proxy.ts';

/** What comes on each connection, in the order that they were accepted. */
interface Watched {
  port: number;
  connections: { socket: Socket; received: string }[];
}

async function watch(
  server: Server,
  onConnection: (socket: Socket, count: number) => void = () => {},
): Promise<Watched> {
  const connections: Watched['connections'] = [];
  server.on('connection', (socket: Socket) => {
    const connection = { socket, received: '' };
    connections.push(connection);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      connection.received += chunk.toString('latin1');
    });
    onConnection(socket, connections.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const { socket } of connections) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, connections };
}

const REPLY = '{"jsonrpc":"2.0","id":1,"result":{}}';
const reply = (body = REPLY) =>
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

it('is there before the client speaks, silent, and takes the first request', async () => {
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(REPLY);
  });
  const { port, connections } = await watch(server);
  const accepted = once(server, 'connection');
  const proxy = startProxy(`http://127.0.0.1:${port}/v1/mcp`);
  await accepted;
  await proxy.until(() => proxy.stderr.includes('mcp-latchkey'));
  expect(connections.map(({ received }) => received)).toEqual(['']);
  expect(await proxy.request(1, 'ping')).toHaveProperty('result');
  expect(connections).toHaveLength(1);
  expect(connections[0]?.received).toMatch(/^POST \/v1\/mcp HTTP\/1\.1\r\n/);
});

it('is through the TLS handshake before the client speaks, by the certificates that were given', async () => {
  const authority = new CertificateAuthority();
  onTestFinished(() => authority.remove());
  const { key, cert } = authority.issue('IP:127.0.0.1');
  let requests = 0;
  const server = createTlsServer({ key, cert }, (_, response) => {
    requests++;
    response.writeHead(200, { 'content-type': 'application/json' }).end(REPLY);
  });
  let connections = 0;
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const secured = once(server, 'secureConnection');
  const proxy = startProxy(`https://127.0.0.1:${port}/v1/mcp`, {
    args: ['--ca', authority.certFile],
  });
  await secured;
  expect(requests).toBe(0);
  expect(await proxy.request(1, 'ping')).toHaveProperty('result');
  expect(requests).toBe(1);
  expect(connections).toBe(1);
});

it('is not opened when an HTTP proxy is named', async () => {
  const { port, connections } = await watch(createServer());
  const httpProxy = await startGateway(answer);
  const proxy = startProxy(`http://0.0.0.0:${port}/v1/mcp`, {
    args: ['--allow-http'],
    env: { HTTP_PROXY: new URL(httpProxy.url).origin },
  });
  expect(await proxy.request(1, 'ping')).toHaveProperty('result');
  expect(connections).toEqual([]);
});

it.each([
  ['is reset', (socket: Socket) => void socket.resetAndDestroy()],
  ['is closed', (socket: Socket) => void socket.end()],
  ['brings an answer that nobody asked for', (socket: Socket) => void socket.write(reply())],
])('gives way to another when it %s', async (_, spoil) => {
  const server = createTcpServer();
  const { port, connections } = await watch(server, (socket, count) => {
    if (count === 1) spoil(socket);
    else socket.once('data', () => socket.write(reply(REPLY.replace('{}', '{"asked":true}'))));
  });
  const accepted = once(server, 'connection');
  const proxy = startProxy(`http://127.0.0.1:${port}/v1/mcp`);
  const [socket] = (await accepted) as [Socket];
  await once(socket, 'close');
  expect(await proxy.request(1, 'ping')).toMatchObject({ result: { asked: true } });
  expect(connections.map(({ received }) => received.slice(0, 4))).toEqual(['', 'POST']);
  expect(proxy.stderr).not.toContain('error: bug');
});

it('is closed after 4 s without use, and does not delay an earlier end', async () => {
  const gateway = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(REPLY);
  });
  const { port, connections } = await watch(gateway);
  const url = `http://127.0.0.1:${port}/v1/mcp`;
  const brief = startProxy(url);
  await once(gateway, 'connection');
  const start = performance.now();
  expect(await brief.end()).toBe(0);
  expect(performance.now() - start).toBeLessThan(3_500);
  const patient = startProxy(url);
  const [socket] = (await once(gateway, 'connection')) as [Socket];
  await once(socket, 'close');
  expect(await patient.request(1, 'ping')).toHaveProperty('result');
  expect(connections).toHaveLength(3);
});

it('is followed by seven more over TLS after the first reply, silent, which delay no end', async () => {
  const authority = new CertificateAuthority();
  onTestFinished(() => authority.remove());
  const { key, cert } = authority.issue('IP:127.0.0.1');
  let requests = 0;
  const server = createTlsServer({ key, cert }, (_, response) => {
    requests++;
    response.writeHead(200, { 'content-type': 'application/json' }).end(REPLY);
  });
  let secured = 0;
  const eight = new Promise<void>((resolve) => {
    server.on('secureConnection', () => {
      if (++secured === 8) resolve();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const proxy = startProxy(`https://127.0.0.1:${port}/v1/mcp`, {
    args: ['--ca', authority.certFile],
  });
  expect(await proxy.request(1, 'ping')).toHaveProperty('result');
  await eight;
  expect(requests).toBe(1);
  const start = performance.now();
  expect(await proxy.end()).toBe(0);
  expect(performance.now() - start).toBeLessThan(3_500);
  expect(secured).toBe(8);
});
