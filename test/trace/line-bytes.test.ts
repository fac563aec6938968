import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LineBytes } from '../../src/trace/line-bytes.ts';

/** What the lines are, and what is from outside in each chunk. */
function taken(lines: LineBytes) {
  return lines.take().map(({ bytes, foreign }) => ({
    text: bytes.toString(),
    foreign: foreign.flatMap((start, at) =>
      at % 2 === 0 ? [bytes.toString('utf8', start, foreign[at + 1])] : [],
    ),
  }));
}

function textOf(put: (lines: LineBytes) => void): string | undefined {
  const lines = new LineBytes();
  lines.begin(0);
  put(lines);
  lines.end();
  return taken(lines)[0]?.text.slice(0, -2);
}

it.each([
  [0, '0'],
  [7, '7'],
  [7.5, '7.5'],
  [7.05, '7.05'],
  [7.25, '7.25'],
  [7.999, '8'],
])('%d ms are %s', (ms, text) => {
  expect(textOf((lines) => lines.ms(ms))).toBe(text);
});

it('puts the text of a number of milliseconds, to a hundredth', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e12 }), (hundredths) => {
      expect(textOf((lines) => lines.ms(hundredths / 100))).toBe(String(hundredths / 100));
    }),
  );
});

it('puts the text of a whole number, however large', () => {
  const edges = [0, 9, 10, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1].map((edge) => fc.constant(edge));
  fc.assert(
    fc.property(fc.oneof(fc.maxSafeNat(), ...edges), (number) => {
      expect(textOf((lines) => lines.integer(number))).toBe(String(number));
    }),
  );
});

it('keeps lines whole in each chunk, says what in them is from outside, and gives them out once', () => {
  const lines = new LineBytes();
  const firsts: number[] = [];
  const texts = ['é', 'x'.repeat(1_000_000), 'y'.repeat(250_000), 'z'.repeat(20_000), ''];
  for (const [at, text] of texts.entries()) {
    const bytes = Buffer.from(text);
    if (lines.begin(bytes.length)) firsts.push(at);
    lines.own(Buffer.from('{'));
    lines.foreign(bytes);
    lines.end();
  }
  expect(lines.isEmpty).toBe(false);
  expect(firsts).toEqual([0, 1, 2, 3]);
  const chunks = taken(lines);
  expect(chunks.map(({ text }) => text).join('')).toBe(texts.map((own) => `{${own}}\n`).join(''));
  expect(chunks.flatMap(({ foreign }) => foreign)).toEqual(texts);
  expect(lines.isEmpty).toBe(true);
  expect(lines.take()).toEqual([]);
});

it('drops a line that has no end, and throws where a line has no room', () => {
  const lines = new LineBytes();
  lines.begin(1);
  lines.foreign(Buffer.from('a'));
  lines.end();
  lines.begin(10);
  lines.foreign(Buffer.from('no end'));
  lines.begin(1);
  lines.foreign(Buffer.from('b'));
  lines.end();
  lines.begin(1);
  expect(() => lines.foreign(Buffer.alloc(1_000_000))).toThrow(RangeError);
  expect(taken(lines)).toEqual([{ text: 'a}\nb}\n', foreign: ['a', 'b'] }]);
});
