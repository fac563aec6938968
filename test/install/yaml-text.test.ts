import { expect, it } from 'vitest';
import { configText } from '../../src/install/config-format.ts';
import { ConfigSyntaxError, UneditableError } from '../../src/install/config-text.ts';

const yaml = configText('yaml');
const path = ['extensions', 'kindo'];
const entry = { cmd: 'npx', args: ['-y', 'x: "y"'], envs: {}, timeout: 300 };

const block = (indent: string) =>
  ['kindo:', '  cmd: npx', '  args:', '    - -y', `    - 'x: "y"'`, '  envs: {}', '  timeout: 300']
    .map((line) => `${indent}${line}\n`)
    .join('');

const others = `# Goose
GOOSE_MODEL:   gpt  # the model
extensions:
    developer:   # built in
        enabled: true
        envs: {TOKEN: 'secret'}

    # note
    text: |
        kindo:
          cmd: no
`;

it('adds the entry after the last one, and removes it again with no byte changed', () => {
  for (const rest of ['', '# the end\n', 'z: 1\n']) {
    const after = yaml.set(others + rest, path, entry);
    expect(after).toBe(`${others}${block('    ')}${rest}`);
    expect(yaml.remove(after, path)).toBe(others + rest);
  }
});

it.each([
  ['', ''],
  ['a: 1', 'a: 1\n'],
  ['# only a comment\n', '# only a comment\n'],
])('makes the map in %j', (before, start) => {
  expect(yaml.set(before, path, entry)).toBe(`${start}extensions:\n${block('  ')}`);
});

it.each(['extensions:', 'extensions: {}', 'extensions: null'])('fills an empty map: %s', (line) => {
  expect(yaml.set(`a: 1\n${line}\nb: 2\n`, path, entry)).toBe(
    `a: 1\nextensions:\n${block('  ')}b: 2\n`,
  );
});

it('leaves an empty map behind the last entry', () => {
  expect(yaml.remove(`a: 1\nextensions:\n${block('  ')}b: 2\n`, path)).toBe(
    'a: 1\nextensions: {}\nb: 2\n',
  );
});

it('writes the line ends of the file', () => {
  const before = others.replaceAll('\n', '\r\n');
  expect(yaml.set(before, path, entry)).toBe(before + block('    ').replaceAll('\n', '\r\n'));
});

it('changes one value and nothing around it', () => {
  const before = `extensions:\n  kindo: # mine\n    cmd:   old # why\n    args:\n      - a # b\n    timeout: 3\n`;
  expect(yaml.set(before, [...path, 'cmd'], 'new')).toBe(before.replace('cmd:   old', 'cmd: new'));
  expect(yaml.set(before, [...path, 'args'], ['x'])).toBe(
    before.replace('      - a # b\n', '      - x\n'),
  );
});

it('refuses flow style, which it cannot change in place', () => {
  expect(() => yaml.set('extensions: {a: {}}\n', path, entry)).toThrow(UneditableError);
  expect(() => yaml.remove('extensions: {a: 1, kindo: {}}\n', path)).toThrow(UneditableError);
});

it('gives line and column of what is not YAML', () => {
  let caught: unknown;
  try {
    yaml.set('a: 1\n  b: 2\n', path, entry);
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(ConfigSyntaxError);
  expect(caught).toMatchObject({ line: 1 });
});
