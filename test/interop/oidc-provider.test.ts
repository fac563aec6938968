import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { program } from '../e2e/running-proxy.ts';
import { type SecretWatch, watchSecrets } from '../e2e/secret-watch.ts';
import { startBrowser } from '../e2e/test-browser.ts';
import { UserAgent } from '../e2e/user-agent.ts';
import { missing } from './installed-peers.ts';
import { type OidcProviderSettings, startOidcProvider } from './oidc-provider.ts';
import { startProtectedServer } from './protected-server.ts';

// The built program, an authorization server that others wrote and an MCP server of the SDK's.

/** The user at oidc-provider's pages: signs in where asked, then agrees. */
async function agree(agent: UserAgent, url: string) {
  let page = await agent.open(url);
  if (page.html.includes('name="login"')) {
    page = await agent.submit(page, { fields: { login: 'ada', password: 'any' } });
  }
  return page.html.includes('value="consent"') ? agent.submit(page) : page;
}

/** The user who gives up. */
async function refuse(agent: UserAgent, url: string) {
  const page = await agent.open(url);
  const [, cancel = ''] = /href="([^"]+\/abort)"/.exec(page.html) ?? [];
  return agent.open(cancel);
}

/** An authorization server, an MCP server behind it, and a browser with a user. */
async function setUp(settings: OidcProviderSettings = {}, visit = agree) {
  const watch = watchSecrets();
  const provider = await startOidcProvider(settings);
  const mcp = await startProtectedServer(provider, settings.requiresDpop);
  const browser = await startBrowser(watch.folder, visit);
  // As on a desktop, which the machine of a test may not be.
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const proxy = (...args: string[]) =>
    watch.proxy(mcp.url, ['--auth', 'oauth', '--sign-in-wait', '30', ...args], env);
  return { watch, provider, mcp, browser, proxy, env };
}

type Proxy = ReturnType<SecretWatch['proxy']>;
let calls = 0;

/** Calls a tool, and returns what the client gets. */
async function call(proxy: Proxy, name: string): Promise<string> {
  calls++;
  return JSON.stringify(
    await proxy.request(`call-${calls}`, 'tools/call', { name, arguments: {} }),
  );
}

/** What the watch is to search for, at the end of a test. */
const remember = ({
  watch,
  provider,
}: Pick<Awaited<ReturnType<typeof setUp>>, 'watch' | 'provider'>) => watch.add(...provider.secrets);

describe.skipIf(missing('oidcProvider', 'recentNode'))('oidc-provider', () => {
  it('registers, signs in with PKCE, and gets a token for this server alone', async () => {
    const rig = await setUp();
    const proxy = rig.proxy();
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await call(proxy, 'read')).toContain('read by');
    expect(await proxy.end()).toBe(0);
    expect(rig.provider.events.map(({ event }) => event)).toEqual([
      'registration',
      'authorization_code',
    ]);
    expect(rig.mcp.accepted[0]).toMatchObject({ aud: rig.mcp.url, scope: 'mcp:read' });
    expect(rig.browser.opened).toHaveLength(1);
    expect((await rig.browser.page()).html).not.toMatch(/<script/i);
    remember(rig);
  });

  it('rotates refresh tokens, and never uses one twice', async () => {
    const rig = await setUp({ accessSeconds: 2 });
    const proxy = rig.proxy();
    await proxy.initialize();
    for (let round = 0; round < 5; round++) {
      expect(await call(proxy, 'read')).toContain('read by');
      await new Promise((resolve) => setTimeout(resolve, 2_100));
    }
    expect(rig.provider.count('refresh_token')).toBeGreaterThanOrEqual(4);
    expect(rig.provider.count('error')).toBe(0);
    expect(rig.provider.count('revoked')).toBe(0);
    expect(rig.browser.opened).toHaveLength(1);
    remember(rig);
  });

  it('asks for more scopes when the server requires them', async () => {
    const rig = await setUp();
    const proxy = rig.proxy();
    await proxy.initialize();
    expect(await call(proxy, 'write')).toContain('write by');
    expect(rig.browser.opened).toHaveLength(2);
    expect(rig.mcp.accepted.at(-1)?.scope.split(' ').sort()).toEqual(['mcp:read', 'mcp:write']);
    remember(rig);
  });

  it('says that the user refused, and asks again with the next sign-in only', async () => {
    const rig = await setUp({}, refuse);
    const proxy = rig.proxy();
    const { error } = (await proxy.initialize()) as { error: { code: number; message: string } };
    expect(error.code).toBe(-32003);
    expect(error.message).toContain('denied');
    expect(await proxy.request(2, 'ping')).toHaveProperty('error');
    expect(rig.browser.opened).toHaveLength(1);
    expect(rig.provider.count('authorization_code')).toBe(0);
    remember(rig);
  });

  it('signs in again when the session has expired', async () => {
    const rig = await setUp({ accessSeconds: 3, refreshSeconds: 3 });
    const proxy = rig.proxy();
    await proxy.initialize();
    await new Promise((resolve) => setTimeout(resolve, 4_100));
    expect(await call(proxy, 'read')).toContain('read by');
    expect(rig.browser.opened).toHaveLength(2);
    expect(rig.provider.events.filter(({ event }) => event === 'registration')).toHaveLength(1);
    remember(rig);
  });

  it('binds tokens to a key with DPoP, at both servers with a nonce', async () => {
    const rig = await setUp({ requiresDpop: true });
    const proxy = rig.proxy();
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await call(proxy, 'read')).toContain('read by');
    expect(rig.mcp.accepted.every(({ token_type }) => token_type === 'DPoP')).toBe(true);
    remember(rig);
  });

  it.each([
    ['ES256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey],
    ['RS256', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
    ['EdDSA', () => generateKeyPairSync('ed25519').privateKey],
  ])('uses client credentials with private_key_jwt (%s), without a user', async (alg, newKey) => {
    const key = newKey().export({ type: 'pkcs8', format: 'pem' });
    const publicKey = createPublicKey(createPrivateKey(key)).export({ format: 'jwk' });
    const rig = await setUp({
      clients: [
        {
          client_id: 'a-service',
          token_endpoint_auth_method: 'private_key_jwt',
          token_endpoint_auth_signing_alg: alg,
          jwks: { keys: [{ ...publicKey, use: 'sig' }] },
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
        },
      ],
    });
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-client-key-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'key.pem');
    writeFileSync(file, key, { mode: 0o600 });
    const proxy = rig.proxy(
      ...['--grant', 'client-credentials', '--client-id', 'a-service', '--client-key', file],
    );
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await call(proxy, 'read')).toContain('read by a-service');
    expect(rig.provider.events.map(({ event }) => event)).toEqual(['client_credentials']);
    expect(rig.browser.opened).toHaveLength(0);
    rig.watch.add(...String(key).split('\n').slice(1, -2));
    remember(rig);
  });

  it('login --device signs in by a code, and logout revokes the tokens', async () => {
    const rig = await setUp();
    const child = spawn(process.execPath, [program, 'login', rig.mcp.url, '--device'], {
      env: { PATH: process.env.PATH, ...rig.watch.env, ...rig.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const exited = once(child, 'close');
    let said = '';
    let result = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      result += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
    while (!/Enter this code.*\n.*\n/.test(said)) await once(child.stderr, 'data');
    const [, page = '', code = ''] = /(http:\S+)\n.*\n +(\S+)\n/.exec(said) ?? [];
    await agreeToDevice(page, code);
    expect(await exited, said).toEqual([0, null]);
    expect(result).toContain('Signed in');
    rig.watch.wrote(said + result);
    const proxy = rig.proxy('--sign-in', 'error');
    await proxy.initialize();
    expect(await call(proxy, 'read')).toContain('read by');
    expect(rig.browser.opened).toEqual([]);

    const logout = await rig.watch.run(['logout', rig.mcp.url], '', rig.env);
    expect(logout.stdout).toContain('The tokens are revoked.');
    expect(rig.provider.count('revoked')).toBe(1);
    // Also for a proxy that has the token in memory.
    expect(await call(proxy, 'read')).toContain('sign_in_required');
    remember(rig);
  }, 30_000);
});

/** The user at oidc-provider's pages for a code. */
async function agreeToDevice(page: string, code: string): Promise<void> {
  const agent = new UserAgent();
  const entered = await agent.submit(await agent.open(page), { fields: { user_code: code } });
  let next = await agent.submit(entered);
  if (next.html.includes('name="login"')) {
    next = await agent.submit(next, { fields: { login: 'ada', password: 'any' } });
  }
  if (next.html.includes('value="consent"')) next = await agent.submit(next);
  expect(next.html).toContain('Sign-in Success');
}
