import { relative } from 'node:path';
import { beforeEach, type RunnerTask } from 'vitest';
import { whyNotRun } from './skipped.mts';

function fullName({ name, suite }: Pick<RunnerTask, 'name' | 'suite'>): string {
  return suite === undefined ? name : `${fullName(suite)} > ${name}`;
}

beforeEach(({ task, skip }) => {
  const file = relative(process.cwd(), task.file.filepath).replaceAll('\\', '/');
  const why = whyNotRun(file, fullName(task));
  if (why !== undefined) skip(why);
});
