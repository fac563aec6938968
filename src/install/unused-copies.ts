import { execFile } from 'node:child_process';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { allClients } from './clients.ts';
import { readConfigFile } from './config-file.ts';

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
  const uses = await Promise.all([configTexts(), runningCommands()]).catch(() => undefined);
  if (uses === undefined) return [];
  const [configs, commands] = uses;
  const removed: string[] = [];
  for (const name of names) {
    const path = join(copies, name);
    // Another user's copy may have the same name.
    const isUsed = name.startsWith('.')
      ? await isBeingWritten(path)
      : configs.includes(name) || commands.includes(path);
    if (isUsed) continue;
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
 * The clients' configs as they are: entries of a project and those that are commented out count too.
 * Rejects where one cannot be read.
 */
async function configTexts(): Promise<string> {
  const files = await Promise.all(
    allClients().map(({ configPath }) => readConfigFile(configPath).then(({ text }) => text)),
  );
  return files.join('\n');
}

/** The command lines of this user's processes, at least. Rejects where they cannot be had. */
async function runningCommands(): Promise<string> {
  if (process.platform === 'linux') {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    // Those that have ended meanwhile do not matter.
    const lines = pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''));
    return (await Promise.all(lines)).join('\n');
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
  return stdout;
}
