import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { copiesIn, knowsWhatRuns, npmCommand } from '../environment.ts';
import { manifest, NEXT, packNext, version } from './next-package.ts';
import { RunningProxy, runToEnd, secret } from './running-proxy.ts';

/** A home with an entry for a sandbox in Cursor, and what runs commands and sessions there. */
async function makeHome() {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-update-')));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  const sandbox = await startSandbox();
  onTestFinished(() => sandbox.close());
  const keyFile = join(home, 'key');
  writeFileSync(keyFile, secret(sandbox.keys.good), { mode: 0o600 });
  const config = join(home, '.cursor/mcp.json');
  mkdirSync(join(home, '.cursor'));
  const env: Record<string, string> = { HOME: home, npm_config_cache: join(home, 'npm') };
  const run = (...args: string[]) => runToEnd(args, '', env);
  await run('install', 'cursor', sandbox.url, '--key-file', keyFile, '--no-verify');
  const copies = copiesIn(home);
  /** Runs the entry of the config as it stands. */
  const start = () => {
    const { args } = JSON.parse(readFileSync(config, 'utf8')).mcpServers['local-gateway'];
    const [script, ...words] = args;
    const session = new RunningProxy([...words, '--log-level', 'debug'], { HOME: home }, script);
    onTestFinished(() => void session.child.kill('SIGKILL'));
    return session;
  };
  return { home, config, copies, env, run, start };
}

it('--from moves the entries while a session runs, which goes on', async () => {
  const { home, config, copies, run, start } = await makeHome();
  const [old = ''] = readdirSync(copies);
  const session = start();
  await session.initialize();
  const file = packNext(home);
  const { code, stdout, stderr } = await run('update', '--from', file);
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain(`✓ Cursor: local-gateway starts ${NEXT} now.`);
  expect(stdout).toContain(`Restart Cursor to use ${NEXT}.`);
  expect(await session.request(1, 'tools/list')).toHaveProperty('result');
  expect(session.stderr).toContain(`mcp-latchkey ${version} for`);
  const next = readdirSync(copies).find((name) => name.startsWith(NEXT));
  expect(readdirSync(copies).sort()).toEqual([old, next].sort());

  const after = start();
  await after.initialize();
  expect(await after.request(1, 'tools/list')).toHaveProperty('result');
  expect(after.stderr).toContain(`mcp-latchkey ${NEXT} for`);
  await Promise.all([session.end(), after.end()]);
  // The copy of the running version goes with the session.
  const before = readFileSync(config, 'utf8');
  const again = await run('update', '--from', file);
  expect(again.stdout).toContain('Nothing to do.');
  expect(readFileSync(config, 'utf8')).toBe(before);
  expect(readdirSync(copies)).toEqual(knowsWhatRuns ? [next] : [old, next]);
}, 180_000);

it('moves an entry that Claude Code has for one project, and uninstall --all removes it', async () => {
  const { home, config, run } = await makeHome();
  const { args } = JSON.parse(readFileSync(config, 'utf8')).mcpServers['local-gateway'];
  await run('uninstall', 'cursor');
  const [, url] = args;
  const remote = { command: 'npx', args: ['-y', 'mcp-remote', url] };
  const claude = join(home, '.claude.json');
  const project = (mcpServers: object) => ({ mcpServers, history: ['a'] });
  const document = { projects: { '/work/a': project({ remote }), '/work/b': project({}) } };
  writeFileSync(claude, JSON.stringify(document, null, 2));
  const migrated = await run('migrate', '--yes', '--no-verify');
  expect(migrated.code, migrated.stderr).toBe(0);
  const { stdout } = await run('update', '--from', packNext(home));
  expect(stdout).toContain(`Claude Code: remote starts ${NEXT} now.`);
  const { projects } = JSON.parse(readFileSync(claude, 'utf8'));
  expect(projects['/work/a'].mcpServers.remote.args[0]).toContain(join('versions', `${NEXT}-`));
  expect(projects['/work/a'].mcpServers.remote.args[1]).toBe(url);
  const removed = await run('uninstall', '--all', '--yes');
  expect(removed.code, removed.stderr).toBe(0);
  const left = { '/work/a': project({}), '/work/b': project({}) };
  expect(JSON.parse(readFileSync(claude, 'utf8'))).toEqual({ projects: left });
}, 180_000);

it('keeps an entry at its version when the new one does not work', async () => {
  const { home, config, copies, run } = await makeHome();
  const before = readFileSync(config, 'utf8');
  const copy = readdirSync(copies);
  const file = packNext(home, (folder) => {
    writeFileSync(join(folder, 'dist/run-proxy.js'), 'throw new Error("broken")');
  });
  const { code, stdout } = await run('update', '--from', file);
  expect(code).toBe(1);
  expect(stdout).toContain('stays at its version');
  expect(readFileSync(config, 'utf8')).toBe(before);
  const left = readdirSync(copies).filter((name) => knowsWhatRuns || !name.startsWith(NEXT));
  expect(left).toEqual(copy);
}, 180_000);

it('keeps what was changed in an entry while the new version was tried', async () => {
  const { home, config, run } = await makeHome();
  // The new version is what changes it, when it is tried.
  const file = packNext(home, (folder) => {
    const edited = readFileSync(config, 'utf8').replace(/("http:[^"]*")/, '$1, "--read-only"');
    const program = join(folder, 'dist/run-proxy.js');
    const edit = `require('node:fs').writeFileSync(${JSON.stringify(config)}, ${JSON.stringify(edited)});`;
    writeFileSync(program, `${edit}\n${readFileSync(program, 'utf8')}`);
  });
  const { code, stdout } = await run('update', '--from', file);
  expect(stdout.replace(/\s+/g, ' ')).toContain('it was changed meanwhile. Run the command again');
  expect(code).toBe(1);
  const after = readFileSync(config, 'utf8');
  expect(after).toContain('--read-only');
  expect(after).not.toContain(NEXT);
}, 180_000);

it.each([
  ['that is not there', () => {}, /^✗ There is no file .*Nothing\s+was\s+changed\./s],
  [
    'that is another package',
    (file: string) => {
      const folder = `${file}.d`;
      mkdirSync(folder);
      writeFileSync(join(folder, 'package.json'), '{"name":"other","version":"1.0.0"}');
      const pack = ['pack', folder, '--json', '--pack-destination', folder];
      const [npm, ...words] = npmCommand();
      const [{ filename }] = JSON.parse(
        execFileSync(npm, [...words, ...pack], { encoding: 'utf8' }),
      );
      cpSync(join(folder, filename), file);
    },
    /is not mcp-latchkey\. Nothing was changed/,
  ],
])('refuses a file %s', async (_, make, message) => {
  const { home, config, run } = await makeHome();
  const before = readFileSync(config, 'utf8');
  const file = join(home, 'file.tgz');
  make(file);
  const { code, stdout, stderr } = await run('update', '--from', file);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr.replace(/\s+/g, ' ')).toMatch(message);
  expect(readFileSync(config, 'utf8')).toBe(before);
});

/** A registry on loopback with the package as version `NEXT`. */
async function startRegistry(home: string) {
  const tarball = readFileSync(packNext(home));
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
  const state = { tarball, asked: [] as string[], url: '' };
  const server = createServer(({ url = '' }, response) => {
    state.asked.push(url);
    if (url === '/next.tgz') return response.end(state.tarball);
    if (!url.startsWith('/mcp-latchkey')) return response.writeHead(404).end('{}');
    const dist = { tarball: `${state.url}next.tgz`, integrity };
    const versions = { [NEXT]: { ...manifest, version: NEXT, dist } };
    response.end(JSON.stringify({ name: manifest.name, 'dist-tags': { latest: NEXT }, versions }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return state;
}

it('explains that the registry does not have the package', async () => {
  const { env, run } = await makeHome();
  const registry = await startRegistry(mkdtempSync(join(tmpdir(), 'latchkey-registry-')));
  env.npm_config_registry = `${registry.url}empty/`;
  const { code, stdout, stderr } = await run('update');
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toBe('✗ The npm registry does not have mcp-latchkey. Nothing was changed.\n');
  env.npm_config_registry = 'http://127.0.0.1:9/';
  expect(await run('update', '--check')).toMatchObject({
    code: 1,
    stderr: '✗ Cannot reach the npm registry: ECONNREFUSED. Nothing was changed.\n',
  });
}, 180_000);

it('gets the newest version from the registry, which only update asks', async () => {
  const { home, config, env, run, start } = await makeHome();
  const registry = await startRegistry(home);
  env.npm_config_registry = registry.url;
  const status = async () => JSON.parse((await run('status', '--json')).stdout).newerVersion;
  expect(await status()).toBeUndefined();
  expect(registry.asked).toEqual([]);
  const before = readFileSync(config, 'utf8');
  const check = await run('update', '--check');
  expect(check).toMatchObject({ code: 0, stderr: '' });
  expect(check.stdout).toContain(`mcp-latchkey ${NEXT} is available. This is ${version}.`);
  expect(JSON.parse((await run('update', '--check', '--json')).stdout)).toEqual({
    ...{ version, newest: NEXT, available: true },
  });
  expect(readFileSync(config, 'utf8')).toBe(before);

  registry.asked.length = 0;
  expect(await status()).toBe(NEXT);
  expect((await run('status')).stdout).toContain(`mcp-latchkey ${NEXT} is available`);
  expect((await run('doctor')).stdout.replace(/\s+/g, ' ')).toContain(`${NEXT} is available`);
  expect(registry.asked).toEqual([]);

  // As an attacker on the network would change it.
  const { tarball } = registry;
  mkdirSync(join(home, 'other'));
  const other = packNext(join(home, 'other'), (folder) => {
    writeFileSync(join(folder, 'dist/more.js'), 'more');
  });
  registry.tarball = readFileSync(other);
  const refused = await run('update');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/EINTEGRITY/);
  expect(readFileSync(config, 'utf8')).toBe(before);

  registry.tarball = tarball;
  expect(await run('update')).toMatchObject({ code: 0, stderr: '' });
  const session = start();
  await session.initialize();
  expect(session.stderr).toContain(`mcp-latchkey ${NEXT} for`);
  await session.end();
}, 180_000);
