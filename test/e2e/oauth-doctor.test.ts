import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { expect, it, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { ownCommand } from '../../src/terminal/own-command.ts';
import { diagnosis, finding, health } from './doctor-run.ts';
import { program } from './running-proxy.ts';
import { watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

async function setUp(oauth: SandboxOptions['oauth'] = {}) {
  const watch = watchSecrets();
  const sandbox = (await startSandbox({ oauth })) as Sandbox & { oauth: AuthorizationServer };
  onTestFinished(() => sandbox.close());
  watch.follow(sandbox.oauth);
  /** Examines the gateway, which must not be well. */
  const examine = async (args: string[] = [], env: Record<string, string> = {}) => {
    const report = await diagnosis(sandbox.url, { args, env: { ...watch.env, ...env } });
    watch.wrote(JSON.stringify(report));
    return report;
  };
  return { watch, sandbox, examine };
}

/** Signs in by a proxy, as a client would have it do. */
async function signIn({
  watch,
  sandbox,
}: Pick<Awaited<ReturnType<typeof setUp>>, 'watch' | 'sandbox'>) {
  const browser = await startBrowser(watch.folder);
  const desktop = { DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const proxy = watch.proxy(sandbox.url, [], { ...browser.env, ...desktop });
  expect(await proxy.initialize()).toHaveProperty('result');
  await proxy.end();
}

it('says that no one has signed in, and how to, and opens nothing', async () => {
  const { sandbox, examine } = await setUp();
  const report = await examine();
  expect(report.verdict).toMatchObject({
    sentence: `You are not signed in to ${new URL(sandbox.url).host}.`,
    // Under Wine this project is in a folder that has the user's name.
    remedy: expect.stringContaining(
      `${ownCommand(program)} login ${sandbox.url}`.replace(
        `\\${userInfo().username}\\`,
        '\\[user]\\',
      ),
    ),
    reason: 'sign_in_required',
    check: 'sign-in',
  });
  const own = report.findings.filter(({ check }) => check === 'sign-in');
  expect(own.map(({ name, status }) => `${name} ${status}`)).toEqual([
    ...['server ok', 'client ok', 'callback ok', 'token fail'],
  ]);
  expect(finding(report, 'server')?.line).toContain(sandbox.oauth.issuer);
  expect(finding(report, 'key')?.status).toBe('skipped');
  const asked = sandbox.oauth.requests.map(({ url }) => url);
  expect(asked).toEqual(['/.well-known/oauth-authorization-server']);
});

it('finds all well with a sign-in, and says until when', async () => {
  const rig = await setUp();
  await signIn(rig);
  const report = await health(rig.sandbox.url, { env: rig.watch.env });
  rig.watch.wrote(JSON.stringify(report));
  expect(finding(report, 'token')).toMatchObject({
    status: 'ok',
    line: expect.stringMatching(/^signed in, expires at .+ UTC, renews itself$/),
    details: { scopes: 'mcp:read offline_access', refreshable: true },
  });
  expect(finding(report, 'client')?.line).toMatch(/^registered by itself: sandbox-client-/);
  expect(finding(report, 'callback')?.line).toMatch(/^port \d+ is free$/);
  expect(finding(report, 'authorization')?.line).toContain('granted with the sign-in');
});

it('says what an administrator must register', async () => {
  const { examine } = await setUp({ fault: 'no-registration' });
  const report = await examine();
  expect(report.verdict.finding).toBe('client');
  for (const word of ['redirect URI http://127.0.0.1/callback', 'PKCE', '--client-id']) {
    expect(report.verdict.remedy).toContain(word);
  }
  const known = await examine(['--client-id', 'sandbox-client']);
  expect(finding(known, 'client')?.line).toBe('registered by hand: sandbox-client');
});

it('says that the port of the redirect is taken', async () => {
  const { examine } = await setUp();
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as { port: number };
  const report = await examine(['--callback-port', String(port)]);
  expect(report.verdict).toMatchObject({
    finding: 'callback',
    sentence: expect.stringContaining(`port ${port} on 127.0.0.1 is not free (EADDRINUSE)`),
  });
});

it('says that the sign-in has expired for good', async () => {
  const rig = await setUp({ fault: 'no-refresh-token', accessSeconds: 1 });
  await signIn(rig);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const { verdict } = await rig.examine();
  expect(verdict).toMatchObject({ finding: 'token', reason: 'sign_in_required' });
  expect(verdict.sentence).toContain('has expired');
});

it('says what is wrong with the authorization server', async () => {
  const { examine } = await setUp({ fault: 'wrong-issuer' });
  const { verdict } = await examine(['--no-redact']);
  expect(verdict.finding).toBe('server');
  expect(verdict.sentence).toContain('The issuer is https://other-issuer.example');
});

it('says nothing of it where there is a key', async () => {
  const { sandbox, watch } = await setUp();
  const env = { ...watch.env, MCP_LATCHKEY_API_KEY: sandbox.keys.good };
  const { findings } = await health(sandbox.url, { env });
  expect(findings.filter(({ check }) => check === 'sign-in')).toEqual([]);
});
