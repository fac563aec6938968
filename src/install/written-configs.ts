import { appendFile, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readPrivate, UnusableFile } from '../private-path.ts';
import { copiesFolder } from './program-copy.ts';

/** More than this were not written by one user. */
const MOST_BYTES = 1024 * 1024;
const MOST_CONFIGS = 1_000;

/** The configs that named a copy when this program wrote them: a JSON string with a path a line. */
export function writtenConfigsFile(): string {
  return join(dirname(copiesFolder()), 'written-configs');
}

/**
 * Notes a config whose `text` names a copy. It may be in no place in which configs are looked for
 * later, as when `CLAUDE_CONFIG_DIR` is set for one project only. Never rejects.
 */
export async function noteWrittenConfig(path: string, text: string): Promise<void> {
  if (!namesCopy(text)) return;
  try {
    if ((await writtenConfigs()).includes(path)) return;
    await mkdir(dirname(writtenConfigsFile()), { recursive: true });
    // Also a line end before it: the last one may have been cut off.
    await appendFile(writtenConfigsFile(), `\n${JSON.stringify(path)}\n`, { mode: 0o600 });
  } catch {
    // The copy is found by the clients' usual configs, as before.
  }
}

/**
 * What was noted. Lines that are damaged are left out. Rejects with UnusableFile where it cannot be read
 * or trusted, and where it is too large: then no more is noted, and no copy is removed.
 */
export async function writtenConfigs(): Promise<string[]> {
  const paths = textOf(writtenConfigsFile())
    .split('\n')
    .flatMap((line) => {
      try {
        const path: unknown = JSON.parse(line);
        return typeof path === 'string' ? [path] : [];
      } catch {
        return [];
      }
    });
  if (paths.length > MOST_CONFIGS) {
    throw new UnusableFile(`the file ${writtenConfigsFile()} has too many lines`);
  }
  return paths;
}

function textOf(file: string): string {
  try {
    return readPrivate(file, 'trusted', () => {}, MOST_BYTES).toString();
  } catch (error) {
    if (((error as Error).cause as NodeJS.ErrnoException)?.code === 'ENOENT') return '';
    throw error;
  }
}

/** Whatever escapes the config's notation has for the separators of a path. */
function namesCopy(text: string): boolean {
  return /mcp-latchkey[\\/]+versions[\\/]/.test(text);
}
