import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { describe, expect, it, onTestFinished } from 'vitest';
import { environment } from '../environment.ts';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, type Received, sendEvents, sendJson, startGateway } from './loopback-gateway.ts';
import { startModernGateway } from './modern-gateway.ts';
import { modern, notified } from './modern-messages.ts';
import { program, type RunningProxy, startProxy, TEST_KEY } from './running-proxy.ts';
import { missingForSecretService, startSecretService } from './secret-service.ts';

/** Far more than the end takes, and far less than a hang. */
const BOUND_MS = 6_000;

/** A proxy in the middle of something. */
interface State {
  proxy: RunningProxy;
  /** What each request is answered with that is open when the proxy is told to end. */
  open?: Record<string | number, 'interrupted' | 'unreachable'>;
  /** How often the gateway was asked to end a session; without a session, undefined. */
  deletes?: () => number;
}

type Respond = (received: Received, response: ServerResponse) => boolean;

/** A gateway with sessions; `respond` is false for what is answered as usual. */
async function startSessions(respond: Respond = () => false) {
  const gateway = await startGateway((received, response) => {
    if (respond(received, response)) return;
    if (received.message.method === 'initialize') response.setHeader('mcp-session-id', 'session-1');
    answer(received, response);
  });
  const deletes = () => gateway.received.filter(({ method }) => method === 'DELETE').length;
  return { ...gateway, deletes };
}

const CALL = { name: 'x', _meta: { progressToken: 1 } };

/** A session in which request 2 has reached the gateway, and gets what `respond` gives it. */
async function calling(respond: (response: ServerResponse, received: Received) => void) {
  const gateway = await startSessions((received, response) => {
    if (received.message.method !== 'tools/call') return false;
    respond(response, received);
    return true;
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: CALL });
  await gateway.request(({ message }) => message.id === 2);
  return { gateway, proxy, deletes: gateway.deletes };
}

/** A server that accepts connections and never says a word; its port, and the first connection. */
async function startSilent(): Promise<{ port: number; connected: Promise<unknown> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, connected: once(server, 'connection') };
}

/** A proxy that is up, with one request that cannot leave. */
async function requesting(...args: Parameters<typeof startProxy>): Promise<State> {
  const proxy = startProxy(...args);
  proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'x' } });
  await proxy.until(() => proxy.stderr !== '');
  return { proxy, open: { 2: 'unreachable' } };
}

const STATES: Record<string, () => Promise<State>> = {
  'with nothing to do': async () => {
    const gateway = await startSessions();
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.request(1, 'ping');
    return { proxy, deletes: gateway.deletes };
  },
  'before the client has said anything': async () => {
    const { port, connected } = await startSilent();
    const proxy = startProxy(`http://127.0.0.1:${port}/v1/mcp`);
    await connected;
    await proxy.until(() => proxy.stderr !== '');
    return { proxy };
  },
  'in a call that is not answered': async () => {
    const { proxy, deletes } = await calling(() => {});
    return { proxy, deletes, open: { 2: 'interrupted' } };
  },
  'in a call whose stream stays open': async () => {
    const params = { progressToken: 1, progress: 1 };
    const { proxy, deletes } = await calling((response) =>
      sendEvents(response, { jsonrpc: '2.0', method: 'notifications/progress', params }),
    );
    await proxy.message(({ method }) => method === 'notifications/progress');
    return { proxy, deletes, open: { 2: 'interrupted' } };
  },
  'while the gateway waits for the client to answer a question': async () => {
    const { proxy, deletes } = await calling((response) =>
      sendEvents(response, { jsonrpc: '2.0', id: 'q', method: 'elicitation/create', params: {} }),
    );
    await proxy.message(({ method }) => method === 'elicitation/create');
    return { proxy, deletes, open: { 2: 'interrupted' } };
  },
  'while it waits to try again what was turned away': async () => {
    const { proxy, deletes } = await calling((response) =>
      response.writeHead(429, { 'retry-after': '20' }).end(),
    );
    await proxy.until(() => proxy.stderr.includes('again in'));
    return { proxy, deletes, open: { 2: 'unreachable' } };
  },
  'while it waits to go on with a stream that broke off': async () => {
    const { proxy, deletes } = await calling((response) =>
      response
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .end('retry: 60000\nid: 1\ndata: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'),
    );
    await proxy.message(({ method }) => method === 'notifications/x');
    return { proxy, deletes, open: { 2: 'interrupted' } };
  },
  'while the lost session is renewed': async () => {
    let handshakes = 0;
    const gateway = await startSessions(({ message }, response) => {
      if (message.method === 'initialize') return ++handshakes > 1;
      if (message.method === 'tools/call') response.writeHead(404).end();
      return message.method === 'tools/call';
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'x' } });
    await gateway.request(() => handshakes === 2);
    return { proxy, open: { 2: 'unreachable' } };
  },
  'during initialize, with a request behind it': async () => {
    const gateway = await startSessions(({ message }) => message.method === 'initialize');
    const proxy = startProxy(gateway.url);
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} });
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/list' });
    await gateway.request(({ message }) => message.method === 'initialize');
    return { proxy, open: { 1: 'interrupted', 2: 'unreachable' } };
  },
  'during initialize, when the session has been named': async () => {
    const gateway = await startSessions(({ message }, response) => {
      if (message.method !== 'initialize') return false;
      response.setHeader('mcp-session-id', 'session-1');
      sendEvents(response, { jsonrpc: '2.0', method: 'notifications/x' });
      return true;
    });
    const proxy = startProxy(gateway.url);
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} });
    await proxy.message(({ method }) => method === 'notifications/x');
    return { proxy, deletes: gateway.deletes, open: { 1: 'interrupted' } };
  },
  'in the TLS handshake': async () => {
    const { port, connected } = await startSilent();
    const state = await requesting(`https://127.0.0.1:${port}/v1/mcp`);
    await connected;
    return state;
  },
  'while an HTTP proxy opens its tunnel': async () => {
    const { port, connected } = await startSilent();
    const env = { HTTPS_PROXY: `http://127.0.0.1:${port}` };
    const state = await requesting('https://gateway.example/v1/mcp', { env });
    await connected;
    return state;
  },
  'while an HTTP proxy shakes hands': async () => {
    const { port, connected } = await startSilent();
    const env = { HTTPS_PROXY: `https://127.0.0.1:${port}` };
    const state = await requesting('https://gateway.example/v1/mcp', { env });
    await connected;
    return state;
  },
  'while the key command runs': async () => {
    const gateway = await startGateway(answer);
    const { port, connected } = await startSilent();
    const script = `require('node:net').connect(${port}, '127.0.0.1')`;
    const args = ['--key-command', `"${process.execPath}" -e "${script}"`];
    const state = await requesting(gateway.url, { args });
    await connected;
    return state;
  },
  'when the end of the session is not answered': async () => {
    const gateway = await startSessions(({ method }) => method === 'DELETE');
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.request(1, 'ping');
    return { proxy, deletes: gateway.deletes };
  },
  'when no connection can be made for the end of the session': async () => {
    const gateway = await startSessions();
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.request(1, 'ping');
    await gateway.close();
    return { proxy };
  },
  'in a subscription': async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    const params = modern({ notifications: { toolsListChanged: true } });
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'subscriptions/listen', params });
    await notified(proxy, 'notifications/subscriptions/acknowledged');
    return { proxy, open: { 2: 'interrupted' } };
  },
  'in a call of a 2026-07-28 client at an older gateway': async () => {
    const gateway = await startSessions(({ message }, response) => {
      const { _meta } = (message.params ?? {}) as { _meta?: object };
      if (message.method === 'tools/call') return true;
      if (_meta === undefined || message.method === 'initialize') return false;
      response.writeHead(400).end();
      return true;
    });
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'server/discover', modern());
    const params = modern({ name: 'x' });
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params });
    await gateway.request(({ message }) => message.method === 'tools/call');
    return { proxy, deletes: gateway.deletes, open: { 2: 'interrupted' } };
  },
  'in a call over HTTP+SSE': async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message }, _, response) => {
        if (message.method === 'tools/call') response.writeHead(202).end();
        return message.method === 'tools/call';
      },
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'x' } });
    await gateway.request(({ message }) => message.method === 'tools/call');
    return { proxy, open: { 2: 'interrupted' } };
  },
};

describe.each(Object.entries(STATES))('%s', (_, enter) => {
  it.each(['closes stdin', 'sends SIGTERM'])('ends when the client %s', async (way) => {
    const state = await enter();
    const start = performance.now();
    if (way === 'closes stdin') state.proxy.child.stdin?.end();
    else state.proxy.child.kill('SIGTERM');
    await expectEnd(state, start);
  });
});

/** It ends by itself with 0, every open request has its one reply, and the session has ended. */
async function expectEnd({ proxy, open = {}, deletes }: State, start: number): Promise<void> {
  expect(await proxy.exited).toBe(0);
  expect(performance.now() - start).toBeLessThan(BOUND_MS);
  for (const [id, reason] of Object.entries(open)) {
    const replies = proxy.messages.filter(
      (message) => String(message.id) === id && !('method' in message),
    );
    expect(replies).toHaveLength(1);
    expect(replies[0]).toHaveProperty('error.data.reason', reason);
  }
  // The MCP SDK sends SIGKILL after 4 s.
  expect(proxy.lastWait.ms).toBeLessThan(3_000);
  expect(proxy.stderr).not.toContain('error: bug');
  if (deletes !== undefined) expect(deletes()).toBe(1);
}

describe('a signal', () => {
  it.each(['SIGINT', 'SIGHUP'] as const)('%s ends it as SIGTERM does', async (signal) => {
    const { proxy, deletes } = await calling(() => {});
    const start = performance.now();
    proxy.child.kill(signal);
    await expectEnd({ proxy, deletes, open: { 2: 'interrupted' } }, start);
    expect(proxy.lastWait.ms).toBeLessThan(500);
  });

  it('ends the wait for replies that began when the client closed stdin', async () => {
    const { proxy, deletes, gateway } = await calling(() => {});
    // Written just before the end of stdin: what it brings comes after that has been seen.
    proxy.child.stdin?.end('{"jsonrpc":"2.0","id":3,"method":"ping"}\n');
    await gateway.request(({ message }) => message.id === 3);
    const start = performance.now();
    proxy.child.kill('SIGTERM');
    await expectEnd({ proxy, deletes, open: { 2: 'interrupted' } }, start);
    // Left alone, it would have waited for 1.5 s.
    expect(proxy.lastWait.ms).toBeLessThan(1_400);
  });

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
    ['SIGHUP', 129],
  ] as const)('a second one, %s, ends it at once with %i', async (signal, code) => {
    const gateway = await startSessions(({ method }) => method === 'DELETE');
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.request(1, 'ping');
    proxy.child.kill('SIGTERM');
    await gateway.request(({ method }) => method === 'DELETE');
    proxy.child.kill(signal);
    expect(await proxy.exited).toBe(code);
  });
});

describe('when the client closes stdin', () => {
  it('passes on the replies that come soon enough, and then the error of the rest', async () => {
    let finish = () => {};
    const { proxy, deletes, gateway } = await calling((response, received) => {
      finish = () => answer(received, response, { done: true });
    });
    proxy.child.stdin?.end('{"jsonrpc":"2.0","id":3,"method":"tools/call"}\n');
    await gateway.request(({ message }) => message.id === 3);
    const ofSecond = finish;
    ofSecond();
    expect(await proxy.reply(3)).toHaveProperty('result.done', true);
    await expectEnd({ proxy, deletes, open: { 2: 'interrupted' } }, performance.now());
  });

  it('says of what was never sent that it did not run', async () => {
    const { port, connected } = await startSilent();
    const { proxy } = await requesting(`https://127.0.0.1:${port}/v1/mcp`);
    await connected;
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages).toMatchObject([
      {
        id: 2,
        error: {
          code: -32019,
          message: expect.stringContaining('did not run'),
          data: { reason: 'unreachable', retryable: true },
        },
      },
    ]);
  });

  it('ends a batch with one array', async () => {
    const gateway = await startSessions(({ message }) => message.method === 'never');
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    const line = (id: number, method: string) => ({ jsonrpc: '2.0', id, method });
    proxy.send(JSON.stringify([line(2, 'never'), line(3, 'ping'), line(4, 'never')]));
    await gateway.request(({ message }) => message.id === 4);
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages.slice(1).map(({ id }) => id)).toEqual([3, 2, 4]);
    expect(gateway.deletes()).toBe(1);
  });
});

it('ends when stdin cannot be read', async () => {
  const gateway = await startGateway(answer);
  const folder = openSync(tmpdir(), 'r');
  const child = spawn(process.execPath, [program, gateway.url], {
    stdio: [folder, 'pipe', 'ignore'],
  });
  closeSync(folder);
  onTestFinished(() => void child.kill('SIGKILL'));
  expect(await once(child, 'exit')).toEqual([0, null]);
});

describe('when stdout is not read', () => {
  /** A session whose client stops reading stdout once the handshake is done. */
  async function unread() {
    const gateway = await startSessions(({ message }, response) => {
      if (message.method !== 'big') return false;
      sendJson(response, { jsonrpc: '2.0', id: message.id, result: { x: 'x'.repeat(4_000_000) } });
      return true;
    });
    const child = spawn(process.execPath, [program, gateway.url], {
      env: environment({ MCP_LATCHKEY_API_KEY: TEST_KEY }),
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    child.stdin.on('error', () => {});
    child.stdin.write('{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n');
    await once(child.stdout, 'data');
    child.stdout.pause();
    child.stdin.write('{"jsonrpc":"2.0","id":2,"method":"big"}\n');
    // The head of the reply: no more than that is taken.
    await once(child.stdout, 'readable');
    return { child, gateway, exited };
  }

  it.each(['stdin', 'SIGTERM', 'SIGINT', 'SIGHUP'] as const)('ends by %s', async (way) => {
    const { child, gateway, exited } = await unread();
    const start = performance.now();
    if (way === 'stdin') child.stdin.end();
    else child.kill(way);
    expect(await exited).toEqual([0, null]);
    expect(performance.now() - start).toBeLessThan(BOUND_MS);
    expect(gateway.deletes()).toBe(1);
  });

  it('ends at once by a second signal', async () => {
    const { child, gateway, exited } = await unread();
    child.kill('SIGTERM');
    await gateway.request(({ method }) => method === 'DELETE');
    child.kill('SIGTERM');
    expect(await exited).toEqual([143, null]);
  });

  it('loses nothing of what is read late, but in time', async () => {
    const { child, exited } = await unread();
    const closed = once(child, 'close');
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.stdin.end();
    child.stdout.resume();
    expect(await exited).toEqual([0, null]);
    await closed;
    expect(JSON.parse(text)).toHaveProperty('id', 2);
  });
});

it('ends the session when stdout is gone, and exits with 1', async () => {
  const { proxy, deletes, gateway } = await calling(() => {});
  proxy.child.stdout?.destroy();
  proxy.send({ jsonrpc: '2.0', id: 3, method: 'ping' });
  await gateway.request(({ message }) => message.id === 3);
  expect(await proxy.exited).toBe(1);
  expect(deletes()).toBe(1);
});

const missingKeyring = await missingForSecretService();
it.skipIf(missingKeyring !== undefined)('ends while the keychain does not answer', async () => {
  const service = await startSecretService();
  onTestFinished(() => service.stop());
  const gateway = await startGateway(answer);
  service.hang();
  const state = await requesting(gateway.url, {
    env: { ...service.env, MCP_LATCHKEY_API_KEY: '' },
  });
  const start = performance.now();
  state.proxy.child.stdin?.end();
  await expectEnd(state, start);
});

// A DNS server that takes a question and gives no answer, in a network of its own. Prints how the
// program ended, which was told to end when the question came.
const DNS_HARNESS = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.bind(53, '127.0.0.9', () => {
    const { argv, execPath } = process;
    const args = [argv[1], 'https://gateway.example/v1/mcp'];
    const child = require('node:child_process').spawn(execPath, args, { stdio: ['pipe', 2, 2] });
    socket.once('message', () => child.stdin.end());
    child.once('exit', (code, signal) => {
      console.log(code ?? signal);
      process.exit();
    });
  });`;
const NAMESPACE = `
  folder=$(mktemp -d) && trap 'rm -r "$folder"' EXIT
  echo 'nameserver 127.0.0.9' >"$folder/resolv.conf"
  mount --bind "$folder/resolv.conf" /etc/resolv.conf && ip link set lo up || exit
  echo up; "$@"`;
const inNamespace = (...command: string[]) => ['-rmn', 'sh', '-c', NAMESPACE, 'sh', ...command];
const hasNamespaces =
  process.platform === 'linux' &&
  String(spawnSync('unshare', inNamespace('true')).stdout) === 'up\n';

it.skipIf(!hasNamespaces)('ends while DNS does not answer', async () => {
  const command = [process.execPath, '-e', DNS_HARNESS, program];
  const child = spawn('unshare', inNamespace(...command), { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const start = performance.now();
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child, 'close');
  // The C library would ask for 10 s, and libuv would wait for it.
  expect(performance.now() - start).toBeLessThan(BOUND_MS);
  expect(text).toBe('up\nSIGKILL\n');
});

describe('the end of a session by the official SDK', () => {
  it.each([
    ['is answered', false],
    ['is not answered', true],
  ])('with a call in flight, where DELETE %s', async (_, hangs) => {
    const gateway = await startSessions(
      ({ method, message }) => message.method === 'tools/call' || (hangs && method === 'DELETE'),
    );
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [program, gateway.url],
      env: { MCP_LATCHKEY_API_KEY: TEST_KEY },
    });
    const client = new Client({ name: 'e2e', version: '1' });
    await client.connect(transport);
    const { _process: child } = transport as unknown as { _process: ReturnType<typeof spawn> };
    const exited = once(child, 'exit');
    onTestFinished(() => void child.kill('SIGKILL'));
    const call = client.callTool({ name: 'x' }).catch((error: Error) => error);
    await gateway.request(({ message }) => message.method === 'tools/call');
    await client.close();
    expect(await exited).toEqual([0, null]);
    expect(gateway.deletes()).toBe(1);
    expect(await call).toBeInstanceOf(Error);
  });
});
