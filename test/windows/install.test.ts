import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { tryEntry } from '../../src/install/entry-trial.ts';
import { answer, startGateway } from '../e2e/loopback-gateway.ts';
import { RunningProxy, runToEnd } from '../e2e/running-proxy.ts';
import { startTether } from '../tethered-process.ts';

const URL_OF_GATEWAY = 'https://gateway.example/mcp';

function makeHome(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-home-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const home = join(folder, name);
  mkdirSync(home, { recursive: true });
  return home;
}

/** Cursor's config, held open by cmd.exe so that others cannot rename or replace it. */
async function lockedConfig() {
  const home = makeHome('home');
  const config = join(home, '.cursor', 'mcp.json');
  mkdirSync(dirname(config));
  writeFileSync(config, '{}');
  const script = "process.stderr.write('open'); process.stdin.on('close', process.exit).resume()";
  const holder = spawn(`"${process.execPath}" -e "${script}" >> "${config}"`, {
    shell: true,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  const ended = once(holder, 'close');
  const unlock = () => void holder.stdin.end();
  onTestFinished(async () => {
    unlock();
    // Until then the folder cannot be removed.
    await ended;
  });
  await once(holder.stderr, 'data');
  const args = ['install', 'cursor', URL_OF_GATEWAY, '--no-verify', '--yes'];
  return { config, unlock, run: () => runToEnd(args, '', { HOME: home }) };
}

/** By client: where its config is, and what it contains. */
const CONFIGS = {
  'claude-desktop': [
    'AppData/Roaming/Claude/claude_desktop_config.json',
    '{\r\n  "mcpServers": {\r\n    "a": { "command": "x" }\r\n  }\r\n}\r\n',
  ],
  cursor: ['.cursor/mcp.json', '\ufeff{\r\n\t"mcpServers": {}\r\n}'],
  vscode: ['AppData/Roaming/Code/User/mcp.json', '{\n  // mine\n  "servers": {},\n}\n'],
  'claude-code': ['.claude.json', '{"mcpServers":{},"x":1}'],
  codex: ['.codex/config.toml', '# mine\r\n[mcp_servers.a]\r\ncommand = "x"\r\n'],
  zed: ['AppData/Roaming/Zed/settings.json', '{\r\n  // mine\r\n  "context_servers": {}\r\n}\r\n'],
} as const;

describe.skipIf(process.platform !== 'win32')('install on Windows', () => {
  it.each(Object.entries(CONFIGS))(
    'writes the entry of %s, and uninstall gives the file back byte for byte',
    async (client, [file, before]) => {
      const home = makeHome('Jürgen & Söhne 100% ^ (1)!');
      const config = join(home, file);
      mkdirSync(dirname(config), { recursive: true });
      writeFileSync(config, before);
      for (const words of [[], ['--npx']]) {
        const run = (...args: string[]) => runToEnd([...args, '--yes'], '', { HOME: home });
        const installed = await run('install', client, URL_OF_GATEWAY, '--no-verify', ...words);
        expect(installed).toMatchObject({ code: 0, stderr: '' });
        const after = readFileSync(config, 'utf8');
        expect(after).toContain(URL_OF_GATEWAY);
        if (before.includes('\r')) expect(after.replaceAll('\r\n', '')).not.toContain('\n');
        expect(await run('uninstall', client)).toMatchObject({ code: 0, stderr: '' });
        expect(readFileSync(config, 'utf8')).toBe(before);
      }
    },
  );

  it.each<[string, () => string]>([
    ['has a name that cmd.exe would change', () => makeHome('Jürgen & Söhne 100% ^ (1)!')],
    ['is on another computer', () => makeHome('Söhne').replace(/^C:/i, '\\\\127.0.0.1\\c$')],
    ['has paths of more than 260 characters in it', () => makeHome(`Söhne\\${'x'.repeat(150)}`)],
  ])('writes an entry that starts from a home that %s', async (_, homeOf) => {
    const gateway = await startGateway(answer);
    const home = homeOf();
    const config = join(home, '.cursor', 'mcp.json');
    mkdirSync(dirname(config), { recursive: true });
    writeFileSync(config, '{}');
    const run = (...words: string[]) => runToEnd([...words, '--yes'], '', { HOME: home });
    const installed = await run('install', 'cursor', gateway.url, '--no-verify');
    expect(installed).toMatchObject({ code: 0, stderr: '' });
    const entry = Object.values(JSON.parse(readFileSync(config, 'utf8')).mcpServers)[0];
    const { command, args } = entry as { command: string; args: string[] };
    expect(command).toBe(process.execPath);
    const [script = '', ...words] = args;
    expect(script).toContain('Söhne');
    const proxy = new RunningProxy(words, { HOME: home }, script);
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    proxy.expectClean();
    expect(await run('uninstall', 'cursor')).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(readFileSync(config, 'utf8'))).toEqual({ mcpServers: {} });
  });

  it('leaves a config alone that another program has open, and says so', async () => {
    const { config, run } = await lockedConfig();
    const { code, stderr } = await run();
    expect(code).toBe(1);
    const words = 'another program has it open, or you may not change it (EPERM)';
    expect(stderr.replace(/\s+/g, ' ')).toContain(`was not changed: ${words}`);
    expect(readFileSync(config, 'utf8')).toBe('{}');
    const left = readdirSync(dirname(config)).filter((name) => name.endsWith('.tmp'));
    expect(left).toEqual([]);
  });

  it('replaces a config that another program has open for a moment', async () => {
    const { config, run, unlock } = await lockedConfig();
    const renamed = run();
    // The backup is written just before.
    await expect
      .poll(() => readdirSync(dirname(config)).some((name) => name.endsWith('.bak')), {
        timeout: 20_000,
        interval: 5,
      })
      .toBe(true);
    unlock();
    expect(await renamed).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(config, 'utf8')).toContain(URL_OF_GATEWAY);
  });

  it('ends the npx that does not end, with all that it started', async () => {
    const tether = await startTether();
    const server = join(tether.folder, 'server.cjs');
    writeFileSync(
      server,
      `require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, method } = JSON.parse(line);
        const result = method === 'initialize' ? { serverInfo: { name: 'x' } } : { tools: [] };
        if (id !== undefined) console.log(JSON.stringify({ jsonrpc: '2.0', id, result }));
      });
      require('./hold.cjs');`,
    );
    writeFileSync(
      join(tether.folder, 'npx.cmd'),
      `@"${process.execPath}" "${server}" ${tether.port}\r\n`,
    );
    const trial = await tryEntry({
      command: 'cmd',
      args: ['/c', 'npx', '-y', 'mcp-latchkey'],
      env: { PATH: `${tether.folder};${process.env.PATH}` },
    });
    expect(trial).toMatchObject({ outcome: 'connected', server: 'x', tools: 0 });
    await tether.ended();
  });

  it('says that Node.js is not on the PATH when cmd.exe does not find npx', async () => {
    const trial = await tryEntry({
      command: 'cmd',
      args: ['/c', 'npx', '-y', 'mcp-latchkey'],
      env: { PATH: 'C:\\windows\\system32' },
    });
    expect(trial).toMatchObject({
      outcome: 'failed',
      message: expect.stringContaining('Is Node.js on the PATH?'),
    });
  });
});
