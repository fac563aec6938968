import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/client.ts';
import type { ConnectionBegun } from '../../src/http/connector.ts';
import { CertificateAuthority } from '../e2e/certificates.ts';

let authority: CertificateAuthority;
beforeAll(() => {
  authority = new CertificateAuthority();
});
afterAll(() => authority.remove());

interface Received {
  /** Of the connection that it came on. */
  port: number | undefined;
  path: string | undefined;
  answer: (headers?: Record<string, string>) => void;
}

/** An HTTPS server that answers each request when the test says so. */
async function start(trust = authority.certFile) {
  const received: Received[] = [];
  const accepted: Socket[] = [];
  const secured: Socket[] = [];
  const changed = new Set<() => void>();
  const tell = () => {
    for (const check of [...changed]) check();
  };
  const server: Server = createTlsServer(authority.issue('DNS:localhost'), (request, response) => {
    request.resume().on('end', () => {
      const answer = (headers = {}) => void response.writeHead(200, headers).end('ok');
      received.push({ port: request.socket.remotePort, path: request.url, answer });
      tell();
    });
  });
  server.on('connection', (socket: Socket) => accepted.push(socket.on('close', tell)));
  server.on('secureConnection', (socket: Socket) => {
    secured.push(socket.on('error', () => {}).on('close', tell));
    tell();
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const until = (isSo: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!isSo()) return;
        changed.delete(check);
        resolve();
      };
      changed.add(check);
      check();
    });
  /** While there is one, no connection is begun. */
  const hold = { promise: Promise.resolve() };
  const origin = `https://localhost:${(server.address() as AddressInfo).port}`;
  const route = new HttpClient(origin, {
    connectTimeoutMs: 5_000,
    lookup: (_, options, callback) => {
      const found = { address: '127.0.0.1', family: 4 };
      const answer = () =>
        options.all ? callback(null, [found]) : callback(null, found.address, 4);
      void hold.promise.then(answer);
    },
    tls: () => ({ ca: [readFileSync(trust)] }),
  });
  onTestFinished(async () => {
    await route.destroy();
    server.closeAllConnections();
    for (const socket of accepted) socket.destroy();
    server.close();
  });
  /** The route's own ends, in the order in which they were ready. */
  const opened: Socket[] = [];
  const onConnection = (begun: unknown) => {
    const add = (socket: Socket) => {
      opened.push(socket.on('close', tell));
      tell();
    };
    (begun as ConnectionBegun).opening.then(add, tell);
  };
  subscribe('mcp-latchkey:connection', onConnection);
  onTestFinished(() => void unsubscribe('mcp-latchkey:connection', onConnection));
  const timeouts = { headersTimeout: 10_000, bodyTimeout: 10_000 };
  const send = (path: string) =>
    new Promise<number | Error>((resolve) => {
      let status = 0;
      route.dispatch(
        { origin, method: 'POST', path, headers: [], body: Buffer.from('{}'), ...timeouts },
        {
          onRequestStart: () => {},
          onResponseStart: (received) => {
            status = received;
          },
          onResponseData: () => {},
          onResponseEnd: () => resolve(status),
          onResponseError: resolve,
        },
      );
    });
  /** Sends a request and has it answered, `headers` with it. */
  const exchange = async (path: string, headers?: Record<string, string>) => {
    const result = send(path);
    await until(() => received.at(-1)?.path === path);
    received.at(-1)?.answer(headers);
    expect(await result).toBe(200);
  };
  return { route, server, hold, received, accepted, secured, opened, until, send, exchange };
}

const isOpen = (socket: Socket) => !socket.destroyed;

it('opens eight connections with the first, silent, and gives each a request of a burst', async () => {
  const { route, received, secured, until, send, exchange } = await start();
  await exchange('/first');
  route.openAhead();
  await until(() => secured.length === 8);
  expect(received).toHaveLength(1);
  const burst = Array.from({ length: 8 }, (_, at) => send(`/${at}`));
  await until(() => received.length === 9);
  expect(secured).toHaveLength(8);
  expect(new Set(received.map(({ port }) => port)).size).toBe(8);
  for (const { answer } of received.slice(1)) answer();
  expect(await Promise.all(burst)).toEqual(Array(8).fill(200));
});

it('resumes the first session of TLS for those that it opens ahead', async () => {
  const { route, server, secured, until, exchange } = await start();
  const resumed: boolean[] = [];
  server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()));
  await exchange('/first');
  route.openAhead();
  await until(() => secured.length === 8);
  expect(resumed).toEqual([false, ...Array(7).fill(true)]);
});

it('opens no more once the first of them fails, and no request notices', async () => {
  const { route, server, accepted, until, exchange } = await start();
  server.prependListener('connection', (socket: Socket) => {
    if (accepted.length > 0) socket.resetAndDestroy();
  });
  await exchange('/first');
  route.openAhead();
  await until(() => accepted.length === 2 && accepted.slice(1).every(({ destroyed }) => destroyed));
  await exchange('/second');
  expect(accepted).toHaveLength(2);
});

it.each([
  ['ends', (socket: Socket) => void socket.end()],
  ['resets', (socket: Socket) => void socket.destroy()],
  ['answers without a request on', (socket: Socket) => void socket.write('HTTP/1.1 408 X\r\n\r\n')],
])('gives no request a connection that the server %s, nor sends one twice', async (_, spoil) => {
  const { route, received, secured, opened, until, send, exchange } = await start();
  await exchange('/first');
  route.openAhead();
  await until(() => opened.length === 8 && secured.length === 8);
  for (const socket of secured.slice(1)) spoil(socket);
  await until(() => !opened.slice(1).some(isOpen));
  const burst = ['/a', '/b', '/c'].map(send);
  await until(() => received.length === 4);
  for (const { answer } of received.slice(1)) answer();
  expect(await Promise.all(burst)).toEqual([200, 200, 200]);
  expect(received.map(({ path }) => path).sort()).toEqual(['/a', '/b', '/c', '/first']);
});

it('closes those that no request has used after 4 s', async () => {
  const { route, secured, until, exchange } = await start();
  await exchange('/first');
  route.openAhead();
  await until(() => secured.length === 8);
  await until(() => !secured.some(isOpen));
}, 20_000);

it('closes them with the rest', async () => {
  const { route, secured, until, exchange } = await start();
  await exchange('/first');
  route.openAhead();
  await until(() => secured.length === 8);
  await route.close();
  await until(() => !secured.some(isOpen));
});

it('gives a request that waits a connection that becomes free first', async () => {
  const { hold, received, accepted, until, send, exchange } = await start();
  await exchange('/first');
  await exchange('/second');
  const held = send('/held');
  await until(() => received.length === 3);
  hold.promise = new Promise(() => {});
  const waiting = send('/waiting');
  received[2]?.answer();
  expect(await held).toBe(200);
  await until(() => received.length === 4);
  received[3]?.answer();
  expect(await waiting).toBe(200);
  expect(accepted).toHaveLength(1);
});

it('gives a request that waits none of a server that closes each unannounced after one', async () => {
  const { hold, received, accepted, secured, opened, until, send, exchange } = await start();
  await exchange('/first');
  secured[0]?.end();
  await until(() => !opened.some(isOpen));
  const held = send('/held');
  await until(() => received.length === 2);
  let release = () => {};
  hold.promise = new Promise((resolve) => {
    release = resolve;
  });
  const waiting = send('/waiting');
  received[1]?.answer();
  secured[1]?.end();
  expect(await held).toBe(200);
  await until(() => !opened.some(isOpen));
  release();
  await until(() => received.length === 3);
  received[2]?.answer();
  expect(await waiting).toBe(200);
  expect(accepted).toHaveLength(3);
});
