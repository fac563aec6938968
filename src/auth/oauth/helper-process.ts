// Work that must outlive the proxy, which a client may kill at any time: a sign-in that the user is at,
// and a refresh whose new token the server has sent already.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
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
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(process.execPath, [file], {
    // In a group of its own: it gets no signal that is meant for this process.
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...withoutSecrets(env, secretVariables) },
    windowsHide: true,
  });
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify({ ...request, ...handed }));
  child.unref();
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() as string;
    for (const line of lines) onMessage(JSON.parse(line));
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.stdout.once('close', resolve);
  });
}
