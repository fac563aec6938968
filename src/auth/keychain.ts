import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { KeychainReply, KeychainRequest, KeyOrNear } from './keychain-child.ts';

/** Why the keychain did not do what it was asked to. */
export interface KeychainError {
  /** There is none that this process could ask, locked or not. */
  readonly isAbsent: boolean;
  /** What went wrong, in words that fit after a colon. */
  readonly words: string;
  /** What to do, and what works without the keychain, in sentences. */
  readonly advice: string;
}

export type KeychainAnswer<Value> = { readonly value: Value } | { readonly error: KeychainError };

export interface KeychainEntry {
  /** Origin and path of the endpoint. */
  readonly gateway: string;
  readonly account: string;
  readonly key: string;
}

/** How long a client's request waits for the keychain. */
const READ_LIMIT_MS = 10_000;
/** How long the keychain is waited for at all: a user may have to type its password. */
const PROMPT_LIMIT_MS = 60_000;

/** A read that has begun. It goes on when a request gives it up: a user may be answering its prompt. */
let reading: { account: string; startedAt: number; reply: Promise<Reply> } | undefined;

/** `nearMiss`: the URL, with or without a slash at its end, that there is a key for instead. */
interface KeyFound {
  readonly key: string | null;
  readonly nearMiss?: string;
}

/**
 * The key stored for an endpoint and account; null when there is none. Waits at most 10 s for the
 * keychain. One that still does not answer is not asked again for `promptLimitMs`: later calls wait
 * for the rest of the first one's 10 s. Never rejects.
 */
export async function readKeyOnce(
  url: URL,
  account: string,
  promptLimitMs = PROMPT_LIMIT_MS,
): Promise<KeychainAnswer<KeyFound>> {
  if (!mayHaveSessionBus(childEnvironment())) {
    return answerOf({ kind: 'failed', message: 'no session bus' }, READ_LIMIT_MS);
  }
  const entry = entryName(url, account);
  if (reading?.account !== entry) {
    const { reply, stop } = ask(getRequest(url, account));
    const own = { account: entry, startedAt: performance.now(), reply };
    reading = own;
    const timer = setTimeout(stop, promptLimitMs).unref();
    void reply.then(() => {
      clearTimeout(timer);
      if (reading === own) reading = undefined;
    });
  }
  const { startedAt, reply } = reading as NonNullable<typeof reading>;
  const left = startedAt + READ_LIMIT_MS - performance.now();
  const answer = answerOf<KeyOrNear>(await within(left, reply), READ_LIMIT_MS);
  if ('error' in answer) return answer;
  const { key, isNear } = answer.value;
  return { value: key === null && isNear ? { key, nearMiss: gatewayName(nearUrl(url)) } : { key } };
}

/** As `readKeyOnce`, for a command: waits up to a minute, for a prompt that the user sees. */
export function readKey(url: URL, account: string): Promise<KeychainAnswer<unknown>> {
  return command(getRequest(url, account));
}

/** Stores a key, in place of one that is there. Waits up to a minute. Never rejects. */
export function storeKey(url: URL, account: string, key: string): Promise<KeychainAnswer<unknown>> {
  return command({ operation: 'set', account: entryName(url, account), key });
}

/** Removes a key; false when there was none. Waits up to a minute. Never rejects. */
export function removeKey(url: URL, account: string): Promise<KeychainAnswer<boolean>> {
  return command({ operation: 'delete', account: entryName(url, account) });
}

/** Every key stored, by gateway and account. Waits up to a minute. Never rejects. */
export async function listKeys(): Promise<KeychainAnswer<KeychainEntry[]>> {
  const answer = await command<{ account: string; password: string }[]>({ operation: 'list' });
  if ('error' in answer) return answer;
  const value = answer.value.map(({ account: entry, password: key }) => {
    const [gateway = '', ...account] = entry.split('#');
    return { gateway, account: account.join('#'), key };
  });
  const order = ({ gateway, account }: KeychainEntry) => `${gateway}#${account}`;
  value.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return { value };
}

/** A path has no `#`; what follows the first one is the account. */
function entryName(url: URL, account: string): string {
  return `${gatewayName(url)}#${account}`;
}

const gatewayName = ({ origin, pathname }: URL) => `${origin}${pathname}`;

/** The URL that is easily taken for this one: with a slash at the end of its path, or without. */
function nearUrl(url: URL): URL {
  const near = new URL(url);
  near.pathname = url.pathname.endsWith('/') ? url.pathname.slice(0, -1) : `${url.pathname}/`;
  return near;
}

const getRequest = (url: URL, account: string): KeychainRequest => ({
  operation: 'get',
  account: entryName(url, account),
  near: entryName(nearUrl(url), account),
});

async function command<Value>(request: KeychainRequest): Promise<KeychainAnswer<Value>> {
  const { reply, stop } = ask(request);
  const answer = answerOf<Value>(await within(PROMPT_LIMIT_MS, reply), PROMPT_LIMIT_MS);
  stop();
  return answer;
}

type Reply = KeychainReply | { readonly kind: 'ended'; readonly how: string };

/** `reply` never rejects. No child outlives its reply, `stop`, or this process. */
function ask(request: KeychainRequest): { reply: Promise<Reply>; stop: () => void } {
  let child: ChildProcess | undefined;
  const stop = () => {
    // What could not be started has no pid, and a signal to none goes to this process's own group.
    if (child?.pid !== undefined) child.kill('SIGKILL');
  };
  const reply = new Promise<Reply>((resolve) => {
    const program = fileURLToPath(new URL('./keychain-child.js', import.meta.url));
    child = spawn(process.execPath, [program], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      env: childEnvironment(),
      windowsHide: true,
    });
    child.once('message', (message) => resolve(message as KeychainReply));
    child.on('error', ({ message }) => resolve({ kind: 'failed', message }));
    child.once('close', (code, signal) => resolve({ kind: 'ended', how: signal ?? String(code) }));
    // There is no channel when this process has no file descriptor left to make one with.
    child.send?.(request, () => {});
  }).catch(({ message }: Error): Reply => ({ kind: 'failed', message }));
  process.once('exit', stop);
  void reply.then(() => {
    process.off('exit', stop);
    stop();
  });
  return { reply, stop };
}

function childEnvironment(): NodeJS.ProcessEnv {
  return {
    // The MCP SDK hands HOME, PATH and little else on to a server, so that D-Bus would not be found
    // in the place where systemd has it.
    ...(process.platform === 'linux' && { XDG_RUNTIME_DIR: `/run/user/${process.getuid?.()}` }),
    ...process.env,
    // It gains nothing from one, and is given every key: it must not run what a shared one contains.
    NODE_DISABLE_COMPILE_CACHE: '1',
    // What the system says is told apart by its words.
    LC_ALL: 'C',
  };
}

/**
 * False where libsecret could not but fail (GLib 2.84, `g_dbus_address_get_for_bus_sync`): to find
 * that out in a child would take 80 ms of each start without a key.
 */
function mayHaveSessionBus(env: NodeJS.ProcessEnv): boolean {
  if (process.platform !== 'linux') return true;
  if (env.DBUS_SESSION_BUS_ADDRESS || existsSync(`${env.XDG_RUNTIME_DIR}/bus`)) return true;
  // Then GLib starts a bus, when there is a display to tell others of it.
  return Boolean(env.DISPLAY);
}

function within<Value>(limitMs: number, promise: Promise<Value>): Promise<Value | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(0, limitMs), undefined);
    void promise.then((value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
}

/** The reply of the keychain's process in words; none came within `limitMs` where it is undefined. */
export function answerOf<Value>(reply: Reply | undefined, limitMs: number): KeychainAnswer<Value> {
  if (reply?.kind === 'done') return { value: reply.value as Value };
  const { isAbsent, what, advice = ALTERNATIVES } = diagnosis(reply, limitMs);
  return { error: { isAbsent, words: what, advice } };
}

const ALTERNATIVES =
  'Without a keychain, use --key-command, --key-file or an environment variable.';

interface Diagnosis {
  readonly isAbsent: boolean;
  readonly what: string;
  readonly advice?: string;
}

const absent = (what: string): Diagnosis => ({ isAbsent: true, what });
const failed = (what: string): Diagnosis => ({ isAbsent: false, what });

function diagnosis(
  reply: Exclude<Reply, { kind: 'done' }> | undefined,
  limitMs: number,
): Diagnosis {
  if (reply === undefined) {
    return failed(
      `the keychain did not respond in ${limitMs / 1000} seconds. It may be waiting for its password in a hidden window`,
    );
  }
  if (reply.kind === 'ended') {
    return reply.how === 'SIGSEGV' && process.platform === 'linux'
      ? failed(LOCKED)
      : failed(`the keychain's native module crashed: ${reply.how}`);
  }
  const [firstLine = ''] = reply.message.split('\n');
  const said = cleanNetworkText(firstLine, 200);
  if (reply.kind === 'not-loaded') {
    if (/libsecret/.test(said)) {
      return {
        ...absent('libsecret is not installed'),
        advice: `Install it with \`apt install libsecret-1-0\` or \`dnf install libsecret\`. ${ALTERNATIVES}`,
      };
    }
    const why = /^Cannot find module/.test(said) ? 'is not installed' : `does not load: ${said}`;
    return absent(`the module keytar ${why}`);
  }
  if (/ServiceUnknown|not provided by any \.service/.test(said)) {
    return {
      ...absent('no keychain service is running'),
      advice: `Start GNOME Keyring, KWallet or KeePassXC. ${ALTERNATIVES}`,
    };
  }
  if (/locked|User interaction is not allowed|dismissed/i.test(said)) return failed(LOCKED);
  if (/autolaunch|could not connect|session bus|DBUS_SESSION_BUS_ADDRESS/i.test(said)) {
    return absent('the keychain needs a D-Bus session');
  }
  return failed(`the keychain failed: ${said}`);
}

const LOCKED = 'the keychain is locked';
