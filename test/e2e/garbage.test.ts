import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Json, startProxy } from './running-proxy.ts';

/** A server that answers every first request of a method with these bytes, and then properly. */
async function startGarbage(bytes: string | Buffer, always = false) {
  const received: Json[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.setEncoding('utf8').on('data', (text: unknown) => {
      const [, body = ''] = String(text).split('\r\n\r\n');
      if (body === '') return void socket.end('HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n');
      const message = JSON.parse(body) as Json;
      const isFirst = !received.some(({ method }) => method === message.method);
      received.push(message);
      if (isFirst || always) return void socket.end(bytes);
      const json = JSON.stringify({ jsonrpc: '2.0', id: message.id, result: {} });
      socket.end(
        `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n${json}`,
      );
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/mcp`;
  return { url, count: (method: string) => received.filter((own) => own.method === method).length };
}

describe('what is not HTTP', () => {
  const GARBAGE: [string, string | Buffer][] = [
    ['a status line that is none', 'garbage\r\n\r\n'],
    ['bytes', Buffer.from([0, 1, 2, 255, 254, 10, 10])],
    ['the rest of another answer', '{"jsonrpc":"2.0"}HTTP/1.1 200 OK\r\n\r\n'],
    ['a version that is none', 'HTTP/9.z 200 OK\r\n\r\n'],
    ['a header that is none', 'HTTP/1.1 200 OK\r\nbad header\r\n\r\n'],
    ['a length that is none', 'HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nab'],
    ['a chunk that is none', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'],
  ];

  it.each(GARBAGE)('is tried again where that is safe: %s', async (_, bytes) => {
    const { url, count } = await startGarbage(bytes);
    const proxy = startProxy(url);
    expect((await proxy.request(1, 'tools/list')).result).toEqual({});
    expect(count('tools/list')).toBe(2);
  });

  it.each(GARBAGE)('does not make a call run twice: %s', async (_, bytes) => {
    const { url, count } = await startGarbage(bytes);
    const proxy = startProxy(url);
    expect((await proxy.request(1, 'tools/call', { name: 'x' })).error).toMatchObject({
      data: { reason: 'invalid_response' },
    });
    expect(count('tools/call')).toBe(1);
  });

  it('that stays is said after three attempts', async () => {
    const { url, count } = await startGarbage('SSH-2.0-OpenSSH_9.2\r\n', true);
    const proxy = startProxy(url);
    expect((await proxy.request(1, 'tools/list')).error).toMatchObject({
      message: expect.stringContaining('sent invalid HTTP'),
      data: { reason: 'invalid_response', attempts: 3 },
    });
    expect(count('tools/list')).toBe(3);
  });
});
