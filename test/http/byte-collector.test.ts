import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ByteCollector } from '../../src/http/byte-collector.ts';
import { mayStayInPieces } from '../../src/jsonrpc/pieces.ts';

it('gives back what it was given, up to the limit, however it is cut', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 100_000, size: 'max' }), { maxLength: 8 });
  fc.assert(
    fc.property(pieces, fc.nat({ max: 600_000 }), fc.boolean(), (given, limit, isKept) => {
      const collected = new ByteCollector({ limitBytes: limit, mayKeep: () => isKept });
      // Twice: what comes after `take` begins another.
      for (let round = 0; round < 2; round++) {
        let length = 0;
        for (const piece of given) {
          length += piece.length;
          const fits = collected.push(Buffer.from(piece));
          if (length <= limit) expect(fits).toBe(true);
        }
        expect(collected.take().equals(Buffer.concat(given).subarray(0, limit))).toBe(true);
      }
    }),
    { numRuns: 50 },
  );
});

it('keeps the bytes of a body, not the pieces', () => {
  const collected = new ByteCollector();
  // Each piece is a view of 64 KiB, as those that a socket gives.
  for (let n = 0; n < 4_096; n++) collected.push(Buffer.alloc(64 * 1024).subarray(0, 1));
  expect(collected.take().buffer.byteLength).toBeLessThan(1024 * 1024);
});

it('copies no piece that is large and not a view of something larger', () => {
  const collected = new ByteCollector({ mayKeep: mayStayInPieces });
  const large = Buffer.alloc(16 * 1024, 'a');
  const small = Buffer.from('small');
  const view = Buffer.alloc(64 * 1024, 'b').subarray(0, 16 * 1024);
  const pieces: Buffer[] = [small, large, small, small, view, large];
  for (const piece of pieces) collected.push(piece);
  const taken = collected.takePieces();
  expect(Buffer.concat(taken).equals(Buffer.concat(pieces))).toBe(true);
  expect(taken.map(({ length }) => length)).toEqual([5, 16_384, 10 + 16_384, 16_384]);
  expect(taken.map((piece) => pieces.includes(piece))).toEqual([true, true, false, true]);
});

it('keeps the pieces of a long string, and copies those of a list of numbers as they come', () => {
  const piece = (fill: string) => Buffer.alloc(64 * 1024, fill);
  const collect = (begin: Buffer, fill: string) => {
    const collected = new ByteCollector({ mayKeep: mayStayInPieces });
    collected.push(begin);
    for (let n = 0; n < 16; n++) collected.push(piece(fill));
    return collected.takePieces();
  };
  const text = collect(Buffer.from('{"a":"'), 'x');
  expect(text).toHaveLength(17);
  const numbers = collect(Buffer.from('['), '0,');
  expect(numbers).toHaveLength(1);
  expect(numbers[0]?.toString()).toBe(`[${'0,'.repeat(16 * 32 * 1024)}`);
});
