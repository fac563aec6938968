import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { isAbsolute, join, posix, win32 } from 'node:path';
import { checkPath } from '../private-path.ts';

/** What is left of other versions of this program and of Node.js is removed after that. */
const MAX_AGE_MS = 30 * 24 * 3600 * 1000;

/**
 * V8's compiled code of this program's files, with the functions that were used. Node.js has such a
 * cache from 22 on (module.enableCompileCache), with which a start takes longer (docs/performance.md).
 */
export interface CompileCache {
  /** What `write` stored for a file with this source; undefined where that is not so. */
  read(name: string, source: Buffer): Buffer | undefined;
  /** Stores the compiled code of a file. Never throws. */
  write(name: string, source: Buffer, data: Buffer): void;
}

/**
 * The compile cache in a folder of this user's alone: `$NODE_COMPILE_CACHE`, or one below the user's
 * folder for caches. Undefined where there is no private folder, nor where the environment says that
 * there is to be none. Never throws.
 *
 * V8 runs what it reads. It checks that the data is of the same V8 with the same flags, but neither
 * the source, but for its length, nor, in Node.js 20, that no bit was changed on the disk. So a file
 * has the source and then the data twice, and is used only when the source and both are the same.
 */
export function openCompileCache(env: NodeJS.ProcessEnv): CompileCache | undefined {
  if (env.NODE_DISABLE_COMPILE_CACHE) return;
  let folder: string;
  try {
    const own = env.NODE_COMPILE_CACHE || ownCacheFolder(env);
    if (own === undefined) return;
    const wanted = env.NODE_COMPILE_CACHE ? own : join(own, 'compile-cache');
    if (!existsSync(wanted)) mkdirSync(wanted, { recursive: true, mode: 0o700 });
    const { path, stats } = checkPath(wanted, 'trusted');
    if (process.platform !== 'win32' && ((stats?.mode ?? 0o077) & 0o077) !== 0) return;
    folder = path;
  } catch {
    // Only some milliseconds are lost.
    return;
  }
  const fileOf = (name: string) =>
    `${folder}/${__VERSION__}-${name}-${process.versions.v8}-${process.arch}`;
  return {
    read(name, source) {
      try {
        const stored = readFileSync(fileOf(name));
        const bytes = (stored.length - source.length) / 2;
        const data = stored.subarray(source.length, source.length + bytes);
        const isWhole =
          bytes > 0 &&
          source.equals(stored.subarray(0, source.length)) &&
          data.equals(stored.subarray(source.length + bytes));
        return isWhole ? data : undefined;
      } catch {
        return undefined;
      }
    },
    write(name, source, data) {
      const temporary = `${fileOf(name)}.${process.pid}`;
      try {
        writeFileSync(temporary, Buffer.concat([source, data, data]), { mode: 0o600, flag: 'wx' });
        renameSync(temporary, fileOf(name));
        for (const other of readdirSync(folder)) {
          const path = `${folder}/${other}`;
          const age = Date.now() - statSync(path).mtimeMs;
          if (age > MAX_AGE_MS) rmSync(path, { recursive: true, force: true });
        }
      } catch {
        rmSync(temporary, { force: true });
      }
    },
  };
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
