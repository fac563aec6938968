import { expect, it } from 'vitest';
import { cacheFolder } from '../../src/cli/compile-cache.ts';

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
