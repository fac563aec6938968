import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SecretMatcher } from '../../src/failures/secret-matcher.ts';
import { Secrets } from '../../src/failures/secrets.ts';
import { HttpClient } from '../../src/http/client.ts';
import type { RequestHandler } from '../../src/http/request.ts';
import { Routes } from '../../src/http/routes.ts';
import type { Message, Request } from '../../src/jsonrpc/message.ts';
import { Endpoint } from '../../src/transport/endpoint.ts';
import { Exchange, type Expectation } from '../../src/transport/exchange.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import { HttpSseStream } from '../../src/transport/http-sse-stream.ts';
import type { MessageObserver } from '../../src/transport/transport.ts';

const PLANTED = new Error('planted');
const ID = { raw: '1', key: 'n1' };
const REPLY = '{"jsonrpc":"2.0","id":1,"result":{}}';
const NOTICE = '{"jsonrpc":"2.0","method":"notifications/a"}';

/** A server of bytes: `serve` gets each connection. */
async function start(serve: (socket: Socket) => void): Promise<string> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
    serve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Sends a request to a server that answers with these bytes, and leaves the connection open. */
async function dispatch(answer: Buffer, handler: RequestHandler, limitMs = 0): Promise<Socket> {
  let onSocket = (_: Socket) => {};
  const socket = new Promise<Socket>((resolve) => {
    onSocket = resolve;
  });
  const origin = await start((accepted) => {
    onSocket(accepted);
    accepted.once('data', () => accepted.write(answer));
  });
  const route = new HttpClient(origin, { connectTimeoutMs: 1_000, tls: () => ({}) });
  onTestFinished(() => route.destroy());
  const timeouts = { headersTimeout: limitMs, bodyTimeout: limitMs };
  const body = Buffer.from('{}');
  route.dispatch({ origin, method: 'POST', path: '/', headers: [], body, ...timeouts }, handler);
  return socket;
}

const http = (type: string, body: string | Buffer, fields = '') =>
  Buffer.concat([
    Buffer.from(
      `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${fields}\r\n`,
    ),
    Buffer.from(body),
  ]);
/** Says that there is more to come. */
const unfinished = (type: string, body: string | Buffer, fields = '') =>
  Buffer.concat([
    Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\n${fields}\r\n`),
    Buffer.from(body),
  ]);

describe('what a handler throws ends its request at once, and the handler is told', () => {
  const methods = [
    'onRequestStart',
    'onResponseStart',
    'onResponseData',
    'onResponseEnd',
    'onResponseError',
  ] as const;

  it.each(methods)('from %s', async (method) => {
    let told = (_: Error) => {};
    const outcome = new Promise<Error>((resolve) => {
      told = resolve;
    });
    let hasThrown = false;
    const step = (name: string, error?: Error) => {
      if (name !== method || hasThrown) {
        if (error !== undefined) told(error);
        return;
      }
      hasThrown = true;
      throw PLANTED;
    };
    const answer = method === 'onResponseError' ? Buffer.alloc(0) : http('text/plain', 'x');
    const socket = await dispatch(
      answer,
      {
        onRequestStart: () => step('onRequestStart'),
        onResponseStart: () => step('onResponseStart'),
        onResponseData: () => step('onResponseData'),
        onResponseEnd: () => step('onResponseEnd'),
        onResponseError: (error) => step('onResponseError', error),
      },
      method === 'onResponseError' ? 50 : 0,
    );
    expect(await outcome).toMatchObject({ code: 'ERR_BUG', message: 'planted' });
    if (!socket.closed && method !== 'onResponseEnd') await once(socket, 'close');
  });
});

/** The end of an exchange whose observer throws: at a message, or when asked to wait. */
async function endOf(
  answer: Buffer,
  observer: Partial<MessageObserver>,
  { due = ID as Expectation, resets = false } = {},
): Promise<ExchangeOutcome> {
  const whole: MessageObserver = {
    onMessage: () => {},
    congested: () => undefined,
    ...observer,
  };
  const exchange = new Exchange(due, whole, 4096);
  const onData = exchange.onResponseData.bind(exchange);
  exchange.onResponseData = (chunk) => {
    onData(chunk);
    if (resets) void connected.then((socket) => socket.resetAndDestroy());
  };
  const connected = dispatch(answer, exchange);
  return exchange.ended;
}

describe('what an observer throws ends its exchange as a bug', () => {
  const throwing = {
    onMessage: () => {
      throw PLANTED;
    },
  };
  const bug = { kind: 'bug', error: { message: 'planted', stack: PLANTED.stack } };
  const gzip = 'content-encoding: gzip\r\n';

  it.each([
    ['the reply in a body', http('application/json', REPLY)],
    ['a message before it', http('application/json', `[${NOTICE},${REPLY}]`)],
    ['the reply in an event', unfinished('text/event-stream', `data: ${REPLY}\n\n`)],
    ['a message in an event', unfinished('text/event-stream', `data: ${NOTICE}\n\n`)],
    ['the reply in a body that is compressed', http('application/json', gzipSync(REPLY), gzip)],
    [
      'the reply in an event that is compressed',
      unfinished('text/event-stream', gzipSync(`data: ${REPLY}\n\n`), gzip),
    ],
  ])('%s', async (_, answer) => {
    expect(await endOf(answer, throwing)).toMatchObject(bug);
  });

  it('the reply in a body that broke off behind it', async () => {
    const end = endOf(unfinished('application/json', REPLY), throwing, { resets: true });
    expect(await end).toMatchObject(bug);
  });

  it('a message on a stream that no reply is due on', async () => {
    const answer = unfinished('text/event-stream', `data: ${NOTICE}\n\n`);
    expect(await endOf(answer, throwing, { due: 'stream' })).toMatchObject(bug);
  });

  it.each([
    [
      'throws',
      () => {
        throw PLANTED;
      },
    ],
    ['rejects', () => Promise.reject(PLANTED)],
  ])('the question whether to wait, which %s', async (_, congested) => {
    for (const [fields, coded] of [
      ['', (text: string) => Buffer.from(text)],
      [gzip, gzipSync],
    ] as const) {
      const answer = unfinished('text/event-stream', coded(`data: ${NOTICE}\n\n`), fields);
      expect(await endOf(answer, { congested })).toMatchObject(bug);
    }
  });
});

describe('what an observer throws on an HTTP+SSE stream', () => {
  async function open(listener: Partial<MessageObserver> = {}, openLimitMs = 0) {
    let toStream = (_: string) => {};
    const origin = await start((socket) => {
      socket.setEncoding('utf8').on('data', (text: unknown) => {
        if (!String(text).startsWith('GET')) {
          socket.write('HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n');
          return;
        }
        toStream = (line) => socket.write(`${line}\n\n`);
        socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n');
        toStream('event: endpoint\ndata: /messages');
      });
    });
    const log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} };
    const credential = { kind: 'none', origin: { source: 'none', origin: 'none' } } as const;
    const routes = new Routes({ connectTimeoutMs: 1_000, env: {}, warnOf: () => () => {} });
    const endpoint = new Endpoint({
      url: new URL(`${origin}/sse`),
      headers: new Map(),
      userAgent: 'test',
      routes,
      timeoutMs: 0,
      secrets: new Secrets((keys) => new SecretMatcher(keys)),
    });
    endpoint.open(credential);
    onTestFinished(() => endpoint.close());
    const stream = new HttpSseStream({
      endpoint,
      origin,
      target: '/sse',
      credential,
      listener: { onMessage: () => {}, congested: () => undefined, ...listener },
      timeoutMs: 0,
      openLimitMs,
      maxMessageBytes: 4096,
      log,
    });
    expect(await stream.opened).toEqual({ kind: 'open' });
    const send = (id: number, onMessage: (message: Message) => void) => {
      const bytes = Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`);
      const request: Request = {
        kind: 'request',
        method: 'ping',
        id: { raw: `${id}`, key: `n${id}` },
        bytes,
      };
      return stream.send(request, { onMessage, congested: () => undefined }, credential).ended;
    };
    return { stream, send, toStream: (line: string) => toStream(line) };
  }

  const fail = () => {
    throw PLANTED;
  };

  it('at a reply, ends the request alone', async () => {
    const { send, toStream } = await open();
    const ends = [send(1, fail), send(2, () => {})];
    toStream(`data: ${REPLY}`);
    toStream(`data: ${REPLY.replace('"id":1', '"id":2')}`);
    expect(await ends[0]).toMatchObject({ kind: 'bug', error: { message: 'planted' } });
    expect(await ends[1]).toEqual({ kind: 'replied' });
  });

  it('at what is not a reply, ends all requests on it', async () => {
    const { send, toStream, stream } = await open({ onMessage: fail });
    const ends = [send(1, () => {}), send(2, () => {})];
    toStream(`data: ${NOTICE}`);
    for (const end of await Promise.all(ends)) {
      expect(end).toMatchObject({ kind: 'bug', error: { message: 'planted' } });
    }
    expect(stream.isOver).toBe(true);
  });
});
