import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Log } from '../log.ts';

const KEY_LIMIT_MS = 10_000;
/** How long a command has to end once it was told to, and its pipes to close once it ended. */
const GRACE_MS = 1_000;
const MAX_STDOUT_CHARACTERS = 64 * 1024;
const MAX_STDERR_CHARACTERS = 16 * 1024;
const MAX_STDERR_LINES = 20;

/** What was printed, or why nothing usable was, in words that fit behind a colon. */
export type Printed = { readonly text: string } | { readonly trouble: string };

/**
 * Runs `command` and takes its stdout for the key: for at most `limitMs`, its stdin empty. What it writes to
 * stderr goes to the log, at the level warn, line by line and without the key. A shell (`/bin/sh`,
 * on Windows `cmd.exe`) is used only where the command has shell syntax. Never rejects.
 */
export async function runKeyCommand(
  command: string,
  log: Log,
  limitMs = KEY_LIMIT_MS,
): Promise<Printed> {
  const name = 'the command of --key-command';
  const words = splitWords(command);
  const child =
    words === undefined
      ? spawn(command, { shell: true, stdio: PIPED, windowsHide: true })
      : spawn(words[0] ?? '', words.slice(1), { stdio: PIPED, windowsHide: true });
  const { text, end, stderr } = await collect(child, limitMs);
  const complaint = await withoutKey(stderr, text);
  for (const line of complaint.slice(0, MAX_STDERR_LINES)) log.warn(`--key-command: ${line}`);
  if (end !== 'exit code 0') {
    const said = complaint.at(-1);
    return { trouble: `${name} ${inWords(end, limitMs)}${said === undefined ? '' : `: ${said}`}` };
  }
  if (text.trim() === '') return { trouble: `${name} printed no key` };
  return { text };
}

/**
 * Reads a pipe (POSIX) to its end, at most 10 s. By way of `cat`, because opening or reading a pipe
 * that nobody writes blocks a thread of this process, and with it the exit. Never rejects.
 */
export async function readPipe(path: string): Promise<Printed> {
  // What the shell handed over is open here already, and not in a child.
  const number = /^\/(?:dev|proc\/self)\/fd\/(\d+)$/.exec(path)?.[1];
  if (number === '0') return { trouble: "stdin carries the client's messages, not a key" };
  const child =
    number === undefined
      ? spawn('cat', ['--', path], { stdio: PIPED })
      : spawn('cat', { stdio: [Number(number), 'pipe', 'pipe'] });
  const { text, end } = await collect(child, KEY_LIMIT_MS);
  return end === 'exit code 0' ? { text } : { trouble: `the pipe ${path} could not be read` };
}

const PIPED: StdioOptions = ['ignore', 'pipe', 'pipe'];

interface Collected {
  readonly text: string;
  readonly stderr: string;
  /** `exit code N`, a signal's name, `timeout`, or an errno such as `ENOENT`. */
  readonly end: string;
}

function collect(child: ChildProcess, limitMs: number): Promise<Collected> {
  let text = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    if (text.length <= MAX_STDOUT_CHARACTERS) text += chunk;
  });
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr = (stderr + chunk).slice(-MAX_STDERR_CHARACTERS);
  });
  return new Promise((resolve) => {
    const settle = (end: string) => {
      // First, since a request waits for it whatever becomes of the rest.
      resolve({ text, stderr, end });
      clearTimeout(timer);
      process.off('exit', kill);
      child.stdout?.destroy();
      child.stderr?.destroy();
    };
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    const timer = setTimeout(() => {
      child.kill('SIGTERM');
      setTimeout(kill, GRACE_MS).unref();
      settle('timeout');
    }, limitMs);
    child.once('error', ({ code = 'error' }: NodeJS.ErrnoException) => settle(code));
    // What the command leaves running, such as an agent, may keep the pipes open.
    child.once('exit', (code, signal) => {
      setTimeout(settle, GRACE_MS, signal ?? `exit code ${code}`).unref();
    });
    child.once('close', (code, signal) => settle(signal ?? `exit code ${code}`));
  });
}

function inWords(end: string, limitMs: number): string {
  if (end === 'timeout') return `did not end within ${limitMs / 1000} s and was stopped`;
  if (end === 'ENOENT') return "was not found: give its full path, a client's PATH may be short";
  return /^(?:exit code|SIG)/.test(end)
    ? `ended with ${end}`
    : `could not be started (${cleanNetworkText(end, 40)})`;
}

/** The lines of `stderr`, fit to show, with what is in `stdout` struck out. */
async function withoutKey(stderr: string, stdout: string): Promise<string[]> {
  if (stderr.trim() === '') return [];
  const { matcherFor } = await import('./configured-secrets.ts');
  const secrets = matcherFor(stdout.split(/\s+/));
  return stderr
    .split('\n')
    .map((line) => cleanNetworkText(secrets.mask(line)))
    .filter((line) => line !== '');
}

// What means something unquoted, and in double quotes: POSIX.1-2024, Shell Command Language §2.2.
const POSIX = {
  pieces:
    /(?<blank>[ \t]+)|'(?<single>[^']*)'|"(?<double>(?:[^"\\]|\\.)*)"|\\(?<escaped>[^\n])|(?<plain>[^ \t'"\\])/gsy,
  syntax: /[|&;<>()$`*?[\]#~{}!\n]/,
  syntaxInQuotes: /(?<!\\)(?:\\\\)*[$`]/,
  unquote: (quoted: string) => quoted.replace(/\\([$`"\\])/g, '$1').replaceAll('\\\n', ''),
};
// Paths have backslashes there, and no quote but the double one.
export const WINDOWS = {
  pieces: /(?<blank>[ \t]+)|"(?<double>[^"]*)"|(?<plain>[^ \t"])/gy,
  syntax: /[|&;<>()%^!\n]/,
  syntaxInQuotes: /%/,
  unquote: (quoted: string) => quoted,
};

/**
 * Splits a command into words as a shell does, at blanks, with quotes. Undefined where only a shell
 * can read it: it holds shell syntax, an assignment before the command, an open quote, or nothing.
 */
export function splitWords(
  command: string,
  { pieces, syntax, syntaxInQuotes, unquote } = process.platform === 'win32' ? WINDOWS : POSIX,
): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let length = 0;
  for (const { 0: piece, groups = {} } of command.matchAll(pieces)) {
    const { blank, single, double, escaped, plain } = groups;
    length += piece.length;
    if (double !== undefined && syntaxInQuotes.test(double)) return undefined;
    if (plain !== undefined && syntax.test(plain)) return undefined;
    if (plain === '=' && words.length === 0) return undefined;
    if (blank === undefined) {
      word = (word ?? '') + (single ?? escaped ?? plain ?? unquote(double ?? ''));
    } else if (word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  if (word !== undefined) words.push(word);
  return length === command.length && words[0] ? words : undefined;
}
