import { readFileSync } from 'node:fs';

/** By the file, or the file and what the full names of tests contain: why they are not run on Windows. */
const skipped: Record<string, string> = JSON.parse(
  readFileSync(new URL('skipped.json', import.meta.url), 'utf8'),
);

/**
 * Why a test is not run on Windows; undefined where nothing is listed. `file`: its path within the
 * project, with slashes. `fullName`: the names of its groups and its own, with ` > ` between them.
 */
export function whySkipped(file: string, fullName: string): string | undefined {
  return Object.entries(skipped).find(([listed]) => {
    const [ofFile, ...words] = listed.split(' > ');
    return file === ofFile && fullName.includes(words.join(' > '));
  })?.[1];
}
