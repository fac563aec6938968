import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Message, readMessages, type Unusable } from '../../src/jsonrpc/message.ts';
import { type Pieces, piecesOf, readPieces } from '../../src/jsonrpc/pieces.ts';
import { rounds } from '../property-rounds.ts';

const KiB = 1024;

function cut(bytes: Buffer, lengths: readonly number[]): Pieces {
  const pieces: Buffer[] = [];
  let start = 0;
  for (const length of lengths) {
    if (start + length >= bytes.length) break;
    pieces.push(bytes.subarray(start, start + length));
    start += length;
  }
  return [...pieces, bytes.subarray(start)];
}

const same = (length: number) => Array<number>(10_000).fill(length);

/** What is known of a message, with its bytes as characters of the same number. */
const plain = (found: Message | Unusable | undefined) => ({
  ...found,
  ...(found !== undefined && 'bytes' in found ? { bytes: found.bytes.toString('latin1') } : {}),
});

/** Copies, since the bytes may be changed in place. */
const copies = (pieces: Pieces) => pieces.map((piece) => Buffer.from(piece));

function expectSame(bytes: Buffer, pieces: Pieces, least?: number): void {
  const { messages, isBatch } = readPieces(copies(pieces), least);
  const expected = readMessages(Buffer.from(bytes));
  expect(isBatch).toBe(expected.isBatch);
  expect(messages.map(plain)).toEqual(expected.messages.map(plain));
}

describe('a message in pieces', () => {
  const unit = fc.constantFrom(
    ...['a', 'é', '€', '𝄞', '\\"', '\\\\', '\\n', '\\u00e9', '\\ud834\\udd1e', ' ', 'plain text'],
  );
  const text = fc
    .tuple(fc.array(unit, { minLength: 1, maxLength: 8 }), fc.integer({ min: 20_000, max: 60_000 }))
    .map(([units, length]) => units.join('').repeat(length / units.join('').length));
  const message = fc.oneof(
    text.map((long) => `{"jsonrpc":"2.0","id":1,"result":{"text":"${long}"}}`),
    fc
      .tuple(fc.constantFrom('"result":', '"method":"m","params":', '"error":'), text, text, text)
      .map(([name, a, b, c]) => `{"jsonrpc":"2.0",${name}{"${a}":["${b}",1,"${c}"]},"id":"a"}`),
    fc.tuple(text, text).map(([id, m]) => `{"jsonrpc":"2.0","id":"${id}","method":"${m}"}`),
    text.map((long) => `[{"jsonrpc":"2.0","id":1,"result":"${long}"}]`),
    text.map((long) => `\ufeff{"jsonrpc":"2.0",\n"id":1,"result":"${long}","error":null} `),
  );
  // One byte is another: nearly always one that is not allowed there.
  const change = fc.record({
    at: fc.nat(),
    byte: fc.constantFrom(...Buffer.from('"\\ux\n{,\0\xff\x80', 'latin1')),
  });
  const lengths = fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 2, maxLength: 30 });

  it('reads the same as in one piece, however it is cut and whatever it is', () => {
    let unjoined = 0;

    fc.assert(
      fc.property(message, fc.option(change, { freq: 1 }), lengths, (json, changed, cuts) => {
        const whole = Buffer.from(json);
        if (changed !== null) whole[changed.at % whole.length] = changed.byte;
        const pieces = cut(whole, cuts);
        expectSame(whole, pieces, 0);
        const [first] = readPieces(copies(pieces), 0).messages;
        if (first !== undefined && first.kind !== 'unusable' && piecesOf(first).length > 1) {
          unjoined++;
        }
      }),
      {
        numRuns: rounds(100),
        examples: [[`{"jsonrpc":"2.0","id":1,"result":"${'a'.repeat(60_000)}"}`, null, [9, 9]]],
      },
    );
    expect(unjoined).toBeGreaterThan(0);
  });

  const LONG = '\\u20ac€𝄞\\n\\\\\\""'.slice(0, -1);
  const large = (length: number) =>
    Buffer.from(
      `{"jsonrpc":"2.0","id":1,"result":{"text":"${LONG.repeat(length / LONG.length)}","more":[1]}}`,
    );

  it('is not joined where it is nearly all one string, wherever its characters are cut', () => {
    const whole = large(150_000);
    for (let length = 10_000; length < 10_030; length++) {
      const pieces = cut(whole, same(length));
      const [read] = readPieces(pieces, 100_000).messages as [Message];
      expect(read).toMatchObject({ kind: 'response', id: { key: 'n1' }, isError: false });
      expect(piecesOf(read) === pieces).toBe(true);
      expect(read.bytes.equals(whole)).toBe(true);
    }
  });

  it('is joined where it is small, and where it is of many values', () => {
    const small = cut(large(100_000), same(10_000));
    const [text] = readPieces(small).messages as [Message];
    expect(piecesOf(text)).toHaveLength(1);
    const list = JSON.stringify({ jsonrpc: '2.0', id: 1, result: Array(500_000).fill('a b') });
    const [values] = readPieces(cut(Buffer.from(list), same(64 * KiB))).messages as [Message];
    expect(piecesOf(values)).toHaveLength(1);
    expect(piecesOf(values)[0]?.equals(Buffer.from(list))).toBe(true);
  });

  it('is a message that was changed once it has been: not the pieces as they came', () => {
    const pieces = cut(large(150_000), same(10_000));
    const [read] = readPieces(pieces, 0).messages as [Message];
    expect(piecesOf(read) === pieces).toBe(true);
    const changed = { ...read, bytes: Buffer.from('{}') };
    expect(piecesOf(changed)).toEqual([changed.bytes]);
    const copy = { ...read };
    expect(piecesOf(copy)).toHaveLength(1);
    expect(copy.bytes.equals(Buffer.concat(pieces))).toBe(true);
  });

  it.each([
    ['a control character', '\u0001'],
    ['an escape that is not allowed', '\\x'],
    ['a quote', '"'],
    ['a line end', '\n'],
  ])('is not valid with %s in the middle of its string', (_, inserted) => {
    const whole = large(150_000);
    const [head, tail] = [whole.subarray(0, 70_000), whole.subarray(70_000)];
    // Not within a character or an escape.
    const at = head.lastIndexOf('\\n');
    const broken = Buffer.concat([
      head.subarray(0, at),
      Buffer.from(inserted),
      head.subarray(at),
      tail,
    ]);
    expectSame(broken, cut(broken, same(10_000)), 0);
    expect(readPieces(cut(broken, same(10_000)), 0).messages[0]).toMatchObject({
      kind: 'unusable',
    });
  });

  it('has what is not UTF-8 replaced, as in one piece', () => {
    const whole = large(150_000);
    const broken = Buffer.concat([whole.subarray(0, 70_000), whole.subarray(70_001)]);
    const at = broken.indexOf('€', 80_000);
    broken[at] = 0xff;
    expectSame(broken, cut(broken, same(10_000)), 0);
  });
});
