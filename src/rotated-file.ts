import { renameSync } from 'node:fs';
import { checkPath, openPrivate } from './private-path.ts';

export interface Rotation {
  /** A file gets no larger than this, in bytes. */
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
  if (isFull && stats.isFile() && !isHandedOver) rotate(path, rotation.files);
  return openPrivate(file, 'output').fd;
}

function rotate(path: string, files: number): void {
  for (let number = files - 1; number > 0; number--) {
    try {
      renameSync(number === 1 ? path : `${path}.${number - 1}`, `${path}.${number}`);
    } catch {
      // It is not there yet, or another process has just renamed it, or Windows has it open.
    }
  }
}
