import { describe, expect, it } from 'vitest';
import { runKeyCommand } from '../../src/auth/key-command.ts';
import { createLog } from '../../src/log.ts';
import { startTether } from '../tethered-process.ts';

function recordedLog() {
  const lines: string[] = [];
  const log = createLog('debug', (line) => void lines.push(line.replace(/^\S+ mcp-latchkey /, '')));
  return { log, lines };
}

describe.skipIf(process.platform === 'win32')('runKeyCommand', () => {
  it('takes what the command prints, without waiting for more', async () => {
    const { log, lines } = recordedLog();
    const start = performance.now();
    expect(await runKeyCommand("printf '%s' 'a key'", log)).toEqual({ text: 'a key' });
    expect(performance.now() - start).toBeLessThan(900);
    expect(lines).toEqual([]);
  });

  it.each([
    ['echo one | tr o 0', '0ne\n'],
    [`word='a b'; printf '[%s]' "$word" 'c d' e\\ f`, '[a b][c d][e f]'],
  ])('reads %j as a shell does', async (command, text) => {
    expect(await runKeyCommand(command, recordedLog().log)).toEqual({ text });
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
    ['echo no session >&2; exit 3', 'failed with exit code 3: no session'],
    ['kill -9 $$', 'failed with SIGKILL'],
    [
      '/nonexistent/program',
      'was not found. Use its full path, because clients often have a short PATH',
    ],
    ['true', 'printed no key'],
  ])('says why there is no key: %s', async (command, why) => {
    const { log } = recordedLog();
    expect(await runKeyCommand(command, log)).toEqual({
      error: `--key-command ${why}`,
    });
  });

  it('takes the key of a command that leaves an agent running with its stdout', async () => {
    const start = performance.now();
    expect(await runKeyCommand('sleep 8 & echo a-key', recordedLog().log)).toEqual({
      text: 'a-key\n',
    });
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  it('says with the words of the shell why a program cannot be run', async () => {
    const { error } = (await runKeyCommand('/', recordedLog().log)) as { error: string };
    expect(error).toMatch(/^--key-command failed with exit code 126: \S*sh: /);
  });

  it('stops a command that takes too long', async () => {
    const start = performance.now();
    expect(await runKeyCommand('sleep 8', recordedLog().log, 500)).toEqual({
      error: '--key-command timed out after 0.5 seconds',
    });
    expect(performance.now() - start).toBeLessThan(4_000);
  });

  it.each([
    ['stdout', 'yes', '64 KB'],
    ['stderr', 'yes >&2', '1 MB'],
  ])('stops a command that prints to %s without end', async (where, command, limit) => {
    expect(await runKeyCommand(command, recordedLog().log, 20_000)).toEqual({
      error: expect.stringMatching(`^--key-command printed more than ${limit} to ${where}`),
    });
  });

  it.each([
    ['is a pipeline', (hold: () => string) => `${hold()} | ${hold()}`, 2],
    ['has children in the background', (hold: () => string) => `${hold()} & ${hold()} & wait`, 2],
    ['ignores signals', (hold: () => string) => `trap '' TERM INT HUP; ${hold()}`, 1],
    ['closed its pipes', (hold: () => string) => `${hold()} >/dev/null 2>&1`, 1],
    ['is run by another shell', (hold: () => string) => `sh -c "${hold()}; true"`, 1],
  ])('leaves no process of a command that hangs and %s', async (_, commandOf, count) => {
    const tether = await startTether();
    const run = runKeyCommand(commandOf(tether.hold), recordedLog().log, 2_500);
    await tether.started(count);
    expect(await run).toEqual({ error: expect.stringContaining('timed out') });
    await tether.ended();
  });

  it.each([
    ['that keeps its stdout open', ''],
    ['that closed its pipes', '>/dev/null 2>&1'],
  ])('takes the key of a command that exits, and ends a child %s', async (_, redirection) => {
    const tether = await startTether();
    const ready = `${tether.folder}/ready`;
    const command = `${tether.hold(ready)} ${redirection} & until [ -e '${ready}' ]; do sleep 0.05; done; echo a-key`;
    expect(await runKeyCommand(command, recordedLog().log)).toEqual({ text: 'a-key\n' });
    await tether.ended();
  });

  it('reads a key of several writes, and what a child prints just after the command exits', async () => {
    const command = "(sleep 0.2; printf key) & printf 'a-'";
    expect(await runKeyCommand(command, recordedLog().log)).toEqual({ text: 'a-key' });
  });
});
