import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { notPlainEnglish } from '../plain-english.ts';
import { allCommands } from '../reference-page.ts';
import { program, runToEnd } from './running-proxy.ts';
import { startOnTerminal } from './terminal.ts';

const commands = await allCommands();

/** Without the path of this clone, which may be long. */
const shown = (text: string) => text.replaceAll(`node ${program}`, 'mcp-latchkey');

describe('the help', () => {
  it('fits on one screen, and has every command once', async () => {
    for (const words of [['help'], ['--help'], ['-h']]) {
      const { code, stdout, stderr } = await runToEnd(words);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const lines = shown(stdout).trimEnd().split('\n');
      expect(lines.length).toBeLessThanOrEqual(24);
      for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
      for (const { name } of commands) {
        expect(stdout.match(new RegExp(`^ {2}${name} `, 'gm')), name).toHaveLength(1);
      }
    }
  });

  it.each(commands)('of $name is complete, and fits into 80 columns', async ({ name, options }) => {
    const { code, stdout, stderr } = await runToEnd([name, '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect((await runToEnd(['help', name])).stdout).toBe(stdout);
    for (const [option, { hidden }] of Object.entries(options)) {
      if (hidden === true) continue;
      expect(stdout).toMatch(new RegExp(`--(?:\\[no-\\])?${option}\\b`));
    }
    for (const line of shown(stdout).split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
    // What yargs says of a type.
    expect(stdout).not.toMatch(/\[(?:string|boolean|array|number|required)\]/);
    expect(notPlainEnglish(stdout)).toEqual([]);
  });

  it('of the proxy has its options', async () => {
    const { stdout } = await runToEnd(['help', 'proxy']);
    expect((await runToEnd(['https://gateway.example/v1/mcp', '--help'])).stdout).toBe(stdout);
    expect(stdout).toContain('--key-file FILE');
    expect(notPlainEnglish(stdout)).toEqual([]);
  });
});

it.each(['version', '-v', '--version'])('%s prints the version alone', async (word) => {
  expect(await runToEnd([word])).toMatchObject({ code: 0, stdout: '0.1.0\n', stderr: '' });
});

it.each([
  [['lgoin', 'https://gateway.example/v1/mcp'], 'Did you mean "login"?'],
  [['staus'], 'Did you mean "status"?'],
  [['help', 'lgoin'], '✗ Unknown command. Did you mean "login"?'],
  [['explain', 'nonsense'], '✗ Unknown error. '],
  [['login'], '✗ Missing argument. Usage: mcp-latchkey login <url>.'],
  [['logout', 'kindo', '--acount', 'a'], '✗ Unknown option --acount. Did you mean --account?'],
  [['status', 'kindo', 'sk-secret'], '✗ Unexpected argument, hidden because it might be a key'],
])('%j is answered with what to type instead', async (words, says) => {
  const { code, stdout, stderr } = await runToEnd(words);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain(says);
  expect(stderr).not.toContain('sk-secret');
  expect(notPlainEnglish(stderr)).toEqual([]);
  // Of the proxy, one line for the client's log.
  if (stderr.startsWith('mcp-latchkey: ')) return;
  for (const line of shown(stderr).split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
});

it.skipIf(process.platform === 'win32')(
  'leaves no stack trace when its reader leaves',
  async () => {
    for (const words of ['install --list', 'help', 'explain unreachable']) {
      const line = `'${process.execPath}' '${program}' ${words} | head -n 1`;
      const child = spawn('/bin/sh', ['-c', line]);
      let stderr = '';
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      await once(child, 'close');
      expect(stderr).toBe('');
    }
  },
);

it.skipIf(process.platform !== 'linux')('prints the help on a terminal without words', async () => {
  const terminal = startOnTerminal(`'${process.execPath}' '${program}'`, {});
  await terminal.until('run the proxy (your client does this)');
  expect(await terminal.exited).toBe(0);
});

it.skipIf(process.platform !== 'linux')('says on a terminal what the proxy waits for', async () => {
  const terminal = startOnTerminal(
    `'${process.execPath}' '${program}' http://127.0.0.1:9/v1/mcp`,
    {},
  );
  await terminal.until('is waiting for an MCP client');
  await terminal.until('doctor URL');
  // Ctrl-D, the end of stdin.
  terminal.type('\x04');
  expect(await terminal.exited).toBe(0);
});

it('without words answers a client, as a config without a URL starts it', async () => {
  const request = '{"jsonrpc":"2.0","id":1,"method":"initialize"}\n';
  const { code, stdout } = await runToEnd([], request);
  expect(code).toBe(2);
  expect(JSON.parse(stdout)).toMatchObject({
    id: 1,
    error: { message: expect.stringMatching(/^Invalid configuration: missing gateway URL\. /) },
  });
});

describe('explain', () => {
  it.each([
    ['401', ['no_api_key', 'unauthorized']],
    ['404', ['wrong_path']],
    ['HTTP 503', ['gateway_error']],
    ['418', ['http_error']],
    ['dns', ['unreachable']],
    ['ENOTFOUND', ['unreachable']],
    ['CERT_HAS_EXPIRED', ['unreachable']],
    ['API key rejected', ['unauthorized']],
  ])('knows %s', async (asked, reasons) => {
    const { code, stdout } = await runToEnd(['explain', asked]);
    expect(code).toBe(0);
    for (const reason of reasons) expect(stdout).toContain(`${reason}\n`);
    expect(notPlainEnglish(stdout)).toEqual([]);
  });

  it('has only the rows of the cause that is asked for', async () => {
    const { stdout } = await runToEnd(['explain', 'ENOTFOUND']);
    expect(stdout).toContain('DNS has no address');
    expect(stdout).not.toContain('self-signed');
  });

  it('prints only ASCII where the terminal shows nothing else', async () => {
    const { stdout } = await runToEnd(['explain', '401'], '', { LC_ALL: 'C', WT_SESSION: '' });
    expect(stdout).toContain('Settings > API');
    expect(stdout).toMatch(/^[\x00-\x7f]*$/);
  });

  it('suggests the nearest reason', async () => {
    const { code, stderr } = await runToEnd(['explain', 'unautorized']);
    expect(code).toBe(2);
    expect(stderr).toContain('Did you mean unauthorized?');
  });
});

it.each([
  ['install', 'cursor', 'https://acme.example/mcp', '--no-verify'],
  ['doctor', 'https://acme.example/mcp'],
  ['migrate'],
])('%s says that the path of the home folder is too long', async (...words) => {
  const HOME = join(tmpdir(), 'x'.repeat(8_000));
  const { code, stdout, stderr } = await runToEnd(words, '', { HOME });
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr.replace(/\s+/g, ' ')).toMatch(
    /^✗ The path of your home folder is too long\. Set (?:HOME|USERPROFILE) to a shorter path\. $/,
  );
});
