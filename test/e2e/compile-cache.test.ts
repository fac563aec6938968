import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { missing, pathOf } from '../interop/installed-peers.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import {
  folderOf,
  isRoot,
  NEEDS_ROOT,
  OTHER,
  publicCopy,
  publicFolder,
  USER,
} from './public-copy.ts';
import { program, startProxy } from './running-proxy.ts';

const VERSION = JSON.parse(readFileSync(join(dirname(program), '../package.json'), 'utf8')).version;

/** Runs a program to its end as `user`, with no input. */
function run(
  args: readonly string[],
  user: number,
  env: Record<string, string>,
  { code = 0, node = process.execPath } = {},
) {
  const { status, stderr } = spawnSync(node, args, {
    env: { PATH: process.env.PATH, ...env },
    input: '',
    encoding: 'utf8',
    uid: user,
    gid: user,
  });
  expect({ status, stderr }).toMatchObject({ status: code });
}

const URL_OF_NONE = 'http://127.0.0.1:9/v1/mcp';

/** Another program of the length of `source`. When it is run, the file `$MARK` is made. */
const plantedFor = (source: string) =>
  'require("node:fs").writeFileSync(process.env.MARK, "");//'.padEnd(source.length, '/');

/** Plants compiled code of another program for a file of this one, as src/cli/start.ts stores it. */
function plant(cache: string, file: string, owner: number): void {
  const source = readFileSync(file, 'utf8');
  const make = `
    const wrapper = '(function (exports, require, module, __filename, __dirname) {';
    const script = new (require('node:vm').Script)(wrapper + process.argv[1] + '\\n})');
    process.stdout.write(script.createCachedData().toString('base64'));`;
  const made = spawnSync(process.execPath, ['-e', make, plantedFor(source)], { encoding: 'utf8' });
  const data = Buffer.from(made.stdout, 'base64');
  const name = `${VERSION}-${basename(file)}-${process.versions.v8}-${process.arch}`;
  const path = join(cache, name);
  writeFileSync(path, Buffer.concat([Buffer.from(source), data, data]));
  chownSync(path, owner, owner);
  chownSync(cache, owner, owner);
}

/**
 * Plants compiled code of another program for a file of this one, as Node.js stores it: five 32-bit
 * words, of which the second is the source's length and the fourth its checksum, and V8's data,
 * which is bound to the length only.
 */
function plantForNode(cache: string, file: string, owner: number): void {
  const source = readFileSync(file, 'utf8');
  const planted = plantedFor(source);
  writeFileSync(file, planted);
  const loader =
    'require("node:module").enableCompileCache(process.argv[1]); require(process.argv[2])';
  run(['-e', loader, cache, file], USER, { MARK: '/dev/null' }, { node: pathOf('recentNode') });
  writeFileSync(file, source);
  const { crc32 } = zlib as unknown as { crc32: (text: string) => number };
  const before = crc32(planted);
  for (const entry of readdirSync(cache, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) {
      const bytes = readFileSync(path);
      if (bytes.readUInt32LE(12) === before) {
        bytes.writeUInt32LE(Buffer.byteLength(source), 4);
        bytes.writeUInt32LE(crc32(source), 12);
        writeFileSync(path, bytes);
      }
    }
    chownSync(path, owner, owner);
  }
  chownSync(cache, owner, owner);
}

it('is stored while a session runs, since some clients kill it at its end', async () => {
  const gateway = await startGateway(answer);
  const parent = mkdtempSync(join(tmpdir(), 'latchkey-compiled-'));
  onTestFinished(() => rmSync(parent, { recursive: true }));
  const folder = join(parent, 'compiled');
  const proxy = startProxy(gateway.url, { env: { NODE_COMPILE_CACHE: folder } });
  await proxy.initialize();
  const whole = new RegExp(`-(main|run-proxy)\\.js-.*-${process.arch}$`);
  await vi.waitFor(() => {
    expect(readdirSync(folder).filter((name) => whole.test(name))).toHaveLength(2);
  }, 10_000);
  proxy.child.kill('SIGKILL');
  await proxy.exited;
});

it('of a file that fails while it is loaded gives the same error each time', () => {
  const { script, remove } = publicCopy();
  onTestFinished(remove);
  const dist = join(dirname(script), '..', 'dist');
  writeFileSync(join(dist, 'late.js'), "exports.isHalf = true; throw new Error('it is broken');");
  writeFileSync(
    join(dist, 'main.js'),
    "for (const _ of [1, 2]) try { require('./late.js'); } catch (e) { console.log(e.message); }",
  );
  const { stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  expect(stdout).toBe('it is broken\nit is broken\n');
});

describe.skipIf(!isRoot)(`compiled code (${NEEDS_ROOT})`, () => {
  let script: string;
  let remove: () => void;
  beforeAll(() => {
    ({ script, remove } = publicCopy());
  });
  afterAll(() => remove());
  const dist = (file: string) => join(dirname(script), '..', 'dist', file);

  /** A folder such as /tmp, a home, and what tells that the planted code has run. */
  function places() {
    const folder = publicFolder();
    const shared = folderOf(OTHER, folder, 'shared', 0o1777);
    chownSync(shared, 0, 0);
    const home = folderOf(USER, folder, 'home', 0o700);
    const mark = join(folderOf(USER, folder, 'marks'), 'ran');
    return { shared, home, mark, env: { HOME: home, TMPDIR: shared, MARK: mark } };
  }

  it('is kept in a folder of this user’s, and not in the one for temporary files', () => {
    const { shared, home, env } = places();
    run([script, URL_OF_NONE], USER, env);
    const own = join(home, '.cache', 'mcp-latchkey', 'compile-cache');
    expect(statSync(own)).toMatchObject({ uid: USER, mode: 0o40700 });
    const names = readdirSync(own).map((name) => name.split('-')[1] ?? '');
    expect(names).toEqual(expect.arrayContaining(['main.js', 'run']));
    expect(readdirSync(shared)).toEqual([]);
  });

  it('that was changed on the disk is not run, and is replaced', () => {
    const { home, env } = places();
    run([script, URL_OF_NONE], USER, env);
    const own = join(home, '.cache', 'mcp-latchkey', 'compile-cache');
    const files = readdirSync(own).map((name) => join(own, name));
    const whole = files.map((file) => readFileSync(file));
    for (const [index, file] of files.entries()) {
      const bytes = Buffer.from(whole[index] ?? '');
      // In the second copy: the first is what V8 would run.
      bytes.fill(0xff, bytes.length - 200);
      writeFileSync(file, bytes);
    }
    run([script, URL_OF_NONE], USER, env);
    for (const [index, file] of files.entries()) {
      const bytes = readFileSync(file);
      expect(bytes.length).toBeGreaterThan((whole[index]?.length ?? 0) / 2);
      expect(bytes.includes(Buffer.alloc(100, 0xff))).toBe(false);
    }
  });

  it.each([
    ['of this user is run', { owner: USER, mode: 0o700, parentMode: 0o1777, isRun: true }],
    ['of another user is not run', { owner: OTHER, mode: 0o755, parentMode: 0o1777, isRun: false }],
    ['open to others is not run', { owner: USER, mode: 0o777, parentMode: 0o1777, isRun: false }],
    [
      'that others can replace is not run',
      { owner: USER, mode: 0o700, parentMode: 0o777, isRun: false },
    ],
  ])('in a folder for caches %s', (_, { owner, mode, parentMode, isRun }) => {
    const { shared, mark, env } = places();
    const parent = folderOf(USER, shared, 'mcp-latchkey');
    const cache = folderOf(USER, parent, 'compile-cache');
    plant(cache, dist('run-proxy.js'), owner);
    chmodSync(cache, mode);
    chmodSync(shared, parentMode);
    run([script, URL_OF_NONE], USER, { ...env, XDG_CACHE_HOME: shared }, { code: isRun ? 1 : 0 });
    expect(existsSync(mark)).toBe(isRun);
  });

  it.skipIf(missing('recentNode'))('is not run in the process that reads the keychain', () => {
    const { shared, mark, env } = places();
    const cache = folderOf(USER, shared, 'chosen', 0o755);
    plantForNode(cache, dist('keychain-child.js'), USER);
    // A bus that cannot be reached, so that the keychain is asked.
    const bus = { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent' };
    run(
      [script, 'status', URL_OF_NONE],
      USER,
      { ...env, ...bus, NODE_COMPILE_CACHE: cache },
      { code: 1, node: pathOf('recentNode') },
    );
    expect(existsSync(mark)).toBe(false);
  });

  it('is kept nowhere when the environment says so', () => {
    const { home, env } = places();
    run([script, URL_OF_NONE], USER, { ...env, NODE_DISABLE_COMPILE_CACHE: '1' });
    expect(readdirSync(home)).toEqual([]);
  });
});
