import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { describe, expect, it, vi } from 'vitest';
import { answer, type Respond, sendEvents, sendJson, startGateway } from './loopback-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const MiB = 1024 * 1024;
const LIMIT = MiB;
/** The program alone takes some 70 MB, and much more while it starts than when it has settled. */
const MOST_MEMORY = 200 * MiB;

/** The most memory that the process has had resident, in bytes. Linux says; elsewhere 0. */
function peakMemory({ child }: RunningProxy): number {
  if (process.platform !== 'linux') return 0;
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

async function start(respond: Respond) {
  const gateway = await startGateway(respond);
  const proxy = startProxy(gateway.url, { args: ['--max-message-bytes', String(LIMIT)] });
  return { gateway, proxy };
}

/** Writes what `next` gives, as fast as it is taken, until the peer has enough. */
async function flood(stream: Writable, next: (n: number) => Buffer | string | undefined) {
  let resume: (() => void) | undefined;
  stream.on('error', () => {});
  for (const event of ['drain', 'close']) stream.on(event, () => resume?.());
  for (let n = 0; !stream.destroyed; n++) {
    const bytes = next(n);
    if (bytes === undefined) return;
    if (stream.write(bytes)) continue;
    await new Promise<void>((resolve) => {
      resume = resolve;
    });
  }
}

const head = (response: ServerResponse, type: string, status = 200) =>
  response.writeHead(status, { 'content-type': type });

const piece = (text: string) => text.repeat(Math.ceil((64 * 1024) / text.length));

interface Flood {
  name: string;
  respond: Respond;
  reason: string;
}

const floods: Flood[] = [
  {
    name: 'a JSON body without end',
    respond: (_, response) => {
      head(response, 'application/json').write('{"jsonrpc":"2.0","id":1,"result":"');
      void flood(response, () => piece('x'));
    },
    reason: 'too large',
  },
  {
    name: 'a JSON body without end, each byte in a chunk of its own',
    respond: (_, response) => {
      head(response, 'application/json').flushHeaders();
      // Past node:http, which would join them.
      const chunks = piece('1\r\nx\r\n');
      void flood(response.socket as Socket, () => chunks);
    },
    reason: 'too large',
  },
  {
    name: 'an event without end',
    respond: (_, response) => {
      head(response, 'text/event-stream').write('data: ');
      void flood(response, () => piece('x'));
    },
    reason: 'too large',
  },
  {
    name: 'an event of data lines without end',
    respond: (_, response) => {
      head(response, 'text/event-stream');
      void flood(response, () => piece('data:\n'));
    },
    reason: 'too large',
  },
  {
    name: 'comments without end, and never a blank line',
    respond: (_, response) => {
      head(response, 'text/event-stream');
      void flood(response, () => piece(': nothing\r\n'));
    },
    reason: 'too large',
  },
  {
    name: 'an event id without end',
    respond: (_, response) => {
      head(response, 'text/event-stream').write('id: ');
      void flood(response, () => piece('x'));
    },
    reason: 'too large',
  },
  {
    name: 'a gzip bomb in JSON',
    respond: (_, response) => {
      response.setHeader('content-encoding', 'gzip');
      const bomb = gzipSync(Buffer.alloc(16 * MiB, ' '));
      void flood(head(response, 'application/json'), () => bomb);
    },
    reason: 'too large',
  },
  {
    name: 'a brotli bomb in an event',
    respond: (_, response) => {
      response.setHeader('content-encoding', 'br');
      const params = { [constants.BROTLI_PARAM_QUALITY]: 1 };
      const zeros = Buffer.alloc(64 * MiB, '0').fill('data: ', 0, 6);
      head(response, 'text/event-stream').end(brotliCompressSync(zeros, { params }));
    },
    reason: 'too large',
  },
  {
    name: 'a gzip bomb in a refusal',
    respond: (_, response) => {
      response.setHeader('content-encoding', 'gzip');
      const bomb = gzipSync(Buffer.alloc(16 * MiB, ' '));
      void flood(head(response, 'application/json', 418), () => bomb);
    },
    reason: 'http_error',
  },
  {
    name: 'a refusal without end',
    respond: (_, response) => {
      head(response, 'text/plain', 403);
      void flood(response, () => piece('no! '));
    },
    reason: 'forbidden',
  },
  {
    name: 'a web page without end',
    respond: (_, response) => {
      head(response, 'text/html').write('<title>Log in</title>');
      void flood(response, () => piece('<p>'));
    },
    reason: 'invalid_response',
  },
  {
    name: 'a header without end',
    respond: (_, response) => {
      response.socket?.write('HTTP/1.1 200 OK\r\nx: ');
      void flood(response.socket as Socket, () => piece('x'));
    },
    reason: 'invalid_response',
  },
  {
    name: 'headers without end',
    respond: (_, response) => {
      response.socket?.write('HTTP/1.1 200 OK\r\n');
      void flood(response.socket as Socket, () => piece('x: y\r\n'));
    },
    reason: 'invalid_response',
  },
];

describe('the gateway floods, is cut off, and gets its next request', () => {
  it.each(floods)('with $name', async ({ respond, reason }) => {
    const { gateway, proxy } = await start((received, response) =>
      (received.message.id === 1 ? respond : answer)(received, response),
    );
    const { error } = await proxy.request(1, 'tools/call', { name: 'x' });
    const { data, message } = error as { data: Json; message: string };
    if (reason === 'too large') {
      expect(data).toMatchObject({ reason: 'invalid_response', limitBytes: LIMIT });
      expect(message).toMatch(/(?:exceeds .*limit of|larger than) 1 MB.*--max-message-bytes/);
    } else expect(data.reason).toBe(reason);
    expect(await proxy.request(2, 'ping')).toHaveProperty('result');
    expect(gateway.received).toHaveLength(2);
    expect(proxy.messages).toHaveLength(2);
    expect(peakMemory(proxy)).toBeLessThan(MOST_MEMORY);
  });

  it('with comments between events, which cost nothing and end nothing', async () => {
    const { proxy } = await start((_, response) => {
      head(response, 'text/event-stream');
      void flood(response, (n) => (n < 1_000 ? piece(': nothing\n\n') : undefined)).then(() =>
        response.end('data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'),
      );
    });
    expect(await proxy.request(1, 'tools/call')).toHaveProperty('result');
    expect(peakMemory(proxy)).toBeLessThan(MOST_MEMORY);
  });

  it('with an answer to a notification that never ends', async () => {
    const { proxy } = await start((received, response) => {
      if (received.message.method !== 'notifications/initialized')
        return answer(received, response);
      void flood(head(response, 'text/plain', 202), () => piece('ok '));
    });
    await proxy.initialize();
    expect(await proxy.request(1, 'ping')).toHaveProperty('result');
    expect(peakMemory(proxy)).toBeLessThan(MOST_MEMORY);
  });

  it('with messages that the client does not read, compressed a thousandfold', async () => {
    const total = 200;
    const { proxy } = await start(({ message }, response) => {
      const text = 'x'.repeat(MiB - 100);
      const event = `data: ${JSON.stringify({ jsonrpc: '2.0', method: 'n', params: { text } })}\n\n`;
      const reply = `data: ${JSON.stringify({ jsonrpc: '2.0', id: message.id, result: {} })}\n\n`;
      response.setHeader('content-encoding', 'gzip');
      const compressed = [...Array(total).fill(gzipSync(event)), gzipSync(reply)];
      head(response, 'text/event-stream').end(Buffer.concat(compressed));
    });
    proxy.child.stdout?.pause();
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'flood' });
    // What is compressed is with it as a whole: its memory grows until it has enough.
    let before = -1;
    const hasSettled = () => {
      const peak = peakMemory(proxy);
      const isSteady = peak === before && proxy.stderr.includes('for http');
      before = peak;
      return isSteady;
    };
    await vi.waitUntil(hasSettled, { interval: 400, timeout: 20_000 });
    proxy.child.stdout?.resume();
    await proxy.reply(1);
    expect(proxy.messages).toHaveLength(total + 1);
    expect(peakMemory(proxy)).toBeLessThan(MOST_MEMORY);
  });
});

it.each(['id first', 'id last'])(
  'the client sends a message over the limit, %s: it gets its own error and goes on',
  async (where) => {
    const { gateway, proxy } = await start(answer);
    const [first, last] = where === 'id first' ? ['"id":1,', ''] : ['', ',"id":1'];
    proxy.send(
      `{"jsonrpc":"2.0",${first}"method":"tools/call","params":{"x":"${'y'.repeat(100 * MiB)}"}${last}}`,
    );
    expect(await proxy.reply(1)).toMatchObject({
      error: { code: -32016, data: { reason: 'request_too_large', limitBytes: LIMIT } },
    });
    expect(await proxy.request(2, 'ping')).toHaveProperty('result');
    expect(gateway.received).toHaveLength(1);
    expect(peakMemory(proxy)).toBeLessThan(MOST_MEMORY);
  },
);

it('messages of just the limit pass, both ways, in JSON and in an event', async () => {
  const { proxy } = await start(({ message, body }, response) => {
    const room = LIMIT - JSON.stringify({ jsonrpc: '2.0', id: message.id, result: '' }).length;
    const reply = { jsonrpc: '2.0', id: message.id, result: 'x'.repeat(room) };
    expect(body).toHaveLength(LIMIT);
    if (message.method === 'sse') {
      sendEvents(response, reply);
      response.end();
    } else sendJson(response, reply);
  });
  for (const [id, method] of ['sse', 'json'].entries()) {
    const empty = JSON.stringify({ jsonrpc: '2.0', id, method, params: '' });
    const params = 'y'.repeat(LIMIT - empty.length);
    proxy.send({ jsonrpc: '2.0', id, method, params });
    expect(await proxy.reply(id)).toHaveProperty('result');
  }
});

it('a thousand requests are in flight at once, and each gets its own reply', async () => {
  const waiting: (() => void)[] = [];
  const { gateway, proxy } = await start((received, response) => {
    waiting.push(() => answer(received, response, { for: received.message.id }));
    if (waiting.length === 1_000) for (const finish of waiting) finish();
  });
  const ids = Array.from({ length: 1_000 }, (_, at) => at);
  const replies = await Promise.all(
    ids.map((id) => proxy.request(id, 'tools/call', { name: 'x' })),
  );
  expect(replies.map(({ result }) => (result as Json).for)).toEqual(ids);
  expect(gateway.received).toHaveLength(1_000);
  expect(peakMemory(proxy)).toBeLessThan(2 * MOST_MEMORY);
});
