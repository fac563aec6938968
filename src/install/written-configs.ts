import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { copiesFolder } from './program-copy.ts';

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

/** What was noted. Lines that are damaged are left out. Rejects where it cannot be read. */
export async function writtenConfigs(): Promise<string[]> {
  const text = await readFile(writtenConfigsFile(), 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  return text.split('\n').flatMap((line) => {
    try {
      const path: unknown = JSON.parse(line);
      return typeof path === 'string' ? [path] : [];
    } catch {
      return [];
    }
  });
}

/** Whatever escapes the config's notation has for the separators of a path. */
function namesCopy(text: string): boolean {
  return /mcp-latchkey[\\/]+versions[\\/]/.test(text);
}
