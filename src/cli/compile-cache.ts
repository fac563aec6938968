import { existsSync, mkdirSync } from 'node:fs';
import module from 'node:module';
import { isAbsolute, join, posix, win32 } from 'node:path';
import { checkPath } from '../private-path.ts';

/** Since Node.js 22.1. */
type WithCompileCache = typeof module & { enableCompileCache?: (folder: string) => unknown };

/**
 * Has Node.js keep its compiled code in a folder of this user's. By default it would be in the shared
 * folder for temporary files, and Node.js runs whatever an entry there contains: it compares only
 * the length and a checksum of the source. Does nothing where there is no private folder, nor where
 * the environment has chosen: that was done before this program began. Never throws.
 */
export function enableCompileCache(env: NodeJS.ProcessEnv): void {
  const { enableCompileCache: enable } = module as WithCompileCache;
  if (enable === undefined || env.NODE_COMPILE_CACHE || env.NODE_DISABLE_COMPILE_CACHE) return;
  try {
    const own = ownCacheFolder(env);
    if (own === undefined) return;
    const folder = join(own, 'compile-cache');
    if (!existsSync(folder)) mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { path, stats } = checkPath(folder, 'trusted');
    // Node.js makes folders below it with the mode that the umask leaves.
    if (process.platform === 'win32' || ((stats?.mode ?? 0) & 0o077) === 0) enable(path);
  } catch {
    // Only a few milliseconds are lost.
  }
}

/** The folder of this program in the system's folder for caches; undefined where there is none. */
export function ownCacheFolder(env: NodeJS.ProcessEnv): string | undefined {
  // Not by node:os, whose loading costs more than the rest. Where this is missing, so is the cache.
  const home = (process.platform === 'win32' ? env.USERPROFILE : env.HOME) ?? '';
  const folder = join(cacheFolder(process.platform, env, home), 'mcp-latchkey');
  return isAbsolute(folder) ? folder : undefined;
}

/** The folder of this computer in which a user's programs keep what they can make again. */
export function cacheFolder(
  platform: NodeJS.Platform,
  env: NodeJS.ProcessEnv,
  home: string,
): string {
  if (platform === 'win32') return env.LOCALAPPDATA ?? win32.join(home, 'AppData', 'Local');
  if (platform === 'darwin') return posix.join(home, 'Library', 'Caches');
  const xdg = env.XDG_CACHE_HOME ?? '';
  // A relative path is to be ignored (XDG Base Directory Specification, Basics).
  return posix.isAbsolute(xdg) ? xdg : posix.join(home, '.cache');
}
