import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { notPlainInCode } from './plain-english.ts';

const COMMENT = /^\s*(?:\/\*\*|\*|\/\/)(.*)|\s\/\/ (.*)/;
const TEST_NAME = /^\s*(?:it|describe)\b[^'"`]*(['"`])(.*)\1,/;

it('comments and names of tests are in plain English', () => {
  const files = execFileSync('git', ['ls-files', 'src', 'test', 'bench', 'build.mjs'], {
    encoding: 'utf8',
  })
    .split('\n')
    .filter((file) => /\.(?:ts|mjs)$/.test(file) && !/plain-english/.test(file));
  expect(files.length).toBeGreaterThan(300);
  const found = files.flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line, index) => {
        const [, whole, after] = COMMENT.exec(line) ?? [];
        const text = whole ?? after ?? TEST_NAME.exec(line)?.[2] ?? '';
        return notPlainInCode(text).map((why) => `${file}:${index + 1} ${why}`);
      }),
  );
  expect(found).toEqual([]);
});
