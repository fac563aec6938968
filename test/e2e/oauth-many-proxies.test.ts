import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openSignInStore } from '../../src/auth/oauth/sign-in-store.ts';
import { createLog } from '../../src/log.ts';
import { type RotatingServer, startRotatingServer } from './rotating-server.ts';
import type { RunningProxy } from './running-proxy.ts';
import { type SecretWatch, watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

// What several clients of one user do to a sign-in that they share.

/** How often each kind of refresh is done; more than a few take too long for the suite. */
const ROUNDS = Number(process.env.MCP_LATCHKEY_TEST_ROUNDS ?? 10);
const LIMIT_MS = 60_000 + ROUNDS * 5_000;

async function setUp(visit?: Parameters<typeof startBrowser>[1]) {
  const watch = watchSecrets();
  const server = await startRotatingServer();
  const browser = await startBrowser(
    watch.folder,
    visit ?? (async (agent, url) => agent.open(url)),
  );
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const proxies = (count: number) =>
    Array.from({ length: count }, () =>
      watch.proxy(server.url, ['--auth', 'oauth', '--sign-in-wait', '40'], env),
    );
  return { watch, server, browser, proxies };
}

/** Sends each its first requests, and resolves with how many were answered as by a session. */
async function sessions(proxies: readonly RunningProxy[]): Promise<number> {
  const replies = await Promise.all(proxies.map((proxy) => proxy.initialize()));
  const pings = await Promise.all(proxies.map((proxy) => proxy.request(1, 'ping')));
  return [...replies, ...pings].filter((reply) => 'result' in reply).length / 2;
}

const endAll = (proxies: readonly RunningProxy[]) => Promise.all(proxies.map((own) => own.end()));

async function kill(proxy: RunningProxy | undefined): Promise<void> {
  proxy?.child.kill('SIGKILL');
  await proxy?.exited;
}

/** Makes the stored token too old by the clock; the gateway would still accept it. */
async function age(watch: SecretWatch, server: RotatingServer): Promise<void> {
  const value = watch.env.MCP_LATCHKEY_STORE_KEY;
  const log = createLog('error', () => {});
  const store = openSignInStore(watch.env.XDG_DATA_HOME as string, { value }, log);
  const entry = { gateway: server.url, account: 'default' };
  const found = await store.read(entry);
  if (found.kind !== 'found' || found.signIn.tokens === undefined) throw new Error('not signed in');
  const tokens = {
    ...found.signIn.tokens,
    receivedAt: Date.now() - 3_600_000,
    expiresAt: Date.now(),
  };
  await store.write(entry, { ...found.signIn, tokens });
}

/** Helper processes of the proxies of this test. */
function helpersOf(watch: SecretWatch): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const isHelper = readFileSync(`/proc/${name}/cmdline`, 'latin1').includes(
          'sign-in-process',
        );
        return isHelper && readFileSync(`/proc/${name}/environ`, 'latin1').includes(watch.folder);
      } catch {
        return false;
      }
    })
    .map(Number);
}

describe.skipIf(process.platform === 'win32')('eight proxies without a token', () => {
  it('are eight sessions by one browser tab, whose redirect comes at once', async () => {
    const { watch, server, browser, proxies } = await setUp();
    const eight = proxies(8);
    expect(await sessions(eight)).toBe(8);
    expect(browser.opened).toHaveLength(1);
    expect(server.seen).toEqual({ signIns: 1, refreshes: 0, losses: 0 });
    watch.add(...server.secrets);
    await endAll(eight);
  });

  it(
    'get their sessions also when the one that opened the browser is killed',
    async () => {
      let arrived = () => {};
      const arrival = new Promise<void>((resolve) => {
        arrived = resolve;
      });
      let allow = () => {};
      const allowed = new Promise<void>((resolve) => {
        allow = resolve;
      });
      const { server, browser, proxies } = await setUp(async (agent, url) => {
        arrived();
        await allowed;
        return agent.open(url);
      });
      const [starter] = proxies(1) as [RunningProxy];
      void starter.initialize();
      await arrival;
      const others = proxies(7);
      const made = sessions(others);
      await kill(starter);
      allow();
      expect(await made).toBe(7);
      expect(browser.opened).toHaveLength(1);
      expect(server.seen.signIns).toBe(1);
      await endAll(others);
    },
    LIMIT_MS,
  );
});

describe.skipIf(process.platform !== 'linux')('eight proxies with an expired token', () => {
  it(`refresh it once, in ${ROUNDS} rounds`, { timeout: LIMIT_MS }, async () => {
    const { watch, server, browser, proxies } = await setUp();
    expect(await sessions(proxies(1))).toBe(1);
    for (let round = 0; round < ROUNDS; round++) {
      if (round % 2 === 0) server.expire();
      else await age(watch, server);
      const eight = proxies(8);
      expect(await sessions(eight), `round ${round}`).toBe(8);
      await endAll(eight);
      expect(server.seen, `round ${round}`).toEqual({
        signIns: 1,
        refreshes: round + 1,
        losses: 0,
      });
    }
    expect(browser.opened).toHaveLength(1);
    watch.add(...server.secrets);
  });

  it(`lose no sign-in where some are killed at any point of the refresh, in ${ROUNDS} rounds`, {
    timeout: LIMIT_MS,
  }, async () => {
    const { watch, server, browser, proxies } = await setUp();
    expect(await sessions(proxies(1))).toBe(1);
    /** Each has the proxies killed, or the helper, at one point; `reach` says that it was reached. */
    const points: Record<string, (end: () => Promise<unknown>, reach: () => void) => void> = {
      'the request has come': (end, reach) => {
        server.onRefresh = () => end().then(reach);
      },
      'the tokens are made, and not sent': (end, reach) => {
        server.onRefreshed = () => end().then(reach);
      },
      'the tokens are sent': (end, reach) => {
        server.onRefreshed = () => void setImmediate(() => end().then(reach));
      },
      'the helper is killed, and its request is lost': (_, reach) => {
        server.onRefresh = () => {
          server.onRefresh = undefined;
          for (const pid of helpersOf(watch)) process.kill(pid, 'SIGKILL');
          reach();
          return false;
        };
      },
      'some time': (end, reach) => void setTimeout(() => end().then(reach), Math.random() * 800),
    };
    for (let round = 0; round < ROUNDS; round++) {
      const [point, arm] = Object.entries(points)[round % 5] as [string, (typeof points)[string]];
      server.expire();
      const victims = proxies(4);
      const reached = new Promise<void>((resolve) => {
        arm(() => Promise.all(victims.map(kill)), resolve);
      });
      for (const victim of victims) void victim.initialize();
      if (point !== 'some time') await reached;
      const others = proxies(4);
      expect(await sessions(others), `round ${round}: ${point}`).toBe(4);
      await reached;
      server.onRefresh = undefined;
      server.onRefreshed = undefined;
      await Promise.all([...victims.map(kill), endAll(others)]);
      expect(server.seen, `round ${round}: ${point}`).toMatchObject({ signIns: 1, losses: 0 });
    }
    expect(browser.opened).toHaveLength(1);
    watch.add(...server.secrets);
  });
});
