import { describe, expect, it } from 'vitest';
import { asSentence, remedyText, shownText } from '../../src/terminal/printer.ts';

describe.skipIf(process.platform === 'win32')('shownText', () => {
  const marks = '✓ ! ✗ – ● … › ·';

  it.each([{}, { LANG: 'en_US.UTF-8' }, { LC_ALL: 'C.utf8', LANG: 'C' }])(
    'leaves the marks as they are under %j',
    (env) => {
      expect(shownText(marks, env)).toBe(marks);
    },
  );

  it.each([{ LC_ALL: 'C', LANG: 'en_US.UTF-8' }, { LANG: 'de_DE.ISO-8859-1' }, { LC_CTYPE: 'C' }])(
    'has ASCII marks of the same width, but for the ellipsis, under %j',
    (env) => {
      expect(shownText(marks, env)).toBe('+ ! x - * ... > -');
      expect(shownText('⠹ █▌', env)).toBe('* #');
    },
  );
});

it('has each command on a line of its own, whole however narrow the terminal is', () => {
  const url = 'https://gateway.example/v1/mcp';
  const text = `Run \`npx mcp-latchkey login ${url}\` and enter a new key. No restart needed.`;
  expect(remedyText(text, 30, 2, (_, words) => words)).toBe(
    `  Run this command and enter a\n  new key. No restart needed.\n    npx mcp-latchkey login ${url}\n`,
  );
});

it.each([
  ['no key', 'No key.'],
  ['Is it running?', 'Is it running?'],
  ["the gateway's key is old.", "The gateway's key is old."],
  [
    'how to get a key: https://gateway.example/keys',
    'How to get a key: https://gateway.example/keys',
  ],
  ['http://gateway.example is unencrypted', 'http://gateway.example is unencrypted.'],
  ['trace.jsonl is empty', 'trace.jsonl is empty.'],
  ['--run needs a number', '--run needs a number.'],
])('asSentence(%j) is %j', (clause, sentence) => {
  expect(asSentence(clause)).toBe(sentence);
});
