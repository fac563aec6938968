import { execFileSync } from 'node:child_process';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runKeyCommand, splitWords } from '../../src/auth/key-command.ts';
import { createLog } from '../../src/log.ts';

function recordedLog() {
  const lines: string[] = [];
  const log = createLog('debug', (line) => void lines.push(line.replace(/^\S+ mcp-latchkey /, '')));
  return { log, lines };
}

describe.skipIf(process.platform === 'win32')('splitWords', () => {
  it.each([
    ['op read op://vault/item/key', ['op', 'read', 'op://vault/item/key']],
    ["  pass\tshow 'my key'  ", ['pass', 'show', 'my key']],
    ['"/opt/my tools/get" --name="a b"', ['/opt/my tools/get', '--name=a b']],
    ['a "\\"\\\\\\x" \\ b', ['a', '"\\\\x', ' b']],
    ["a '' b", ['a', '', 'b']],
    ['a --x=1', ['a', '--x=1']],
  ])('splits %j as a shell does', (command, words) => {
    expect(splitWords(command)).toEqual(words);
  });

  it.each([
    'a | b',
    'a; b',
    'a "$HOME"',
    'a `b`',
    'a ~/b',
    'a *.key',
    'A=b c',
    "a 'b",
    'a "b',
    'a\nb',
    'a \\',
    '',
    ' ',
    "''",
  ])('leaves %j to a shell', (command) => {
    expect(splitWords(command)).toBeUndefined();
  });

  it('splits whatever it splits into the words that sh makes of it', () => {
    const piece = fc.constantFrom(
      ...[
        'a',
        'B',
        '=',
        '/',
        '-',
        ' ',
        ' ',
        '\t',
        "'",
        "'",
        '"',
        '"',
        '\\',
        '\\',
        '$',
        '*',
        'é',
        '\n',
      ],
    );
    const line = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
    let compared = 0;
    fc.assert(
      fc.property(line, (rest) => {
        const words = splitWords(`x${rest}`);
        if (words === undefined) return;
        compared++;
        // The program's name is printed as any other word.
        const script = `printf '%s\\0' x${rest}`;
        const printed = execFileSync('/bin/sh', ['-c', script]).toString().split('\0').slice(0, -1);
        expect(words).toEqual(printed);
      }),
      { numRuns: 500 },
    );
    expect(compared).toBeGreaterThan(50);
  });
});

it('splits Windows paths, and leaves %VARIABLES% to cmd.exe', async () => {
  const { WINDOWS } = await import('../../src/auth/key-command.ts');
  expect(splitWords('"C:\\Program Files\\op.exe" read C:\\key', WINDOWS)).toEqual([
    'C:\\Program Files\\op.exe',
    'read',
    'C:\\key',
  ]);
  expect(splitWords("op read 'x y'", WINDOWS)).toEqual(['op', 'read', "'x", "y'"]);
  expect(splitWords('op "%USERPROFILE%"', WINDOWS)).toBeUndefined();
});

describe.skipIf(process.platform === 'win32')('runKeyCommand', () => {
  it('takes what the command prints', async () => {
    const { log, lines } = recordedLog();
    expect(await runKeyCommand("printf '%s' 'a key'", log)).toEqual({ text: 'a key' });
    expect(lines).toEqual([]);
  });

  it('uses a shell for shell syntax', async () => {
    const { log } = recordedLog();
    expect(await runKeyCommand('echo one | tr o 0', log)).toEqual({ text: '0ne\n' });
  });

  it('gives the command an empty stdin', async () => {
    expect(await runKeyCommand('cat; echo end', recordedLog().log)).toEqual({ text: 'end\n' });
  });

  it('logs what the command says on stderr, cleaned, and never the key', async () => {
    const { log, lines } = recordedLog();
    const command =
      "printf 'looking \\033[31mup\\n\\nfound secret-key-1\\n' >&2; echo secret-key-1";
    expect(await runKeyCommand(command, log)).toEqual({ text: 'secret-key-1\n' });
    expect(lines).toEqual([
      'warn: --key-command: looking up\n',
      'warn: --key-command: found [secret]\n',
    ]);
  });

  it.each([
    ['echo no session >&2; exit 3', 'ended with exit code 3: no session'],
    ['kill -9 $$', 'ended with SIGKILL'],
    ['/nonexistent/program', "was not found: give its full path, a client's PATH may be short"],
    ['/', 'could not be started (EACCES)'],
    ['true', 'printed no key'],
  ])('says why there is no key: %s', async (command, why) => {
    const { log } = recordedLog();
    expect(await runKeyCommand(command, log)).toEqual({
      trouble: `the command of --key-command ${why}`,
    });
  });

  it('takes the key of a command that leaves an agent running with its stdout', async () => {
    const start = performance.now();
    expect(await runKeyCommand('sleep 8 & echo a-key', recordedLog().log)).toEqual({
      text: 'a-key\n',
    });
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  it('stops a command that takes too long', async () => {
    const start = performance.now();
    expect(await runKeyCommand('sleep 8', recordedLog().log, 500)).toEqual({
      trouble: 'the command of --key-command did not end within 0.5 s and was stopped',
    });
    expect(performance.now() - start).toBeLessThan(4_000);
  });
});
