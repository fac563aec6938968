import { describe, expect, it, onTestFinished } from 'vitest';
import { sandboxKeys } from '../../src/sandbox/accounts.ts';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { startGateway } from './loopback-gateway.ts';
import { startRogueServer } from './rogue-server.ts';
import { missingForKeychain, startKeychain } from './secret-service.ts';
import { watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

const missing = await missingForKeychain();
const skipped = missing === undefined ? '' : ` (skipped: ${missing} is not here)`;
const DESKTOP = { DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };

describe.skipIf(missing !== undefined)(`with a keychain${skipped}`, () => {
  async function setUp() {
    const service = await startKeychain();
    onTestFinished(() => service.stop());
    const watch = watchSecrets();
    const sandbox = (await startSandbox({ oauth: {} })) as Sandbox & { oauth: AuthorizationServer };
    onTestFinished(() => sandbox.close());
    watch.follow(sandbox.oauth);
    const browser = await startBrowser(watch.folder);
    const env = {
      ...{ ...browser.env, ...DESKTOP, MCP_LATCHKEY_STORE_KEY: '' },
      DBUS_SESSION_BUS_ADDRESS: String(service.env.DBUS_SESSION_BUS_ADDRESS),
    };
    const whoami = async (...args: string[]) => {
      const proxy = watch.proxy(sandbox.url, ['--sign-in-wait', '40', ...args], env);
      await proxy.initialize();
      const params = { name: 'platform_whoami', arguments: {} };
      const reply = await proxy.request(1, 'tools/call', params);
      await proxy.end();
      return JSON.stringify(reply);
    };
    return { watch, sandbox, browser, env, whoami };
  }

  it('an API key comes before a stored sign-in, unless --auth oauth asks for that', async () => {
    const { watch, sandbox, browser, env, whoami } = await setUp();
    expect(await whoami()).toContain('Ada Example');
    const login = await watch.run(['login', sandbox.url], sandboxKeys.linearOnly, env);
    expect(login).toMatchObject({ code: 0 });
    // That key may not call the tool that tells whose it is.
    expect(await whoami()).toMatch(/-32601|-32602/);
    expect(await whoami('--auth', 'oauth')).toContain('Ada Example');
    expect(browser.opened).toHaveLength(1);
  });

  it('an account without a key is one to sign in with', async () => {
    const { browser, whoami } = await setUp();
    expect(await whoami('--account', 'work')).toContain('Ada Example');
    expect(await whoami('--account', 'work')).toContain('Ada Example');
    expect(browser.opened).toHaveLength(1);
    expect(await whoami('--account', 'work', '--auth', 'key')).toContain('no key for account work');
  });
});

it('the process that asks the keychain is given no variable with a secret', async () => {
  const watch = watchSecrets();
  const secret = 'variable-secret-74b1';
  watch.add(secret);
  const gateway = await startGateway((_, response) => response.writeHead(401).end());
  const proxy = watch.proxy(
    gateway.url,
    ['--client-id', 'me', '--client-secret-env', 'THEIR_SECRET', '--header', 'x-team: @{TEAM}'],
    { THEIR_SECRET: secret, TEAM: `${secret}-team`, MCP_LATCHKEY_STORE_KEY: '' },
  );
  expect(await proxy.initialize()).toHaveProperty('error');
});

it('metadata in slow drips is waited for once, and not at the end', async () => {
  const watch = watchSecrets();
  const server = await startRogueServer(() => ({
    metadata: (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => response.write(' '), 100);
      response.once('close', () => clearInterval(timer));
    },
  }));
  const browser = await startBrowser(watch.folder);
  const proxy = watch.proxy(server.url, [], { ...browser.env, ...DESKTOP });
  const [first, second] = await Promise.all([proxy.initialize(), proxy.request('ping', 'ping')]);
  expect([first, second].map((reply) => JSON.stringify(reply))).toEqual(
    Array(2).fill(expect.stringContaining('did not respond in time')),
  );
  expect(await proxy.request(1, 'tools/list')).toHaveProperty('error');
  expect(server.to('/.well-known/oauth-authorization-server')).toHaveLength(1);
  const endedAt = performance.now();
  await proxy.end();
  expect(performance.now() - endedAt).toBeLessThan(5_000);
}, 60_000);
