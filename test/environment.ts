import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { dataFolder } from '../src/data-folder.ts';

/** What a program on Windows cannot run without, or is not found without. */
const WINDOWS = ['SystemRoot', 'SystemDrive', 'PATHEXT', 'ComSpec', 'TEMP', 'TMP', 'USERNAME'];

/**
 * The environment of a program that a test starts: this process's PATH, home and compile cache, and `env`. What `env`
 * says in the names of POSIX (HOME, XDG_DATA_HOME, XDG_CACHE_HOME, TMPDIR) counts on Windows too, where
 * other variables say it.
 */
export function environment(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
  if (process.platform !== 'win32') return { PATH, HOME, NODE_COMPILE_CACHE, ...env };
  const home = env.HOME ?? process.env.USERPROFILE ?? '';
  const isOwn = env.HOME !== undefined;
  const local = isOwn ? join(home, 'AppData', 'Local') : process.env.LOCALAPPDATA;
  return {
    PATH,
    NODE_COMPILE_CACHE,
    ...Object.fromEntries(WINDOWS.map((name) => [name, process.env[name]])),
    // A terminal that shows ✓ and ✗, as those of today do.
    WT_SESSION: 'x',
    USERPROFILE: home,
    APPDATA: isOwn ? join(home, 'AppData', 'Roaming') : process.env.APPDATA,
    LOCALAPPDATA: env.XDG_DATA_HOME ?? env.XDG_CACHE_HOME ?? local,
    ...(env.TMPDIR !== undefined && { TEMP: env.TMPDIR, TMP: env.TMPDIR }),
    ...env,
  };
}

/** Where the program keeps its data, in a home of a test's own. */
export const dataIn = (home: string): string => dataFolder(process.platform, {}, home);

/** Where `install` keeps copies of the program, in a home of a test's own. */
export const copiesIn = (home: string): string => join(dataIn(home), 'mcp-latchkey', 'versions');

/** Under Wine, the folder of temporary files where none can be changed (test/windows/set-up.sh). */
export const MANAGED = 'Z:\\managed';

/** Whether this is Wine, whose keychain has no keys of a person. */
export const isWine = process.platform === 'win32' && existsSync(MANAGED);

/** Whether links can be made: Wine has none. */
export const hasLinks = process.platform !== 'win32';

/** Whether it can be known what runs a copy of the program: Wine has no PowerShell, so that each one stays. */
export const knowsWhatRuns = process.platform !== 'win32';

/** What an entry with `--npx` starts: Windows runs npx, which is a `.cmd` file, in cmd.exe alone. */
export function startOfNpx(args: readonly string[]): { command: string; args: string[] } {
  if (process.platform !== 'win32') return { command: 'npx', args: [...args] };
  return { command: 'cmd', args: ['/c', 'npx', ...args] };
}

/** Expects that the file or folder has this mode, where there are modes: not on Windows. */
export function expectMode(path: string, mode: number): void {
  if (process.platform !== 'win32') expect(statSync(path).mode & 0o777).toBe(mode);
}

/** The command for the system's shell that prints a file. */
export const commandToPrint = (path: string): string =>
  process.platform === 'win32' ? `type "${path}"` : `cat '${path}'`;

/**
 * The program and first words of an npm command. On Windows without npm.cmd: Node.js starts no batch
 * file without cmd.exe, and that one shows under Wine what it runs.
 */
export function npmCommand(): [string, ...string[]] {
  if (process.platform !== 'win32') return ['npm'];
  const npm = join(dirname(process.execPath), 'node_modules/npm/bin/npm-cli.js');
  return [process.execPath, npm];
}
