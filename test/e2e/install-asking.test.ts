import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { copiesIn } from '../environment.ts';
import { expectNoSecret, program, runToEnd, secret, startProxy } from './running-proxy.ts';
import { missingForSecretService, startSecretService } from './secret-service.ts';
import { startOnTerminal } from './terminal.ts';

const URL_OF_GATEWAY = 'https://acme.example/v1/mcp';
const OTHER = '{ "theme": "dark", "mcpServers": { "other": { "command": "other" } } }\n';

/** A home with Codex and Cursor in it, and where their configs are. */
function makeHome() {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-home-')));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  return { home, ...makeClients(home) };
}

function makeClients(home: string) {
  for (const folder of ['.cursor', '.codex']) mkdirSync(join(home, folder));
  return { cursor: join(home, '.cursor/mcp.json'), codex: join(home, '.codex/config.toml') };
}

const read = (file: string) => readFileSync(file, 'utf8');
const run = (home: string, ...args: string[]) => runToEnd(args, '', { HOME: home });

function onTerminal(env: Record<string, string>, ...args: string[]) {
  const words = [process.execPath, program, ...args].map((word) => `'${word}'`);
  return startOnTerminal(words.join(' '), env);
}

/** What was shown, without colors and line ends. */
const plain = (text: string) => text.replace(/\x1b\[[\d;?]*[A-Za-z]/g, '').replace(/\s+/g, ' ');

async function startGateway() {
  const sandbox = await startSandbox();
  onTestFinished(() => sandbox.close());
  return sandbox;
}

describe('install without arguments', () => {
  it.each([
    ['numbers', '1', ['codex']],
    ['arrow keys', '\x1b[B ', ['cursor']],
    ['both', '12', ['codex', 'cursor']],
  ])(
    'lets the user choose clients with %s, and asks for a URL until it can be used',
    async (_, keys, chosen) => {
      const { home, ...files } = makeHome();
      const terminal = onTerminal({ HOME: home }, 'install', '--no-verify');
      await terminal.until('Which clients should use the gateway?');
      terminal.type(keys);
      terminal.type('\r');
      await terminal.until('URL of the MCP endpoint: ');
      terminal.type('not a URL\r');
      await terminal.until('Expected a URL');
      terminal.type(`${URL_OF_GATEWAY}\r`);
      await terminal.until('Write this? [Y/n]');
      for (const file of Object.values(files)) expect(existsSync(file)).toBe(false);
      terminal.type('\r');
      expect(await terminal.exited).toBe(0);
      for (const [client, file] of Object.entries(files)) {
        expect(existsSync(file) && read(file).includes(URL_OF_GATEWAY), client).toBe(
          chosen.includes(client),
        );
      }
      const shown = plain(terminal.shown);
      expect(shown.includes('Quit Cursor and open it again.')).toBe(chosen.includes('cursor'));
      expect(shown.includes('Start Codex again.')).toBe(chosen.includes('codex'));
    },
  );

  it('asks only for what is missing on the command line', async () => {
    const { home, cursor } = makeHome();
    const forUrl = onTerminal({ HOME: home }, 'install', 'cursor', '--no-verify');
    await forUrl.until('URL of the MCP endpoint: ');
    forUrl.type('kindo\r');
    await forUrl.until('Write this? [Y/n]');
    forUrl.type('y\r');
    expect(await forUrl.exited).toBe(0);
    expect(read(cursor)).toContain('https://api.kindo.ai/v1/mcp');

    const forClient = onTerminal({ HOME: home }, 'install', URL_OF_GATEWAY, '--no-verify');
    await forClient.until('Which clients should use the gateway?');
    expect(plain(forClient.shown)).toContain('Cursor (has kindo)');
    forClient.type('2\r');
    await forClient.until('Write this? [Y/n]');
    forClient.type('y\r');
    expect(await forClient.exited).toBe(0);
    expect(read(cursor)).toContain(URL_OF_GATEWAY);
  });

  it.each([
    ['the choice', ['install'], 'Which clients', '\x03', 1],
    ['the URL', ['install', 'cursor'], 'URL of the MCP endpoint', '\x03', 1],
    ['the URL, with Ctrl-D', ['install', 'cursor'], 'URL of the MCP endpoint', '\x04', 1],
    ['the change', ['install', '--all', URL_OF_GATEWAY], 'Write this?', 'n\r', 0],
  ])('writes nothing when the user gives up at %s', async (_, args, question, keys, code) => {
    const { home, cursor, codex } = makeHome();
    const terminal = onTerminal({ HOME: home }, ...args, '--no-verify');
    await terminal.until(question);
    terminal.type(keys);
    expect(await terminal.exited).toBe(code);
    expect(plain(terminal.shown)).toMatch(/nothing was written/i);
    for (const file of [cursor, codex]) expect(existsSync(file)).toBe(false);
    expect(existsSync(join(home, '.local'))).toBe(false);
  });

  it('says so where there is no client', async () => {
    const home = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-home-')));
    onTestFinished(() => rmSync(home, { recursive: true, force: true }));
    const terminal = onTerminal({ HOME: home }, 'install');
    expect(await terminal.exited).toBe(1);
    expect(plain(terminal.shown)).toContain('No supported client was found');
  });

  it.each([
    [['install']],
    [['install', 'cursor']],
    [['install', 'cursor', '--yes']],
    [['install', '--all']],
    [['install', '--all', URL_OF_GATEWAY]],
    [['install', '--all', 'cursor', URL_OF_GATEWAY, '--yes']],
    [['uninstall']],
    [['uninstall', '--all']],
    [['uninstall', '--all', '--json']],
    [['uninstall', '--all', 'cursor', '--yes']],
    [['uninstall', 'cursor', '--purge']],
  ])('exits with 2 where no one can be asked: %j', async (args) => {
    const { home, cursor } = makeHome();
    const { code, stdout, stderr } = await run(home, ...args);
    expect(code, stderr).toBe(2);
    expect(stdout + stderr).toMatch(/needs|ithout a terminal|leave the client out/);
    expect(existsSync(cursor)).toBe(false);
  });

  it('suggests clients whose name has the word', async () => {
    const { home } = makeHome();
    const { code, stderr } = await run(home, 'install', 'claude', URL_OF_GATEWAY);
    expect(code).toBe(2);
    expect(plain(stderr)).toContain('Did you mean claude-code or claude-desktop?');
  });
});

it('does not offer to store a key where the client reaches no keychain', async () => {
  const { home, cursor } = makeHome();
  const sandbox = await startGateway();
  const terminal = onTerminal({ HOME: home }, 'install', 'cursor', sandbox.url);
  expect(await terminal.exited).toBe(0);
  const shown = plain(terminal.shown);
  expect(shown).not.toContain('Store your API key');
  expect(shown).not.toContain('mcp-latchkey login');
  expect(shown).toContain('MCP_LATCHKEY_API_KEY');
  expect(read(cursor)).toContain(sandbox.url);
});

it('adds a gateway to every client with --all --yes, also where one config is broken', async () => {
  const { home, cursor, codex } = makeHome();
  mkdirSync(join(home, '.codeium/windsurf'), { recursive: true });
  const broken = join(home, '.codeium/windsurf/mcp_config.json');
  writeFileSync(broken, '{ "a" ');
  const all = ['install', '--all', URL_OF_GATEWAY, '--yes', '--no-verify'];
  const dry = await run(home, ...all, '--dry-run');
  expect(existsSync(cursor)).toBe(false);
  expect(dry.stdout).toContain('Nothing was written');
  const { code, stdout } = await run(home, ...all);
  expect(code).toBe(1);
  expect(plain(stdout)).toContain('✗ Windsurf:');
  for (const file of [cursor, codex]) expect(read(file)).toContain(URL_OF_GATEWAY);
  expect(read(broken)).toBe('{ "a" ');
  rmSync(broken);
  const again = await run(home, ...all, '--json');
  expect(again).toMatchObject({ code: 0, stderr: '' });
  const changes = JSON.parse(again.stdout).map(({ client, change }: never) => [client, change]);
  expect(Object.fromEntries(changes)).toMatchObject({
    codex: 'unchanged',
    cursor: 'unchanged',
    windsurf: 'created',
  });
});

it('tests the entries of --all once, when they start alike', async () => {
  const { home } = makeHome();
  const sandbox = await startGateway();
  const keyFile = join(home, 'key');
  writeFileSync(keyFile, sandbox.keys.good, { mode: 0o600 });
  const all = ['install', '--all', sandbox.url, '--key-file', keyFile, '--yes'];
  const { code, stdout } = await run(home, ...all);
  expect({ code }, stdout).toEqual({ code: 0 });
  expect(stdout.match(/Connected: /g)).toHaveLength(1);
});

describe('uninstall --all', () => {
  it('removes every entry, and keeps everything else byte for byte', async () => {
    const { home, cursor, codex } = makeHome();
    writeFileSync(cursor, OTHER);
    for (const name of ['one', 'two']) {
      await run(home, 'install', '--all', URL_OF_GATEWAY, '--name', name, '--yes', '--no-verify');
    }
    const dry = await run(home, 'uninstall', '--all', '--dry-run');
    expect(dry).toMatchObject({ code: 0, stderr: '' });
    expect(read(cursor)).toContain('"two"');
    const { code, stdout } = await run(home, 'uninstall', '--all', '--yes');
    expect({ code }, stdout).toEqual({ code: 0 });
    expect(read(cursor)).toBe(OTHER);
    expect(read(codex)).not.toContain('mcp-latchkey');
    expect(readdirSync(copiesIn(home))).toEqual([]);
    const again = await run(home, 'uninstall', '--all', '--yes');
    expect(again.code).toBe(0);
    expect(again.stdout).toContain('Nothing to remove');
  });

  it('makes one backup of each config, with all of its entries', async () => {
    const { home, cursor } = makeHome();
    const entry = { command: 'npx', args: ['-y', 'mcp-latchkey', URL_OF_GATEWAY] };
    const names = Array.from({ length: 12 }, (_, index) => `gateway-${index}`);
    const before = JSON.stringify({
      mcpServers: Object.fromEntries(names.map((name) => [name, entry])),
    });
    writeFileSync(cursor, before);
    const { code, stdout } = await run(home, 'uninstall', '--all', '--yes');
    expect({ code }, stdout).toEqual({ code: 0 });
    expect(stdout.match(/Backup: /g)).toHaveLength(1);
    const backups = readdirSync(dirname(cursor)).filter((name) => name.endsWith('.bak'));
    expect(backups.map((name) => read(join(dirname(cursor), name)))).toEqual([before]);
  });

  it('names no backup that --purge removes afterwards', async () => {
    const { home, cursor } = makeHome();
    writeFileSync(cursor, OTHER);
    await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify');
    const { code, stdout } = await run(home, 'uninstall', '--all', '--purge', '--yes');
    expect({ code }, stdout).toEqual({ code: 0 });
    expect(stdout).toContain('Removed acme from Cursor.');
    expect(stdout).not.toContain('Backup:');
    expect(readdirSync(dirname(cursor))).toEqual(['mcp.json']);
  });

  it('asks before it removes, and removes nothing after no', async () => {
    const { home, cursor } = makeHome();
    await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify');
    const before = read(cursor);
    const terminal = onTerminal({ HOME: home }, 'uninstall', '--all', '--purge');
    await terminal.until('Remove all of this? [Y/n]');
    expect(plain(terminal.shown)).toContain(
      'Copies of the program ~/.local/share/mcp-latchkey/versions/',
    );
    terminal.type('n\r');
    expect(await terminal.exited).toBe(0);
    expect(read(cursor)).toBe(before);
  });
});

const missing = await missingForSecretService();
const skipped = missing === undefined ? '' : ` (skipped: ${missing} is not here)`;

describe.skipIf(missing !== undefined)(`with a keychain${skipped}`, () => {
  async function start() {
    const service = await startSecretService();
    onTestFinished(() => service.stop());
    const { HOME: home = '', ...keyring } = service.env;
    return { service, home, keyring, ...makeClients(home), sandbox: await startGateway() };
  }

  it('goes from nothing to an entry that works, with questions only', async () => {
    const { service, cursor, keyring, sandbox } = await start();
    // The client's own environment reaches the keychain.
    const entry = { command: 'mcp-latchkey', args: [sandbox.url], env: keyring };
    writeFileSync(cursor, JSON.stringify({ mcpServers: { mine: entry } }));
    const terminal = onTerminal(service.env, 'install');
    await terminal.until('Which clients');
    terminal.type('2\r');
    await terminal.until('URL of the MCP endpoint: ');
    terminal.type(`${sandbox.url}\r`);
    await terminal.until('Write this? [Y/n]');
    terminal.type('\r');
    await terminal.until('Store your API key now? [Y/n]');
    terminal.type('\r');
    await terminal.until('(hidden)');
    terminal.type(`${secret(sandbox.keys.good)}\r`);
    expect(await terminal.exited).toBe(0);
    const shown = plain(terminal.shown);
    expect(shown).toContain('Connected: ');
    expect(shown).toContain('Quit Cursor and open it again. Its settings for MCP show mine.');
    expectNoSecret(read(cursor));
  });

  it('purges entries, keys, copies, caches and backups, each shown before', async () => {
    const { service, home, cursor, keyring, sandbox } = await start();
    const as = (...args: string[]) => runToEnd(args, '', service.env);
    writeFileSync(cursor, OTHER);
    await as('install', 'cursor', sandbox.url, '--no-verify');
    await runToEnd(['login', sandbox.url], sandbox.keys.good, service.env);
    await runToEnd(
      ['login', sandbox.url, '--account', 'b', '--no-verify'],
      'another-key',
      service.env,
    );
    // As another version may name it.
    execFileSync(
      process.execPath,
      ['-e', "require('keytar').setPassword('mcp-latchkey', 'no URL', 'x')"],
      { cwd: dirname(dirname(program)), env: { PATH: process.env.PATH, ...service.env } },
    );
    // A session leaves caches.
    const { command, args } = JSON.parse(read(cursor)).mcpServers['local-gateway'];
    expect(command).toBe(process.execPath);
    const proxy = startProxy(sandbox.url, { script: args[0], env: { ...keyring, ...service.env } });
    await proxy.initialize();
    await proxy.request(1, 'tools/list');
    const busy = await as('uninstall', '--all', '--purge', '--yes', '--json');
    expect(busy.code).toBe(1);
    const report = JSON.parse(busy.stdout);
    expect(report).toMatchObject({
      removed: true,
      // The backup that the removal made is gone as well.
      entries: [{ client: 'cursor', name: 'local-gateway', change: 'removed', backup: null }],
      keys: [
        { gateway: sandbox.url, account: 'b' },
        { gateway: sandbox.url, account: 'default' },
        { gateway: 'no URL', account: '' },
      ],
      left: [expect.stringContaining('A program that runs now may use it')],
    });
    expectNoSecret(busy.stdout);
    // The session goes on with the copy that is left.
    expect(await proxy.request(2, 'tools/list')).toHaveProperty('error.data.reason');
    await proxy.end();
    expect((await as('uninstall', '--all', '--purge', '--yes')).code).toBe(0);
    expect(read(cursor)).toBe(OTHER);
    expect(JSON.parse((await as('status', '--json')).stdout).stored).toEqual([]);
    const names = readdirSync(home, { recursive: true, encoding: 'utf8' });
    expect(names.filter((name) => /mcp-latchkey|\.bak$/.test(name))).toEqual([]);
  });
});
