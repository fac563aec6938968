import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { findBrowser, openBrowser } from '../../../src/auth/oauth/open-browser.ts';
import { bundleScript, runScript } from '../../child-script.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'latchkey-browser-'));
  onTestFinished(() => rmSync(folder, { recursive: true, maxRetries: 5 }));
});

const URL_WITH_ALL = 'https://as.example/a?b=$(id)&c=`id`;d="x y"%26\'|e';
const HREF = new URL(URL_WITH_ALL).href;

/** A program that writes down its arguments and environment, and then does what is left to do. */
function program(name: string, then = ''): string {
  const path = join(folder, name);
  const text = `#!/usr/bin/env node
    const { renameSync, writeFileSync } = require('node:fs');
    writeFileSync('${path}.part', JSON.stringify({ args: process.argv.slice(2), env: process.env, pid: process.pid }));
    renameSync('${path}.part', '${path}.json');
    ${then}`;
  writeFileSync(path, text, { mode: 0o700 });
  return path;
}

const seen = (path: string) =>
  vi.waitFor(() => JSON.parse(readFileSync(`${path}.json`, 'utf8')), { timeout: 10_000 });

const PATH = process.env.PATH ?? '';
const noSession = async () => ({});

async function open(env: Record<string, string>, secretVariables: string[] = []) {
  const browser = await findBrowser('linux', { PATH, ...env }, noSession);
  if ('words' in browser) return expect.unreachable(browser.words);
  return openBrowser(URL_WITH_ALL, browser, secretVariables);
}

describe.skipIf(process.platform === 'win32')('$BROWSER', () => {
  it('gets the URL as its last argument, as it is', async () => {
    const path = program('browser');
    expect(await open({ BROWSER: path })).toBeUndefined();
    expect((await seen(path)).args).toEqual([HREF]);
  });

  it('gets the URL in the place of %s, among its own arguments', async () => {
    const path = program('a browser');
    const command = `"${path}" --new-window '--profile=my own' --title=%%a%cb --url=%s --last`;
    expect(await open({ BROWSER: command })).toBeUndefined();
    expect((await seen(path)).args).toEqual([
      '--new-window',
      '--profile=my own',
      '--title=%a:b',
      `--url=${HREF}`,
      '--last',
    ]);
  });

  it('is tried from the first to the last that works', async () => {
    const [failing, working, unused] = [
      program('failing', 'process.exit(3)'),
      program('working'),
      program('unused'),
    ];
    expect(await open({ BROWSER: `no-such-browser:${failing}::${working}:${unused}` })).toBe(
      undefined,
    );
    expect((await seen(failing)).args).toEqual([HREF]);
    expect((await seen(working)).args).toEqual([HREF]);
    expect(existsSync(`${unused}.json`)).toBe(false);
  });

  it.each([
    ['is missing', () => 'no-such-browser', 'no-such-browser was not found'],
    ['cannot be run', () => folder, / could not be started \(EACCES\)$/],
    ['fails', () => program('failing', 'process.exit(3)'), /failing failed \(exit code 3\)$/],
    [
      'is killed',
      () => program('killed', "process.kill(process.pid, 'SIGKILL')"),
      /killed failed \(SIGKILL\)$/,
    ],
    ['names no program', () => ' : ', 'BROWSER is empty'],
    ['has a zero byte', () => 'a\0b', /could not be started \(ERR_INVALID_ARG_VALUE\)$/],
  ])('that %s is reported', async (_, command, words) => {
    const browser = await findBrowser('linux', { PATH, BROWSER: 'x' }, noSession);
    const env = { PATH, BROWSER: command() };
    const own =
      env.BROWSER.trim() === ':' ? { commands: [], env } : await findBrowser('linux', env);
    expect(browser).toHaveProperty('commands');
    if ('words' in own) return expect.unreachable();
    const failure = await openBrowser(URL_WITH_ALL, own, []);
    expect(failure).toEqual(typeof words === 'string' ? words : expect.stringMatching(words));
  });

  it('that stays open counts as opened, and does not keep this process', async () => {
    const path = program('staying', 'setInterval(() => {}, 1000)');
    const script = await bundleScript(`
      import { findBrowser, openBrowser } from './src/auth/oauth/open-browser.ts';
      void (async () => {
        const browser = await findBrowser('linux', process.env);
        const failure = await openBrowser('https://as.example/', browser as any, []);
        process.send?.({ failure }, () => process.disconnect());
      })();
    `);
    const child = runScript(script, [], { BROWSER: path });
    const exit = once(child, 'exit');
    expect((await once(child, 'message'))[0]).toEqual({});
    expect(await exit).toEqual([0, null]);
    const { pid } = await seen(path);
    // It is still there.
    process.kill(pid, 'SIGKILL');
  });

  it('gets no secret of this program', async () => {
    const path = program('browser');
    const env = { BROWSER: path, MCP_LATCHKEY_API_KEY: 's1', Mcp_Latchkey_X: 's2', MY_KEY: 's3' };
    expect(await open({ ...env, OTHER: 'kept' }, ['MY_KEY'])).toBeUndefined();
    const { env: handedOn } = await seen(path);
    expect(handedOn).toMatchObject({ BROWSER: path, OTHER: 'kept' });
    expect(Object.values(handedOn).filter((value) => /^s\d$/.test(String(value)))).toEqual([]);
  });
});

describe.skipIf(process.platform === 'win32')('xdg-open', () => {
  it('is what opens a browser in a desktop session on Linux', async () => {
    const path = program('xdg-open');
    expect(await open({ DISPLAY: ':0', PATH: `${folder}:${PATH}` })).toBeUndefined();
    expect((await seen(path)).args).toEqual([HREF]);
  });

  it('gets the session’s variables where a client has not handed them on', async () => {
    const path = program('xdg-open');
    const systemctl = `#!/bin/sh
      [ "$*" = '--user show-environment' ] || exit 1
      printf '%s\\n' WAYLAND_DISPLAY=wayland-7 "XAUTHORITY=\\$'odd'" SECRET_OF_OTHERS=s DISPLAY=:7`;
    writeFileSync(join(folder, 'systemctl'), systemctl, { mode: 0o700 });
    mkdirSync(join(folder, 'systemd'));
    writeFileSync(join(folder, 'systemd', 'private'), '');
    const script = await bundleScript(`
      import { findBrowser, openBrowser } from './src/auth/oauth/open-browser.ts';
      void (async () => {
        const { PATH, XDG_RUNTIME_DIR } = process.env;
        const browser = await findBrowser('linux', { PATH, XDG_RUNTIME_DIR });
        process.send?.(await openBrowser('https://as.example/', browser as any, []) ?? 'opened');
      })();
    `);
    const env = { PATH: `${folder}:${PATH}`, XDG_RUNTIME_DIR: folder };
    expect((await once(runScript(script, [], env), 'message'))[0]).toBe('opened');
    const { env: handedOn } = await seen(path);
    expect(handedOn).toMatchObject({ WAYLAND_DISPLAY: 'wayland-7', DISPLAY: ':7' });
    expect(handedOn).not.toHaveProperty('XAUTHORITY');
    expect(handedOn).not.toHaveProperty('SECRET_OF_OTHERS');
  });
});

it.each([
  ['linux', { SSH_CONNECTION: '1.2.3.4 5 6.7.8.9 22', DISPLAY: ':0' }, 'this is an SSH session'],
  ['darwin', { SSH_TTY: '/dev/ttys001' }, 'this is an SSH session'],
  ['win32', { SSH_CLIENT: '1.2.3.4' }, 'this is an SSH session'],
  ['linux', { CI: 'true', DISPLAY: ':0' }, 'this is a CI run'],
  ['linux', {}, 'there is no desktop session'],
] as const)('none is opened on %s with %j', async (platform, env, words) => {
  expect(await findBrowser(platform, env, noSession)).toEqual({ words });
});

it.each([
  ['darwin', {}, '/usr/bin/open', []],
  ['darwin', { CI: 'false' }, '/usr/bin/open', []],
  [
    'win32',
    { SystemRoot: 'D:\\Windows' },
    'D:\\Windows\\System32\\rundll32.exe',
    ['url.dll,FileProtocolHandler'],
  ],
  ['linux', { WAYLAND_DISPLAY: 'wayland-0' }, 'xdg-open', []],
  ['linux', { BROWSER: 'firefox', SSH_CONNECTION: 'x' }, 'firefox', []],
] as const)('one is opened on %s with %j by %s', async (platform, env, file, args) => {
  const found = await findBrowser(platform, env, noSession);
  expect(found).toEqual({ commands: [{ file, args }], env });
});

it.each([
  'file:///etc/passwd',
  'javascript:alert(1)',
  ' https://as.example',
  '-https://as.example',
  'https:',
  'calculator:',
  '\\\\server\\share',
  '',
])('%j is not opened', async (url) => {
  const path = program('browser');
  const browser = { commands: [{ file: path, args: [] }], env: { PATH } };
  expect(await openBrowser(url, browser, [])).toBe('the URL is not a web address');
  expect(existsSync(`${path}.json`)).toBe(false);
});
