import { describe, expect, it, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import type { Json } from './running-proxy.ts';
import { watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

// Every path that the sandbox lets a user rehearse, through the built proxy.

async function setUp(oauth: SandboxOptions['oauth'] = {}, extra: Record<string, string> = {}) {
  const watch = watchSecrets();
  const sandbox = (await startSandbox({ oauth })) as Sandbox & { oauth: AuthorizationServer };
  onTestFinished(() => sandbox.close());
  watch.follow(sandbox.oauth);
  const browser = await startBrowser(watch.folder);
  // As on a desktop, which the machine of a test may not be.
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '', ...extra };
  const proxy = (...args: string[]) =>
    watch.proxy(sandbox.url, ['--sign-in-wait', '40', ...args], env);
  return { watch, sandbox, browser, proxy };
}

type Proxy = ReturnType<Awaited<ReturnType<typeof setUp>>['proxy']>;
let calls = 0;

/** Calls a tool, and returns the whole reply. */
function call(proxy: Proxy, name: string, args: Json = {}): Promise<Json> {
  calls++;
  return proxy.request(`call-${calls}`, 'tools/call', { name, arguments: args });
}

const whoami = async (proxy: Proxy) => JSON.stringify(await call(proxy, 'platform_whoami'));
const comment = async (proxy: Proxy) =>
  JSON.stringify(await call(proxy, 'linear_add_comment', { id: 'ENG-41', text: 'seen' }));
const messageOf = (reply: Json) => (reply.error as { message?: string } | undefined)?.message;

/** Grants of the token requests so far, in their order. */
const grants = ({ requests }: AuthorizationServer) =>
  requests
    .filter(({ url }) => url === '/token')
    .map(({ text }) => new URLSearchParams(text).get('grant_type'));

it.each([
  ['in a file', {}],
  ['in memory, where there is no key to encrypt a file with', { MCP_LATCHKEY_STORE_KEY: '' }],
])('signs in, refreshes what has expired, and steps up: %s', async (_, extra) => {
  const { sandbox, browser, proxy: start } = await setUp({}, extra);
  const proxy = start();
  expect(await proxy.initialize()).toHaveProperty('result');
  expect(await whoami(proxy)).toContain('Ada Example');
  sandbox.oauth.expireAccess();
  expect(await whoami(proxy)).toContain('Ada Example');
  expect(grants(sandbox.oauth)).toEqual(['authorization_code', 'refresh_token']);
  expect(browser.opened).toHaveLength(1);
  expect(await comment(proxy)).toContain('comments');
  expect(await whoami(proxy)).toContain('Ada Example');
  expect(browser.opened).toHaveLength(2);
  sandbox.oauth.revokeAll();
  expect(await whoami(proxy)).toContain('Ada Example');
  expect(browser.opened).toHaveLength(3);
  expect(await proxy.end()).toBe(0);
});

it('is signed in after a restart, without a browser', async () => {
  const { browser, proxy: start } = await setUp();
  const first = start();
  await first.initialize();
  await first.end();
  const second = start();
  expect(await second.initialize()).toHaveProperty('result');
  expect(browser.opened).toHaveLength(1);
});

it('uses tokens that are bound to a key, and follows a new nonce of either server', async () => {
  const { sandbox, browser, proxy: start } = await setUp({ requiresDpop: true });
  const proxy = start();
  expect(await proxy.initialize()).toHaveProperty('result');
  sandbox.oauth.rotateNonce();
  expect(await whoami(proxy)).toContain('Ada Example');
  sandbox.oauth.rotateNonce();
  sandbox.oauth.expireAccess();
  expect(await whoami(proxy)).toContain('Ada Example');
  expect(browser.opened).toHaveLength(1);
});

it('introduces itself by a metadata document', async () => {
  const { sandbox, proxy: start } = await setUp();
  const url = `${sandbox.oauth.issuer}/client.json`;
  expect(await start('--client-metadata-url', url).initialize()).toHaveProperty('result');
  expect(sandbox.oauth.requests.some(({ url: path }) => path === '/register')).toBe(false);
});

it('uses client credentials with a preregistered secret', async () => {
  const { sandbox, browser, proxy: start } = await setUp({}, { SERVICE_SECRET: SECRET });
  const proxy = start(
    ...['--grant', 'client-credentials', '--client-id', 'sandbox-service'],
    ...['--client-secret-env', 'SERVICE_SECRET'],
  );
  expect(await proxy.initialize()).toHaveProperty('result');
  expect(await whoami(proxy)).toContain('sandbox-service');
  sandbox.oauth.expireAccess();
  expect(await whoami(proxy)).toContain('sandbox-service');
  expect(browser.opened).toHaveLength(0);
});

const SECRET = 'sandbox-service-secret-0001';

describe('with a fault', () => {
  it.each(['revoked', 'invalid-client', 'no-refresh-token'] as const)(
    '%s: has the user sign in again',
    async (fault) => {
      const { sandbox, browser, proxy: start } = await setUp({ fault });
      const proxy = start();
      expect(await proxy.initialize()).toHaveProperty('result');
      sandbox.oauth.expireAccess();
      expect(await whoami(proxy)).toContain('Ada Example');
      expect(browser.opened).toHaveLength(2);
    },
  );

  it('insufficient-scope: does not ask over and over', async () => {
    const { browser, proxy: start } = await setUp({ fault: 'insufficient-scope' });
    const proxy = start();
    await proxy.initialize();
    expect(await comment(proxy)).toMatch(/"error".*mcp:write/);
    expect(browser.opened.length).toBeLessThanOrEqual(3);
    expect(await whoami(proxy)).toContain('Ada Example');
  });

  it('no-registration: says what to set, which works', async () => {
    const { proxy: start } = await setUp({ fault: 'no-registration' });
    const reply = await start().initialize();
    expect(messageOf(reply)).toContain('--client-id');
    expect(await start('--client-id', 'sandbox-client').initialize()).toHaveProperty('result');
  });

  it('no-resource: says what to set, which works', async () => {
    const { proxy: start } = await setUp({ fault: 'no-resource' });
    const reply = await start().initialize();
    expect(messageOf(reply)).toContain('--no-resource');
    // Another account: none is opened by itself for 10 minutes after a failure.
    const other = start('--no-resource', '--account', 'other');
    expect(await other.initialize()).toHaveProperty('result');
  });

  it.each([
    ['wrong-iss', /is not from/],
    ['wrong-issuer', /The issuer is https:\/\/other-issuer\.example/],
  ] as const)('%s: says so, and gets no tokens', async (fault, said) => {
    const { sandbox, proxy: start } = await setUp({ fault });
    expect(messageOf(await start().initialize())).toMatch(said);
    expect(grants(sandbox.oauth)).toEqual([]);
  });
});
