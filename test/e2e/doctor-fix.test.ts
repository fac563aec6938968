import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { expectNoSecret, type Json, program, runToEnd, secret } from './running-proxy.ts';
import { startOnTerminal } from './terminal.ts';

/** A home with a client's config, whose only entry `change` may damage. */
async function home(client: string, entry: Json, change = (text: string) => text) {
  const HOME = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-fix-')));
  onTestFinished(() => rmSync(HOME, { recursive: true, force: true }));
  const { stdout } = await runToEnd(['install', '--list', '--json'], '', { HOME });
  const file = String((JSON.parse(stdout) as Json[]).find((own) => own.client === client)?.file);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, change(JSON.stringify({ mcpServers: { acme: entry } }, null, 2)));
  const backups = () => readdirSync(dirname(file)).filter((name) => name.endsWith('.bak'));
  return { HOME, file, backups, read: () => readFileSync(file, 'utf8') };
}

async function sandbox() {
  const running = await startSandbox({});
  onTestFinished(() => running.close());
  const key = secret(running.keys.good);
  const entry = {
    command: process.execPath,
    args: [program, running.url],
    env: { MCP_LATCHKEY_API_KEY: key },
  };
  return { ...running, key, entry };
}

describe('doctor --fix', () => {
  it('removes what Claude Desktop cannot read, with a backup, and checks again', async () => {
    const { entry } = await sandbox();
    const damage = (text: string) => `\ufeff${text.replace('{\n', '{\n  // mine\n')},\n`;
    const broken = (text: string) => damage(text).replace(/}(,\n)$/, ',}\n');
    const { HOME, file, backups, read } = await home('claude-desktop', entry, broken);
    const before = read();
    const { code, stdout } = await runToEnd(['doctor', '--fix', '--yes'], '', { HOME });
    const text = stdout.replace(/\s+/g, ' ');
    expect(text).toContain('Remove the byte order mark from');
    expect(text).toContain('Remove a comment at line 2, column 3, of');
    expect(text).toContain('Remove a trailing comma at line');
    expect(text).toContain('✓ Fixed. Backup: ');
    expect(text).toMatch(/Checking again: .*Everything works/);
    expect(code).toBe(0);
    expect(JSON.parse(read())).toEqual({ mcpServers: { acme: entry } });
    expect(backups()).toHaveLength(1);
    expect(readFileSync(join(dirname(file), String(backups()[0])), 'utf8')).toBe(before);
  });

  it('changes nothing on a pipe without --yes, and says how', async () => {
    const { entry } = await sandbox();
    const { HOME, backups, read } = await home('claude-desktop', entry, (text) => `${text}// x\n`);
    const before = read();
    const { code, stdout } = await runToEnd(['doctor', '--fix'], 'y\n', { HOME });
    expect(code).toBe(1);
    expect(stdout.replace(/\s+/g, ' ')).toContain('To make these changes, add --yes.');
    expect(stdout).toContain('Remove a comment at line');
    expect(read()).toBe(before);
    expect(backups()).toEqual([]);
  });

  it('asks on a terminal, and leaves what is declined', async () => {
    const { entry } = await sandbox();
    const { HOME, read } = await home('claude-desktop', entry, (text) => `${text}// x\n`);
    const before = read();
    const command = `'${process.execPath}' '${program}' doctor --fix`;
    const declining = startOnTerminal(command, { HOME });
    await declining.until('Fix this? [Y/n]');
    declining.type('n\r');
    expect(await declining.exited).toBe(1);
    expect(declining.shown).toContain('Nothing was changed.');
    expect(read()).toBe(before);
    const agreeing = startOnTerminal(command, { HOME });
    await agreeing.until('Fix this? [Y/n]');
    agreeing.type('y\r');
    expect(await agreeing.exited).toBe(0);
    expect(JSON.parse(read())).toEqual({ mcpServers: { acme: entry } });
  });

  it('starts a copy of this program in place of one that is gone', async () => {
    const { entry, url } = await sandbox();
    const gone = { ...entry, command: '/no/such/node', extra: 1 };
    const { HOME, backups, read } = await home('cursor', gone);
    const { code, stdout } = await runToEnd(['doctor', '--fix', '--yes'], '', { HOME });
    expect(stdout.replace(/\s+/g, ' ')).toContain('Cursor does not find /no/such/node');
    expect(code).toBe(0);
    const { acme } = JSON.parse(read()).mcpServers;
    expect(acme).toMatchObject({ env: entry.env, extra: 1 });
    expect(acme.args.at(-1)).toBe(url);
    expect(basename(acme.args[0])).toBe('mcp-latchkey.js');
    expect(acme.args[0].startsWith(HOME)).toBe(true);
    expect(backups()).toHaveLength(1);
    expectNoSecret(stdout);
  });

  it.skipIf(process.platform === 'win32')('closes a key file that others can read', async () => {
    const { entry, key, url } = await sandbox();
    const { HOME, file } = await home('cursor', entry);
    const keyFile = join(HOME, 'key');
    writeFileSync(keyFile, key);
    chmodSync(keyFile, 0o644);
    const args = [program, url, '--key-file', keyFile];
    writeFileSync(file, JSON.stringify({ mcpServers: { acme: { ...entry, args, env: {} } } }));
    const { code, stdout } = await runToEnd(['doctor', '--fix', '--yes'], '', { HOME });
    expect(stdout.replace(/\s+/g, ' ')).toContain('Other users can open ~/key');
    expect(code).toBe(0);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
  });

  it('offers a login where only a key is missing, which --yes leaves to the user', async () => {
    const { entry, url } = await sandbox();
    const token = secret('query-token-7f3a9c51d2');
    const args = [program, `${url}?token=${token}`];
    const { HOME } = await home('cursor', { ...entry, args, env: {} });
    const { code, stdout } = await runToEnd(['doctor', '--fix', '--yes'], '', { HOME });
    expect(code).toBe(1);
    expect(stdout.replace(/\s+/g, ' ')).toContain('Store a key for 127.0.0.1');
    expect(stdout).toContain(`login ${url}`);
    expect(stdout).toContain('Nothing was changed.');
  });

  it('says when there is nothing that it can fix, and does not go with --json', async () => {
    const { entry } = await sandbox();
    const { HOME } = await home('cursor', entry);
    const { code, stdout } = await runToEnd(['doctor', '--fix'], '', { HOME });
    expect({ code, end: stdout.trimEnd().split('\n').at(-1) }).toEqual({
      code: 0,
      end: 'There is nothing that --fix can fix.',
    });
    const both = await runToEnd(['doctor', '--fix', '--json'], '', { HOME });
    expect({ code: both.code, stdout: both.stdout }).toEqual({ code: 2, stdout: '' });
  });
});
