import { spawn } from 'node:child_process';
import { onTestFinished } from 'vitest';
import { getCurrentTest } from 'vitest/suite';
import { expectNoSecret } from './running-proxy.ts';

/** A program on a terminal of its own. */
export interface Terminal {
  /** Everything that the terminal showed so far. */
  readonly shown: string;
  type(keys: string): void;
  /** Resolves once `text` was shown. */
  until(text: string): Promise<void>;
  /** Resolves with the program's exit code. */
  readonly exited: Promise<number>;
}

/**
 * Runs `command`, a line for a POSIX shell, on a new terminal. No key may show on it. Skips the test on
 * Windows, which has no such shell.
 */
export function startOnTerminal(command: string, env: Record<string, string>): Terminal {
  if (process.platform === 'win32') getCurrentTest()?.context.skip('types into a POSIX shell');
  const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    env: { PATH: process.env.PATH, TERM: 'xterm', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let shown = '';
  let wake = () => {};
  child.stdout.setEncoding('utf8').on('data', (text) => {
    shown += text;
    wake();
  });
  const exited = new Promise<number>((resolve) => {
    child.once('close', (code) => resolve(code as number));
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exited;
    expectNoSecret(shown);
  });
  return {
    get shown() {
      return shown;
    },
    exited,
    type: (keys) => void child.stdin.write(keys),
    until: async (text) => {
      while (!shown.includes(text)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
