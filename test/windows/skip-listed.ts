import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { beforeEach, type RunnerTask } from 'vitest';

/** By the file, or the file and how the full name of a test begins: why it is not run on Windows. */
const skipped: Record<string, string> = JSON.parse(
  readFileSync(new URL('skipped.json', import.meta.url), 'utf8'),
);

function fullName({ name, suite }: Pick<RunnerTask, 'name' | 'suite'>): string {
  return suite === undefined ? name : `${fullName(suite)} > ${name}`;
}

beforeEach(({ task, skip }) => {
  const file = relative(process.cwd(), task.file.filepath).replaceAll('\\', '/');
  const name = `${file} > ${fullName(task)}`;
  const [, why] = Object.entries(skipped).find(([listed]) => name.startsWith(listed)) ?? [];
  if (why !== undefined) skip(why);
});
