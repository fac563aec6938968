import { expect, it } from 'vitest';
import { dataFolder } from '../src/data-folder.ts';

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
