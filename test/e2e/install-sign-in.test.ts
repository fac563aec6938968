import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { program, runToEnd } from './running-proxy.ts';
import { startOnTerminal } from './terminal.ts';
import { startBrowser } from './test-browser.ts';

/** `install` of a gateway that offers sign-in, for a client that has nothing but a home. */
async function setUp() {
  const home = mkdtempSync(join(tmpdir(), 'latchkey-home-'));
  onTestFinished(() => rmSync(home, { recursive: true, force: true, maxRetries: 5 }));
  mkdirSync(join(home, '.cursor'));
  const key = join(home, 'store-key');
  writeFileSync(key, randomBytes(32).toString('base64'), { mode: 0o600 });
  const sandbox = await startSandbox({ oauth: {} });
  onTestFinished(() => sandbox.close());
  const browser = await startBrowser(home);
  const env = { ...browser.env, HOME: home, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const words = ['install', 'cursor', sandbox.url, '--auth', 'oauth', '--store-key-file', key];
  return { home, env, words, browser };
}

it('install offers the sign-in on a terminal, and shows that it works', {
  timeout: 60_000,
}, async () => {
  const { home, env, words, browser } = await setUp();
  const command = [process.execPath, program, ...words].map((word) => `'${word}'`).join(' ');
  const terminal = startOnTerminal(command, env);
  await terminal.until('Sign in now? [Y/n]');
  expect(browser.opened).toEqual([]);
  terminal.type('\r');
  expect(await terminal.exited).toBe(0);
  expect(terminal.shown).toContain('Signed in to 127.0.0.1');
  expect(terminal.shown).toContain('Connected: ');
  expect(terminal.shown).not.toContain('API key');
  expect(browser.opened).toHaveLength(1);
  expect(readFileSync(join(home, '.cursor/mcp.json'), 'utf8')).toContain('--store-key-file');
});

it('install prints one command to sign in with where it cannot ask, and opens no browser', async () => {
  const { env, words, browser } = await setUp();
  const { code, stdout } = await runToEnd(words, '', env);
  expect(code).toBe(0);
  expect(stdout).toContain('To sign in, run:\n');
  expect(stdout).toMatch(/ login http\S+ --auth oauth --store-key-file \S+\n/);
  expect(stdout).not.toContain('API key');
  expect(browser.opened).toEqual([]);
});
