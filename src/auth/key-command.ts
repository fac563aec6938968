import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Log } from '../log.ts';

const KEY_LIMIT_MS = 10_000;
/** How long what a command left running may still print after the command exited. */
const GRACE_MS = 1_000;
/** How long this process stands still for Windows to end a command. */
const TASKKILL_LIMIT_MS = 2_000;
const MAX_STDOUT_CHARACTERS = 64 * 1024;
const MAX_STDERR_CHARACTERS = 1024 * 1024;
/** The end of stderr that is kept for the log, in characters. */
const KEPT_STDERR_CHARACTERS = 16 * 1024;
const MAX_STDERR_LINES = 20;

/** What was printed, or why nothing usable was, in words that fit after a colon. */
export type Printed = { readonly text: string } | { readonly error: string };

/**
 * Runs `command` in a shell (`/bin/sh`, on Windows `cmd.exe`) and takes its stdout for the key: for at
 * most `limitMs`, its stdin empty. What it writes to stderr goes to the log, at the level warn, line
 * by line and without the key. On POSIX no process of its group outlives it, nor this process,
 * however this one ends; on Windows a command that exits may leave others. Never rejects.
 */
export async function runKeyCommand(
  command: string,
  log: Log,
  limitMs = KEY_LIMIT_MS,
  option = '--key-command',
  platform = process.platform,
): Promise<Printed> {
  const name = option;
  if (platform === 'win32' && POWERSHELL_SCRIPT.test(command)) {
    return {
      error: `${name} cannot run a .ps1 file directly. Put powershell -NoProfile -File before its path`,
    };
  }
  const { text, end, stderr } = await collect(
    () =>
      process.platform === 'win32'
        ? spawn(command, { shell: true, stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true })
        : spawnGroup(['/bin/sh', '-c', command], 'ignore'),
    limitMs,
  );
  const complaint = await withoutKey(stderr, text);
  for (const line of complaint.slice(0, MAX_STDERR_LINES)) log.warn(`${option}: ${line}`);
  if (end === NOT_FOUND) {
    return {
      error: `${name} was not found. Use its full path, because clients often have a short PATH`,
    };
  }
  if (end !== 'exit code 0') {
    const said = complaint.at(-1);
    return { error: `${name} ${inWords(end, limitMs)}${said === undefined ? '' : `: ${said}`}` };
  }
  if (text.trim() === '')
    return { error: `${name} printed ${option === '--assertion-command' ? 'nothing' : 'no key'}` };
  return { text };
}

/**
 * Reads a pipe (POSIX) to its end, at most 10 s. By way of `cat`, because opening or reading a pipe
 * without a writer blocks a thread of this process, and with it the exit. Never rejects.
 */
export async function readPipe(path: string): Promise<Printed> {
  // What the shell handed over is open here already, and not in a child.
  const number = /^\/(?:dev|proc\/self)\/fd\/(\d+)$/.exec(path)?.[1];
  if (number === '0') return { error: "stdin is reserved for the client's messages" };
  const { text, end } = await collect(
    () =>
      number === undefined
        ? spawnGroup(['cat', '--', path], 'ignore')
        : spawnGroup(['cat'], Number(number)),
    KEY_LIMIT_MS,
  );
  return end === 'exit code 0' ? { text } : { error: `the pipe ${path} could not be read` };
}

/** A command whose program is one, also as PowerShell calls it. cmd.exe would open it in an editor. */
const POWERSHELL_SCRIPT =
  /^\s*(?:[&.]\s+)?(?:"[^"]+\.ps1"|'[^']+\.ps1'|[^\s"'&|<>]+\.ps1)(?=\s|$)/i;

/** Of a shell whose command was not found (POSIX.1-2024, Shell Command Language §2.8.2). */
const NOT_FOUND = 'exit code 127';

/**
 * Becomes the program in its arguments, in a group with a process that waits for the end of fd 3.
 * Only this process has its other end, so that the group is killed even when this one cannot do it.
 */
const GROUP_LEADER = '(read line; kill -9 0) <&3 >/dev/null 2>&1 & exec "$@" 3<&-';

function spawnGroup(args: readonly string[], stdin: 'ignore' | number): ChildProcess {
  return spawn('/bin/sh', ['-c', GROUP_LEADER, '/bin/sh', ...args], {
    detached: true,
    stdio: [stdin, 'pipe', 'pipe', 'pipe'],
  });
}

/** Kills a process with its group (POSIX), or with those that descend from it (Windows). */
function killAll({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid === undefined) return;
  if (process.platform === 'win32') {
    if (exitCode !== null || signalCode !== null) return;
    const taskkill = `${process.env.SystemRoot ?? 'C:\\Windows'}\\System32\\taskkill.exe`;
    const options = { stdio: 'ignore', windowsHide: true, timeout: TASKKILL_LIMIT_MS } as const;
    spawnSync(taskkill, ['/pid', String(pid), '/t', '/f'], options);
    return;
  }
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // The whole group has ended.
  }
}

interface ByteCollector {
  readonly text: string;
  readonly stderr: string;
  /** `exit code N`, a signal's name, an errno such as `EAGAIN`, or a key of `STOPPED`. */
  readonly end: string;
}

/** Why a command was stopped. */
const STOPPED = {
  timeout: (limitMs: number) => `timed out after ${limitMs / 1000} seconds`,
  stdout: () => 'printed more than 64 KB to stdout',
  stderr: () => 'printed more than 1 MB to stderr',
};

/** Takes what a process prints until it ends, and sees to its end. Never rejects. */
function collect(start: () => ChildProcess, limitMs: number): Promise<ByteCollector> {
  return new Promise((resolve) => {
    let child: ChildProcess;
    try {
      child = start();
    } catch (error) {
      resolve({ text: '', stderr: '', end: codeOf(error) });
      return;
    }
    let text = '';
    let stderr = '';
    let stderrLength = 0;
    let end = '';
    // Its exit, and the end of the two pipes that it prints to.
    let awaited = 3;
    let isOver = false;
    // Without any when this process has no file descriptor left to make them with.
    const pipes = (child.stdio as typeof child.stdio | undefined) ?? [];
    const kill = () => killAll(child);
    process.once('exit', kill);
    const settle = (how: string) => {
      if (isOver) return;
      isOver = true;
      resolve({ text, stderr, end: how });
      clearTimeout(limit);
      clearTimeout(grace);
      process.off('exit', kill);
      kill();
      for (const pipe of pipes) pipe?.destroy();
    };
    const limit = setTimeout(settle, limitMs, 'timeout');
    let grace: NodeJS.Timeout | undefined;
    const onePartIsOver = () => {
      awaited--;
      if (awaited === 0) settle(end);
    };
    child.once('error', (error) => settle(codeOf(error)));
    child.once('exit', (code, signal) => {
      end = signal ?? `exit code ${code}`;
      // What the command leaves running, such as an agent, may keep the pipes open.
      if (!isOver) grace = setTimeout(settle, GRACE_MS, end);
      onePartIsOver();
    });
    for (const pipe of pipes) pipe?.on('error', () => {});
    child.stdout?.once('close', onePartIsOver);
    child.stderr?.once('close', onePartIsOver);
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.length > MAX_STDOUT_CHARACTERS) settle('stdout');
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-KEPT_STDERR_CHARACTERS);
      stderrLength += chunk.length;
      if (stderrLength > MAX_STDERR_CHARACTERS) settle('stderr');
    });
  });
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'error';
}

function inWords(end: string, limitMs: number): string {
  if (Object.hasOwn(STOPPED, end)) {
    return STOPPED[end as keyof typeof STOPPED](limitMs);
  }
  return /^(?:exit code|SIG)/.test(end)
    ? `failed with ${end}`
    : `could not be started: ${cleanNetworkText(end, 40)}`;
}

/** The lines of `stderr`, fit to show, with what is in `stdout` struck out. */
async function withoutKey(stderr: string, stdout: string): Promise<string[]> {
  if (stderr.trim() === '') return [];
  const { SecretMatcher } = await import('../failures/secret-matcher.ts');
  const secrets = new SecretMatcher(stdout.split(/\s+/));
  return secrets
    .mask(stderr)
    .split('\n')
    .map((line) => cleanNetworkText(line))
    .filter((line) => line !== '');
}
