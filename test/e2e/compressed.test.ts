import type { ServerResponse } from 'node:http';
import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createDeflate,
  createGzip,
  deflateRawSync,
  deflateSync,
  gzipSync,
} from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type Respond, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

const compressors: Record<string, [coding: string, compress: (bytes: Buffer) => Buffer]> = {
  gzip: ['gzip', gzipSync],
  'x-gzip, upper case': ['X-GZIP', gzipSync],
  br: ['br', brotliCompressSync],
  'deflate with zlib header': ['deflate', deflateSync],
  'deflate without header': ['deflate', deflateRawSync],
};

const brotliFlush = { flush: constants.BROTLI_OPERATION_FLUSH };

/** Compressors that let out what was written to them. */
const streams = {
  gzip: () => createGzip({ flush: constants.Z_SYNC_FLUSH }),
  deflate: () => createDeflate({ flush: constants.Z_SYNC_FLUSH }),
  br: () => createBrotliCompress(brotliFlush),
};

function sendCompressed(
  response: ServerResponse,
  coding: string,
  bytes: Buffer,
  { status = 200, type = 'application/json' } = {},
): void {
  response.writeHead(status, { 'content-type': type, 'content-encoding': coding }).end(bytes);
}

const result = (id: unknown, result: Json = {}) =>
  Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, result }));

async function reply(respond: Respond, args: string[] = []) {
  const gateway = await startGateway(respond);
  const proxy = startProxy(gateway.url, { args });
  return { gateway, proxy, reply: await proxy.request(1, 'tools/call', { name: 'x' }) };
}

const data = ({ error }: Json) => (error as { data: Json } | undefined)?.data;

describe.each(Object.entries(compressors))('%s', (_, [coding, compress]) => {
  it('is undone in JSON and in events, though it was not asked for', async () => {
    const text = 'é😀'.repeat(100_000);
    const gateway = await startGateway(({ message }, response) => {
      const body = result(message.id, { text });
      if (message.method === 'json') sendCompressed(response, coding, compress(body));
      else {
        const events = Buffer.concat([Buffer.from('data: '), body, Buffer.from('\n\n')]);
        sendCompressed(response, coding, compress(events), { type: 'text/event-stream' });
      }
    });
    const proxy = startProxy(gateway.url);
    for (const method of ['json', 'events']) {
      const reply = await proxy.request(method, method);
      expect((reply.result as Json).text === text).toBe(true);
    }
    expect(gateway.received[0]?.headers).not.toHaveProperty('accept-encoding');
  });

  it('is undone in a refusal', async () => {
    const { reply: refused } = await reply((_, response) =>
      sendCompressed(response, coding, compress(Buffer.from('{"message":"no \\u001b[31mpets"}')), {
        status: 418,
      }),
    );
    expect(refused).toMatchObject({ error: { message: expect.stringContaining(': no pets.') } });
  });

  it('that is broken is an invalid response', async () => {
    const whole = compress(result(1, { text: 'x'.repeat(1_000) }));
    const half = whole.subarray(0, whole.length / 2);
    for (const bytes of [half, Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}')]) {
      const { reply: failed, proxy } = await reply((_, response) =>
        sendCompressed(response, coding, bytes),
      );
      expect(data(failed)).toMatchObject({ reason: 'invalid_response' });
      expect((failed.error as Json).message).toMatch(/sent a broken \w+ body/);
      expect(proxy.messages).toHaveLength(1);
    }
  });
});

describe.each(Object.entries(streams))('an event stream in %s', (coding, open) => {
  it('is read as it comes, and its reply counts though the connection breaks behind it', async () => {
    const gateway = await startGateway(({ message }, response) => {
      response.writeHead(200, {
        'content-type': 'text/event-stream',
        'content-encoding': coding,
      });
      const compressor = open();
      compressor.pipe(response);
      if (message.id === 1) {
        compressor.write('data: {"jsonrpc":"2.0","method":"notifications/x"}\n\n');
        finish = () => {
          compressor.write(`data: ${result(1)}\n\n`, () =>
            setTimeout(() => response.socket?.resetAndDestroy(), 50),
          );
        };
      } else finish?.();
    });
    let finish: (() => void) | undefined;
    const proxy = startProxy(gateway.url);
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call' });
    await proxy.message(({ method }) => method === 'notifications/x');
    finish?.();
    expect(await proxy.reply(1)).toHaveProperty('result');
  });
});

it.each(['zstd', 'compress', 'gzip, br'])(
  'a body in %j is an invalid response that says so',
  async (coding) => {
    const { reply: failed } = await reply((_, response) =>
      sendCompressed(response, coding, gzipSync(result(1))),
    );
    expect(data(failed)).toMatchObject({ reason: 'invalid_response', status: 200 });
    expect((failed.error as Json).message).toContain(`a body encoded as ${coding}`);
  },
);

it('an empty body needs no decoding: 202 with a Content-Encoding is accepted', async () => {
  const gateway = await startGateway(({ message }, response) => {
    response.setHeader('content-encoding', 'gzip');
    if (message.id === undefined) response.writeHead(202).end();
    else sendCompressed(response, 'gzip', gzipSync(result(message.id)));
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  expect(await proxy.request(1, 'ping')).toHaveProperty('result');
  expect(await proxy.end()).toBe(0);
  expect(proxy.stderr).not.toMatch(/ warn| error/);
});
