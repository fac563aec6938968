import { rename } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** How often Windows is asked to replace a file that another program has open, and how long between. */
const TRIES = 20;
const PAUSE_MS = 25;

/**
 * Moves a file or folder to `path`, in one step. On Windows tries again for half a second while another
 * program has either of them open: a virus scanner, an indexer, or the reader of a config. Rejects
 * with the file system's error.
 */
export async function renameOnto(
  path: string,
  temporary: string,
  platform = process.platform,
): Promise<void> {
  for (let left = TRIES; ; left--) {
    try {
      return await rename(temporary, path);
    } catch (error) {
      if (!mayBeOpenElsewhere(error, platform) || left === 0) throw error;
      await sleep(PAUSE_MS);
    }
  }
}

/** Whether Windows refused because another program has the file open. It says the same of a folder that is closed to the user. */
export function mayBeOpenElsewhere(error: unknown, platform = process.platform): boolean {
  const { code = '' } = error as NodeJS.ErrnoException;
  return platform === 'win32' && /^(?:EPERM|EACCES|EBUSY)$/.test(code);
}
