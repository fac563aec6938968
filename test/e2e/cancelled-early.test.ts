import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { type Stream, sendEndpoint, startHttpSseGateway } from './http-sse-gateway.ts';
import { startProxy } from './running-proxy.ts';

const SSE = ['--transport', 'sse'];

/** A server that accepts connections and says nothing; and its first connection. */
async function startSilent() {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { port, connected: once(server, 'connection') };
}

describe('a request that is cancelled over HTTP+SSE while its connection is made', () => {
  it('is not sent where the event stream opens only later', async () => {
    let opening: Stream | undefined;
    const gateway = await startHttpSseGateway({
      open: (stream) => {
        opening = stream;
      },
    });
    const proxy = startProxy(gateway.url, { args: SSE });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
    await gateway.request(({ method }) => method === 'GET');
    proxy.notify('notifications/cancelled', { requestId: 1 });
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'ping' });
    await proxy.until(() => proxy.stderr.includes('debug'));
    sendEndpoint(opening as Stream);
    expect(await proxy.reply(2)).toHaveProperty('result');
    expect(gateway.posts()).not.toContain('tools/call in 1');
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages.map(({ id }) => id)).toEqual([2]);
  });

  it('is not sent where a lost stream is opened again', async () => {
    let reopened: Stream | undefined;
    const gateway = await startHttpSseGateway({
      open: (stream) => {
        if (stream.number === 1) sendEndpoint(stream);
        else reopened = stream;
      },
    });
    const proxy = startProxy(gateway.url, { args: SSE });
    await proxy.initialize();
    await proxy.request('before', 'ping');
    gateway.streams[0]?.response.end();
    await proxy.until(() => proxy.stderr.includes('the event stream ended'));
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
    await gateway.request(() => gateway.streams.length === 2);
    proxy.notify('notifications/cancelled', { requestId: 1 });
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'ping' });
    sendEndpoint(reopened as Stream);
    expect(await proxy.reply(2)).toHaveProperty('result');
    expect(gateway.posts().filter((post) => post.startsWith('tools/call'))).toEqual([]);
  });

  it('is not sent where the connection of its own hangs in the TLS handshake', async () => {
    const authority = new CertificateAuthority();
    onTestFinished(() => authority.remove());
    const gateway = await startHttpSseGateway();
    const behind = Number(new URL(gateway.url).port);
    const secure = createTlsServer(authority.issue('DNS:localhost'), (socket) => {
      const relayed = connect(behind, '127.0.0.1');
      for (const end of [socket, relayed]) end.on('error', () => end.destroy());
      socket.pipe(relayed).pipe(socket);
    });
    const held: Socket[] = [];
    let isHolding = false;
    const front = createServer((socket) => {
      if (isHolding) held.push(socket);
      else secure.emit('connection', socket);
      // The next one: the first has the event stream.
      isHolding = held.length === 0;
    });
    front.listen(0, '127.0.0.1');
    await once(front, 'listening');
    onTestFinished(() => void front.close());
    const { port } = front.address() as AddressInfo;
    const proxy = startProxy(`https://localhost:${port}/v1/mcp`, {
      args: [...SSE, '--ca', authority.certFile],
    });
    await once(front, 'connection');
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
    await once(front, 'connection');
    proxy.notify('notifications/cancelled', { requestId: 1 });
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'ping' });
    await once(front, 'connection');
    secure.emit('connection', held[0]);
    expect(await proxy.reply(2)).toHaveProperty('result');
    expect(gateway.posts()).toContain('ping in 1');
    expect(gateway.posts()).not.toContain('tools/call in 1');
  });

  it('is not sent where the key comes only later', async () => {
    const gateway = await startHttpSseGateway();
    // For sh and for cmd.exe.
    const command = `"${process.execPath}" -e "setTimeout(console.log, 1000, 'a-key-that-comes-late')"`;
    const proxy = startProxy(gateway.url, { args: [...SSE, '--key-command', command] });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } });
    proxy.notify('notifications/cancelled', { requestId: 1 });
    expect(await proxy.request(2, 'ping')).toHaveProperty('result');
    expect(gateway.posts().filter((post) => post.startsWith('tools/call'))).toEqual([]);
  });
});

describe('a connection that hangs when stdin ends', () => {
  it.each<[string, (port: number) => string, string[]]>([
    ['in the TLS handshake', (port) => `https://127.0.0.1:${port}/v1/mcp`, []],
    ['in the TLS handshake, HTTP+SSE', (port) => `https://127.0.0.1:${port}/v1/mcp`, SSE],
    ['before the event stream', (port) => `http://127.0.0.1:${port}/v1/mcp`, SSE],
  ])('ends the program in 1 s, with an error to each request: %s', async (_, url, args) => {
    const { port, connected } = await startSilent();
    const proxy = startProxy(url(port), { args });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} });
    await connected;
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: {} });
    expect(await proxy.end()).toBe(0);
    for (const id of [1, 2]) {
      expect((await proxy.reply(id)).error).toMatchObject({ data: { reason: 'unreachable' } });
    }
    const { ms } = proxy.lastWait;
    expect(ms).toBeGreaterThanOrEqual(900);
    expect(ms).toBeLessThan(1_300);
  });

  it('ends it in 1 s where an HTTP proxy does not answer', async () => {
    const { port, connected } = await startSilent();
    const proxy = startProxy('https://gateway.test/v1/mcp', {
      env: { HTTPS_PROXY: `http://127.0.0.1:${port}` },
    });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: {} });
    await connected;
    expect(await proxy.end()).toBe(0);
    expect((await proxy.reply(1)).error).toMatchObject({ data: { reason: 'unreachable' } });
    expect(proxy.lastWait.ms).toBeLessThan(1_300);
  });
});
