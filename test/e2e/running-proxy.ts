import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished } from 'vitest';
import { environment } from '../environment.ts';

/** The built program's launcher. */
export const program = fileURLToPath(new URL('../../bin/mcp-latchkey.js', import.meta.url));

/** The key that the tests' gateways expect. */
export const TEST_KEY = 'e2e-secret-key-0123456789abcdef';

const secrets = new Set([TEST_KEY]);

/** Marks `key` as one that nothing that the program writes may hold; returns it. */
export function secret(key: string): string {
  secrets.add(key);
  return key;
}

/** Fails when `text` holds a key of any test's. */
export function expectNoSecret(text: string): void {
  for (const key of secrets) expect(text.includes(key), 'a key was written').toBe(false);
}

export type Json = Record<string, unknown>;

/** What the program has written about gateways into a folder for caches. */
export function cachedText(folder: string): string {
  const files = join(folder, 'mcp-latchkey/gateways');
  if (!existsSync(files)) return '';
  return readdirSync(files)
    .map((name) => readFileSync(join(files, name), 'utf8'))
    .join('\n');
}

/** The built program as a client runs it, with everything it writes. */
export class RunningProxy {
  readonly child: ChildProcess;
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>;
  /** Every message on stdout so far. */
  readonly messages: Json[] = [];
  stderr = '';
  #stdout = '';
  #cached = '';
  #partial: string[] = [];
  readonly #waiting = new Set<() => void>();

  /**
   * `user`: the uid and gid that it runs with, where that is not this process's. `wrapper`: a command
   * that executes the one after it.
   */
  constructor(
    args: readonly string[],
    env: Record<string, string>,
    script = program,
    user?: number,
    wrapper: readonly string[] = [],
  ) {
    // What an earlier test has left there for the same port must not be used.
    const ownCache = mkdtempSync(join(tmpdir(), 'latchkey-cache-'));
    const [command = '', ...words] = [...wrapper, process.execPath, script, ...args];
    this.child = spawn(command, words, {
      env: environment({ XDG_CACHE_HOME: ownCache, ...env }),
      ...(user === undefined ? {} : { uid: user, gid: user }),
    });
    this.exited = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        this.#cached = cachedText(env.XDG_CACHE_HOME ?? ownCache);
        rmSync(ownCache, { recursive: true });
        resolve(code ?? (signal as string));
      });
    });
    this.child.stdin?.on('error', () => {});
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#read(text));
  }

  /** Writes a line: an object as JSON, a string or bytes as they are. */
  send(...lines: (object | string)[]): void {
    for (const line of lines) {
      if (Buffer.isBuffer(line)) this.child.stdin?.write(line);
      else this.child.stdin?.write(`${typeof line === 'string' ? line : JSON.stringify(line)}\n`);
    }
  }

  /** Sends a request and resolves with its reply. */
  async request(id: string | number, method: string, params: object = {}): Promise<Json> {
    this.send({ jsonrpc: '2.0', id, method, params });
    return this.reply(id);
  }

  notify(method: string, params: object = {}): void {
    this.send({ jsonrpc: '2.0', method, params });
  }

  reply(id: string | number): Promise<Json> {
    return this.message((message) => message.id === id && !('method' in message));
  }

  /** Resolves with the first message, of those so far and to come, that fits. */
  async message(fits: (message: Json) => boolean): Promise<Json> {
    await this.until(() => this.messages.some(fits));
    return this.messages.find(fits) as Json;
  }

  /** Resolves once `holds`, asked again whenever the program writes. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  async initialize(protocolVersion = '2025-06-18'): Promise<Json> {
    const reply = await this.request('init', 'initialize', {
      protocolVersion,
      capabilities: {},
      clientInfo: { name: 'e2e', version: '1' },
    });
    this.notify('notifications/initialized');
    return reply;
  }

  /** At its end: how long it waited for replies, and how many did not come. */
  get lastWait(): { ms: number; missing: number } {
    const [, ms, missing] = /waited (\d+) ms for replies, (\d+) did/.exec(this.stderr) ?? [];
    return { ms: Number(ms), missing: Number(missing) };
  }

  /** Closes stdin, as a client does that is done. Resolves with the exit code. */
  async end(): Promise<number | string> {
    this.child.stdin?.end();
    return this.exited;
  }

  #read(text: string): void {
    this.#stdout += text;
    const [first, ...rest] = text.split('\n') as [string, ...string[]];
    this.#partial.push(first);
    for (const line of rest) {
      const parsed: unknown = JSON.parse(this.#partial.join(''));
      for (const message of Array.isArray(parsed) ? parsed : [parsed]) this.messages.push(message);
      this.#partial = [line];
    }
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }

  /** Whole lines of JSON-RPC on stdout, nothing else; no key anywhere. */
  expectClean(): void {
    expect(this.#partial.join('').slice(0, 200)).toBe('');
    for (const message of this.messages) expect(message.jsonrpc).toBe('2.0');
    expectNoSecret(this.#stdout + this.stderr + this.#cached);
  }
}

/**
 * Starts the built program and, when the test is over, ends it and checks that it wrote nothing
 * that it must not write.
 */
export function startProxy(
  url: string,
  {
    args = [],
    env = {},
    script,
    user,
    wrapper,
  }: {
    args?: string[];
    env?: Record<string, string>;
    script?: string;
    user?: number;
    wrapper?: readonly string[];
  } = {},
): RunningProxy {
  const allArgs = [url, '--log-level', 'debug', ...args];
  const allEnv = { MCP_LATCHKEY_API_KEY: TEST_KEY, ...env };
  const proxy = new RunningProxy(allArgs, allEnv, script, user, wrapper);
  onTestFinished(async () => {
    proxy.child.kill('SIGKILL');
    await proxy.exited;
    proxy.expectClean();
    const logFile = args[args.indexOf('--log-file') + 1];
    if (logFile !== undefined && existsSync(logFile)) expectNoSecret(readFileSync(logFile, 'utf8'));
  });
  return proxy;
}

/** Runs the program to its end with `input` on stdin. */
export async function runToEnd(
  args: readonly string[],
  input = '',
  env: Record<string, string> = {},
  {
    script = program,
    user,
    cwd,
    wrapper = [],
  }: { script?: string; user?: number; cwd?: string; wrapper?: readonly string[] } = {},
): Promise<{ code: number | string; stdout: string; stderr: string }> {
  const [command = '', ...words] = [...wrapper, process.execPath, script, ...args];
  const child = spawn(command, words, {
    env: environment(env),
    ...(user === undefined ? {} : { uid: user, gid: user }),
    ...(cwd === undefined ? {} : { cwd }),
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    output.stderr += text;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [code, signal] = await once(child, 'close');
  expectNoSecret(output.stdout + output.stderr);
  return { code: code ?? signal, ...output };
}
