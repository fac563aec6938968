import { closeSync, lstatSync, openSync, renameSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { checkPath, openPrivate, ReplacedFile } from './private-path.ts';

export interface Rotation {
  /** A file gets no larger than this, in bytes, but for what several processes append at once. */
  readonly limitBytes: number;
  /** How many files there are in all: FILE, FILE.1 and so on, the newest first. */
  readonly files: number;
}

/**
 * Opens a file to append `moreBytes` to it, as `openPrivate` does for `output`. When it would get too
 * large, it becomes FILE.1 first, that FILE.2 and so on; the oldest is gone. The caller closes what is
 * returned, a file descriptor. Throws as `openPrivate` does.
 */
export function openRotated(file: string, moreBytes: number, rotation: Rotation): number {
  const { path, stats, isHandedOver } = checkPath(file, 'output');
  const isFull =
    stats !== undefined && stats.size > 0 && stats.size + moreBytes > rotation.limitBytes;
  // Neither a device nor a pipe gets full.
  if (isFull && stats.isFile() && !isHandedOver) rotate(path, stats.ino, rotation.files);
  for (let left = MOST_RACES; ; left--) {
    try {
      return openPrivate(file, 'output').fd;
    } catch (error) {
      // Another process has just made the file, or put another one in its place.
      const { code } = error as NodeJS.ErrnoException;
      if (!(error instanceof ReplacedFile || code === 'EEXIST') || left === 0) throw error;
    }
  }
}

/** How often other processes may rotate a file while it is opened. */
const MOST_RACES = 20;
/** A lock that is older than this is of a process that has died, in milliseconds. */
const MOST_LOCKED_MS = 10_000;

/** Under a lock: two processes that rename at once would put a new file in the place of a full one. */
function rotate(path: string, inode: number, files: number): void {
  const lock = `${path}.lock`;
  try {
    closeSync(openSync(lock, 'wx', 0o600));
  } catch {
    // Another process rotates the file now, or has died; what comes next tries again.
    try {
      if (Date.now() - lstatSync(lock).mtimeMs > MOST_LOCKED_MS) unlinkSync(lock);
    } catch {
      // It is gone, or belongs to another user.
    }
    return;
  }
  try {
    if (statSync(path, { throwIfNoEntry: false })?.ino !== inode) return;
    for (let number = files - 1; number > 0; number--) {
      try {
        renameSync(number === 1 ? path : `${path}.${number - 1}`, `${path}.${number}`);
      } catch (error) {
        // Where one stays, as while Windows has it open, the next would replace it.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return;
      }
    }
  } finally {
    rmSync(lock, { force: true });
  }
}
