import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  entriesOf,
  itemsOf,
  mayContain,
  memberAt,
  memberOf,
  membersOf,
  plainMembersOf,
  stringOf,
  valueIn,
  withMembers,
} from '../../src/jsonrpc/json-members.ts';
import { rounds } from '../property-rounds.ts';

const bytes = (text: string) => Buffer.from(text);

/** JSON with white space wherever it may stand. */
function spaced(value: unknown, space: () => string): string {
  const inside = (parts: string[]) => parts.map((part) => space() + part + space()).join(',');
  if (Array.isArray(value)) return `[${inside(value.map((item) => spaced(item, space)))}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([name, item]) => `${JSON.stringify(name)}${space()}:${space()}${spaced(item, space)}`,
  );
  return `{${inside(members)}}`;
}

const anyObject = fc
  .tuple(
    fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })),
    fc.infiniteStream(fc.constantFrom('', '', ' ', '\n', '\t ')),
  )
  .map(([object, spaces]) => {
    const text = spaced(object, () => spaces.next().value as string);
    return { object: JSON.parse(text) as Record<string, unknown>, text };
  });

it('reads the members of any object as JSON.parse does', () => {
  fc.assert(
    fc.property(anyObject, ({ object, text }) => {
      const read = entriesOf(bytes(text)).map(([name, json]) => [name, valueIn(json)]);
      expect(Object.fromEntries(read)).toEqual(object);
      for (const name of Object.keys(object)) {
        expect(valueIn(memberOf(bytes(text), name))).toEqual(object[name]);
      }
    }),
  );
});

it('changes what it is told to in any object, and nothing else', () => {
  fc.assert(
    fc.property(
      anyObject,
      fc.dictionary(fc.string(), fc.option(fc.jsonValue(), { nil: undefined })),
      fc.array(fc.nat()),
      ({ object, text }, others, indices) => {
        const names = Object.keys(object);
        const own = indices.map((index) => [names[index % names.length] ?? '', undefined]);
        const changes = { ...others, ...Object.fromEntries(own) } as Record<string, unknown>;
        const texts = Object.entries(changes).map(([name, value]) => [
          name,
          value === undefined ? undefined : JSON.stringify(value),
        ]);
        const changed = withMembers(bytes(text), Object.fromEntries(texts));
        const expected = Object.entries({ ...object, ...changes }).filter(
          ([name]) => !(Object.hasOwn(changes, name) && changes[name] === undefined),
        );
        expect(JSON.parse(changed.toString())).toEqual(
          JSON.parse(JSON.stringify(Object.fromEntries(expected))),
        );
      },
    ),
  );
});

it('takes any array apart', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), (array) => {
      const items = itemsOf(bytes(JSON.stringify(array, null, 1)));
      expect(items?.map(valueIn)).toEqual(JSON.parse(JSON.stringify(array)));
    }),
  );
});

describe('what is not touched', () => {
  it('stays as it was written: numbers, escapes, order', () => {
    const text = '{"big":12345678901234567890, "one":1.0,"e":"\\u00e9" ,"x":1}';
    expect(withMembers(bytes(text), { x: '2', y: undefined }).toString()).toBe(
      '{"big":12345678901234567890,"one":1.0,"e":"\\u00e9","x":2}',
    );
  });
});

it('lets the last of repeated members count, and takes them all out', () => {
  const text = bytes('{"a":1,"\\u0061":2,"b":3}');
  expect(valueIn(memberOf(text, 'a'))).toBe(2);
  expect(withMembers(text, { a: undefined }).toString()).toBe('{"b":3}');
  expect(JSON.parse(withMembers(text, { a: '9' }).toString())).toEqual({ a: 9, b: 3 });
});

it('keeps apart what an object has from what it inherits', () => {
  const text = bytes('{"__proto__":{"a":1}}');
  expect(memberOf(text, 'toString')).toBeUndefined();
  expect(valueIn(memberAt(text, '__proto__', 'a'))).toBe(1);
  expect(withMembers(text, { constructor: '1' }).toString()).toBe(
    '{"__proto__":{"a":1},"constructor":1}',
  );
});

it('finds nothing in what is not an object, and no text in what is not a string', () => {
  expect(memberOf(bytes('[{"a":1}]'), 'a')).toBeUndefined();
  expect(memberOf(bytes('"a"'), 'a')).toBeUndefined();
  expect(memberOf(undefined, 'a')).toBeUndefined();
  expect(itemsOf(bytes('{"a":1}'))).toBeUndefined();
  expect(stringOf(bytes('{"a":1}'), 'a')).toBeUndefined();
  expect(withMembers(bytes('[1]'), { a: '1' }).toString()).toBe('{"a":1}');
  expect(withMembers(undefined, { a: undefined }).toString()).toBe('{}');
});

/** The same text with some of its characters escaped, in each way that JSON knows. */
const escapedIn = (text: string, ways: Iterator<number>): string =>
  `"${[...text]
    .map((character) => {
      const way = ways.next().value as number;
      const hex = [...character.split('')].map(
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );
      const plain = JSON.stringify(character).slice(1, -1);
      if (way === 0) return plain === '/' ? '\\/' : plain;
      return way === 1
        ? hex.join('')
        : way === 2
          ? hex.join('').toUpperCase().replaceAll('U', 'u')
          : plain;
    })
    .join('')}"`;

it('finds a member however its name is escaped, and no other', () => {
  const name = fc.oneof(
    fc.constantFrom(
      '',
      'a',
      'id',
      'io.modelcontextprotocol/protocolVersion',
      'é',
      '😀',
      '"',
      '\\',
      '\b\f\n\r\t',
    ),
    fc.string({ unit: 'grapheme', maxLength: 8 }),
  );
  const ways = fc.infiniteStream(fc.integer({ min: 0, max: 3 }));
  fc.assert(
    fc.property(fc.array(name, { minLength: 1 }), name, ways, (names, other, way) => {
      const members = names.map((own, index) => `${escapedIn(own, way)}:${index}`);
      const text = bytes(`{${members.join(',')}}`);
      for (const wanted of [...names, other]) {
        const index = names.lastIndexOf(wanted);
        expect(valueIn(memberOf(text, wanted))).toBe(index < 0 ? undefined : index);
      }
      const all = [...new Set([other, ...names])];
      const expected = all
        .map((own) => names.lastIndexOf(own))
        .map((at) => (at < 0 ? undefined : at));
      expect(membersOf(text, all).map(valueIn)).toEqual(expected);
    }),
    { numRuns: rounds(1000) },
  );
});

it('changes what is deep in an object as if it were changed level by level', () => {
  fc.assert(
    fc.property(anyObject, anyObject, ({ object, text }, inner) => {
      const outer = bytes(`{"a":1,"x":${text},"b" : 2,"x":${inner.text}}`);
      const changes = { new: '[1]', ...(Object.hasOwn(inner.object, 'y') ? { y: undefined } : {}) };
      expect(withMembers(outer, { x: changes, b: [bytes('1'), bytes('{}')] }).toString()).toBe(
        withMembers(outer, { x: withMembers(bytes(inner.text), changes), b: '[1,{}]' }).toString(),
      );
      expect(withMembers(bytes(text), {}).length).toBeLessThanOrEqual(text.length);
      expect(JSON.parse(withMembers(bytes(text), {}).toString())).toEqual(object);
    }),
  );
  expect(withMembers(undefined, { a: { b: { c: '1' } }, d: [] }).toString()).toBe(
    '{"a":{"b":{"c":1}},"d":[]}',
  );
});

describe('what is bounded', () => {
  it('a value of more than 64 KiB is not made one, nor is a string then', () => {
    const text = bytes(`{"a":"${'x'.repeat(65_534)}","b":"${'x'.repeat(65_535)}"}`);
    expect(stringOf(text, 'a')).toHaveLength(65_534);
    expect(stringOf(text, 'b')).toBeUndefined();
    expect(memberOf(text, 'b')).toHaveLength(65_537);
  });

  it('of an array or an object, the first so many are taken apart', () => {
    expect(itemsOf(bytes(`[${'0,'.repeat(20_000)}0]`))).toHaveLength(10_000);
    expect(itemsOf(bytes('[1,2,3]'), 2)?.map((item) => valueIn(item))).toEqual([1, 2]);
    expect(entriesOf(bytes('{"a":1,"b":2,"c":3}'), 2).map(([name]) => name)).toEqual(['a', 'b']);
  });

  it('depth is not: a million levels are skipped', () => {
    const deep = '[{"a":'.repeat(500_000) + '0' + '}]'.repeat(500_000);
    const text = bytes(`{"x":${deep},"y":1}`);
    expect(valueIn(memberOf(text, 'y'))).toBe(1);
    expect(withMembers(text, { x: { a: '1' } }).toString()).toBe('{"x":{"a":1},"y":1}');
  });
});

it.each([0, 1, 2, 3, 4, 31, 32, 33, 70])(
  'finds where a string ends that has escapes with %d characters between them',
  (gap) => {
    for (const ending of ['\\', '"', '\\"', '"\\', '\\\\"', '\n"', 'é"']) {
      const value = `${ending}${'a'.repeat(gap)}`.repeat(9);
      for (const text of [value, value + ending, `a${value}`]) {
        const object = bytes(JSON.stringify({ x: [text], y: text, z: 1 }));
        expect(membersOf(object, ['y', 'z']).map(valueIn)).toEqual([text, 1]);
      }
    }
  },
);

describe('plainMembersOf', () => {
  const names = ['method', 'params'];
  const read = (text: string) =>
    plainMembersOf(bytes(text), names)?.map((value) => value?.toString());

  it('reads members that every program reads alike', () => {
    expect(read('{"a":1,"params":{},"method":"x"}')).toEqual(['"x"', '{}']);
    expect(read('{"m\\u0065thod":"x"}')).toEqual(['"x"', undefined]);
    expect(read('[]')).toEqual([undefined, undefined]);
  });

  it.each([
    '{"method":"x","method":"x"}',
    '{"method":"x","m\\u0065thod":"y"}',
    '{"method":"x","Method":"y"}',
    '{"M\\u0045THOD":"y"}',
    '{"method":"x","param\u017f":{}}',
    '{"method":"x","Param\\u017f":{}}',
  ])('does not read %s', (text) => {
    expect(read(text)).toBeUndefined();
  });
});

it('does not overlook a word that is escaped', () => {
  expect(mayContain(bytes('{"x-mcp-header":1}'), 'x-mcp-header')).toBe(true);
  expect(mayContain(bytes('{"x\\u002dmcp-header":1}'), 'x-mcp-header')).toBe(true);
  expect(mayContain(bytes('{"x":"\\n"}'), 'x-mcp-header')).toBe(false);
});

it('ends on text that is broken, whatever it is', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'{}[]",:\\u0a1- ') }), (text) => {
      memberOf(bytes(text), 'a');
      itemsOf(bytes(text));
      entriesOf(bytes(text));
    }),
    { numRuns: rounds(3000) },
  );
});
