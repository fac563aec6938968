import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LineReader } from '../../src/stdio/line-reader.ts';

function linesOf(chunks: readonly Uint8Array[]): string[] {
  const lines: string[] = [];
  const reader = new LineReader({
    limitBytes: 1_000_000,
    onLine: (line) => lines.push(line.toString('latin1')),
    onTooLong: () => {
      throw new Error('too long');
    },
  });
  for (const chunk of chunks) reader.push(Buffer.from(chunk));
  reader.end();
  return lines;
}

it('gives the same lines however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: fc.constantFrom('a', 'é', '\r', ' ', '😀') })),
      fc.array(fc.nat()),
      (lines, cuts) => {
        const bytes = Buffer.from(lines.join('\n'));
        const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort(
          (a, b) => a - b,
        );
        const chunks = ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
        const expected = lines.filter((line) => line.trim() !== '');
        expect(linesOf(chunks).map((line) => Buffer.from(line, 'latin1').toString())).toEqual(
          expected,
        );
      },
    ),
  );
});

it('gives the last line although nothing ends it', () => {
  expect(linesOf([Buffer.from('{"a":1}\n{"b"'), Buffer.from(':2}')])).toEqual([
    '{"a":1}',
    '{"b":2}',
  ]);
});

it('joins a line of many chunks once: 64 MB in 4 KB pieces', () => {
  const piece = Buffer.alloc(4096, 0x61);
  const lengths: number[] = [];
  const reader = new LineReader({
    limitBytes: 64 * 1024 * 1024,
    onLine: (line) => lengths.push(line.length),
    onTooLong: () => lengths.push(-1),
  });
  for (let count = 0; count < 16_384; count++) reader.push(piece);
  reader.push(Buffer.from('\n'));
  expect(lengths).toEqual([64 * 1024 * 1024]);
});

it('keeps the ends of a line over the limit, and reads on behind it', () => {
  const seen: string[] = [];
  const reader = new LineReader({
    limitBytes: 10_000,
    onLine: (line) => seen.push(line.toString()),
    onTooLong: (head, tail) => seen.push(`${head.length}:${head}…${tail.length}:${tail}`),
  });
  const long = `<${'a'.repeat(30_000)}>`;
  for (let at = 0; at < long.length; at += 999) reader.push(Buffer.from(long.slice(at, at + 999)));
  reader.push(Buffer.from('\nnext\n'));
  expect(seen).toEqual([`4096:<${'a'.repeat(4095)}…4096:${'a'.repeat(4095)}>`, 'next']);
});
