import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, describe, expect, it } from 'vitest';
import {
  chosenOrigin,
  findKey,
  isPlaceholder,
  type KeySources,
  sendableKey,
} from '../../src/auth/key.ts';
import { createLog } from '../../src/log.ts';

const folder = mkdtempSync(`${tmpdir()}/latchkey-key-`);
afterAll(() => rmSync(folder, { recursive: true }));

const silent = createLog('error', () => {});
const onPosix = it.skipIf(process.platform === 'win32');

function sources(given: Partial<KeySources> = {}): KeySources {
  return {
    url: new URL('https://gateway.example/v1/mcp'),
    headers: new Map(),
    fileHeaders: new Set(),
    keyEnv: 'MCP_LATCHKEY_API_KEY',
    ...given,
  };
}

function keyFile(name: string, text: string, mode = 0o600): string {
  const path = `${folder}/${name}`;
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

describe('sendableKey', () => {
  it.each([
    [' abc\r\n', 'abc'],
    ['Bearer abc', 'abc'],
    ['bearer   abc\n', 'abc'],
    ['Bearerabc', 'Bearerabc'],
    ['a.b_c~d+e/f==', 'a.b_c~d+e/f=='],
    ['"abc"\n', 'abc'],
    ["'Bearer abc'", 'abc'],
    ['Bearer "abc"', 'abc'],
    ['`abc`', 'abc'],
    ['"abc', '"abc'],
    ['"a"b"', '"a"b"'],
    ['$2b$10$abc', '$2b$10$abc'],
    ['%2Babc', '%2Babc'],
    ['<abc', '<abc'],
  ])('reads %j as %j', (text, key) => expect(sendableKey(text)).toBe(key));

  it.each(['', ' ', 'Bearer ', 'a b', 'a\nb', 'ké', 'a\u0000', '“a”', '""', 'a\u200b'])(
    'refuses %j',
    (text) => expect(sendableKey(text)).toBeUndefined(),
  );

  it.each([
    ...['${NAME}', '${env:NAME}', '${input:x}', '%NAME%', '<your-key>', '<your key>'],
    ...['{{ api_key }}', '@{NAME}', '$NAME', '$env:NAME', '$(op read x)', '%env:NAME%'],
    ...['Bearer ${NAME}', '"${NAME}"', "Bearer '<key>'"],
  ])('refuses the placeholder %j', (text) => {
    expect(sendableKey(text)).toBeUndefined();
    expect(isPlaceholder(text)).toBe(true);
  });
});

it('knows that login needs --allow-http where the proxy was given it', async () => {
  const options = async (url: string) =>
    (await findKey(sources({ url: new URL(url) }), { MCP_LATCHKEY_API_KEY: 'k' }, silent)).origin
      .loginOptions;
  expect(await options('http://gateway.example/v1/mcp')).toBe(' --allow-http');
  expect(await options('http://localhost/v1/mcp')).toBeUndefined();
  expect(await options('https://gateway.example/v1/mcp')).toBeUndefined();
});

onPosix.each([
  [{ account: 'a$(id)' }, " --account 'a$(id)'"],
  [{ account: "Ada's" }, " --account 'Ada'\\''s'"],
  [{ account: '-x' }, ' --account=-x'],
  [{ keyHeader: 'x`id`' }, " --key-header 'x`id`'"],
])('names %j in the login command so that a shell leaves it as it is', async (given, expected) => {
  const { origin } = await findKey(sources(given), { MCP_LATCHKEY_API_KEY: 'k' }, silent);
  expect(origin.loginOptions).toBe(expected);
});

describe('the order of the sources', () => {
  const all = sources({
    headers: new Map([['authorization', 'Bearer header-key']]),
    keyCommand: 'echo command-key',
    keyFile: '/nowhere',
  });
  const env = { MCP_LATCHKEY_API_KEY: 'env-key' };

  it.each([
    ['header', all],
    ['header-file', { ...all, fileHeaders: new Set(['authorization']) }],
    ['key-command', { ...all, headers: new Map([['x-other', 'value']]) }],
    ['key-command', { ...all, keyHeader: 'x-key' }],
    ['header', { ...all, headers: new Map([['x-key', 'a']]), keyHeader: 'x-key' }],
    ['key-file', sources({ keyFile: '/nowhere' })],
    ['key-env', sources()],
    ['keychain', sources({ keyEnv: 'ANOTHER' })],
  ] as const)('is %s first', (source, given) => {
    expect(chosenOrigin(given, env).source).toBe(source);
  });

  it('passes over an environment variable that is set to nothing', () => {
    expect(chosenOrigin(sources(), { MCP_LATCHKEY_API_KEY: ' ' }).source).toBe('keychain');
  });

  it('does not go on to the next source when one has no key', async () => {
    const given = sources({ keyFile: `${folder}/missing` });
    expect(await findKey(given, env, silent)).toEqual({
      kind: 'unusable',
      reason: 'no_api_key',
      detail: `the file ${folder}/missing could not be read: ENOENT`,
      origin: { source: 'key-file', origin: `the file ${folder}/missing` },
    });
  });
});

it('tells the last four characters of keys of 16 and more', async () => {
  for (const [key, tail] of [
    ['123456789012345', undefined],
    ['1234567890123456', '3456'],
  ]) {
    const finding = await findKey(sources(), { MCP_LATCHKEY_API_KEY: key }, silent);
    expect(finding.origin.tail).toBe(tail);
  }
});

it('calls what cannot be sent malformed, wherever it comes from', async () => {
  const given = [
    sources({ headers: new Map([['authorization', 'Bearer a b']]) }),
    sources({ headers: new Map([['x-api-key', 'a b']]) }),
    sources({ keyCommand: 'echo a b' }),
    sources({ keyFile: keyFile('malformed', 'a b') }),
    sources(),
  ];
  for (const own of given) {
    expect(await findKey(own, { MCP_LATCHKEY_API_KEY: 'a b' }, silent)).toMatchObject({
      kind: 'unusable',
      reason: 'malformed_api_key',
    });
  }
});

describe('a key file', () => {
  const find = (path: string) => findKey(sources({ keyFile: path }), {}, silent);

  it('gives its key, without a byte order mark and white space', async () => {
    const path = keyFile('key', '\ufeffBearer abc\r\n');
    expect(await find(path)).toMatchObject({ kind: 'found', key: 'abc' });
  });

  onPosix.each(['640', '604', '620', '777'])('is refused with the mode %s', async (mode) => {
    const path = keyFile("it's open", 'abc', Number.parseInt(mode, 8));
    const command = `chmod 600 '${folder}/it'\\''s open'`;
    expect(await find(path)).toMatchObject({
      kind: 'unusable',
      reason: 'no_api_key',
      detail: `other users can open the file ${path}. Run \`${command}\``,
    });
    execFileSync('/bin/sh', ['-c', command]);
    expect(await find(path)).toMatchObject({ kind: 'found', key: 'abc' });
  });

  it.each([
    ['a folder', () => folder, /is not a file$/],
    ['too large a file', () => keyFile('large', 'a'.repeat(100_000)), /too large/],
    ['an empty file', () => keyFile('empty', '\n'), /is empty$/],
  ])('is refused when it is %s', async (_, path, why) => {
    expect(await find(path())).toMatchObject({
      kind: 'unusable',
      detail: expect.stringMatching(why),
    });
  });

  onPosix('is refused when it is a device', async () => {
    const detail = expect.stringMatching(/is not a file$/);
    expect(await find('/dev/zero')).toMatchObject({ kind: 'unusable', detail });
  });

  onPosix(
    'may be a pipe, also one that others can read, but not one that they can write',
    async () => {
      const path = `${folder}/pipe`;
      execFileSync('mkfifo', ['-m', '666', path]);
      expect(await find(path)).toMatchObject({
        kind: 'unusable',
        detail: `other users can open the file ${path}. Run \`chmod 600 ${path}\``,
      });
      chmodSync(path, 0o644);
      const found = find(path);
      spawn('/bin/sh', ['-c', `echo piped-key >'${path}'`]);
      expect(await found).toMatchObject({ kind: 'found', key: 'piped-key' });
    },
  );
});
