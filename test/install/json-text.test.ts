import fc from 'fast-check';
import { parse } from 'jsonc-parser';
import { describe, expect, it } from 'vitest';
import { configText } from '../../src/install/config-format.ts';
import { ConfigSyntaxError, UneditableError } from '../../src/install/config-text.ts';
import { beyondJson, strictJson } from '../../src/install/json-text.ts';

const json = configText('json');
const path = ['mcpServers', 'kindo'];
const entry = { command: 'npx', args: ['-y', 'it'] };

const written = (indent: string, unit: string) =>
  JSON.stringify(entry, null, unit).replaceAll('\n', `\n${indent}`);

it('adds the entry behind the last one, and moves no comment', () => {
  const before = `{
  // servers of mine
  "mcpServers": {
    "a": { "command": "x" }, // the first
    /* and */ "b": {"command":"y"} // the last
    // nothing follows
  },
  "theme" : "dark"
}
`;
  const after = json.set(before, path, entry);
  expect(after).toBe(`{
  // servers of mine
  "mcpServers": {
    "a": { "command": "x" }, // the first
    /* and */ "b": {"command":"y"}, // the last
    // nothing follows
    "kindo": ${written('    ', '  ')}
  },
  "theme" : "dark"
}
`);
  expect(json.remove(after, path)).toBe(before);
});

it('keeps a trailing comma where the file has one', () => {
  const before = '{\n\t"mcpServers": {\n\t\t"a": {},\n\t},\n}\n';
  const after = json.set(before, path, entry);
  expect(after).toBe(
    `{\n\t"mcpServers": {\n\t\t"a": {},\n\t\t"kindo": ${written('\t\t', '\t')},\n\t},\n}\n`,
  );
  expect(json.remove(after, path)).toBe(before);
});

it('writes the line ends and the indentation of the file', () => {
  const before = '{\r\n    "mcpServers": {\r\n        "a": {}\r\n    }\r\n}\r\n';
  const after = json.set(before, path, entry);
  expect(after.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
  expect(after).toContain('\r\n        "kindo": {\r\n            "command": "npx",\r\n');
});

it.each([
  ['an empty file', '', '{\n  "mcpServers": {\n'],
  ['a file of white space', ' \n', '{\n  "mcpServers": {\n'],
  ['an empty object', '{}', '{\n  "mcpServers": {\n'],
  ['an object over two lines', '{\n}\n', '{\n  "mcpServers": {\n'],
  ['null for the servers', '{\n  "mcpServers": null\n}', '{\n  "mcpServers": {\n'],
  ['a comment', '// nothing yet\n', '// nothing yet\n{\n  "mcpServers": {\n'],
])('begins with %s', (_, before, start) => {
  const after = json.set(before, path, entry);
  expect(after.startsWith(start), after).toBe(true);
  expect(parse(after)).toEqual({ mcpServers: { kindo: entry } });
});

it('keeps a file of one line on one line', () => {
  const before = '{"a":{"k":"v"},"mcpServers":{"b":{}}}';
  const after = json.set(before, path, entry);
  expect(after).toBe(
    '{"a":{"k":"v"},"mcpServers":{"b":{}, "kindo": {"command":"npx","args":["-y","it"]}}}',
  );
  expect(json.remove(after, path)).toBe(before);
});

it('replaces a value and nothing around it', () => {
  const before = '{\n "mcpServers": {"kindo": {"command": "old" /* why */ , "env": {"A":"b"} }}\n}';
  expect(json.set(before, [...path, 'command'], 'new')).toBe(before.replace('"old"', '"new"'));
});

it('changes the last of several members with one name, which is the one that counts', () => {
  const before = '{"mcpServers": {"kindo": {"command": "1"}, "kindo": {"command": "2"}}}';
  expect(json.set(before, [...path, 'command'], '3')).toBe(before.replace('"2"', '"3"'));
});

it.each([
  ['[]', 'the file is not an object'],
  ['{"mcpServers": []}', 'mcpServers is not an object'],
  ['{"mcpServers": "x"}', 'mcpServers is not an object'],
])('refuses to put an entry into %s', (text, message) => {
  expect(() => json.set(text, path, entry)).toThrow(new UneditableError(message));
});

describe('a text that is not JSON', () => {
  it.each([
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3, 'a comma is missing before this'],
    ['{\r\n  "a": "x\r\n}', 2, 8, 'this string has no closing quote'],
    ['{"mcpServers": {', 1, 17, 'a closing brace } is missing'],
    ["{'a': 1}", 1, 2, 'invalid JSON'],
    ['{} {}', 1, 4, 'unexpected text after the end'],
    ['<<<<<<< HEAD\n{}', 1, 1, 'invalid JSON'],
  ])('is refused with line and column: %j', (text, line, column, message) => {
    let caught: unknown;
    try {
      json.set(text, path, entry);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(ConfigSyntaxError);
    expect(caught).toMatchObject({ line, column, message });
  });
});

it('finds what a strict reader of JSON stumbles over', () => {
  expect(beyondJson('{\n  "a": [1, ], /* x */\n}')).toMatchObject([
    { what: 'a trailing comma', line: 2, column: 10 },
    { what: 'a trailing comma', line: 2, column: 13 },
    { what: 'a comment', line: 2, column: 15 },
  ]);
  expect(beyondJson('{\n  // x\n}')).toMatchObject([{ what: 'a comment', line: 2, column: 3 }]);
  expect(beyondJson('{\n  // x\n}', { allowsComments: true })).toEqual([]);
  expect(beyondJson('{\n  "a": "// x,}"\n}')).toEqual([]);
  expect(beyondJson('')).toEqual([]);
});

/** JSON as people write it: any white space, comments, trailing commas, on one line or many. */
function asPeopleWrite(value: fc.JsonValue, space: () => string, comma: () => string): string {
  if (Array.isArray(value)) {
    const items = value.map((item) => `${space()}${asPeopleWrite(item, space, comma)}${space()}`);
    return `[${items.join(',')}${items.length > 0 ? comma() : space()}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([key, item]) =>
      `${space()}${JSON.stringify(key)}${space()}:${space()}${asPeopleWrite(item as fc.JsonValue, space, comma)}${space()}`,
  );
  return `{${members.join(',')}${members.length > 0 ? comma() : space()}}`;
}

const anyText = fc
  .tuple(
    fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })),
    fc.dictionary(
      fc.string().filter((key) => key !== 'kindo'),
      fc.jsonValue({ maxDepth: 2 }),
      { minKeys: 1 },
    ),
    fc.infiniteStream(
      fc.constantFrom('', ' ', '\n', '\r\n', '\n  ', '\t', ' // a, "b" }\n', '/* , } */'),
    ),
    fc.infiniteStream(fc.constantFrom('', '', ',', ', ', ' /* , */,\n ')),
  )
  .map(([others, mcpServers, spaces, commas]) => {
    const next = (stream: fc.Stream<string>) => () => stream.next().value as string;
    return asPeopleWrite({ ...others, mcpServers } as fc.JsonValue, next(spaces), next(commas));
  });

it('takes what it added to any JSON out again, and leaves no mark but white space', () => {
  const squeezed = (text: string) => text.replace(/\s+/g, '');
  fc.assert(
    fc.property(anyText, (before) => {
      const after = json.set(before, path, entry);
      expect(squeezed(json.remove(after, path))).toBe(squeezed(before));
    }),
    { numRuns: 500 },
  );
});

it('keeps members named __proto__, which no object literal would', () => {
  const before = '{"mcpServers": {"a": {"__proto__": [1]}}, "__proto__": {"b": 2}}';
  const after = json.set(before, path, entry);
  expect(JSON.parse(after)).toEqual(
    JSON.parse(before.replace('[1]}', `[1]},"kindo":${JSON.stringify(entry)}`)),
  );
  expect(json.remove(after, path)).toBe(before);
});

it('takes what it added to a tidy file out again with no byte changed', () => {
  const tidy = fc
    .tuple(
      fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { minKeys: 1 }),
      fc.constantFrom('  ', '\t', '    '),
      fc.constantFrom('\n', '\r\n'),
      fc.constantFrom('', ' // why'),
    )
    .filter(([servers]) => !Object.hasOwn(servers, 'kindo'))
    .map(([mcpServers, unit, eol, comment]) =>
      JSON.stringify({ first: 1, mcpServers, last: [] }, null, unit)
        .split('\n')
        .join(comment + eol),
    );
  fc.assert(
    fc.property(tidy, (before) => {
      expect(json.remove(json.set(before, path, entry), path)).toBe(before);
    }),
    { numRuns: 200 },
  );
});

it('keeps every byte of the text when it adds an entry: it only puts some in between', () => {
  fc.assert(
    fc.property(anyText, (before) => {
      const after = json.set(before, path, entry);
      expect(isSubsequence([...before], [...after]), after).toBe(true);
    }),
    { numRuns: 300 },
  );
});

it('makes JSON of what only a lenient reader can read, and changes nothing else', () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const strict = strictJson(text);
      expect(JSON.parse(strict)).toEqual(json.read(text));
      expect(beyondJson(strict)).toEqual([]);
      expect(isSubsequence([...strict], [...text]), strict).toBe(true);
    }),
    { numRuns: 300 },
  );
  const text = '{\r\n  // first\r\n  "a": 1, // why\r\n  "b": [2, /* x */ 3,],\r\n}\r\n';
  expect(strictJson(text)).toBe('{\r\n  "a": 1,\r\n  "b": [2,  3]\r\n}\r\n');
  expect(strictJson(text, { allowsComments: true })).toBe(
    '{\r\n  // first\r\n  "a": 1, // why\r\n  "b": [2, /* x */ 3]\r\n}\r\n',
  );
});

function isSubsequence(part: readonly string[], whole: readonly string[]): boolean {
  let matched = 0;
  for (const character of whole) if (character === part[matched]) matched += 1;
  return matched === part.length;
}
