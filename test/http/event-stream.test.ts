import { createParser } from 'eventsource-parser';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventStream } from '../../src/http/event-stream.ts';
import { joined } from '../../src/jsonrpc/pieces.ts';
import { rounds } from '../property-rounds.ts';

interface Parsed {
  events: { data: string; type: string; id: string | undefined }[];
  retries: number[];
  /** Whether it stayed within the limit. */
  fits: boolean;
}

/** Bytes as the characters of the same number, so that any bytes can be compared. */
const binary = (text: string) => Buffer.from(text, 'latin1');

function parse(chunks: Iterable<Buffer>, limitBytes = 1 << 20): Parsed {
  const parsed: Parsed = { events: [], retries: [], fits: true };
  const stream = new EventStream({
    limitBytes,
    onEvent: ({ data, type, id }) => {
      const text = { data: joined(data).toString('latin1'), type: type.toString('latin1') };
      parsed.events.push({ ...text, id: id?.toString('latin1') });
    },
    onRetry: (milliseconds) => parsed.retries.push(milliseconds),
  });
  for (const chunk of chunks) {
    parsed.fits = stream.push(chunk);
    if (!parsed.fits) break;
  }
  return parsed;
}

/** What eventsource-parser makes of it: of an event without data it does not tell. */
function parseByLibrary(bytes: Buffer): Omit<Parsed, 'fits'> {
  const events: Parsed['events'] = [];
  const retries: number[] = [];
  const parser = createParser({
    onEvent: ({ data, event = '', id }) => {
      // `message` is the type of an event that names none, and ours says so.
      if (data !== '') events.push({ data, type: event === 'message' ? '' : event, id });
    },
    onRetry: (milliseconds) => retries.push(milliseconds),
  });
  // It waits for what follows a CR; and where both line ends occur it searches for each at each line.
  parser.feed(bytes.toString('latin1').replace(/\r\n?/g, '\n'));
  return { events, retries };
}

const withData = ({ events, retries }: Parsed) => ({
  events: events.filter(({ data }) => data !== ''),
  retries,
});

function* cut(bytes: Buffer, lengths: number[]): Generator<Buffer> {
  let start = 0;
  for (const length of lengths) {
    yield bytes.subarray(start, start + length);
    start += length;
  }
  yield bytes.subarray(start);
}

const bytesOf = (text: string, length: number) =>
  cut(binary(text), Array(text.length).fill(length));

describe('the parser of event streams', () => {
  const piece = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('\n', '\r', '\r\n', '\n\n', '\r\r', '\n\r', ': ') },
    {
      weight: 6,
      arbitrary: fc.constantFrom(
        ...['data', 'data:', 'data: ', 'data:  x', 'id:', 'id', 'id: 7', 'id: a\0b', 'event'],
        ...['event:', 'event: message', 'event:x', 'retry:', 'retry: 10', 'retry: 1e3', 'retry:-1'],
        ...[
          'retry: 007',
          ':',
          ': comment',
          'Data: x',
          'dat: x',
          'datas: x',
          'eventa: x',
          ' data: x',
        ],
      ),
    },
    { weight: 2, arbitrary: fc.constantFrom('\xef\xbb\xbf', '\xef', '\xef\xbb', '\0', ' ', '\t') },
    { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 8 }).map(asUtf8Bytes) },
    {
      weight: 1,
      arbitrary: fc
        .uint8Array({ maxLength: 8 })
        .map((bytes) => Buffer.from(bytes).toString('latin1')),
    },
  );
  const source = fc.array(piece, { maxLength: 60 }).map((pieces) => binary(pieces.join('')));
  const lengths = fc.array(fc.nat({ max: 12 }), { maxLength: 80 });

  it('finds what eventsource-parser finds in any bytes, however they are cut', () => {
    fc.assert(
      fc.property(source, lengths, (bytes, cuts) => {
        expect(withData(parse(cut(bytes, cuts)))).toEqual(parseByLibrary(bytes));
      }),
      { numRuns: rounds(5000) },
    );
  });

  it('finds the same with each byte in a chunk of its own as in one chunk', () => {
    fc.assert(
      fc.property(source, (bytes) => {
        expect(parse(cut(bytes, Array(bytes.length).fill(1)))).toEqual(parse([bytes]));
      }),
      { numRuns: rounds(2000) },
    );
  });

  it('leaves the bytes as they are: what is not UTF-8, and a character split between chunks', () => {
    const data = '\xff\xfe \xe2\x82\xac \xed\xa0\x80';
    for (let at = 0; at < 20; at++) {
      const { events } = parse(cut(binary(`data: ${data}\n\n`), [at]));
      expect(events).toEqual([{ data, type: '', id: undefined }]);
    }
  });

  it('copies no data that comes as one line in one chunk', () => {
    const chunk = binary('id: 1\nevent: message\ndata: {"a":1}\n\n');
    const seen: Buffer[] = [];
    new EventStream({
      limitBytes: 100,
      onEvent: ({ data }) => seen.push(...data),
      onRetry: () => {},
    }).push(chunk);
    expect(seen.map(({ buffer }) => buffer)).toEqual([chunk.buffer]);
    expect(seen[0]?.byteOffset).toBe(chunk.byteOffset + chunk.indexOf('{'));
  });

  it('tells of an id that comes without data, also with the bytes that begin an event', () => {
    // WHATWG HTML §9.2.6: the last event ID is set before the data buffer is looked at.
    expect(parse([binary('id: 1\n\nid\n\n: x\n\nevent: y\n\ndata:\n\n')]).events).toEqual([
      { data: '', type: '', id: '1' },
      { data: '', type: '', id: '' },
    ]);
  });

  it('gives an event at its blank line, a CR included, and not a byte later', () => {
    for (const end of ['\n\n', '\r\r', '\r\n\r']) {
      expect(parse([binary(`data: x${end}`)]).events).toHaveLength(1);
      const [head, tail] = [`data: x${end.slice(0, -1)}`, end.slice(-1)];
      expect(parse([binary(head)]).events).toHaveLength(0);
      expect(parse([binary(head), Buffer.alloc(0), binary(tail)]).events).toHaveLength(1);
    }
    expect(parse([binary('data: x\r'), binary('\n')]).events).toHaveLength(0);
    expect(parse([binary('data: x\r'), Buffer.alloc(0), binary('\n')]).events).toHaveLength(0);
  });

  it('ignores a byte order mark at the very beginning only', () => {
    const mark = '\xef\xbb\xbf';
    expect(parse([binary(`${mark}data: x\n\n`)]).events).toHaveLength(1);
    expect(parse(bytesOf(`${mark}data: x\n\n`, 1)).events).toHaveLength(1);
    expect(parse([binary(`${mark}${mark}data: x\n\n`)]).events).toHaveLength(0);
    expect(parse([binary(`\n${mark}data: x\n\n`)]).events).toHaveLength(0);
    expect(parse([binary(`data: ${mark}x\n\n`)]).events).toMatchObject([{ data: `${mark}x` }]);
  });

  it('takes an event of the limit, counted from the blank line before it, and none larger', () => {
    const event = 'id: 1\ndata: 12345\n\n';
    for (const length of [1, 7, 100]) {
      const two = event.repeat(2);
      expect(parse(bytesOf(two, length), event.length)).toMatchObject({ fits: true });
      expect(parse(bytesOf(two, length), event.length).events).toHaveLength(2);
      expect(parse(bytesOf(two, length), event.length - 1)).toMatchObject({ fits: false });
    }
    for (const endless of [
      ':',
      ': x\n',
      'data\n',
      'data:x\r',
      'x',
      'id: 1\n',
      '\n\ndata',
      'x\r\n',
    ]) {
      const chunks = Array(3000).fill(binary(endless));
      expect(parse(chunks, 1000).fits).toBe(endless.startsWith('\n'));
      expect(parse([binary(endless.repeat(3000))], 1000).fits).toBe(endless.startsWith('\n'));
    }
  });

  it.each(['\n', '\r', '\r\n', '\r\n\n\r', ':', 'x', 'x\n', 'x\r', 'data\n', 'data:x\r\n'])(
    'takes a megabyte of %j in seconds, in one piece or byte by byte',
    (unit) => {
      const bytes = binary(`${unit.repeat((1 << 20) / unit.length)}\n\ndata: x\n\n`);
      const began = performance.now();
      for (const length of [bytes.length, 1]) {
        const { events, fits } = parse(cut(bytes, Array(bytes.length / length).fill(length)), 2e6);
        expect(fits).toBe(true);
        expect(events.at(-1)).toMatchObject({ data: 'x' });
      }
      // Joined again with each byte, it would be hours.
      expect(performance.now() - began).toBeLessThan(15_000);
    },
  );
});

/** Latin-1 text of the UTF-8 bytes. */
function asUtf8Bytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}
