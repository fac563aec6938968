import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  asReplyTo,
  errorResponse,
  type Message,
  MOST_MESSAGES,
  type Request,
  type Response,
  readMessages,
  responseBytesFor,
  type Unusable,
} from '../../src/jsonrpc/message.ts';
import { rounds } from '../property-rounds.ts';

function read(text: string | Buffer): Message | Unusable {
  const { messages } = readMessages(Buffer.from(text));
  expect(messages).toHaveLength(1);
  return messages[0] as Message | Unusable;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('readMessages', () => {
  it('tells requests, notifications, responses and errors apart', () => {
    expect(read('{"jsonrpc":"2.0","id":1,"method":"ping"}')).toMatchObject({
      kind: 'request',
      method: 'ping',
      id: { raw: '1' },
    });
    expect(read('{"jsonrpc":"2.0","method":"notifications/initialized"}').kind).toBe(
      'notification',
    );
    expect(read('{"jsonrpc":"2.0","id":"a","result":{}}')).toMatchObject({
      kind: 'response',
      isError: false,
    });
    expect(read('{"jsonrpc":"2.0","id":"a","error":{}}')).toMatchObject({
      kind: 'response',
      isError: true,
    });
    expect(read('{"jsonrpc":"2.0","id":null,"error":{}}')).not.toHaveProperty('id');
  });

  it.each<[string, string, string]>([
    ['response', '{"jsonrpc":"2.0","id":1,"result":{},"error":null}', '"result":{}'],
    ['response', '{"jsonrpc":"2.0","id":1,"error":null,"result":[1]}', '"result":[1]'],
    ['response', '{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1}}', '"error":{"code":1}'],
    ['response', '{"jsonrpc":"2.0","id":1,"method":null,"result":{}}', '"result":{}'],
    ['response', '{"jsonrpc":"2.0","id":1,"result":null,"error":null}', '"result":null'],
    ['response', '{"jsonrpc":"2.0","id":1,"result":null}', '"result":null'],
    ['request', '{"jsonrpc":"2.0","id":1,"method":"x","result":null}', '"method":"x"'],
    ['request', '{"jsonrpc":"2.0","id":1,"result":null,"method":"x","error":null}', '"method":"x"'],
  ])('reads a %s without the null in the place of the other: %s', (kind, text, left) => {
    const message = read(text) as Message;
    expect(message.kind).toBe(kind);
    expect(message.bytes.toString()).toBe(`{"jsonrpc":"2.0","id":1,${left}}`);
    if (message.kind === 'response') expect(message.isError).toBe(left.startsWith('"error"'));
  });

  it('keeps the bytes as they came: order, big numbers, escapes, unknown members', () => {
    const text =
      '{"z":1e400,"jsonrpc":"2.0","params":{"n":123456789012345678901234567890,"e":"\\u00e9é😀","d":1.0},"method":"x","id":1}';
    expect((read(text) as Message).bytes.toString()).toBe(text);
  });

  it('keeps the digits of an id beyond 2^53, and equals 1.0 with 1 but not with "1"', () => {
    const id = (token: string) =>
      (read(`{"jsonrpc":"2.0","id":${token},"method":"x"}`) as Request).id;
    expect(id('12345678901234567890').raw).toBe('12345678901234567890');
    expect(id('1.0').key).toBe(id('1').key);
    expect(id('"1"').key).not.toBe(id('1').key);
    expect(id('"\\u00e9"').key).toBe(id('"é"').key);
  });

  const keyOf = (token: string) =>
    (read(`{"jsonrpc":"2.0","id":${token},"method":"x"}`) as Request).id.key;

  it.each([
    ['1', '1.0', '1e0', '10E-1', '0.1e+1'],
    ['0', '-0', '0.0', '0e5'],
    ['-120', '-1.2e2', '-12.0e1'],
    ['10000000000000000', '1e16', '1.0e16', '10000000000000000.0'],
    ['0.5', '5e-1', '0.50'],
    [`1${'0'.repeat(40)}`, '1e40'],
  ])('takes %s and %s as the same id', (...tokens) => {
    expect(new Set(tokens.map(keyOf)).size).toBe(1);
  });

  it.each([
    ['10000000000000001', '10000000000000002'],
    ['9007199254740992', '9007199254740993'],
    ['-9007199254740993', '-9007199254740994'],
    ['9007199254740993.0', '9007199254740992.0'],
    ['1e400', '1e401'],
    ['0.1', '0.1000000000000000055511151231257827'],
  ])('takes %s and %s as different ids', (one, other) => {
    expect(keyOf(one)).not.toBe(keyOf(other));
  });

  it('does not take two different numbers for the same id, and writes none as another', () => {
    const digits = fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n });
    fc.assert(
      fc.property(digits, digits, (one, other) => {
        expect(keyOf(`${one}`) === keyOf(`${other}`)).toBe(one === other);
        expect(keyOf(`${one}.0`)).toBe(keyOf(`${one}`));
        expect(keyOf(`${one}0e-1`)).toBe(keyOf(`${one}`));
      }),
    );
  });

  it('puts a message that spans lines on one line', () => {
    const message = read('{\r\n  "jsonrpc": "2.0",\n  "method": "x"\n}\n') as Message;
    expect(message.bytes.toString()).toBe('{    "jsonrpc": "2.0",   "method": "x" }');
  });

  it.each([
    ['{"jsonrpc":"2.0","id":5,"method":', 'not valid JSON'],
    ['{"jsonrpc":"2.0","id":5,"method":"a\nb"}', 'not valid JSON'],
    ['{"jsonrpc":"2.0","id":5,"method":"x"} {}', 'not valid JSON'],
    ['{"id":5,"method":"x"}', '"jsonrpc" is not "2.0"'],
    ['{"jsonrpc":"1.0","id":5,"method":"x"}', '"jsonrpc" is not "2.0"'],
    ['{"jsonrpc":"2.0","id":5,"method":7}', '"method" is not a string'],
    ['{"jsonrpc":"2.0","id":5}', 'neither "method" nor exactly one'],
    ['{"jsonrpc":"2.0","id":5,"result":1,"error":{}}', 'neither "method" nor exactly one'],
    ['{"jsonrpc":"2.0","id":5,"error":"no"}', '"error" is not an object'],
    ['{"jsonrpc":"2.0","id":5,"method":"x","result":1}', 'both "method" and'],
  ])('says why %s is no message and saves its id', (text, why) => {
    const unusable = read(text);
    expect(unusable).toMatchObject({ kind: 'unusable', id: { raw: '5' } });
    expect((unusable as Unusable).why).toContain(why);
  });

  it.each([
    '',
    'hello',
    '5',
    'null',
    '"x"',
    '{"jsonrpc":"2.0","id":null,"method":"x"}',
    '{"jsonrpc":"2.0","id":{},"method":"x"}',
    '{"jsonrpc":"2.0","id":[1],"result":1}',
  ])('finds no usable id in %j', (text) => {
    expect(read(text)).toMatchObject({ kind: 'unusable' });
    expect(read(text)).not.toHaveProperty('id');
  });

  it.each([
    ['hello', -32700],
    ['{"jsonrpc":"2.0","id":5,"method":', -32700],
    ['{"jsonrpc":"2.0","id":5,"method":"x"} {}', -32700],
    ['', -32700],
    ['[{"jsonrpc":"2.0","id":5', -32700],
    ['5', -32600],
    ['null', -32600],
    ['{}', -32600],
    ['{"jsonrpc":"2.0","id":5,"method":7}', -32600],
    ['[]', -32600],
    ['[5]', -32600],
  ])('%s is to be answered with %i (JSON-RPC 2.0 §5.1)', (text, code) => {
    expect(read(text)).toMatchObject({ kind: 'unusable', code });
  });

  it.each([
    '{"jsonrpc":"2.0","id":5,"result":1,"error":{}}',
    '{"jsonrpc":"2.0","id":5,"error":7}',
    '{"id":5,"result":1}',
    '{"jsonrpc":"2.0","id":5,"result":1,"method":"x"}',
    '{"jsonrpc":"2.0","id":5,"result":1,',
    '{"jsonrpc":"2.0","id":5,"result":{"half":',
    '{"result":{"half":',
    '{"jsonrpc":"2.0","id":5, "error" : {"code"',
    '{"jsonrpc":"2.0","id":5,"error":null}',
    '{"jsonrpc":"2.0","id":5,"method":null,"error":null}',
    '{"jsonrpc":"2.0","id":5,"method":7,"result":null}',
  ])('%s is never to be answered: it is a response', (text) => {
    expect(read(text)).toMatchObject({ kind: 'unusable', code: undefined });
  });

  it('refuses ids and methods of more than 1 KiB, with the id as it came', () => {
    const id = `"${'i'.repeat(2_000)}"`;
    const unusable = read(`{"jsonrpc":"2.0","id":${id},"method":"x"}`) as Unusable;
    expect(unusable.why).toContain('"id" is longer');
    const { id: saved, code = 0 } = unusable;
    const answer = saved && errorResponse(saved, { code, message: 'no' }).toString();
    expect(answer).toBe(`{"jsonrpc":"2.0","id":${id},"error":{"code":-32600,"message":"no"}}`);
    expect(read(`{"jsonrpc":"2.0","id":5,"method":"${'m'.repeat(2_000)}"}`)).toMatchObject({
      why: expect.stringContaining('"method" is longer'),
      id: { raw: '5' },
    });
  });

  it('reads a batch of any length in parts', () => {
    const message = (id: number) => `{"jsonrpc":"2.0","id":${id},"method":"x"}`;
    const all = Array.from({ length: 2 * MOST_MESSAGES + 1 }, (_, id) => message(id));
    const read: (Message | Unusable)[] = [];
    let part: ReturnType<typeof readMessages> | undefined = readMessages(Buffer.from(`[${all}]`));
    for (; part !== undefined; part = part.rest?.()) {
      expect(part.messages.length).toBeLessThanOrEqual(MOST_MESSAGES);
      expect(part.isBatch).toBe(true);
      read.push(...part.messages);
    }
    expect(read.map((own) => (own as Message).bytes.toString())).toEqual(all);
  });

  it('reads a batch message by message, unusable ones among them', () => {
    const { messages, isBatch } = readMessages(
      Buffer.from(
        '[ {"jsonrpc":"2.0","id":1,"method":"a"} , 7, {"id":2}, {"jsonrpc":"2.0","method":"b"} ]',
      ),
    );
    expect(isBatch).toBe(true);
    expect(messages.map(({ kind }) => kind)).toEqual([
      'request',
      'unusable',
      'unusable',
      'notification',
    ]);
    expect((messages[0] as Message).bytes.toString()).toBe('{"jsonrpc":"2.0","id":1,"method":"a"}');
  });

  it('replaces what is not UTF-8, drops a byte order mark', () => {
    const bad = Buffer.concat([
      Buffer.from('\ufeff{"jsonrpc":"2.0","method":"'),
      Buffer.from([0xff]),
      Buffer.from('"}'),
    ]);
    expect((read(bad) as Message).bytes.toString()).toBe('{"jsonrpc":"2.0","method":"\ufffd"}');
  });

  it('replaces what is not UTF-8 in a long text too, unless that is much of it', () => {
    const text = (bad: Buffer) =>
      Buffer.concat([
        Buffer.from('{"jsonrpc":"2.0","method":"x","params":["'),
        bad,
        Buffer.from('"]}'),
      ]);
    const few = Buffer.alloc(2_000_000, 'é');
    for (const at of [0, 65_535, 65_536, 1_000_001, 1_999_999]) few[at] = 0xff;
    const expected = text(few).toString('utf8');
    expect((read(text(few)) as Message).bytes.toString('utf8')).toBe(expected);
    expect(read(text(Buffer.alloc(2_000_000, 0xff)))).toMatchObject({ why: 'not valid UTF-8' });
  });

  it('reads a million open brackets without a crash', () => {
    expect(read(`{"jsonrpc":"2.0","id":1,"params":${'['.repeat(1_000_000)}`)).toMatchObject({
      kind: 'unusable',
      id: { raw: '1' },
    });
  });

  it('takes as JSON exactly what JSON.parse takes', () => {
    const json = fc.json();
    const broken = fc
      .tuple(json, fc.nat(), fc.nat({ max: 3 }), fc.string({ maxLength: 3, unit: 'binary' }))
      .map(([text, at, drop, put]) => {
        const start = at % (text.length + 1);
        return text.slice(0, start) + put + text.slice(start + drop);
      });
    fc.assert(
      fc.property(fc.oneof(json, broken), (value) => {
        const text = `{"jsonrpc":"2.0","method":"x","params":${value}}`;
        // A value with a brace or comma of its own may end the envelope or add members to it.
        const [message] = readMessages(Buffer.from(text)).messages;
        // A lone surrogate has no UTF-8: it arrives replaced.
        const wellFormed = Buffer.from(text).toString();
        let parsed: unknown;
        try {
          parsed = JSON.parse(wellFormed);
        } catch {
          expect(message).toMatchObject({ kind: 'unusable', why: 'not valid JSON' });
          return;
        }
        expect((message as Unusable).why).not.toBe('not valid JSON');
        if (message?.kind !== 'unusable') {
          expect(JSON.parse((message as Message).bytes.toString())).toEqual(parsed);
        }
      }),
      { numRuns: rounds(3000) },
    );
  });

  it('does so in long strings too, wherever in them something is', () => {
    const special = fc.constantFrom(
      '"',
      '\\',
      '\\n',
      '\\u00e9',
      '\u0000',
      '\n',
      '\u001f',
      ' ',
      'é',
      '😀',
    );
    const at = fc.nat({ max: 120 });
    fc.assert(
      fc.property(fc.array(fc.tuple(at, special)), at, fc.nat({ max: 7 }), (parts, end, shift) => {
        const string =
          parts.map(([plain, put]) => 'a'.repeat(plain) + put).join('') + 'a'.repeat(end);
        const text = `{"jsonrpc":"2.0","method":"x","params":["${string}"]}`;
        // At every alignment in memory.
        const bytes = Buffer.from(' '.repeat(shift) + text).subarray(shift);
        const [message] = readMessages(bytes).messages;
        expect(message?.kind === 'notification').toBe(isJson(text));
      }),
      { numRuns: rounds(2000) },
    );
  });

  it('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(readMessages(Buffer.from(bytes)).messages.length).toBeGreaterThan(0);
      }),
      { numRuns: rounds(3000) },
    );
  });
});

describe('responseBytesFor', () => {
  it("writes the id as the request did when the gateway's JSON rounded it", () => {
    const response = read('{"result":{"id":3},"id":12345678901234567000,"jsonrpc":"2.0"}');
    const bytes = responseBytesFor({ raw: '12345678901234567890', key: '' }, response as Response);
    expect(bytes.toString()).toBe('{"result":{"id":3},"id":12345678901234567890,"jsonrpc":"2.0"}');
  });
});

describe('asReplyTo', () => {
  const reply = (id: string) => read(`{"jsonrpc":"2.0","id":${id},"result":1}`) as Response;
  const request = (id: string) => (read(`{"jsonrpc":"2.0","id":${id},"method":"x"}`) as Request).id;

  it('knows the reply to a number that the gateway rounded, and gives it the id of the request', () => {
    const { id, bytes } =
      asReplyTo(request('12345678901234567890'), reply('12345678901234567000')) ?? {};
    expect(id).toEqual(request('12345678901234567890'));
    expect(bytes?.toString()).toBe('{"jsonrpc":"2.0","id":12345678901234567890,"result":1}');
  });

  it.each([
    ['1', '2'],
    ['1', '"1"'],
    ['1e400', '1e401'],
    ['9007199254740993', '9007199254740994'],
  ])('does not take the reply to %s for that to %s', (asked, answered) => {
    expect(asReplyTo(request(asked), reply(answered))).toBeUndefined();
  });
});

describe('errorResponse', () => {
  it('answers with the id as it was written', () => {
    const bytes = errorResponse({ raw: '"\\u00e9"' }, { code: -1, message: 'no' });
    expect(bytes.toString()).toBe(
      '{"jsonrpc":"2.0","id":"\\u00e9","error":{"code":-1,"message":"no"}}',
    );
  });
});
