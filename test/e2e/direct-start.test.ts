import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { copiesIn, dataIn } from '../environment.ts';
import { program, RunningProxy, runToEnd, secret } from './running-proxy.ts';

/** A home with a client in it. */
function makeHome(): string {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-direct-')));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  mkdirSync(join(home, '.cursor'));
  return home;
}

// Starts the sandbox, installs an entry for it, and runs what is in the config as it stands, with
// nothing in the environment but the home. Prints what the entry answers.
const HARNESS = `
  const { spawn, spawnSync } = require('node:child_process');
  const { readFileSync, writeFileSync } = require('node:fs');
  const [, program, home] = process.argv;
  const sandbox = spawn(process.execPath, [program, 'sandbox', '--port', '0'], { stdio: ['ignore', 'pipe', 2] });
  // It has this process's stderr, which would stay open.
  process.on('exit', () => sandbox.kill());
  let text = '';
  sandbox.stdout.on('data', (chunk) => {
    text += chunk;
    if (!text.includes('Requests\\n')) return;
    sandbox.stdout.removeAllListeners('data').resume();
    const [url] = /http:\\S+/.exec(text);
    const [, key] = /MCP_LATCHKEY_API_KEY": "(.*?)"/.exec(text);
    const keyFile = home + '/key';
    writeFileSync(keyFile, key, { mode: 0o600 });
    const env = { HOME: home, PATH: process.env.PATH };
    const install = [program, 'install', 'cursor', url, '--key-file', keyFile];
    const { status, stdout, stderr } = spawnSync(process.execPath, install, { env, encoding: 'utf8' });
    if (status !== 0 || !stdout.includes('Connected: ')) throw new Error(stdout + stderr);
    const config = JSON.parse(readFileSync(home + '/.cursor/mcp.json', 'utf8'));
    const { command, args } = Object.values(config.mcpServers)[0];
    const entry = spawn(command, args, { env: { HOME: home }, cwd: '/', stdio: ['pipe', 'pipe', 2] });
    const send = (message) => entry.stdin.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\\n');
    const clientInfo = { name: 'e2e', version: '1' };
    send({ id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo } });
    require('node:readline').createInterface({ input: entry.stdout }).on('line', (line) => {
      const { id, result } = JSON.parse(line);
      if (id === 1) {
        send({ method: 'notifications/initialized' });
        send({ id: 2, method: 'tools/list', params: {} });
      } else if (id === 2) {
        console.log(result.tools.length, 'tools');
        entry.stdin.end();
        sandbox.kill();
      }
    });
  });`;

const NAMESPACE = 'ip link set lo up && exec "$@"';
const hasNamespaces =
  process.platform === 'linux' &&
  spawnSync('unshare', ['-rn', 'sh', '-c', NAMESPACE, 'sh', 'true']).status === 0;

it.skipIf(!hasNamespaces)('an entry is written and started without any network', () => {
  const command = [process.execPath, '-e', HARNESS, program, makeHome()];
  const { stdout, stderr, status } = spawnSync(
    'unshare',
    ['-rn', 'sh', '-c', NAMESPACE, 'sh', ...command],
    { encoding: 'utf8' },
  );
  expect({ stdout, stderr, status }).toEqual({
    stdout: expect.stringMatching(/^\d+ tools\n$/),
    stderr: '',
    status: 0,
  });
});

it('a copy stays while a session runs from it, and is removed after that, though another home has the same', async () => {
  const home = makeHome();
  const sandbox = await startSandbox();
  onTestFinished(() => sandbox.close());
  const copies = copiesIn(home);
  const run = (...args: string[]) => runToEnd(args, '', { HOME: home });
  await run('install', 'cursor', sandbox.url, '--no-verify');
  const [id = ''] = readdirSync(copies);
  const session = new RunningProxy(
    [sandbox.url],
    { HOME: home, MCP_LATCHKEY_API_KEY: secret(sandbox.keys.good) },
    join(copies, id, 'bin/mcp-latchkey.js'),
  );
  onTestFinished(() => void session.child.kill('SIGKILL'));
  await session.initialize();
  // Another user's, say, which has the same name.
  const otherHome = makeHome();
  await runToEnd(['install', 'cursor', sandbox.url, '--no-verify'], '', { HOME: otherHome });
  const otherSession = new RunningProxy(
    [sandbox.url],
    { HOME: otherHome, MCP_LATCHKEY_API_KEY: secret(sandbox.keys.good) },
    join(copiesIn(otherHome), id, 'bin/mcp-latchkey.js'),
  );
  onTestFinished(() => void otherSession.child.kill('SIGKILL'));
  await otherSession.initialize();
  await run('uninstall', 'cursor');
  expect(readdirSync(copies)).toEqual([id]);
  expect(await session.request(1, 'tools/list')).toHaveProperty('result');
  await session.end();
  // A copy that is being written, one that was not finished, and one that a config which cannot be
  // read may name.
  const unfinished = ['new', 'old'].map((name) => join(copies, `.${id}.${name}`));
  for (const folder of unfinished) mkdirSync(folder);
  utimesSync(unfinished[1] as string, 0, 0);
  const other = join(home, '.codex/config.toml');
  mkdirSync(join(home, '.codex'));
  writeFileSync(other, Buffer.from([0xff]));
  await run('uninstall', 'cursor');
  expect(readdirSync(copies)).toHaveLength(3);
  rmSync(other);
  await run('uninstall', 'cursor');
  expect(readdirSync(copies)).toEqual([`.${id}.new`]);
});

it('an entry that is commented out, or belongs to a project, keeps its copy', async () => {
  const home = makeHome();
  const copies = copiesIn(home);
  const run = (...args: string[]) => runToEnd(args, '', { HOME: home });
  await run('install', 'cursor', 'https://acme.example/v1/mcp', '--no-verify');
  const [id = ''] = readdirSync(copies);
  const projects = { '/work': { mcpServers: { acme: { command: 'node', args: [id] } } } };
  writeFileSync(join(home, '.claude.json'), JSON.stringify({ projects }));
  await run('uninstall', 'cursor');
  expect(readdirSync(copies)).toEqual([id]);
  writeFileSync(join(home, '.claude.json'), `{} // ${id}`);
  await run('uninstall', 'cursor');
  expect(readdirSync(copies)).toEqual([id]);
});

it('an entry in a config that only another environment finds keeps its copy', async () => {
  const home = makeHome();
  const copies = copiesIn(home);
  const elsewhere = join(home, 'project');
  mkdirSync(elsewhere);
  const run = (args: string[], env = {}) => runToEnd(args, '', { HOME: home, ...env });
  const url = 'https://acme.example/v1/mcp';
  const there = { CLAUDE_CONFIG_DIR: elsewhere };
  await run(['install', 'claude-code', url, '--no-verify', '--force'], there);
  const [id = ''] = readdirSync(copies);
  await run(['install', 'cursor', url, '--no-verify']);
  await run(['uninstall', 'cursor']);
  expect(readdirSync(copies)).toEqual([id]);
  await run(['uninstall', '--all', '--purge', '--yes']);
  expect(readdirSync(copies)).toEqual([id]);
  // Now it is not known whether the copy is in use.
  const config = join(elsewhere, '.claude.json');
  const text = readFileSync(config, 'utf8');
  writeFileSync(config, Buffer.from([0xff]));
  await run(['uninstall', 'cursor']);
  expect(readdirSync(copies)).toEqual([id]);
  writeFileSync(config, text);
  await run(['uninstall', 'claude-code'], there);
  expect(readdirSync(copies)).toEqual([]);
  await run(['uninstall', '--all', '--purge', '--yes']);
  expect(readdirSync(dataIn(home))).toEqual([]);
});
