import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cleanNetworkText } from '../failures/network-text.ts';
import { monotonicMs } from '../monotonic-clock.ts';
import type { KeychainReply, KeychainRequest, KeyOrNear } from './keychain-access.ts';

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
  /** Its name in the keychain. */
  readonly name: string;
  /** Origin and path of the endpoint. */
  readonly gateway: string;
  readonly account: string;
  readonly key: string;
}

/** How long a client's request waits for the keychain. */
const READ_LIMIT_MS = 10_000;
/** How long the keychain is waited for at all: a user may have to type its password. */
const PROMPT_LIMIT_MS = 60_000;

/** The item with the key that the stored sign-ins are encrypted with. */
const STORE_KEY = 'token-store-key';

/** Reads that have begun. They go on when a request gives up: a user may be answering a prompt. */
const reading = new Map<string, Reading>();

interface Reading {
  readonly startedAt: number;
  readonly reply: Promise<Reply>;
}

type GetRequest = Extract<KeychainRequest, { operation: 'get' }>;

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
  const answer = await readOnce(getRequest(url, account), promptLimitMs);
  if ('error' in answer) return answer;
  const { key, isNear } = answer.value;
  return { value: key === null && isNear ? { key, nearMiss: gatewayName(nearUrl(url)) } : { key } };
}

/**
 * The key that the stored sign-ins are encrypted with, as it was stored; null when there is none.
 * Waits as `readKeyOnce` does. Never rejects.
 */
export async function readStoreKey(): Promise<KeychainAnswer<string | null>> {
  const request = { operation: 'get', account: STORE_KEY } as const;
  const answer = await readOnce(request, PROMPT_LIMIT_MS, STORE_ALTERNATIVES);
  return 'error' in answer ? answer : { value: answer.value.key };
}

/**
 * Stores `key` for the sign-ins, unless there is one: the one that is there now. Two processes must
 * not do so at once. Waits up to a minute. Never rejects.
 */
export function keepStoreKey(key: string): Promise<KeychainAnswer<string | null>> {
  return command({ operation: 'keep', account: STORE_KEY, key }, STORE_ALTERNATIVES);
}

/** Removes that key; false when there was none. Waits up to a minute. Never rejects. */
export function removeStoreKey(): Promise<KeychainAnswer<boolean>> {
  return command({ operation: 'delete', account: STORE_KEY });
}

/**
 * Begins to read the key of an endpoint and the one of the stored sign-ins, in one process. Who asks
 * for either meanwhile, by `readKeyOnce` or `readStoreKey`, gets what this one finds.
 */
export function beginReadingBoth(url: URL, account: string): void {
  const request = { ...getRequest(url, account), beside: STORE_KEY };
  if (reading.has(request.account) || reading.has(STORE_KEY)) return;
  if (mayHaveSessionBus(childEnvironment())) begin(request, PROMPT_LIMIT_MS);
}

async function readOnce(
  request: GetRequest,
  promptLimitMs: number,
  alternatives = ALTERNATIVES,
): Promise<KeychainAnswer<KeyOrNear>> {
  if (!mayHaveSessionBus(childEnvironment())) {
    return answerOf({ kind: 'failed', message: 'no session bus' }, READ_LIMIT_MS, alternatives);
  }
  const { startedAt, reply } = reading.get(request.account) ?? begin(request, promptLimitMs);
  const left = startedAt + READ_LIMIT_MS - monotonicMs();
  return answerOf(await within(left, reply), READ_LIMIT_MS, alternatives);
}

function begin(request: GetRequest, promptLimitMs: number): Reading {
  const { account, beside } = request;
  const { reply, stop } = ask(request);
  const own = { startedAt: monotonicMs(), reply };
  reading.set(account, own);
  if (beside !== undefined) reading.set(beside, { ...own, reply: reply.then(besideIn) });
  const timer = setTimeout(stop, promptLimitMs).unref();
  void reply.then(() => {
    clearTimeout(timer);
    reading.delete(account);
    if (beside !== undefined) reading.delete(beside);
  });
  return own;
}

function besideIn(reply: Reply): Reply {
  if (reply.kind !== 'done') return reply;
  const { beside: key = null } = reply.value as KeyOrNear;
  return { kind: 'done', value: { key, isNear: false } };
}

/** As `readKeyOnce`, for a command: waits up to a minute, for a prompt that the user sees. */
export function readKey(url: URL, account: string): Promise<KeychainAnswer<KeyOrNear>> {
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

/** Removes what `listKeys` found, also what no URL belongs to; false when it was gone. */
export function removeEntry({ name }: KeychainEntry): Promise<KeychainAnswer<boolean>> {
  return command({ operation: 'delete', account: name });
}

/** Every key stored, by gateway and account. Waits up to a minute. Never rejects. */
export async function listKeys(): Promise<KeychainAnswer<KeychainEntry[]>> {
  const answer = await command<{ account: string; password: string }[]>({ operation: 'list' });
  if ('error' in answer) return answer;
  // On macOS, keytar (7.10.6) lists an item that the user refused to show as an empty one.
  const keys = answer.value.filter(({ account }) => account !== STORE_KEY && account !== '');
  const value = keys.map(({ account: name, password: key }) => {
    const [gateway = '', ...account] = name.split('#');
    return { name, gateway, account: account.join('#'), key };
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

const getRequest = (url: URL, account: string) => ({
  operation: 'get' as const,
  account: entryName(url, account),
  near: entryName(nearUrl(url), account),
});

async function command<Value>(
  request: KeychainRequest,
  alternatives = ALTERNATIVES,
): Promise<KeychainAnswer<Value>> {
  const { reply, stop } = ask(request);
  const answered = await within(PROMPT_LIMIT_MS, reply);
  const answer = answerOf<Value>(answered, PROMPT_LIMIT_MS, alternatives);
  stop();
  return answer;
}

type Reply = KeychainReply | { readonly kind: 'ended'; readonly how: string };

/** `reply` never rejects. No child outlives its reply, `stop`, or this process. */
function ask(request: KeychainRequest): { reply: Promise<Reply>; stop: () => void } {
  // Electron's program is an application, which may start as such instead of as Node.js.
  return process.versions.electron === undefined ? askChild(request) : askHere(request);
}

/** Without a child: until there is a reply, this process ends only when it is killed. */
function askHere(request: KeychainRequest): { reply: Promise<Reply>; stop: () => void } {
  const kill = () => process.kill(process.pid, 'SIGKILL');
  // The thread of a sign-in must not end the whole process with it.
  const { isMainThread } = process.getBuiltinModule('node:worker_threads');
  if (isMainThread) process.once('exit', kill);
  const { XDG_RUNTIME_DIR } = childEnvironment();
  if (XDG_RUNTIME_DIR !== undefined) process.env.XDG_RUNTIME_DIR = XDG_RUNTIME_DIR;
  const reply = import('./keychain-access.ts')
    .then(({ answer }) => answer(request))
    .catch(({ message }: Error): Reply => ({ kind: 'failed', message }));
  void reply.then(() => process.off('exit', kill));
  return { reply, stop: () => {} };
}

function askChild(request: KeychainRequest): { reply: Promise<Reply>; stop: () => void } {
  let child: ChildProcess | undefined;
  const stop = () => {
    // What could not be started has no pid, and a signal to none goes to this process's own group.
    if (child?.pid !== undefined) child.kill('SIGKILL');
  };
  const reply = new Promise<Reply>((resolve) => {
    const program = fileURLToPath(new URL('./keychain-child.js', import.meta.url));
    const source = globalThis.mcpLatchkeyLateFiles?.source('./keychain-child.js');
    // Under `-e`, the file that a program is in has to be given.
    const kept = source && ['-e', `__filename = ${JSON.stringify(program)};\n${source}`];
    child = spawn(process.execPath, kept || [program], {
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

/**
 * What the system's keychain and its prompt are found by. Any other variable may contain a key, a
 * client's secret or a passphrase, since options name variables for these.
 */
const SYSTEM_VARIABLES = new RegExp(
  `^(?:${[
    'HOME|USER|LOGNAME|PATH|LANG(?:UAGE)?|LC_\\w+|TMPDIR|TMP|TEMP|NODE_OPTIONS',
    'DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|DESKTOP_SESSION|(?:DBUS|XDG|GNOME|KDE|GIO|LD|NIX|DYLD)_\\w+',
    'USERPROFILE|USERNAME|USERDOMAIN|APPDATA|LOCALAPPDATA|PROGRAMDATA|SYSTEMROOT|SYSTEMDRIVE|WINDIR',
    '__CF_USER_TEXT_ENCODING',
  ].join('|')})$`,
  'i',
);

function childEnvironment(): NodeJS.ProcessEnv {
  const isSystems = ([name]: [string, unknown]) => SYSTEM_VARIABLES.test(name);
  return {
    // The MCP SDK hands HOME, PATH and little else on to a server, so that D-Bus would not be found
    // in the place where systemd has it.
    ...(process.platform === 'linux' && { XDG_RUNTIME_DIR: `/run/user/${process.getuid?.()}` }),
    ...Object.fromEntries(Object.entries(process.env).filter(isSystems)),
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
export function answerOf<Value>(
  reply: Reply | undefined,
  limitMs: number,
  alternatives = ALTERNATIVES,
): KeychainAnswer<Value> {
  if (reply?.kind === 'done') return { value: reply.value as Value };
  const { isAbsent, what, remedy } = diagnosis(reply, limitMs);
  const advice = remedy === undefined ? alternatives : `${remedy} ${alternatives}`;
  return { error: { isAbsent, words: what, advice } };
}

/** Why the keychain cannot be used, and what to do, without the full stop at the end. */
export function keychainClause({ words, advice }: KeychainError): string {
  return `${words}. ${advice.replace(/\.$/, '')}`;
}

const ALTERNATIVES =
  'Without a keychain, use --key-command, --key-file or an environment variable.';

const STORE_ALTERNATIVES = 'Without a keychain, use --store-key-command or --store-key-file.';

interface Diagnosis {
  readonly isAbsent: boolean;
  readonly what: string;
  readonly remedy?: string;
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
        remedy: 'Install it with `apt install libsecret-1-0` or `dnf install libsecret`.',
      };
    }
    const why = /^Cannot find module/.test(said) ? 'is not installed' : `does not load: ${said}`;
    return absent(`the module keytar ${why}`);
  }
  if (/ServiceUnknown|not provided by any \.service/.test(said)) {
    return {
      ...absent('no keychain service is running'),
      remedy: 'Start GNOME Keyring, KWallet or KeePassXC.',
    };
  }
  if (/locked|User interaction is not allowed|User cancell?ed|dismissed/i.test(said))
    return failed(LOCKED);
  if (/autolaunch|dbus-launch|could not connect|session bus|DBUS_SESSION_BUS_ADDRESS/i.test(said)) {
    return absent('the keychain needs a D-Bus session');
  }
  return failed(`the keychain failed: ${said}`);
}

const LOCKED = 'the keychain is locked';
