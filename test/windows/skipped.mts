import { readFileSync } from 'node:fs';

/**
 * `notRun`: why a test must not be run on Windows, by its file, or by the file and what its full name
 * contains. `skippedByTests`: why the tests of a file that skip themselves do so.
 */
const {
  notRun,
  skippedByTests,
}: Record<'notRun' | 'skippedByTests', Record<string, string>> = JSON.parse(
  readFileSync(new URL('skipped.json', import.meta.url), 'utf8'),
);

/**
 * Why a test must not be run on Windows; undefined where nothing is listed. `file`: its path within the
 * project, with slashes. `fullName`: the names of its groups and its own, with ` > ` between them.
 */
export function whyNotRun(file: string, fullName: string): string | undefined {
  return Object.entries(notRun).find(([listed]) => {
    const [ofFile, ...words] = listed.split(' > ');
    return file === ofFile && fullName.includes(words.join(' > '));
  })?.[1];
}

/** Why the tests of a file skip themselves there. */
export const whySkipped = (file: string): string => skippedByTests[file] ?? 'no reason is listed';
