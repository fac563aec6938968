// Work that must outlive the proxy, which a client may kill at any time: a sign-in that the user is at,
// and a refresh whose new token the server has sent already.
import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { withoutSecrets } from './open-browser.ts';

export interface HelperOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Names of environment variables with secrets, kept from the process. */
  readonly secretVariables: readonly string[];
  /** The one of them that its requests need: the passphrase of the client's TLS key. */
  readonly passphraseEnv?: string | undefined;
  /** The helper's file; for tests. */
  readonly helper?: string | undefined;
}

/** The program of the process. */
export const helperFile = () => fileURLToPath(new URL('./sign-in-process.js', import.meta.url));

/** What every helper is handed beside its work. */
export interface Handed {
  readonly variables?: Readonly<Record<string, string>>;
}

/**
 * Starts a helper process of this program, apart from this one, with `request` as JSON on its stdin.
 * `onMessage` gets each line of JSON that it writes. Resolves once its output has ended; rejects with
 * the system's error where it cannot be started.
 */
export function runHelperProcess<Message>(
  request: object,
  { env, secretVariables, passphraseEnv = '', helper }: HelperOptions,
  onMessage: (message: Message) => void,
): Promise<void> {
  const file = helper ?? helperFile();
  const { [passphraseEnv]: passphrase } = env;
  const handed: Handed =
    passphrase === undefined ? {} : { variables: { [passphraseEnv]: passphrase } };
  const child = run(file, withoutSecrets(env, secretVariables));
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify({ ...request, ...handed }));
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() as string;
    for (const line of lines) onMessage(JSON.parse(line));
  });
  return new Promise((resolve, reject) => {
    child.onError(reject);
    child.stdout.once('close', resolve);
  });
}

interface RunningHelper {
  readonly stdin: Writable;
  readonly stdout: Readable;
  onError(listener: (error: Error) => void): void;
}

/** Starts the helper, which this process does not wait for at its end. */
function run(helper: string, env: NodeJS.ProcessEnv): RunningHelper {
  if (process.versions.electron !== undefined) {
    // Electron's program is an application, which may start as such instead of as Node.js. A thread
    // ends with this process, but so does the host that the user signs in for.
    const thread = new Worker(helper, { stdin: true, stdout: true, stderr: true, env });
    thread.unref();
    const { stdin, stdout } = thread;
    if (stdin === null) throw new Error('the thread has no stdin');
    return { stdin, stdout, onError: (listener) => void thread.once('error', listener) };
  }
  const child = spawn(process.execPath, [helper], {
    // In a group of its own: it gets no signal that is meant for this process.
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env,
    windowsHide: true,
  });
  child.unref();
  const { stdin, stdout } = child;
  return { stdin, stdout, onError: (listener) => void child.once('error', listener) };
}
