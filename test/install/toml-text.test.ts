import { expect, it } from 'vitest';
import { configText } from '../../src/install/config-format.ts';
import { ConfigSyntaxError, UneditableError } from '../../src/install/config-text.ts';

const toml = configText('toml');
const path = ['mcp_servers', 'kindo'];
const entry = { command: 'npx', args: ['-y', 'C:\\a "b"\u007f'], env: { 'A.B': 'ü' } };

const others = `# Codex
model = "o3"   # the model
notify = ["a", 1]

[mcp_servers.other]   # not mine
command = 'x'
args = [
  "1", # one
]

[mcp_servers.other.env]
TOKEN = """secret
[mcp_servers.kindo]
"""

[[list]]
at = 1979-05-27T07:32:00Z
# the end
`;

const block = `[mcp_servers.kindo]
command = "npx"
args = ["-y", "C:\\\\a \\"b\\"\\u007F"]

[mcp_servers.kindo.env]
"A.B" = "ü"
`;

it('adds the entry at the end, and removes it again with no byte changed', () => {
  const after = toml.set(others, path, entry);
  expect(after).toBe(`${others}\n${block}`);
  expect(toml.remove(after, path)).toBe(others);
});

it('begins an empty file', () => {
  expect(toml.set('', path, entry)).toBe(block);
});

it('writes the line ends of the file, and ends its last line', () => {
  const before = others.trimEnd().replaceAll('\n', '\r\n');
  const after = toml.set(before, path, entry);
  expect(after).toBe(`${before}\r\n\r\n${block.replaceAll('\n', '\r\n')}`);
});

it('quotes a name that is not a bare key', () => {
  const after = toml.set('', ['mcp_servers', 'mein Gerät'], { command: 'x' });
  expect(after).toBe('[mcp_servers."mein Gerät"]\ncommand = "x"\n');
  expect(toml.read(after)).toEqual({ mcp_servers: { 'mein Gerät': { command: 'x' } } });
});

it('changes one value and nothing around it', () => {
  const before = `[mcp_servers.kindo] # mine\ncommand = 'old' # why\nargs = [\n  "a", # b\n]\n\n${others}`;
  expect(toml.set(before, [...path, 'command'], 'new')).toBe(before.replace("'old'", '"new"'));
  expect(toml.set(before, [...path, 'args'], ['x'])).toBe(
    before.replace('[\n  "a", # b\n]', '["x"]'),
  );
});

it('adds a value behind the last one of its table', () => {
  const before = '[mcp_servers.kindo]\n  command = "x" # why\n\n[z]\n';
  expect(toml.set(before, [...path, 'args'], ['y'])).toBe(
    '[mcp_servers.kindo]\n  command = "x" # why\n  args = ["y"]\n\n[z]\n',
  );
});

it('replaces a whole entry that is written in several tables', () => {
  const before = `[mcp_servers.kindo.env]\nA = "b"\n\n[z]\n\n[mcp_servers.kindo]\nurl = "u"\n`;
  expect(toml.set(before, path, { command: 'x' })).toBe(
    '\n[z]\n\n[mcp_servers.kindo]\ncommand = "x"\n',
  );
});

it.each([
  ['mcp_servers = { kindo = { command = "x" }, b = {} }\n', 'mcp_servers = { b = {} }\n'],
  ['mcp_servers = { b = {}, kindo = { command = "x" } }\n', 'mcp_servers = { b = {} }\n'],
  [
    '[mcp_servers]\nkindo.command = "x" # mine\nkindo.args = []\nb = {}\n',
    '[mcp_servers]\nb = {}\n',
  ],
  ['[mcp_servers.kindo]\ncommand = "x"\n', ''],
  ['mcp_servers.kindo.command = "x"\n[z]\n', '[z]\n'],
])('takes out an entry written as %j', (before, after) => {
  expect(toml.remove(before, path)).toBe(after);
});

it('refuses where TOML allows no further tables', () => {
  expect(() => toml.set('mcp_servers = { b = {} }\n', path, entry)).toThrow(UneditableError);
});

it('gives line and column of what is not TOML', () => {
  let caught: unknown;
  try {
    toml.set('a = 1\nb = \n', path, entry);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(ConfigSyntaxError);
  expect(caught).toMatchObject({ line: 3, column: 1 });
});
