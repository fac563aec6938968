import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { attemptFile } from '../../src/auth/oauth/sign-in-file.ts';
import { openSignInStore } from '../../src/auth/oauth/sign-in-store.ts';
import { createLog } from '../../src/log.ts';
import { bundleScript, runScript } from '../child-script.ts';

const entry = { gateway: 'https://mcp.example/mcp', account: 'default' };
const key = randomBytes(32).toString('base64');

/** The sign-in of a small authorization server: the code grant, less what the protocol adds. */
const HELPER = `
  import { randomBytes } from 'node:crypto';
  import { runSignInHelper } from './src/auth/oauth/sign-in-helper.ts';
  import { SignInError } from './src/auth/oauth/stored-sign-in.ts';
  void runSignInHelper(async ({ context }, tools) => {
    const { issuer } = context as { issuer: string };
    const server = await tools.listen({ gatewayHost: 'mcp.example' });
    try {
      const state = randomBytes(16).toString('hex');
      const url = new URL('/authorize?pid=' + process.pid, issuer);
      url.searchParams.set('state', state);
      url.searchParams.set('redirect_uri', 'http://127.0.0.1:' + server.port + '/callback');
      const arrival = server.callback(state, tools.signal);
      tools.show(url, server);
      const received = await arrival;
      const code = received.parameters.get('code');
      if (code === null) {
        await received.fail('You did not allow it.');
        throw new SignInError('You did not allow it.');
      }
      const answer = await fetch(new URL('/token?code=' + code, issuer), { method: 'POST' });
      const accessToken = await answer.text();
      await received.succeed();
      return {
        server: { issuer, tokenEndpoint: issuer + '/token' },
        registration: { kind: 'by-hand', clientId: 'c', authMethod: 'none', redirectUris: [] },
        tokens: { accessToken, tokenType: 'Bearer', receivedAt: Date.now() },
        signedInAt: Date.now(),
      };
    } finally {
      await server.close();
    }
  });
`;

/** What a proxy does when the gateway asks for a sign-in. */
const PROXY = `
  import { askForSignIn } from './src/auth/oauth/ask-for-sign-in.ts';
  import { openSignInStore } from './src/auth/oauth/sign-in-store.ts';
  import { createLog } from './src/log.ts';
  const { data, helper, key, entry, issuer, opensBrowser, replaces } = JSON.parse(process.argv[2]!);
  const keySources = key === undefined ? {} : { value: key };
  const store = openSignInStore(data, keySources, createLog('error', () => {}));
  process.once('message', async () => {
    const request = { entry, context: { issuer, secret: 'client-secret-4711' }, replaces };
    const outcome = await askForSignIn(request, {
      ...{ data, store, keySources, opensBrowser, helper },
      secretVariables: ['MY_SECRET'],
      env: process.env,
      onLink: (link) => process.send?.({ link }),
    });
    const found = await store.read(entry);
    process.send?.({ outcome, found }, () => process.exit());
  });
  process.send?.('ready');
`;

/** GETs what it is given, and follows redirects. */
const BROWSER = `#!/usr/bin/env node
  const { appendFileSync } = require('node:fs');
  appendFileSync(__filename + '.log', JSON.stringify({ args: process.argv, env: process.env }) + '\\n');
  fetch(process.argv[2]).then((answer) => answer.text()).then((page) => {
    appendFileSync(__filename + '.pages', page);
  });`;

interface Result {
  readonly outcome: Record<string, unknown>;
  readonly found: { readonly kind: string; readonly signIn?: { tokens: { accessToken: string } } };
}

let data: string;
let browser: string;
let helper: string;
let proxy: string;
beforeEach(async () => {
  data = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-helper-')));
  onTestFinished(() => rmSync(data, { recursive: true, maxRetries: 5 }));
  browser = join(data, 'browser');
  writeFileSync(browser, BROWSER, { mode: 0o700 });
  [helper, proxy] = await Promise.all([bundleScript(HELPER), bundleScript(PROXY)]);
});

/** An authorization server whose user decides when `decide` is called, or at once. */
async function startAuthorizationServer(decision?: 'allow' | 'deny') {
  const seen = { authorized: 0, states: new Set<string>(), tokens: new Set<string>(), pids: [0] };
  seen.pids.length = 0;
  const waiting: ((decision: 'allow' | 'deny') => void)[] = [];
  let onArrival = () => {};
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://127.0.0.1');
    if (pathname === '/token') {
      const token = `access-${randomBytes(8).toString('hex')}`;
      seen.tokens.add(token);
      response.end(token);
      return;
    }
    seen.authorized++;
    seen.pids.push(Number(searchParams.get('pid')));
    const state = searchParams.get('state') ?? '';
    seen.states.add(state);
    const decide = (what: 'allow' | 'deny') => {
      const back = new URL(searchParams.get('redirect_uri') ?? '');
      back.searchParams.set(
        ...((what === 'allow' ? ['code', 'c'] : ['error', 'access_denied']) as [string, string]),
      );
      back.searchParams.set('state', state);
      response.writeHead(302, { location: back.href }).end();
    };
    if (decision === undefined) waiting.push(decide);
    else decide(decision);
    onArrival();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return {
    ...{ seen, issuer: `http://127.0.0.1:${port}` },
    /** Resolves once the browser is there. */
    arrival: () =>
      new Promise<void>((resolve) => {
        onArrival = resolve;
        if (seen.authorized > 0) resolve();
      }),
    decide: (what: 'allow' | 'deny') => {
      for (const own of waiting.splice(0)) own(what);
    },
  };
}

interface AskOptions {
  readonly key?: string | undefined;
  readonly env?: Record<string, string>;
  readonly opensBrowser?: boolean;
  readonly replaces?: number;
}

interface Asking {
  readonly child: ChildProcess;
  readonly links: string[];
  readonly result: Promise<Result>;
  /** Resolves once it has a link. */
  readonly linked: Promise<string>;
}

/** Proxies that ask at the same time. */
async function ask(count: number, issuer: string, options: AskOptions = {}): Promise<Asking[]> {
  const { env = {}, opensBrowser = true, replaces } = options;
  const own = 'key' in options ? options.key : key;
  const argument = { data, helper, key: own, entry, issuer, opensBrowser, replaces };
  const all = {
    BROWSER: `"${process.execPath}" "${browser}"`,
    MY_SECRET: 'secret-4712',
    MCP_LATCHKEY_API_KEY: 'secret-4713',
  };
  const children = Array.from({ length: count }, () =>
    runScript(proxy, [JSON.stringify(argument)], { ...all, ...env }),
  );
  await Promise.all(children.map((child) => once(child, 'message')));
  return children.map((child) => {
    const links: string[] = [];
    let onLink = (_: string) => {};
    const linked = new Promise<string>((resolve) => {
      onLink = resolve;
    });
    const result = new Promise<Result>((resolve) => {
      child.on('message', (message: { link?: string } & Result) => {
        if (message.link === undefined) return resolve(message);
        links.push(message.link);
        onLink(message.link);
      });
    });
    child.send('go');
    return { child, links, result, linked };
  });
}

const results = (asking: Asking[]) => Promise.all(asking.map(({ result }) => result));

const browserLog = () =>
  readFileSync(`${browser}.log`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { args: string[]; env: Record<string, string> });

const store = () =>
  openSignInStore(
    data,
    { value: key },
    createLog('error', () => {}),
  );

/** Every process that is still there when the test ends is this test's failure. */
const untilGone = (pid: number) =>
  vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), { timeout: 10_000 });

describe.skipIf(process.platform === 'win32')('a sign-in that proxies ask for', () => {
  it('is one tab for eight of them, and leaves its secrets nowhere', async () => {
    const server = await startAuthorizationServer();
    const asking = await ask(8, server.issuer);
    await server.arrival();
    await Promise.all(asking.map(({ linked }) => linked));
    const [pid = 0] = server.seen.pids;
    if (process.platform === 'linux') {
      const own = ['cmdline', 'environ'].map((name) =>
        readFileSync(`/proc/${pid}/${name}`, 'utf8'),
      );
      for (const secret of ['client-secret-4711', 'secret-4712', 'secret-4713', key]) {
        expect(own.join()).not.toContain(secret);
      }
    }
    server.decide('allow');
    for (const { outcome, found } of await results(asking)) {
      expect(outcome).toEqual({ kind: 'done' });
      expect(server.seen.tokens).toContain(found.signIn?.tokens.accessToken);
    }
    expect(server.seen).toMatchObject({ authorized: 1, tokens: { size: 1 } });
    await vi.waitFor(() => {
      expect(readFileSync(`${browser}.pages`, 'utf8')).toContain('You are signed in');
    });
    const [opened, ...others] = browserLog();
    expect(others).toEqual([]);
    const secrets = [...server.seen.states, ...server.seen.tokens, 'secret-4712', 'secret-4713'];
    for (const secret of secrets) {
      expect(JSON.stringify(opened)).not.toContain(secret);
      for (const name of readdirSync(data, { recursive: true, withFileTypes: true })) {
        if (!name.isFile() || name.name.startsWith('browser')) continue;
        expect(readFileSync(join(name.parentPath, name.name), 'latin1')).not.toContain(secret);
      }
    }
    await untilGone(pid);
  });

  it('goes on when the proxy that started it is killed', async () => {
    const server = await startAuthorizationServer();
    const [starter] = await ask(1, server.issuer);
    await server.arrival();
    const [other] = await ask(1, server.issuer);
    await other?.linked;
    starter?.child.kill('SIGKILL');
    await once(starter?.child as ChildProcess, 'exit');
    server.decide('allow');
    expect((await other?.result)?.outcome).toEqual({ kind: 'done' });
    expect((await store().read(entry)).kind).toBe('found');
    expect(server.seen.authorized).toBe(1);
  });

  it('completes when every proxy is killed', async () => {
    const server = await startAuthorizationServer();
    const asking = await ask(3, server.issuer);
    await server.arrival();
    for (const { child } of asking) child.kill('SIGKILL');
    await Promise.all(asking.map(({ child }) => once(child, 'exit')));
    server.decide('allow');
    await untilGone(server.seen.pids[0] as number);
    expect((await store().read(entry)).kind).toBe('found');
  });

  it('opens one tab also where the proxy that starts it is killed at any time', async () => {
    for (let round = 0; round < 6; round++) {
      const server = await startAuthorizationServer();
      const asking = await ask(3, server.issuer);
      const [first, ...others] = asking;
      // From before the helper is started until after it has opened the browser.
      for (let turn = 0; turn < round * 400; turn++) await new Promise(setImmediate);
      first?.child.kill('SIGKILL');
      await server.arrival();
      await Promise.all(others.map(({ linked }) => linked));
      server.decide('allow');
      for (const { outcome } of await results(others)) expect(outcome).toEqual({ kind: 'done' });
      expect(server.seen.authorized).toBe(1);
      await store().remove(entry);
    }
  }, 60_000);

  it('that the user denies fails for all, and none is opened by itself for ten minutes', async () => {
    const server = await startAuthorizationServer('deny');
    const failed = { kind: 'failed', words: 'You did not allow it.' };
    for (const { outcome } of await results(await ask(1, server.issuer))) {
      expect(outcome).toEqual(failed);
    }
    const now = Date.now();
    for (const { outcome } of await results(await ask(3, server.issuer))) {
      expect(outcome).toEqual({ kind: 'paused', until: expect.any(Number) });
      expect((outcome.until as number) - now).toBeGreaterThan(590_000);
      expect((outcome.until as number) - now).toBeLessThanOrEqual(600_000);
    }
    expect(server.seen.authorized).toBe(1);
    const before = Date.now() / 1000 - 601;
    utimesSync(attemptFile(data, entry), before, before);
    const [again] = await results(await ask(1, server.issuer));
    expect(again?.outcome).toEqual(failed);
    expect(server.seen.authorized).toBe(2);

    // A sign-in with login ends the pause.
    const allowing = await startAuthorizationServer('allow');
    await store().write(entry, (await anySignIn()) as never);
    await store().remove(entry);
    const [allowed] = await results(await ask(1, allowing.issuer));
    expect(allowed?.outcome).toEqual({ kind: 'done' });
  });

  it('whose process is killed fails for all, and counts as one that was not finished', async () => {
    const server = await startAuthorizationServer();
    const asking = await ask(3, server.issuer);
    await Promise.all(asking.map(({ linked }) => linked));
    await server.arrival();
    process.kill(server.seen.pids[0] as number, 'SIGKILL');
    for (const { outcome } of await results(asking)) {
      expect(outcome).toEqual({ kind: 'failed', words: 'The sign-in was interrupted.' });
    }
    const [again] = await results(await ask(1, server.issuer));
    expect(again?.outcome.kind).toBe('paused');
  });

  it('fails at once where no browser can be opened', async () => {
    const { issuer } = await startAuthorizationServer();
    const [missing] = await results(await ask(1, issuer, { env: { BROWSER: 'no-such-browser' } }));
    expect(missing?.outcome).toEqual({
      kind: 'failed',
      words: 'Cannot open a browser: no-such-browser was not found.',
    });
    const ssh = { BROWSER: '', SSH_CONNECTION: 'a b c d' };
    rmSync(attemptFile(data, entry));
    const [headless] = await results(await ask(1, issuer, { env: ssh }));
    expect(headless?.outcome).toEqual({
      kind: 'failed',
      words: 'Cannot open a browser: this is an SSH session.',
    });
  });

  it('needs no browser where the user is given the link', async () => {
    const server = await startAuthorizationServer('allow');
    const options = { opensBrowser: false, env: { BROWSER: 'no-such-browser' } };
    const asking = await ask(2, server.issuer, options);
    const [link] = await Promise.all(asking.map(({ linked }) => linked));
    expect(link).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/sign-in\//);
    await (await fetch(link as string)).text();
    for (const { outcome } of await results(asking)) expect(outcome).toEqual({ kind: 'done' });
  });

  it('is not needed where another process has signed in since', async () => {
    const server = await startAuthorizationServer();
    await store().write(entry, (await anySignIn(5_000)) as never);
    const [newer] = await results(await ask(1, server.issuer, { replaces: 4_000 }));
    expect(newer?.outcome).toEqual({ kind: 'done' });
    expect(server.seen.authorized).toBe(0);
    const asking = await ask(2, server.issuer, { replaces: 5_000 });
    await Promise.all(asking.map(({ linked }) => linked));
    await server.arrival();
    // As `login` does.
    await store().write(entry, (await anySignIn(6_000)) as never);
    for (const { outcome } of await results(asking)) expect(outcome).toEqual({ kind: 'done' });
    await untilGone(server.seen.pids[0] as number);
  });

  it('is handed to all that wait where it cannot be stored', async () => {
    const server = await startAuthorizationServer();
    const env = { DBUS_SESSION_BUS_ADDRESS: '', DISPLAY: '', XDG_RUNTIME_DIR: data };
    const asking = await ask(3, server.issuer, { key: undefined, env });
    await Promise.all(asking.map(({ linked }) => linked));
    await server.arrival();
    server.decide('allow');
    for (const { outcome } of await results(asking)) {
      expect(outcome).toMatchObject({
        kind: 'done',
        signIn: { server: { issuer: server.issuer } },
      });
    }
    expect(server.seen.authorized).toBe(1);
  });

  it('fails in words where its process cannot be started', async () => {
    const { issuer } = await startAuthorizationServer();
    helper = join(data, 'no-such-helper.cjs');
    const [asked] = await results(await ask(1, issuer));
    expect(asked?.outcome).toEqual({ kind: 'failed', words: 'The sign-in was interrupted.' });
  });
});

async function anySignIn(signedInAt = 1_000) {
  return {
    server: { issuer: 'https://as.example', tokenEndpoint: 'https://as.example/token' },
    registration: { kind: 'by-hand', clientId: 'c', authMethod: 'none', redirectUris: [] },
    tokens: { accessToken: 'a', tokenType: 'Bearer', receivedAt: signedInAt },
    signedInAt,
  };
}
