import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { expectMode } from '../environment.ts';
import { CertificateAuthority } from './certificates.ts';
import { answer, type Received, sendEvents, startGateway } from './loopback-gateway.ts';
import { modern } from './modern-messages.ts';
import {
  cachedText,
  type Json,
  type RunningProxy,
  runToEnd,
  startProxy,
  TEST_KEY,
} from './running-proxy.ts';

/** A name takes a private /etc/hosts, and that a mount namespace of its own. */
const canHaveOwnHosts = spawnSync('unshare', ['-rm', 'true']).status === 0;

const capabilities = {
  tools: { listChanged: true },
  prompts: { listChanged: true },
  resources: {},
};
const hello = {
  protocolVersion: '2025-06-18',
  capabilities,
  serverInfo: { name: 'lists', version: '7' },
  instructions: 'Ask for tools first.',
};

/** What a gateway has: pages of tools by cursor, one page of the rest. */
interface Lists {
  tools: Record<string, Json>;
  prompts: Json;
  resources: Json;
  templates: Json;
}

const tool = (name: string) => ({ name, inputSchema: { type: 'object' } });

const lists: Lists = {
  tools: { '': { tools: [tool('one')], nextCursor: 'two' }, two: { tools: [tool('two')] } },
  prompts: { prompts: [{ name: 'p' }] },
  resources: { resources: [{ uri: 'a:b', name: 'r' }] },
  templates: { resourceTemplates: [{ uriTemplate: 'a:{b}', name: 't' }] },
};

const METHODS = ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list'];

function respondWith(own: Lists, handshake: Json = hello) {
  return (received: Received, response: ServerResponse) => {
    const { method, params } = received.message as { method?: string; params?: Json };
    const results: Record<string, unknown> = {
      initialize: handshake,
      'tools/list': own.tools[String(params?.cursor ?? '')],
      'prompts/list': own.prompts,
      'resources/list': own.resources,
      'resources/templates/list': own.templates,
      'tools/call': { content: [{ type: 'text', text: 'called' }] },
    };
    answer(received, response, results[method ?? ''] ?? {});
  };
}

function cacheFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-remembered-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function listAll(proxy: RunningProxy): Promise<unknown[]> {
  const results = [];
  for (const method of METHODS) results.push((await proxy.request(method, method)).result);
  const { result } = await proxy.request('page 2', 'tools/list', { cursor: 'two' });
  return [...results, result];
}

const everything = [
  lists.tools[''],
  lists.prompts,
  lists.resources,
  lists.templates,
  lists.tools.two,
];

/** Has a whole session with a gateway, and stops both. Resolves with where it was and the cache. */
async function afterGoodSession(
  respond = respondWith(lists),
  { cache = cacheFolder(), env = {}, args = [] as string[] } = {},
) {
  const gateway = await startGateway(respond);
  const allEnv = { XDG_CACHE_HOME: cache, ...env };
  const proxy = startProxy(gateway.url, { env: allEnv, args });
  await proxy.initialize();
  await listAll(proxy);
  expect(await proxy.end()).toBe(0);
  await gateway.close();
  const port = Number(new URL(gateway.url).port);
  return { url: gateway.url, port, cache, env: allEnv };
}

/** The wait for the gateway, and the start, which takes three times as long under Wine. */
const START_LIMIT_MS = process.platform === 'win32' ? 6_000 : 4_000;

const reasonOf = (reply: Json) => (reply.error as { data?: Json } | undefined)?.data?.reason;
const isListChanged = (kind: string) => (message: Json) =>
  message.method === `notifications/${kind}/list_changed`;

async function timed<Value>(work: Promise<Value>): Promise<{ value: Value; ms: number }> {
  const start = performance.now();
  const value = await work;
  return { value, ms: performance.now() - start };
}

describe('a start while the gateway is down', () => {
  it('gives the client the handshake and lists of the last session, and calls their true error', async () => {
    const { url, env } = await afterGoodSession();
    const proxy = startProxy(url, { env });
    const { value, ms } = await timed(proxy.initialize());
    expect(value.result).toEqual(hello);
    expect(ms).toBeGreaterThan(2_900);
    expect(ms).toBeLessThan(START_LIMIT_MS);
    expect(await listAll(proxy)).toEqual(everything);
    const { error } = await proxy.request(7, 'tools/call', { name: 'one' });
    expect(error).toMatchObject({
      code: -32019,
      data: {
        reason: 'unreachable',
        cause: 'refused',
        cachedAt: expect.stringMatching(/^20\d\d-/),
      },
    });
    expect(proxy.stderr).toMatch(/ warn: Cannot reach the gateway \(unreachable\).*from the cache/);
    expect(await proxy.end()).toBe(0);
  });

  it('begins the session with the client’s own messages once the gateway is there', async () => {
    const { url, port, env } = await afterGoodSession();
    const proxy = startProxy(url, { env });
    await proxy.initialize();
    await listAll(proxy);
    await proxy.request(7, 'tools/call', { name: 'one' });
    const changed = { ...lists, tools: { '': { tools: [tool('new')] } } };
    const gateway = await startGateway(respondWith(changed), port);
    expect(await proxy.request(8, 'tools/call', { name: 'new' })).toMatchObject({
      result: { content: [{ text: 'called' }] },
    });
    await proxy.message(isListChanged('tools'));
    const methods = gateway.received.map(({ message }) => message.method);
    expect(methods.slice(0, 2)).toEqual(['initialize', 'notifications/initialized']);
    expect(gateway.received[0]?.message).toMatchObject({
      id: 'init',
      params: { clientInfo: { name: 'e2e' } },
    });
    expect((await proxy.request(9, 'tools/list')).result).toEqual(changed.tools['']);
    // What is as the client has it, or not promised to be announced, is not announced.
    await gateway.request(({ message }) => message.method === 'resources/templates/list');
    expect(proxy.messages.filter(({ method }) => method !== undefined)).toHaveLength(1);
    expect(await proxy.end()).toBe(0);
  });

  it('finds the gateway without a request of the client’s', async () => {
    const { url, port, env } = await afterGoodSession();
    const proxy = startProxy(url, { env });
    await proxy.initialize();
    const gateway = await startGateway(respondWith(lists), port);
    await gateway.request(({ message }) => message.method === 'notifications/initialized');
  });

  it('answers with a 503 in the same way', async () => {
    const { port, env } = await afterGoodSession();
    let isUp = false;
    const healthy = respondWith(lists);
    const gateway = await startGateway((received, response) => {
      if (isUp) healthy(received, response);
      else response.writeHead(503).end('maintenance');
    }, port);
    const proxy = startProxy(gateway.url, { env });
    const { value, ms } = await timed(proxy.initialize());
    expect(value.result).toEqual(hello);
    expect(ms).toBeLessThan(START_LIMIT_MS);
    expect(reasonOf(await proxy.request(7, 'tools/call', { name: 'one' }))).toBe('gateway_error');
    isUp = true;
    expect(await proxy.request(8, 'tools/call', { name: 'one' })).toHaveProperty('result');
  });

  it('answers with a 503 that brings an error of the gateway’s own in the same way', async () => {
    const { port, env } = await afterGoodSession();
    const gateway = await startGateway(({ message }, response) => {
      const error = { code: -32603, message: 'Starting up' };
      response.writeHead(503, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id ?? null, error }));
    }, port);
    const proxy = startProxy(gateway.url, { env });
    expect((await proxy.initialize()).result).toEqual(hello);
    expect(await proxy.request(7, 'tools/call', { name: 'one' })).toMatchObject({
      id: 7,
      error: { code: -32603 },
    });
  });

  it('does not wait for a gateway that accepts the connection and says nothing', async () => {
    const { port, env } = await afterGoodSession();
    const waiting: (() => void)[] = [];
    let isUp = false;
    const healthy = respondWith({ ...lists, prompts: { prompts: [] } });
    const gateway = await startGateway((received, response) => {
      if (isUp) healthy(received, response);
      else waiting.push(() => healthy(received, response));
    }, port);
    const proxy = startProxy(gateway.url, { env });
    const { value, ms } = await timed(proxy.initialize());
    expect(value.result).toEqual(hello);
    expect(ms).toBeLessThan(START_LIMIT_MS);
    await listAll(proxy);
    isUp = true;
    for (const finish of waiting) finish();
    expect(await proxy.request(8, 'tools/call', { name: 'one' })).toHaveProperty('result');
    await proxy.message(isListChanged('prompts'));
    expect(proxy.messages.filter(({ id }) => id === 'init')).toHaveLength(1);
  });
});

describe('a failure that will not pass', () => {
  it.each([
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [404, 'wrong_path'],
    [406, 'not_acceptable'],
  ])('is answered at once, also where there is a cache: %s', async (status, reason) => {
    const { port, env } = await afterGoodSession();
    const gateway = await startGateway((_, response) => response.writeHead(status).end(), port);
    const proxy = startProxy(gateway.url, { env, args: ['--transport', 'http'] });
    const { value, ms } = await timed(proxy.initialize());
    expect(reasonOf(value)).toBe(reason);
    expect(ms).toBeLessThan(2_500);
  });

  it('is answered at once when it comes after one that may pass', async () => {
    const { port, env } = await afterGoodSession();
    let count = 0;
    const gateway = await startGateway(
      (_, response) => response.writeHead(++count > 3 ? 401 : 503).end(),
      port,
    );
    const proxy = startProxy(gateway.url, { env });
    expect(reasonOf(await proxy.initialize())).toMatch(/unauthorized|gateway_error/);
  });
});

describe('without a cache', () => {
  it('tries initialize until the gateway is there', async () => {
    const { url, close } = await startGateway(answer);
    await close();
    const proxy = startProxy(url);
    const reply = proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 'behind', method: 'tools/list' });
    await proxy.until(() => /attempt 2 failed[\s\S]*attempt 1 failed/.test(proxy.stderr));
    const gateway = await startGateway(answer, Number(new URL(url).port));
    expect(await reply).toHaveProperty('result');
    expect(await proxy.reply('behind')).toHaveProperty('result');
    const methods = gateway.received.map(({ message }) => message.method);
    expect(methods.slice(0, 1)).toEqual(['initialize']);
  });

  it('answers with the failure after --start-patience, and tries again with the next request', async () => {
    const { url, close } = await startGateway(answer);
    await close();
    const proxy = startProxy(url, { args: ['--start-patience', '4'] });
    const { value, ms } = await timed(proxy.initialize());
    expect(value).toMatchObject({ error: { data: { reason: 'unreachable' } } });
    expect((value.error as { data: { attempts: number } }).data.attempts).toBeGreaterThan(3);
    expect((value.error as { data: Json }).data).not.toHaveProperty('cachedAt');
    expect(ms).toBeLessThan(8_000);
    await startGateway(answer, Number(new URL(url).port));
    expect(await proxy.request('again', 'initialize', {})).toHaveProperty('result');
  });

  it('answers at once where the name does not exist', async () => {
    const proxy = startProxy('http://no-such-host.invalid/v1/mcp', { args: ['--allow-http'] });
    const { value, ms } = await timed(proxy.initialize());
    expect(reasonOf(value)).toBe('unreachable');
    expect(ms).toBeLessThan(15_000);
  });

  it('ends at once when the client does, while it is tried', async () => {
    const { url, close } = await startGateway(answer);
    await close();
    const proxy = startProxy(url);
    const reply = proxy.initialize();
    await proxy.until(() => proxy.stderr.includes('attempt 2 failed'));
    const { value, ms } = await timed(proxy.end());
    expect(value).toBe(0);
    expect(ms).toBeLessThan(3_000);
    expect(await reply).toHaveProperty('error');
  });
});

describe('the cache', () => {
  it('is one file that only its user can read, with no key in it', async () => {
    const { cache } = await afterGoodSession();
    const folder = join(cache, 'mcp-latchkey/gateways');
    const files = readdirSync(folder);
    expect(files).toEqual([expect.stringMatching(/^[\da-f]{32}\.json$/)]);
    expectMode(join(folder, files[0] as string), 0o600);
    expectMode(folder, 0o700);
    expect(cachedText(cache)).toContain('"instructions":"Ask for tools first."');
    expect(cachedText(cache)).not.toContain(TEST_KEY);
  });

  it('has no reply that quotes the key', async () => {
    const key = 'sk-quoted-by-the-gateway-0123';
    const description = `Your key is ${Buffer.from(key).toString('base64')}, or ${key}.`;
    const quoted = { ...lists, prompts: { prompts: [{ name: 'p', description }] } };
    const env = { MCP_LATCHKEY_API_KEY: key };
    const { cache } = await afterGoodSession(respondWith(quoted), { env });
    expect(cachedText(cache)).toContain('"tools/list"');
    expect(cachedText(cache)).not.toContain('"prompts/list"');
    expect(cachedText(cache)).not.toContain(key);
  });

  it('can be turned off in an entry that install writes', async () => {
    const words = ['install', '--print', 'cursor', 'https://gateway.example/v1/mcp', '--no-cache'];
    expect((await runToEnd(words)).stdout).toContain('"--no-cache"');
  });

  it('is whole after sessions that end at the same time', async () => {
    const { url, port, cache, env } = await afterGoodSession();
    await startGateway(respondWith(lists), port);
    const proxies = [1, 2, 3].map(() => startProxy(url, { env }));
    await Promise.all(
      proxies.map(async (proxy) => {
        await proxy.initialize();
        await listAll(proxy);
        await proxy.end();
      }),
    );
    expect(readdirSync(join(cache, 'mcp-latchkey/gateways'))).toHaveLength(1);
    expect(JSON.parse(cachedText(cache))).toMatchObject({ handshake: { result: hello } });
  });

  it('is written while the session goes on', async () => {
    const cache = cacheFolder();
    const gateway = await startGateway(respondWith(lists));
    const proxy = startProxy(gateway.url, { env: { XDG_CACHE_HOME: cache } });
    await proxy.initialize();
    await listAll(proxy);
    await proxy.until(() => proxy.stderr.includes('written to the cache'));
    proxy.child.kill('SIGKILL');
    expect(cachedText(cache)).toContain('"name":"two"');
  });

  it('is neither written nor read with --no-cache', async () => {
    const args = ['--no-cache'];
    const { cache } = await afterGoodSession(undefined, { args });
    expect(existsSync(join(cache, 'mcp-latchkey/gateways'))).toBe(false);
    const remembered = await afterGoodSession();
    const proxy = startProxy(remembered.url, {
      env: remembered.env,
      args: [...args, '--start-patience', '0'],
    });
    expect(reasonOf(await proxy.initialize())).toBe('unreachable');
  });

  it.each<[string, { revision?: string; args?: string[] }]>([
    ['another revision', { revision: '2025-03-26' }],
    ['another account', { args: ['--account', 'other'] }],
    ['another filter', { args: ['--integrations', 'linear'] }],
  ])('is not for %s', async (_, { revision = '2025-06-18', args = [] }) => {
    const { url, env } = await afterGoodSession();
    const proxy = startProxy(url, { env, args: [...args, '--start-patience', '0'] });
    expect(reasonOf(await proxy.initialize(revision))).toBe('unreachable');
  });

  it('is not used where it is damaged', async () => {
    const { url, cache, env } = await afterGoodSession();
    const folder = join(cache, 'mcp-latchkey/gateways');
    const file = join(folder, readdirSync(folder)[0] as string);
    writeFileSync(file, cachedText(cache).slice(0, -10));
    const proxy = startProxy(url, { env, args: ['--start-patience', '0'] });
    expect(reasonOf(await proxy.initialize())).toBe('unreachable');
    expect(proxy.stderr).toContain('debug: the cache is not used');
  });
});

describe('a name that cannot be looked up', () => {
  it.skipIf(!canHaveOwnHosts)('is looked up again, and its gateway found', async () => {
    const hosts = join(cacheFolder(), 'hosts');
    const cache = cacheFolder();
    writeFileSync(hosts, '127.0.0.1 localhost gateway.test\n');
    const gateway = await startGateway(respondWith(lists));
    const url = gateway.url.replace('127.0.0.1', 'gateway.test');
    const started = () =>
      startProxy(url, {
        args: ['--allow-http'],
        env: { XDG_CACHE_HOME: cache },
        wrapper: [
          'unshare',
          '-rm',
          'sh',
          '-c',
          `mount --bind '${hosts}' /etc/hosts && exec "$@"`,
          '-',
        ],
      });
    const first = started();
    await first.initialize();
    await first.request(1, 'tools/list');
    expect(await first.end()).toBe(0);

    writeFileSync(hosts, '127.0.0.1 localhost\n');
    const proxy = started();
    const { value, ms } = await timed(proxy.initialize());
    expect(value.result).toEqual(hello);
    expect(ms).toBeLessThan(4_500);
    expect(await proxy.request(7, 'tools/call', { name: 'one' })).toMatchObject({
      error: { data: { reason: 'unreachable', cause: 'dns' } },
    });
    writeFileSync(hosts, '127.0.0.1 localhost gateway.test\n');
    expect(await proxy.request(8, 'tools/call', { name: 'one' })).toHaveProperty('result');
  });
});

describe('a certificate that is not trusted', () => {
  it('is answered at once, also where there is a cache', async () => {
    const authority = new CertificateAuthority();
    onTestFinished(() => authority.remove());
    const respond = respondWith(lists);
    const cache = cacheFolder();
    const serve = async (certificate: { key: Buffer; cert: Buffer }, port = 0) => {
      const server = createServer(certificate, async (request, response) => {
        let body = '';
        for await (const chunk of request) body += chunk;
        const { method = '', url = '', headers } = request;
        const message = body === '' ? {} : JSON.parse(body);
        respond({ method, target: url, headers, body, message }, response);
      });
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
      const close = async () => {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      };
      return { port: (server.address() as AddressInfo).port, close };
    };
    const good = await serve(authority.issue('IP:127.0.0.1'));
    const start = () =>
      startProxy(`https://127.0.0.1:${good.port}/v1/mcp`, {
        args: ['--ca', authority.certFile],
        env: { XDG_CACHE_HOME: cache },
      });
    const first = start();
    expect((await first.initialize()).result).toEqual(hello);
    expect(await first.end()).toBe(0);
    await good.close();
    const bad = await serve(authority.selfSigned(), good.port);
    onTestFinished(bad.close);
    const { value, ms } = await timed(start().initialize());
    expect(value).toMatchObject({ error: { data: { reason: 'unreachable', cause: 'tls' } } });
    expect(ms).toBeLessThan(2_500);
  });
});

describe('a session that was begun from the cache', () => {
  it('gives requests what the gateway refuses it with, when it answers again', async () => {
    const { url, port, env } = await afterGoodSession();
    const proxy = startProxy(url, { env });
    await proxy.initialize();
    let isRefused = true;
    const healthy = respondWith(lists);
    await startGateway((received, response) => {
      if (isRefused) response.writeHead(403).end();
      else healthy(received, response);
    }, port);
    await proxy.until(() => proxy.stderr.includes('warn: The gateway cannot be used (forbidden)'));
    expect(reasonOf(await proxy.request(7, 'tools/call', { name: 'one' }))).toBe('forbidden');
    expect((await proxy.request(8, 'prompts/list')).result).toEqual(lists.prompts);
    isRefused = false;
    expect(await proxy.request(9, 'tools/call', { name: 'one' })).toHaveProperty('result');
  });

  it('goes on where the gateway has another revision and fewer lists now', async () => {
    const { url, port, env } = await afterGoodSession();
    const proxy = startProxy(url, { env });
    await proxy.initialize();
    await listAll(proxy);
    const other = { ...hello, protocolVersion: '2025-03-26', capabilities: { tools: {} } };
    const gateway = await startGateway(respondWith(lists, other), port);
    await proxy.message(isListChanged('prompts'));
    expect(proxy.stderr).toMatch(/warn: The gateway now speaks revision 2025-03-26/);
    expect(await proxy.request(8, 'tools/call', { name: 'one' })).toHaveProperty('result');
    expect(gateway.received.at(-1)?.headers['mcp-protocol-version']).toBe('2025-03-26');
  });

  it('tells the client of a list that it asked for in vain', async () => {
    const cache = cacheFolder();
    const first = await startGateway(respondWith(lists));
    const env = { XDG_CACHE_HOME: cache };
    const before = startProxy(first.url, { env });
    await before.initialize();
    expect(await before.end()).toBe(0);
    await first.close();
    const proxy = startProxy(first.url, { env });
    await proxy.initialize();
    expect(reasonOf(await proxy.request(1, 'tools/list'))).toBe('unreachable');
    await startGateway(respondWith(lists), Number(new URL(first.url).port));
    await proxy.message(isListChanged('tools'));
    expect((await proxy.request(2, 'tools/list')).result).toEqual(lists.tools['']);
  });

  it('ends at once with the client, and answers a request that waits', async () => {
    const { port, url, env } = await afterGoodSession();
    await startGateway(() => {}, port);
    const proxy = startProxy(url, { env });
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'one' } });
    const { value, ms } = await timed(proxy.end());
    expect(value).toBe(0);
    expect(ms).toBeLessThan(3_500);
    expect(proxy.messages.find(({ id }) => id === 7)).toHaveProperty('error');
  });

  it('can be begun again by the client', async () => {
    const { url, env, port } = await afterGoodSession();
    const proxy = startProxy(url, { env });
    await proxy.initialize();
    const again = await proxy.request('again', 'initialize', { protocolVersion: '2025-06-18' });
    expect(again.result).toEqual(hello);
    const gateway = await startGateway(respondWith(lists), port);
    expect(await proxy.request(8, 'tools/call', { name: 'one' })).toHaveProperty('result');
    expect(gateway.received[0]?.message.id).toBe('again');
  });

  describe('and whose computer sleeps', () => {
    /** Stops the program for as long as it takes to notice, and lets it go on. */
    async function sleepAndWake() {
      const { url, port, env } = await afterGoodSession();
      const proxy = startProxy(url, { env });
      await proxy.initialize();
      let isRefused = true;
      const gateway = await startGateway((received, response) => {
        if (isRefused) response.writeHead(403).end();
        else respondWith(lists)(received, response);
      }, port);
      await proxy.until(() => proxy.stderr.includes('The gateway cannot be used'));
      isRefused = false;
      proxy.child.kill('SIGSTOP');
      await sleep(15_500);
      proxy.child.kill('SIGCONT');
      await gateway.request(({ message }) => message.method === 'notifications/initialized');
    }

    it('is connected when it wakes', { timeout: 60_000 }, sleepAndWake);
  });
});

describe('a client of 2026-07-28', () => {
  const discovered = {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities,
    ttlMs: 3_600_000,
    cacheScope: 'private',
  };
  const complete = (result: Json) => ({
    ...result,
    resultType: 'complete',
    ttlMs: 60_000,
    cacheScope: 'private',
  });
  const respond = (received: Received, response: ServerResponse) => {
    const results: Record<string, Json> = {
      'server/discover': discovered,
      'tools/list': complete({ tools: [tool('one')] }),
      'tools/call': { resultType: 'complete', content: [] },
    };
    answer(received, response, results[String(received.message.method)]);
  };

  async function afterModernSession() {
    const cache = cacheFolder();
    const gateway = await startGateway(respond);
    const proxy = startProxy(gateway.url, { env: { XDG_CACHE_HOME: cache } });
    await proxy.request(1, 'server/discover', modern());
    await proxy.request(2, 'tools/list', modern());
    expect(await proxy.end()).toBe(0);
    await gateway.close();
    return {
      url: gateway.url,
      port: Number(new URL(gateway.url).port),
      env: { XDG_CACHE_HOME: cache },
    };
  }

  it('has server/discover and lists from the cache, with the time they have left', async () => {
    const { url, port, env } = await afterModernSession();
    const proxy = startProxy(url, { env });
    const { value, ms } = await timed(proxy.request(1, 'server/discover', modern()));
    expect(ms).toBeLessThan(START_LIMIT_MS);
    expect(value.result).toEqual({ ...discovered, ttlMs: expect.any(Number) });
    const { result } = await proxy.request(2, 'tools/list', modern());
    expect(result).toMatchObject({ tools: [tool('one')], ttlMs: expect.any(Number) });
    expect((result as { ttlMs: number }).ttlMs).toBeGreaterThan(30_000);
    expect((result as { ttlMs: number }).ttlMs).toBeLessThan(59_000);
    const call = modern({ name: 'one' });
    expect(reasonOf(await proxy.request(3, 'tools/call', call))).toBe('unreachable');
    await startGateway(respond, port);
    expect(await proxy.request(4, 'tools/call', call)).toHaveProperty('result');
  });

  it('has a list from the cache when that is the first that it asks for', async () => {
    const { url, port, env } = await afterModernSession();
    const proxy = startProxy(url, { env });
    const { result } = await proxy.request(2, 'tools/list', modern());
    expect(result).toMatchObject({ tools: [tool('one')] });
    expect(reasonOf(await proxy.request(3, 'prompts/list', modern()))).toBe('unreachable');
    const gateway = await startGateway(respond, port);
    await gateway.request(({ message }) => message.method === 'server/discover');
  });

  it('is told on the subscription that it asked for meanwhile which lists have changed', async () => {
    const { url, port, env } = await afterModernSession();
    const proxy = startProxy(url, { env });
    await proxy.request(1, 'server/discover', modern());
    await proxy.request(2, 'tools/list', modern());
    const notifications = { toolsListChanged: true, promptsListChanged: true };
    const params = modern({ notifications });
    proxy.send({ jsonrpc: '2.0', id: 'listen', method: 'subscriptions/listen', params });
    const _meta = { 'io.modelcontextprotocol/subscriptionId': 'listen' };
    const acknowledged = 'notifications/subscriptions/acknowledged';
    const gateway = await startGateway((received, response) => {
      const { method } = received.message;
      if (method === 'subscriptions/listen') {
        sendEvents(response, {
          jsonrpc: '2.0',
          method: acknowledged,
          params: { _meta, notifications },
        });
      } else if (method === 'tools/list') {
        answer(received, response, complete({ tools: [tool('new')] }));
      } else respond(received, response);
    }, port);
    const change = await proxy.message(isListChanged('tools'));
    expect(change.params).toEqual({ _meta });
    const methods = proxy.messages.map(({ method }) => method).filter(Boolean);
    expect(methods).toEqual([acknowledged, 'notifications/tools/list_changed']);
    expect(gateway.received[0]?.message.method).toBe('server/discover');
  });

  it('gets the error of a subscription when the gateway refuses it', async () => {
    const { url, port, env } = await afterModernSession();
    const proxy = startProxy(url, { env });
    await proxy.request(1, 'server/discover', modern());
    const params = modern({ notifications: { toolsListChanged: true } });
    proxy.send({ jsonrpc: '2.0', id: 'listen', method: 'subscriptions/listen', params });
    await startGateway((_, response) => response.writeHead(403).end(), port);
    expect(reasonOf(await proxy.reply('listen'))).toBe('forbidden');
  });

  it('has no handshake of a client of another era', async () => {
    const { url, env } = await afterModernSession();
    const proxy = startProxy(url, { env, args: ['--start-patience', '0'] });
    expect(reasonOf(await proxy.initialize('2026-07-28'))).toBe('unreachable');
  });
});

describe('status and logout', () => {
  it('show what is in the cache, and remove it', async () => {
    const { url, cache } = await afterGoodSession();
    const env = { XDG_CACHE_HOME: cache, MCP_LATCHKEY_API_KEY: TEST_KEY };
    const { stdout } = await runToEnd(['status', url, '--json'], '', env);
    expect(JSON.parse(stdout).cached).toEqual([
      {
        gateway: url,
        account: 'default',
        revision: '2025-06-18',
        savedAt: expect.stringMatching(/^20\d\d-.*Z$/),
        bytes: expect.any(Number),
        items: {
          'tools/list': 2,
          'prompts/list': 1,
          'resources/list': 1,
          'resources/templates/list': 1,
        },
        file: expect.stringContaining(cache),
      },
    ]);
    const text = await runToEnd(['status', url], '', env);
    expect(text.stdout).toMatch(/Cached lists[\s\S]*2 from tools\/list/);
    const other = await runToEnd(['status', `${url}/other`, '--json'], '', env);
    expect(JSON.parse(other.stdout).cached).toEqual([]);
    await runToEnd(['logout', url, '--account', 'other'], '', env);
    expect(cachedText(cache)).not.toBe('');
    const logout = await runToEnd(['logout', url], '', env);
    expect(logout.stdout).toContain('Removed the cached lists');
    expect(cachedText(cache)).toBe('');
  });
});
