import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { type CompileCache, cacheFolder, openCompileCache } from '../../src/cli/compile-cache.ts';

it.each([
  ['linux', {}, '/home/jü', '/home/jü/.cache'],
  ['linux', { XDG_CACHE_HOME: '/cache' }, '/home/jü', '/cache'],
  ['linux', { XDG_CACHE_HOME: 'cache' }, '/home/jü', '/home/jü/.cache'],
  ['darwin', { XDG_CACHE_HOME: '/cache' }, '/Users/jü', '/Users/jü/Library/Caches'],
  ['win32', { LOCALAPPDATA: 'D:\\Local' }, 'C:\\Users\\jü', 'D:\\Local'],
  ['win32', {}, 'C:\\Users\\jü', 'C:\\Users\\jü\\AppData\\Local'],
] as const)('finds the user’s cache folder on %s with %j', (platform, env, home, folder) => {
  expect(cacheFolder(platform, env, home)).toBe(folder);
});

const SOURCE = Buffer.from('exports.answer = 42;');
const DATA = Buffer.from('what V8 has made of it');

/** An empty compile cache, and its folder. */
function emptyCache(): { cache: CompileCache; folder: string } {
  const parent = mkdtempSync(join(tmpdir(), 'latchkey-compiled-'));
  onTestFinished(() => rmSync(parent, { recursive: true }));
  const folder = join(parent, 'compiled');
  const cache = openCompileCache({ NODE_COMPILE_CACHE: folder });
  if (cache === undefined) throw new Error('there is no cache');
  return { cache, folder };
}

function onlyFileIn(folder: string): string {
  const [name = '', ...others] = readdirSync(folder);
  expect(others).toEqual([]);
  return join(folder, name);
}

it('reads what it has stored for a file with this source', () => {
  const { cache, folder } = emptyCache();
  expect(cache.read('main.js', SOURCE)).toBeUndefined();
  cache.write('main.js', SOURCE, DATA);
  expect(cache.read('main.js', SOURCE)).toEqual(DATA);
  expect(cache.read('other.js', SOURCE)).toBeUndefined();
  if (process.platform !== 'win32') {
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(onlyFileIn(folder)).mode & 0o777).toBe(0o600);
  }
});

it('reads nothing for another source of the same length', () => {
  const { cache } = emptyCache();
  cache.write('main.js', SOURCE, DATA);
  expect(cache.read('main.js', Buffer.from('exports.answer = 43;'))).toBeUndefined();
  expect(cache.read('main.js', SOURCE.subarray(1))).toBeUndefined();
});

it('reads nothing of a file in which a bit of any byte has changed, until it is written again', () => {
  const { cache, folder } = emptyCache();
  cache.write('main.js', SOURCE, DATA);
  const file = onlyFileIn(folder);
  const whole = readFileSync(file);
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at & 7)), at);
    writeFileSync(file, changed);
    expect(cache.read('main.js', SOURCE), `byte ${at}`).toBeUndefined();
  }
  cache.write('main.js', SOURCE, DATA);
  expect(cache.read('main.js', SOURCE)).toEqual(DATA);
});

it('reads nothing of a file that was cut off at any byte', () => {
  const { cache, folder } = emptyCache();
  cache.write('main.js', SOURCE, DATA);
  const file = onlyFileIn(folder);
  const whole = readFileSync(file);
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(file, whole.subarray(0, length));
    expect(cache.read('main.js', SOURCE), `${length} bytes`).toBeUndefined();
  }
});

it('removes what has not been written for more than a month', () => {
  const { cache, folder } = emptyCache();
  const [old, older, recent] = ['old', 'older', 'recent'].map((name) => join(folder, name));
  if (!old || !older || !recent) throw new Error('three paths');
  writeFileSync(old, '');
  writeFileSync(recent, '');
  mkdirSync(join(older, 'below'), { recursive: true });
  const then = new Date(Date.now() - 31 * 24 * 3600 * 1000);
  utimesSync(old, then, then);
  utimesSync(older, then, then);
  cache.write('main.js', SOURCE, DATA);
  expect([old, older, recent].map((path) => existsSync(path))).toEqual([false, false, true]);
});

it('leaves nothing half written where the file cannot be replaced', () => {
  const { cache, folder } = emptyCache();
  cache.write('main.js', SOURCE, DATA);
  const file = onlyFileIn(folder);
  rmSync(file);
  mkdirSync(join(file, 'in the way'), { recursive: true });
  cache.write('main.js', SOURCE, DATA);
  expect(readdirSync(folder)).toHaveLength(1);
  expect(cache.read('main.js', SOURCE)).toBeUndefined();
});

it.skipIf(process.platform === 'win32')(
  'is not there in a folder that others can look into',
  () => {
    const { folder } = emptyCache();
    chmodSync(folder, 0o750);
    expect(openCompileCache({ NODE_COMPILE_CACHE: folder })).toBeUndefined();
  },
);

it.each([
  ['when the environment turns it off', { HOME: tmpdir(), NODE_DISABLE_COMPILE_CACHE: '1' }],
  ['when there is no home', {}],
  ['when its folder cannot be made', { NODE_COMPILE_CACHE: join(process.execPath, 'no folder') }],
])('is not there %s', (_, env) => {
  expect(openCompileCache(env)).toBeUndefined();
});
