import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkName,
  EntryError,
  nameForGateway,
  npxLaunch,
  proxyWords,
} from '../../src/install/entry.ts';
import { rounds } from '../property-rounds.ts';

const url = 'https://api.kindo.ai/v1/mcp';

describe('the entry by npx', () => {
  it.each(['2.3.4', '0.1.0', '1.0.0-beta.2'])('asks for exactly this version: %s', (version) => {
    expect(npxLaunch(version, [url], 'darwin')).toEqual({
      command: 'npx',
      args: ['-y', '--prefer-offline', `mcp-latchkey@${version}`, url],
    });
  });

  it('starts npx through cmd on Windows', () => {
    expect(npxLaunch('1.0.0', [url, '--timeout', '5'], 'win32')).toEqual({
      command: 'cmd',
      args: ['/c', 'npx', '-y', '--prefer-offline', 'mcp-latchkey@1.0.0', url, '--timeout', '5'],
    });
  });

  it('leaves words alone that clients put in quotes for their white space', () => {
    const words = [url, '--header', 'X-Team: a & b', '--key-file', 'C:\\Meine Schlüssel\\key.txt'];
    expect(npxLaunch('1.0.0', words, 'win32').args.slice(5)).toEqual(words);
  });

  it('gives a URL that cmd would cut in two the white space that brings it quotes', () => {
    const { args } = npxLaunch('1.0.0', [`${url}?a=1&b=2`], 'win32');
    expect(args[5]).toBe(`${url}?a=1&b=2 `);
    expect(new URL(args[5] as string).href).toBe(`${url}?a=1&b=2`);
  });

  it.each(['C:\\a&b.txt', 'say "hi"', '%PATH%', 'a\nb'])(
    'refuses %j on Windows, which no quotes protect',
    (word) => {
      expect(() => npxLaunch('1.0.0', [url, '--key-file', word], 'win32')).toThrow(EntryError);
      expect(npxLaunch('1.0.0', [url, '--key-file', word], 'linux').args.at(-1)).toBe(word);
    },
  );

  it('brings every word that it takes on Windows through both readings by cmd', () => {
    const word = fc.oneof(
      fc.string({ unit: fc.constantFrom(...'aü /\\:?=.,;&|<>^()%!"~-2F') }),
      fc.webUrl({ withQueryParameters: true }),
    );
    let taken = 0;
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 3 }), (words) => {
        let args: readonly string[];
        try {
          args = npxLaunch('1.0.0', words, 'win32').args;
        } catch (error) {
          expect(error).toBeInstanceOf(EntryError);
          return;
        }
        taken += 1;
        const line = args.slice(1).map(quotedByClient).join(' ');
        // `cmd /c LINE`, then `node npx-cli.js %*` in npx.cmd, then the C runtime of node.exe.
        const received = splitByRuntime(readByCmd(readByCmd(line)));
        const isUrl = (text: string) => /^https?:/.test(text);
        expect(received.slice(4).map((own) => (isUrl(own) ? own.trimEnd() : own))).toEqual(
          words.map((own) => (isUrl(own) ? own.trimEnd() : own)),
        );
      }),
      { numRuns: rounds(3000) },
    );
    expect(taken).toBeGreaterThan(rounds(500));
  });
});

describe('the words of the proxy', () => {
  it('are the URL, then the options as they were given', () => {
    expect(
      proxyWords(url, {
        header: ['X-Team: a', 'X-Other: b'],
        'allow-http': true,
        timeout: '5',
        integrations: '-x',
      }),
    ).toEqual([
      ...[url, '--header', 'X-Team: a', '--header', 'X-Other: b', '--allow-http'],
      ...['--timeout', '5', '--integrations=-x'],
    ]);
  });

  describe.each(['key-file', 'header-file', 'ca', 'cert', 'key-pem', 'log-file'])(
    '--%s',
    (option) => {
      it.each([
        ['./a.pem', join(process.cwd(), 'a.pem')],
        ['kéy file', join(process.cwd(), 'kéy file')],
        ['-a.pem', join(process.cwd(), '-a.pem')],
        ['/tmp/../a.pem', resolve('/a.pem')],
        ['~', homedir()],
        ['~/a.pem', join(homedir(), 'a.pem')],
        ['~a/b', join(process.cwd(), '~a', 'b')],
      ])('makes %s absolute, since a client starts in a folder of its own', (given, expected) => {
        expect(proxyWords(url, { [option]: given })).toEqual([url, `--${option}`, expected]);
      });
    },
  );

  it('leave what is not a path as it is', () => {
    const words = ['--key-command', 'cat ./key', '--key-env', '~', '--account', './a'];
    expect(proxyWords(url, { 'key-command': 'cat ./key', 'key-env': '~', account: './a' })).toEqual(
      [url, ...words],
    );
  });

  it.each([
    ['Authorization: Bearer ${KEY}', 'Authorization: Bearer @{KEY}'],
    ['x-api-key:${KEY}', 'x-api-key:@{KEY}'],
    ['X-Own: ${A} and ${B}', 'X-Own: @{A} and @{B}'],
    ['Authorization: Bearer @{KEY}', 'Authorization: Bearer @{KEY}'],
  ])('have no variable that a client would expand: %s', (given, written) => {
    expect(proxyWords(url, { header: [given] })).toEqual([url, '--header', written]);
  });

  it.each([
    'Authorization: Bearer abc',
    'authorization:abc',
    'X-API-Key: abc',
    'x-api-key: ${VAR}abc',
    'Proxy-Authorization: Basic abc',
    'X-Auth-Token: abc',
    'X-Goog-Api-Key: abc',
    'Cookie: session=abc',
    'Authorization: Bearer abc ${VAR}',
    'Authorization: Bearer @{VAR}abc',
    'X-Own: abc',
    'X-PAT: abc',
    'X-Credential: abc',
    "'Authorization: Bearer abc'",
    '"X-API-Key": abc',
  ])('never hold a key: %s', (header) => {
    const attempt = () => proxyWords(url, { header: [header], 'key-header': 'x-own' });
    expect(attempt).toThrow(EntryError);
    expect(attempt).not.toThrow(/abc/);
  });

  it.each(['X-Team: key', 'X-Keyboard: de', 'X-Format-Path: a'])('may hold %s', (header) => {
    expect(proxyWords(url, { header: [header] })).toEqual([url, '--header', header]);
  });

  it.each(['api_key', 'token', 'access_token', 'key', 'sig'])(
    'never hold a key in the URL: %s',
    (parameter) => {
      const attempt = () => proxyWords(`${url}?a=1&${parameter}=abcdef`, {});
      expect(attempt).toThrow(parameter);
      expect(attempt).not.toThrow(/abcdef/);
    },
  );
});

it.each([
  ['https://api.kindo.ai/v1/mcp', 'kindo'],
  ['https://mcp.linear.app/mcp', 'linear'],
  ['https://example.com/', 'example'],
  ['https://mcp.api/', 'mcp-api'],
  ['http://127.0.0.1:4717/v1/mcp', 'local-gateway'],
  ['http://[::1]:4717/', 'local-gateway'],
  ['http://localhost/', 'local-gateway'],
  ['http://gatehouse/', 'gatehouse'],
])('names the entry for %s %s', (gateway, name) => {
  expect(nameForGateway(new URL(gateway))).toBe(name);
});

it('takes names that can be seen', () => {
  for (const name of ['kindo', 'mein Gerät', '鍵', 'a.b']) checkName(name);
  for (const name of ['', ' a', 'a\n', '\u202ea', '__proto__', 'a'.repeat(65)]) {
    expect(() => checkName(name), name).toThrow(EntryError);
  }
});

/** What libuv, Rust, Go and Python do to a word of a command line on Windows. */
function quotedByClient(word: string): string {
  if (word !== '' && !/[ \t"]/.test(word)) return word;
  return `"${word.replace(/(\\*)"/g, '$1$1\\"').replace(/\\+$/, '$&$&')}"`;
}

/**
 * One reading by cmd.exe: carets go, operators end the command, `%NAME%` is replaced. No variable
 * has a name that begins with two hex digits, as what stands between percent escapes does.
 */
function readByCmd(text: string): string {
  const line = text.replace(/%(?![\da-f]{2})[^%]+%/gi, 'replaced by cmd');
  let quoted = false;
  let result = '';
  for (let at = 0; at < line.length; at += 1) {
    let character = line[at] as string;
    if (character === '"') quoted = !quoted;
    else if (!quoted && /[&|<>()]/.test(character)) return `${result} cut off by cmd`;
    else if (!quoted && character === '^') character = line[++at] ?? '';
    result += character;
  }
  return result;
}

/** How a Windows program splits its command line (the C runtime's rules). */
function splitByRuntime(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (const [token, slashes = '', quote] of line.matchAll(/(\\*)(")|\\|[^"\\]/g)) {
    if (quote) {
      word = (word ?? '') + slashes.slice(slashes.length - (slashes.length >> 1));
      if (slashes.length % 2 === 1) word += '"';
      else quoted = !quoted;
    } else if (!quoted && /[ \t]/.test(token)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + token;
    }
  }
  return word === undefined ? words : [...words, word];
}
