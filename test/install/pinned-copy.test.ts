import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { dataFolder, lastingNode } from '../../src/install/pinned-copy.ts';

it.each([
  ['linux', {}, '/home/jü', '/home/jü/.local/share'],
  ['linux', { XDG_DATA_HOME: '/data' }, '/home/jü', '/data'],
  ['linux', { XDG_DATA_HOME: 'data' }, '/home/jü', '/home/jü/.local/share'],
  ['darwin', { XDG_DATA_HOME: '/data' }, '/Users/jü', '/Users/jü/Library/Application Support'],
  ['win32', { LOCALAPPDATA: 'D:\\Local' }, 'C:\\Users\\jü', 'D:\\Local'],
  ['win32', {}, 'C:\\Users\\jü', 'C:\\Users\\jü\\AppData\\Local'],
] as const)('finds the user’s data folder on %s with %j', (platform, env, home, folder) => {
  expect(dataFolder(platform, env, home)).toBe(folder);
});

it('prefers the link that Homebrew keeps to the version that it removes', () => {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-node-')));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const node = join(root, 'Cellar/node@20/20.1.0/bin/node');
  mkdirSync(join(node, '..'), { recursive: true });
  writeFileSync(node, '');
  expect(lastingNode(node)).toBe(node);
  mkdirSync(join(root, 'opt'));
  symlinkSync('../Cellar/node@20/20.1.0', join(root, 'opt/node@20'));
  expect(lastingNode(node)).toBe(join(root, 'opt/node@20/bin/node'));
  expect(lastingNode(process.execPath)).toBe(process.execPath);
});
