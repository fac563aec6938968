import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  entriesOf,
  itemsOf,
  memberAt,
  memberOf,
  stringOf,
  valueIn,
  withMembers,
} from '../../src/protocol/json-members.ts';

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

it('finds nothing in what is no object, and no text in what is no string', () => {
  expect(memberOf(bytes('[{"a":1}]'), 'a')).toBeUndefined();
  expect(memberOf(bytes('"a"'), 'a')).toBeUndefined();
  expect(memberOf(undefined, 'a')).toBeUndefined();
  expect(itemsOf(bytes('{"a":1}'))).toBeUndefined();
  expect(stringOf(bytes('{"a":1}'), 'a')).toBeUndefined();
  expect(withMembers(bytes('[1]'), { a: '1' }).toString()).toBe('{"a":1}');
  expect(withMembers(undefined, { a: undefined }).toString()).toBe('{}');
});
