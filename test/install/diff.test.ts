import { expect, it } from 'vitest';
import { changedLines } from '../../src/install/diff.ts';

const lines = (before: string, after: string, shown: string[] = []) =>
  changedLines(before, after, shown).map(({ sign, text }) => `${sign}${text}`);

it('shows the lines between the first difference and the last', () => {
  expect(lines('a:\n- 1\n- 2\nb:\n', 'a:\n- 1\n- 3\n- 4\nb:\n')).toEqual(['-- 2', '+- 3', '+- 4']);
});

it('shows nothing where nothing changes, and all of a new file', () => {
  expect(lines('a\n', 'a\n')).toEqual([]);
  expect(lines('', '"x": 1\n')).toEqual(['+"x": 1']);
});

it('does not show the neighbour that only got a comma', () => {
  expect(lines('{\n  "a": 1\n}', '{\n  "a": 1,\n  "b": 2\n}')).toEqual(['+  "b": 2']);
  expect(lines('{\n  "a": 1,\n  "b": 2\n}', '{\n  "a": 1\n}')).toEqual(['-  "b": 2']);
});

it.each([
  ['{"env":{"TOKEN":"hunter2"}}', '{"env":{"TOKEN":"…"}}'],
  ['"args": ["-H", "Authorization: Bearer hunter2"]', '"args": ["…", "…"]'],
  ["TOKEN = 'hunter2' # hunter2", "TOKEN = '…' …"],
  ['  TOKEN: hunter2', '  TOKEN: …'],
  ['  TOKEN: "a \\" hunter2"', '  TOKEN: "…"'],
  ['  url: https://me:hunter2@host/', '  url: …:…'],
  ['  "k": "hunter2', '  "k": "…"'],
  ['// hunter2', '…'],
  ['hunter2', '…'],
])('hides the values of %s', (line, shown) => {
  expect(lines('', `${line}\n`)).toEqual([`+${shown}`]);
});

it('shows the words of the entry', () => {
  const shown = ['npx', 'https://a/b?c=d', 'a "b"'];
  expect(lines('', '"x": ["npx", "https://a/b?c=d", "a \\"b\\"", "other"]', shown)).toEqual([
    '+"x": ["npx", "https://a/b?c=d", "a \\"b\\"", "…"]',
  ]);
  expect(lines('', 'cmd: npx\nargs:\n  - https://a/b?c=d\n', shown)).toEqual([
    '+cmd: npx',
    '+args:',
    '+  - https://a/b?c=d',
  ]);
});
