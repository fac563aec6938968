import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shellWord } from '../../src/terminal/shell-word.ts';

const shells = ['sh', 'bash', 'zsh', 'dash'].filter((shell) => {
  try {
    execFileSync(shell, ['-c', ':']);
    return true;
  } catch {
    return false;
  }
});

describe.skipIf(process.platform === 'win32').each(shells)('in %s', (shell) => {
  const read = (words: readonly string[]) => {
    const line = words.map((word) => shellWord(word, 'linux')).join(' ');
    return execFileSync(shell, ['-c', `printf '%s\\0' ${line}`], { encoding: 'utf8' });
  };

  it('every word arrives as it is', () => {
    const words = fc.array(
      fc.oneof(
        fc.string({ unit: fc.constantFrom(...'aü \t\n$(){}[]`"\'\\;&|<>*?!#~=%@,-./:') }),
        fc.string({ unit: 'grapheme' }).filter((word) => !word.includes('\0')),
      ),
      { minLength: 1, maxLength: 50 },
    );
    fc.assert(
      fc.property(words, (own) => {
        expect(read(own).split('\0').slice(0, -1)).toEqual(own);
      }),
      { numRuns: 40 },
    );
  });

  it.each(['a$(id)', '`id`', '~', '~root/x', '=ls', '', '-', "a'b", '{a,b}', '$HOME', '*', '!!'])(
    'runs and replaces nothing in %j',
    (word) => expect(read([word])).toBe(`${word}\0`),
  );
});

it.each(['https://api.kindo.ai/v1/mcp', '--account', 'work@home', '/a/b.pem', 'a,b'])(
  'leaves %s without quotes where they are not needed',
  (word) => expect(shellWord(word, 'linux')).toBe(word),
);

describe('on Windows, in cmd and PowerShell alike', () => {
  it.each([
    ['https://api.kindo.ai/v1/mcp', 'https://api.kindo.ai/v1/mcp'],
    ['C:\\keys\\my-key.txt', 'C:\\keys\\my-key.txt'],
    ['--allow-http', '--allow-http'],
    ['', '""'],
    ['work #2', '"work #2"'],
    ['a,b', '"a,b"'],
    ['@home', '"@home"'],
    ['a;calc', '"a;calc"'],
    ['a & calc', '"a & calc"'],
    ['(calc)', '"(calc)"'],
    ["it's", '"it\'s"'],
    ['--account=-a.b', '"--account=-a.b"'],
    ['https://h.example/C%C3%A4', '"https://h.example/C%C3%A4"'],
    ['Authorization: Bearer @{KEY}', '"Authorization: Bearer @{KEY}"'],
  ])('quotes %j as %s', (word, expected) => expect(shellWord(word, 'win32')).toBe(expected));

  it.each([
    '%PATH%',
    '100%',
    'a$(calc)',
    '$env:X',
    '`n',
    'a" & calc',
    '“ & calc',
    'C:\\a b\\',
    'a\nb',
  ])('leaves %j to the user, whom no quotes protect', (word) =>
    expect(shellWord(word, 'win32')).toBe('"…"'),
  );
});
