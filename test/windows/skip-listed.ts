import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { beforeEach, type RunnerTask } from 'vitest';

/** By the file, or the file and what the full names of tests contain: why they are not run on Windows. */
const skipped: Record<string, string> = JSON.parse(
  readFileSync(new URL('skipped.json', import.meta.url), 'utf8'),
);

function fullName({ name, suite }: Pick<RunnerTask, 'name' | 'suite'>): string {
  return suite === undefined ? name : `${fullName(suite)} > ${name}`;
}

beforeEach(({ task, skip }) => {
  const file = relative(process.cwd(), task.file.filepath).replaceAll('\\', '/');
  const name = fullName(task);
  const [, why] =
    Object.entries(skipped).find(([listed]) => {
      const [ofFile, ...words] = listed.split(' > ');
      return file === ofFile && name.includes(words.join(' > '));
    }) ?? [];
  if (why !== undefined) skip(why);
});
