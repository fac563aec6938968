import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/client.ts';
import type { ConnectionBegun } from '../../src/http/connector.ts';
import type { Headers, RequestControl } from '../../src/http/request.ts';

interface Answer {
  status?: number;
  headers?: Headers;
  body: string;
  error?: Error & { code?: string };
  /** Whether it was told that the request is on its way. */
  isBegun: boolean;
}

/** A server of bytes: `serve` gets each connection and its number, from 1. */
async function start(serve: (socket: Socket, count: number) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
    serve(socket, sockets.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const route = new HttpClient(origin, { connectTimeoutMs: 1_000, tls: () => ({}) });
  onTestFinished(async () => {
    await route.destroy();
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const send = ({ body = '{}', timeoutMs = 0, pauseMs = 0 } = {}): Promise<Answer> =>
    new Promise((resolve) => {
      const answer: Answer = { body: '', isBegun: false };
      const chunks: Buffer[] = [];
      const whole = () => ({ ...answer, body: Buffer.concat(chunks).toString() });
      let control: RequestControl | undefined;
      route.dispatch(
        {
          origin,
          method: 'POST',
          path: '/mcp',
          headers: ['x-one', '1'],
          body: Buffer.from(body),
          headersTimeout: timeoutMs,
          bodyTimeout: timeoutMs,
        },
        {
          onRequestStart: (started) => {
            answer.isBegun = true;
            control = started;
          },
          onResponseStart: (status, headers) => Object.assign(answer, { status, headers }),
          onResponseData: (chunk) => {
            chunks.push(chunk);
            if (pauseMs === 0) return;
            control?.pause();
            setTimeout(() => control?.resume(), pauseMs);
          },
          onResponseEnd: () => resolve(whole()),
          onResponseError: (error) => resolve({ ...whole(), error }),
        },
      );
    });
  return { route, sockets, server, send };
}

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

const onRequest = (answer: string) => (socket: Socket) =>
  socket.on('data', () => socket.write(answer, 'latin1'));

it('sends head and body at once, with the length and only the headers that it must send', async () => {
  let received = '';
  const { send } = await start((socket) =>
    socket.once('data', (chunk) => {
      received = chunk.toString();
      socket.write(OK);
    }),
  );
  expect(await send({ body: '{"é":1}' })).toMatchObject({ status: 200, body: 'ok' });
  const [head = '', body] = received.split('\r\n\r\n');
  const [line, ...fields] = head.split('\r\n');
  expect(line).toBe('POST /mcp HTTP/1.1');
  expect(fields.map((field) => field.replace(/\d+$/, 'n')).sort()).toEqual([
    'connection: keep-alive',
    'content-length: n',
    'host: 127.0.0.1:n',
    'x-one: n',
  ]);
  expect(body).toBe('{"é":1}');
});

it('sends a long body as it is', async () => {
  const long = 'é'.repeat(100_000);
  let received = '';
  const { send } = await start((socket) =>
    socket.setEncoding('utf8').on('data', (text: unknown) => {
      received += text;
      if (received.endsWith('.')) socket.write(OK);
    }),
  );
  expect(await send({ body: `${long}.` })).toMatchObject({ body: 'ok' });
  expect(received.split('\r\n\r\n')[1]).toBe(`${long}.`);
});

it('gives large answers that come at once, and with pauses, as they were sent', async () => {
  const bodies = ['a', 'b', 'c'].map((letter) => letter.repeat(1024 * 1024));
  const { send } = await start((socket, count) => {
    const body = bodies[count - 1] as string;
    socket.once('data', () =>
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`),
    );
  });
  const answers = await Promise.all([send(), send({ pauseMs: 1 }), send()]);
  expect(answers.map(({ body }) => body).sort()).toEqual(bodies);
});

it('gives headers by name in lower case, as latin1, several of one name as a list', async () => {
  const fields = 'X-A: \xe9\r\nx-b: 1\r\nX-B: 2\r\nx-b: 3\r\n__proto__: p\r\n';
  const { send } = await start(onRequest(`HTTP/1.1 200 OK\r\n${fields}content-length: 0\r\n\r\n`));
  const { headers } = await send();
  expect(headers).toMatchObject({ 'x-a': 'é', 'x-b': ['1', '2', '3'] });
  expect(Object.keys(headers ?? {})).toContain('__proto__');
});

it('does not take a 1xx for the answer', async () => {
  const early = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n';
  const { send } = await start(onRequest(early + OK));
  expect(await send()).toMatchObject({ status: 200, body: 'ok' });
});

it('uses a connection again, but not one on which more came than was asked for', async () => {
  const { send, sockets } = await start(onRequest(OK));
  await send();
  await send();
  expect(sockets).toHaveLength(1);
  const [socket] = sockets as [Socket];
  socket.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged');
  await once(socket, 'close');
  expect(await send()).toMatchObject({ body: 'ok' });
  expect(sockets).toHaveLength(2);
});

it('closes an idle connection two seconds before the server would, by its own word', async () => {
  const answer = OK.replace('\r\n\r\n', '\r\nkeep-alive: timeout=3\r\n\r\n');
  const { send, sockets } = await start(onRequest(answer));
  await send();
  const began = performance.now();
  await once(sockets[0] as Socket, 'close');
  const idleMs = performance.now() - began;
  expect(idleMs).toBeGreaterThan(800);
  expect(idleMs).toBeLessThan(3_800);
});

it('uses a connection once where the server keeps it for two seconds at most', async () => {
  const answer = OK.replace('\r\n\r\n', '\r\nkeep-alive: timeout=2\r\n\r\n');
  const { send, sockets } = await start(onRequest(answer));
  await send();
  await send();
  expect(sockets).toHaveLength(2);
});

it('ends a silence before the answer and within it, and no pause of its own', async () => {
  const silent = await start(() => {});
  expect(await silent.send({ timeoutMs: 100 })).toMatchObject({
    isBegun: true,
    error: { code: 'ERR_ANSWER_TIMEOUT' },
  });
  const halting = await start(onRequest(OK.slice(0, -1)));
  expect(await halting.send({ timeoutMs: 100 })).toMatchObject({
    body: 'o',
    error: { code: 'ERR_ANSWER_TIMEOUT' },
  });
  const whole = await start(onRequest(OK));
  expect(await whole.send({ timeoutMs: 100, pauseMs: 300 })).toMatchObject({ body: 'ok' });
});

it('says that nothing was sent when there is no connection', async () => {
  const { server, send } = await start(() => {});
  server.close();
  expect(await send()).toMatchObject({ isBegun: false, error: { code: 'ECONNREFUSED' } });
});

it('ends what is under way when it is destroyed', async () => {
  const { route, send, server } = await start(() => {});
  const answer = send();
  await once(server, 'connection');
  await route.destroy();
  expect((await answer).error).toBeInstanceOf(Error);
});

it('gives no request an idle connection that the server has just closed', async () => {
  const opened: Socket[] = [];
  const onConnection = (begun: unknown) =>
    void (begun as ConnectionBegun).opening.then((socket) => opened.push(socket));
  subscribe('mcp-latchkey:connection', onConnection);
  onTestFinished(() => void unsubscribe('mcp-latchkey:connection', onConnection));
  const { sockets, send } = await start(onRequest(OK));
  await Promise.all([send(), send()]);
  expect(opened).toHaveLength(2);
  const own = opened.at(-1) as Socket;
  // Since Node.js 24 the agent destroys an idle connection before it tells of its end.
  const next = Promise.race([once(own, 'end'), once(own, 'close')]).then(() => send());
  sockets.find(({ remotePort }) => remotePort === own.localPort)?.end();
  expect(await next).toMatchObject({ status: 200, body: 'ok' });
  expect(sockets).toHaveLength(2);
});

it('asks once what to trust, for all connections to a proxy over TLS', async () => {
  const proxy = createServer((socket) =>
    socket.on('error', () => {}).once('data', () => socket.end()),
  );
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  let asked = 0;
  const tls = () => {
    asked++;
    return {};
  };
  const { port } = proxy.address() as AddressInfo;
  const origin = 'https://gateway.example';
  const route = new HttpClient(origin, {
    connectTimeoutMs: 1_000,
    tls,
    proxy: `https://127.0.0.1:${port}`,
  });
  onTestFinished(async () => {
    await route.destroy();
    proxy.close();
  });
  const timeouts = { headersTimeout: 0, bodyTimeout: 0 };
  const failed = () =>
    new Promise<Error>((resolve) => {
      route.dispatch(
        { origin, method: 'GET', path: '/', headers: [], ...timeouts },
        {
          onRequestStart: () => {},
          onResponseStart: () => {},
          onResponseData: () => {},
          onResponseEnd: () => {},
          onResponseError: resolve,
        },
      );
    });
  for (const error of await Promise.all([failed(), failed(), failed()])) {
    expect(error).toMatchObject({ code: 'ERR_PROXY_UNREACHABLE' });
  }
  expect(asked).toBe(1);
});
