import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runKeyCommand } from '../../src/auth/key-command.ts';
import { startTether } from '../tethered-process.ts';

const LOUD = `"${process.execPath}" -e "setInterval(() => console.log('x'.repeat(9999)), 1)"`;

const log = { debug() {}, info() {}, warn() {}, error() {} };

function file(name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-command-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
  return path;
}

describe.skipIf(process.platform !== 'win32')('a key command on Windows', () => {
  it.each([
    'key.cmd',
    'KEY.BAT',
    'with a space\\key.cmd',
    'Jürgen & Söhne\\key.cmd',
    '100% ^ (1)!\\key.cmd',
  ])('may be the batch file %s', async (name) => {
    const path = file(name, '@echo off\r\necho a-key %1\r\n');
    expect(await runKeyCommand(`"${path}" word`, log)).toEqual({ text: 'a-key word\r\n' });
  });

  it('may be a program with words, and a pipeline', async () => {
    const command = `"${process.execPath}" -p "'a key'.length" | findstr 5`;
    expect(await runKeyCommand(command, log)).toEqual({ text: '5\n' });
  });

  it.each([
    ['exit 3', 'failed with exit code 3'],
    ['no-such-program', /^--key-command failed with exit code \d+: .*no-such-program/],
    ['echo.', 'printed no key'],
  ])('says why there is no key: %s', async (command, why) => {
    const { error } = (await runKeyCommand(command, log)) as { error: string };
    expect(error).toMatch(why);
  });

  it.each([
    ['hangs', (hold: string) => hold, 'timed out'],
    ['hangs in a batch file', (hold: string) => `"${file('a.cmd', `@${hold}\r\n`)}"`, 'timed out'],
    ['is a pipeline that hangs', (hold: string) => `${hold} | ${hold}`, 'timed out'],
    ['prints without end', (hold: string) => `start /b "" ${hold} & ${LOUD}`, '64 KB'],
  ])('is ended with all that it started when it %s', async (_, commandOf, why) => {
    const tether = await startTether();
    const run = runKeyCommand(commandOf(tether.hold()), log, 8_000);
    await tether.started(1);
    expect(await run).toEqual({ error: expect.stringContaining(why) });
    await tether.ended();
  });
});

describe('a PowerShell script as a key command', () => {
  it.each([
    'C:\\keys\\key.ps1',
    '"C:\\my keys\\key.PS1" -Account x',
    '.\\key.ps1 one',
    "& 'C:\\keys\\key.ps1'",
  ])('is refused on Windows, where cmd.exe would open it: %s', async (command) => {
    expect(await runKeyCommand(command, log, 1_000, '--key-command', 'win32')).toEqual({
      error:
        '--key-command cannot run a .ps1 file directly. Put powershell -NoProfile -File before its path',
    });
  });
});
