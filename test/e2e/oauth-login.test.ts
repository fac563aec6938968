import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { environment } from '../environment.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer } from './loopback-gateway.ts';
import {
  ROGUE_CODE,
  ROGUE_REFRESH,
  ROGUE_SECRET,
  ROGUE_TOKEN,
  startRogueServer,
  tokens,
} from './rogue-server.ts';
import { program } from './running-proxy.ts';
import { watchSecrets } from './secret-watch.ts';
import { startOnTerminal } from './terminal.ts';
import { startBrowser } from './test-browser.ts';
import { UserAgent } from './user-agent.ts';

async function setUp(oauth: SandboxOptions['oauth'] = {}) {
  const watch = watchSecrets();
  const sandbox = (await startSandbox({ oauth })) as Sandbox & { oauth: AuthorizationServer };
  onTestFinished(() => sandbox.close());
  watch.follow(sandbox.oauth);
  const browser = await startBrowser(watch.folder);
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const run = (args: string[], input = '', more: Record<string, string> = {}) =>
    watch.run(args, input, { ...env, ...more });
  /** What the proxy says of who is signed in; no browser is opened for it. */
  const whoami = async (...args: string[]) => {
    const proxy = watch.proxy(sandbox.url, ['--sign-in', 'error', ...args], env);
    await proxy.initialize();
    const params = { name: 'platform_whoami', arguments: {} };
    const reply = await proxy.request(1, 'tools/call', params);
    await proxy.end();
    return JSON.stringify(reply);
  };
  return { watch, sandbox, browser, env, run, whoami };
}

/** The line after the one that has `words`. */
function lineAfter(words: string, text: string): string {
  const lines = text.split(/\r?\n/);
  return lines[lines.findIndex((line) => line.includes(words)) + 1]?.trim() ?? '';
}

const withoutColor = (text: string) => text.replace(/\u001b\[[\d;]*m/g, '');

/** Starts `login`, whose redirects may be pasted, without the watch: it shows a link with the state. */
function startLogin(args: string[], env: Record<string, string>) {
  const child = spawn(process.execPath, [program, 'login', ...args], {
    env: environment(env),
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const said = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said.stderr += text;
  });
  return {
    said,
    type: (text: string) => child.stdin.write(text),
    exited: once(child, 'close').then(([code]) => code as number),
    async until(pattern: RegExp): Promise<void> {
      while (!pattern.test(said.stderr)) await once(child.stderr, 'data');
    },
  };
}

it('login signs in by browser, status shows it, the proxy uses it, logout revokes it', async () => {
  const { sandbox, browser, run, whoami } = await setUp();
  const login = await run(['login', sandbox.url]);
  expect(login).toMatchObject({ code: 0 });
  expect(login.stdout).toMatch(/✓ Signed in to 127\.0\.0\.1:\d+.*\n✓ Scopes: .*mcp:read/);
  expect(login.stdout).toContain('It renews itself');
  expect(login.stdout).toMatch(/offers \d+ tools\./);
  expect(login.stderr).toMatch(/Sign in to 127\.0\.0\.1:\d+ at 127\.0\.0\.1:\d+\./);
  expect(browser.opened).toHaveLength(1);
  expect((await browser.page()).html).toContain('close this tab');
  expect(await whoami()).toContain('Ada Example');

  const status = await run(['status', sandbox.url]);
  expect(status).toMatchObject({ code: 0, stderr: '' });
  expect(status.stdout).toMatch(/Signed in\n.*\n +default, at http:\/\/127\.0\.0\.1:\d+/);
  expect(status.stdout).toMatch(/^ +until 20\S+Z, then renews itself$/m);
  const { signIns, used } = JSON.parse((await run(['status', sandbox.url, '--json'])).stdout);
  expect(used).toMatchObject({ source: 'sign-in', isUsable: true });
  expect(signIns).toEqual([
    {
      gateway: sandbox.url,
      account: 'default',
      issuer: sandbox.oauth.issuer,
      scopes: expect.stringContaining('mcp:read'),
      expires: expect.stringMatching(/^20\d\d-/),
      refreshable: true,
      isUsable: true,
    },
  ]);

  const logout = await run(['logout', sandbox.url]);
  expect(logout).toMatchObject({ code: 0, stderr: '' });
  // On Windows the proxy's cache is in the same folder.
  const lists = process.platform === 'win32' ? '✓ Removed the cached lists for http\\S+\n' : '';
  expect(logout.stdout).toMatch(
    new RegExp(`^✓ Signed out of http\\S+\n {2}The tokens are revoked\\.\n${lists}$`),
  );
  const revocations = sandbox.oauth.requests.filter(({ url }) => url === '/revoke');
  expect(revocations.map(({ text }) => new URLSearchParams(text).get('token_type_hint'))).toEqual([
    'refresh_token',
    'access_token',
  ]);
  expect(await whoami()).toContain('sign_in_required');
  expect(JSON.parse((await run(['status', '--json'])).stdout)).toMatchObject({ signIns: [] });
  expect((await run(['logout', sandbox.url])).code).toBe(1);
});

it('login --json says the same to a program', async () => {
  const { sandbox, run } = await setUp();
  const { code, stdout } = await run(['login', sandbox.url, '--json', '--account', 'work']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({
    method: 'sign-in',
    gateway: sandbox.url,
    account: 'work',
    stored: true,
    outcome: 'works',
    message: expect.stringContaining('tools'),
    tools: expect.any(Number),
    issuer: sandbox.oauth.issuer,
    scopes: expect.stringContaining('mcp:read'),
    expires: expect.any(String),
    refreshable: true,
  });
});

it('login --device shows a code, and waits until the user has agreed elsewhere', async () => {
  const { watch, sandbox, browser, env, whoami } = await setUp();
  const login = startLogin([sandbox.url, '--device'], { ...watch.env, ...env });
  await login.until(/Enter this code there.*\n.*\n/);
  const said = withoutColor(login.said.stderr);
  expect(said).toMatch(/^Scopes: mcp:read offline_access$/m);
  const agent = new UserAgent();
  const page = await agent.open(lineAfter('Open this page', said));
  const code = lineAfter('Enter this code', said);
  const consent = await agent.submit(page, { fields: { user_code: code } });
  await agent.submit(consent, { button: 'Allow' });
  expect(await login.exited).toBe(0);
  expect(login.said.stdout).toContain('Signed in');
  watch.wrote(login.said.stdout + login.said.stderr);
  expect(browser.opened).toEqual([]);
  expect(await whoami()).toContain('Ada Example');
  // A client that was registered for this grant renews it as well.
  sandbox.oauth.expireAccess();
  expect(await whoami()).toContain('Ada Example');
}, 30_000);

it('login --device says that the user refused', async () => {
  const { watch, sandbox, env } = await setUp();
  const login = startLogin([sandbox.url, '--device'], { ...watch.env, ...env });
  await login.until(/Enter this code there.*\n.*\n/);
  const said = withoutColor(login.said.stderr);
  const agent = new UserAgent();
  const page = await agent.open(lineAfter('Open this page', said));
  const fields = { user_code: lineAfter('Enter this code', said) };
  await agent.submit(await agent.submit(page, { fields }), { button: 'Deny' });
  expect(await login.exited).toBe(1);
  expect(login.said.stderr).toContain('denied the sign-in');
}, 30_000);

it('login --no-browser takes the address that a browser elsewhere ended on', async () => {
  const { watch, sandbox, browser, env, whoami } = await setUp();
  const login = startLogin([sandbox.url, '--no-browser'], { ...watch.env, ...env });
  await login.until(/\/authorize\?.*\n/);
  const link = lineAfter('Open this link', withoutColor(login.said.stderr));
  expect(link).toMatch(new RegExp(`^${sandbox.oauth.issuer}/authorize\\?`));
  login.type('http://127.0.0.1:1/callback?code=other&state=wrong\n');
  await login.until(/not the address of this sign-in/);
  // The redirect is kept from the listener, as from a browser on another computer.
  const callback = await redirectWithoutFollowing(link);
  login.type(`${callback}\n`);
  expect(await login.exited, login.said.stderr).toBe(0);
  expect(browser.opened).toEqual([]);
  watch.wrote(login.said.stdout);
  expect(await whoami()).toContain('Ada Example');
});

/** Agrees, and returns where the browser is sent then. */
async function redirectWithoutFollowing(link: string): Promise<string> {
  const page = await new UserAgent().open(link);
  const values = new URLSearchParams();
  for (const [tag] of page.html.matchAll(/<input[^>]*>/g)) {
    const [, name = ''] = /name="([^"]*)"/.exec(tag) ?? [];
    const [, value = ''] = /value="([^"]*)"/.exec(tag) ?? [];
    values.set(name, value);
  }
  values.set('holder', 'Ada Example');
  values.set('decision', 'allow');
  const [, action = ''] = /<form[^>]*action="([^"]*)"/.exec(page.html) ?? [];
  const answer = await fetch(new URL(action, page.url), {
    method: 'POST',
    body: values,
    redirect: 'manual',
  });
  return String(answer.headers.get('location'));
}

/** `login` on a terminal, with a home of its own. */
function terminalLogin(url: string, options: string, more: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-login-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return startOnTerminal(`'${process.execPath}' '${program}' login ${url} ${options}`, {
    ...{ HOME: folder, XDG_DATA_HOME: folder, XDG_RUNTIME_DIR: folder },
    MCP_LATCHKEY_STORE_KEY: randomBytes(32).toString('base64'),
    ...more,
  });
}

it('login on a terminal asks on a line of its own when no browser could be opened after all', async () => {
  const sandbox = await startSandbox({ oauth: {} });
  onTestFinished(() => sandbox.close());
  const login = terminalLogin(sandbox.url, '', { BROWSER: '/nonexistent', DISPLAY: ':0' });
  await login.until('Then paste the address that the browser ends on (hidden): ');
  const lines = withoutColor(login.shown).split(/\r?\n/);
  expect(lines).toContainEqual(expect.stringMatching(/^No browser was opened: /));
  expect(lines.filter((line) => line.startsWith('Sign in to'))).toHaveLength(1);
  expect(lines).toContain('Scopes: mcp:read offline_access');
  login.type('\u0003');
  expect(await login.exited).toBe(130);
});

it('login on a terminal hides what is pasted, and ends with Ctrl-C', async () => {
  const sandbox = await startSandbox({ oauth: {} });
  onTestFinished(() => sandbox.close());
  const login = terminalLogin(sandbox.url, '--no-browser');
  await login.until('(hidden): ');
  login.type('http://127.0.0.1:1/callback?code=abcdefgh&state=wrong\r');
  await login.until('not the address of this sign-in');
  login.type('\u0003');
  expect(await login.exited).toBe(130);
  expect(login.shown).not.toContain('abcdefgh');
});

it('a key that is piped in is stored, also where the gateway offers sign-in', async () => {
  const { sandbox, run } = await setUp();
  const { stdout, stderr } = await run(['login', sandbox.url, '--json'], 'sandbox-good-key-0001');
  // There is no keychain here.
  expect(JSON.parse(stdout)).toMatchObject({ outcome: 'no-keychain', stored: false });
  expect(stderr).toBe('');
  expect(sandbox.oauth.requests).toEqual([]);
});

it('says before anything else that a sign-in could not be stored', async () => {
  const { sandbox, browser, run } = await setUp();
  const { code, stderr } = await run(['login', sandbox.url], '', { MCP_LATCHKEY_STORE_KEY: '' });
  expect(code).toBe(1);
  expect(stderr.replace(/\s+/g, ' ')).toMatch(/cannot be stored: .*--store-key-command/);
  expect(browser.opened).toEqual([]);
});

/** A server of which the user is a preregistered client, and a browser. */
async function setUpByHand() {
  const watch = watchSecrets();
  watch.add(ROGUE_CODE, ROGUE_TOKEN, ROGUE_REFRESH, ROGUE_SECRET);
  let good = ROGUE_TOKEN;
  const server = await startRogueServer(() => ({
    mcp: (received, response) => {
      if (received.headers.authorization !== `Bearer ${good}`) return false;
      answer(received, response);
      return true;
    },
    token: (received, response) => tokens({ access_token: good })(received, response),
  }));
  const browser = await startBrowser(watch.folder, async (agent, url) => agent.open(url));
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const expire = () => {
    good = 'another-access-token.0123456789-abcdef';
    watch.add(good);
  };
  return { watch, server, browser, env, expire };
}

it('login stores the secret of a preregistered client, and the proxy refreshes with it', async () => {
  const { watch, server, browser, env, expire } = await setUpByHand();
  const client = ['--client-id', 'mine'];
  const login = ['login', server.url, ...client, '--client-secret-env', 'SECRET_OF_MINE'];
  const more = { ...env, SECRET_OF_MINE: ROGUE_SECRET };
  expect(await watch.run(login, '', more)).toMatchObject({ code: 0 });
  expire();
  const proxy = watch.proxy(server.url, client, env);
  expect(await proxy.initialize()).toHaveProperty('result');
  await proxy.end();
  const forms = server.to('/token').map(({ body }) => new URLSearchParams(body));
  const sent = forms.map((form) => [form.get('grant_type'), form.get('client_secret')]);
  expect(sent).toEqual([
    ['authorization_code', ROGUE_SECRET],
    ['refresh_token', ROGUE_SECRET],
  ]);
  expect(server.to('/register')).toEqual([]);
  expect(browser.opened).toHaveLength(1);
});

it('asks with the scopes, parameters and redirect that are set, and keeps its own parameters', async () => {
  const { watch, server, env } = await setUpByHand();
  const port = await freePort();
  const args = [
    ...['--client-id', 'mine', '--scope', 'one two', '--callback-host', 'localhost'],
    ...['--callback-port', port, '--authorize-param', 'prompt=select_account'],
    ...['--authorize-param', 'audience=a b&c', '--authorize-param', 'code_challenge=theirs'],
  ];
  expect(await watch.run(['login', server.url, ...args], '', env)).toMatchObject({ code: 0 });
  const [asked, redeemed] = server.parameters() as [URLSearchParams, URLSearchParams];
  expect(Object.fromEntries(asked)).toMatchObject({
    client_id: 'mine',
    scope: 'one two',
    redirect_uri: `http://localhost:${port}/callback`,
    prompt: 'select_account',
    audience: 'a b&c',
    resource: server.url,
  });
  const verifier = redeemed.get('code_verifier') ?? '';
  expect(asked.get('code_challenge')).toBe(
    createHash('sha256').update(verifier).digest('base64url'),
  );
  expect(redeemed.get('redirect_uri')).toBe(`http://localhost:${port}/callback`);
});

/** One that no one listens on just now. */
async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return String(port);
}

it('says that the fixed port of the redirect is taken, and opens no browser', async () => {
  const { watch, server, browser, env } = await setUpByHand();
  const port = new URL(server.url).port;
  const args = ['--client-id', 'mine', '--callback-port', port];
  const proxy = watch.proxy(server.url, args, env);
  const { error } = (await proxy.initialize()) as { error: { message: string } };
  expect(error.message).toContain(`The callback port ${port} is in use by another program.`);
  await proxy.end();
  const { code, stderr } = await watch.run(['login', server.url, ...args], '', env);
  expect(code).toBe(1);
  expect(stderr.replace(/\s+/g, ' ')).toContain(`The callback port ${port} is in use`);
  expect(browser.opened).toEqual([]);
  expect(server.to('/register')).toEqual([]);
});

it('login --auth oauth says that a gateway offers no sign-in', async () => {
  const watch = watchSecrets();
  const gateway = await startKeyedGateway();
  gateway.accepted.add(newKey());
  const { code, stderr } = await watch.run(['login', gateway.url, '--auth', 'oauth']);
  expect(code).toBe(1);
  expect(stderr).toContain('does not offer a sign-in');
});

it('uninstall --all --purge removes and revokes sign-ins', async () => {
  const { sandbox, run, whoami, watch } = await setUp();
  await run(['login', sandbox.url]);
  const purge = await run(['uninstall', '--all', '--purge', '--yes']);
  expect(purge).toMatchObject({ code: 0, stderr: '' });
  expect(purge.stdout).toContain(`Sign-ins\n  ${sandbox.url}  default\n`);
  expect(purge.stdout).not.toContain('not revoked');
  expect(sandbox.oauth.requests.filter(({ url }) => url === '/revoke')).toHaveLength(2);
  const names = readdirSync(watch.folder, { recursive: true, encoding: 'utf8' });
  expect(names.filter((name) => /sign-ins|locks/.test(name))).toEqual([]);
  expect(await whoami()).toContain('sign_in_required');
});

it('logout removes a sign-in whose server is gone, and says that the tokens are not revoked', async () => {
  const { sandbox, run } = await setUp();
  await run(['login', sandbox.url]);
  await sandbox.close();
  const { code, stdout } = await run(['logout', sandbox.url]);
  expect(code).toBe(0);
  expect(stdout.replace(/\s+/g, ' ')).toMatch(/Signed out of .* The tokens were not revoked/);
});
