import { readFileSync, type Stats, statSync } from 'node:fs';
import { shellWord } from '../failures/shell-word.ts';

/** Bytes that no key and no set of headers has. */
const MAX_BYTES = 64 * 1024;

/** `message`: why, in words that fit behind a colon. */
export class UnreadableFile extends Error {}

/** Whether it is a pipe, whose reading may wait for what writes it. Throws UnreadableFile. */
export function isPipe(path: string): boolean {
  return statusOf(path).isFIFO();
}

/**
 * The text of a file that holds a secret: UTF-8, at most 64 KB. On POSIX it must be the user's
 * alone, unless it is a pipe or `/dev/fd/N`, which the shell hands over. Waits for a pipe's writer.
 * Throws UnreadableFile.
 */
export function readPrivateFile(path: string): string {
  const status = statusOf(path);
  if (!status.isFile() && !status.isFIFO()) throw new UnreadableFile(`${path} is no file`);
  const isHandedOver = status.isFIFO() || /^\/(?:dev|proc\/self)\/fd\/\d+$/.test(path);
  if (process.platform !== 'win32' && !isHandedOver && (status.mode & 0o077) !== 0) {
    throw new UnreadableFile(
      `the file ${path} is open to other users; run: chmod 600 ${shellWord(path)}`,
    );
  }
  if (status.size > MAX_BYTES) throw new UnreadableFile(`the file ${path} is too large for a key`);
  try {
    return readFileSync(path, 'utf8').replace(/^\ufeff/, '');
  } catch (error) {
    throw unreadable(path, error);
  }
}

function statusOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): UnreadableFile {
  return new UnreadableFile(
    `the file ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`,
  );
}
