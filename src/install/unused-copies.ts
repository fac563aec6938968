import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { allClients } from './clients.ts';
import { readConfigFile } from './config-file.ts';
import { writtenConfigs } from './written-configs.ts';

/** Longer than a copy takes to be written. */
const WRITING_LIMIT_MS = 60 * 60_000;

/**
 * Removes every copy in `copies` that no client's config names and no running process was started
 * from. Removes none where a config or the processes cannot be read. Returns the paths of what was
 * removed. Never rejects: a copy that cannot be removed stays.
 */
export async function removeUnusedCopies(copies: string): Promise<string[]> {
  const names = await readdir(copies).catch(() => []);
  if (names.length === 0) return [];
  const uses = await Promise.all([configTexts(), runningWords()]).catch(() => undefined);
  if (uses === undefined) return [];
  const [configs, words] = uses;
  const removed: string[] = [];
  for (const name of names) {
    const path = join(copies, name);
    const isNamed = () => configs.includes(name) || words.some((word) => isPathTo(word, path));
    if (name.startsWith('.') ? await isBeingWritten(path) : isNamed()) continue;
    await rm(path, { recursive: true }).then(
      () => removed.push(path),
      () => {},
    );
  }
  return removed;
}

/** False for what a process left that was killed. */
async function isBeingWritten(path: string): Promise<boolean> {
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
  return Date.now() - mtimeMs < WRITING_LIMIT_MS;
}

/**
 * The clients' configs as they are, and those that were written elsewhere: entries of a project and
 * those that are commented out count too. Rejects where one cannot be read.
 */
async function configTexts(): Promise<string> {
  const known = allClients().map(({ configPath }) => configPath);
  const paths = new Set([...known, ...(await writtenConfigs())]);
  let texts = '';
  // One after the other: on macOS a process may have 256 files open.
  for (const path of paths) texts += `${(await readConfigFile(path)).text}\n`;
  return texts;
}

/**
 * Whether a word of a command line names this copy. The same one in another home, of another user or
 * of a test, has the same name. In doubt it does.
 */
function isPathTo(word: string, copy: string): boolean {
  const name = basename(copy);
  const at = word.lastIndexOf(name);
  if (at < 0) return false;
  if (!isAbsolute(word)) return true;
  try {
    return realpathSync(word.slice(0, at + name.length)) === realpathSync(copy);
  } catch {
    return word.includes(copy);
  }
}

/**
 * The words of the command lines of this user's processes, at least; whole command lines where they
 * are not told apart. Rejects where they cannot be had.
 */
async function runningWords(): Promise<string[]> {
  if (process.platform === 'linux') {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    // Those that have ended meanwhile do not matter.
    const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''));
    return (await Promise.all(lines)).flatMap((line) => line.split('\0'));
  }
  const [program, ...args] =
    process.platform === 'win32'
      ? [
          'powershell.exe',
          ...['-NoProfile', '-NonInteractive', '-Command'],
          'Get-CimInstance Win32_Process | ForEach-Object CommandLine',
        ]
      : ['ps', '-axww', '-o', 'args='];
  const options = { maxBuffer: 64 * 1024 * 1024, timeout: 30_000, windowsHide: true };
  const { stdout } = await promisify(execFile)(program as string, args, options);
  // This process is always among them, unless they may not be listed.
  if (stdout.trim() === '') throw new Error(`${program} lists no processes`);
  // A command line that begins with a path is not one path.
  return stdout.split('\n').map((line) => ` ${line}`);
}
