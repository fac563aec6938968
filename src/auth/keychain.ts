import { cleanNetworkText } from '../failures/network-text.ts';
import { monotonicMs } from '../monotonic-clock.ts';
import type { KeychainRequest, KeyOrNear } from './keychain-access.ts';
import { ask, askReader, mayHaveSessionBus, type Reply } from './keychain-process.ts';

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
const reading = new Map<string, { startedAt: number; reply: Promise<Reply> }>();

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

async function readOnce(
  request: Extract<KeychainRequest, { operation: 'get' }>,
  promptLimitMs: number,
  alternatives = ALTERNATIVES,
): Promise<KeychainAnswer<KeyOrNear>> {
  if (!mayHaveSessionBus()) {
    return answerOf({ kind: 'failed', message: 'no session bus' }, READ_LIMIT_MS, alternatives);
  }
  const { account } = request;
  let own = reading.get(account);
  if (own === undefined) {
    const { reply, stop } = askReader(request);
    own = { startedAt: monotonicMs(), reply };
    reading.set(account, own);
    const timer = setTimeout(stop, promptLimitMs).unref();
    void reply.then(() => {
      clearTimeout(timer);
      reading.delete(account);
    });
  }
  const { startedAt, reply } = own;
  const left = startedAt + READ_LIMIT_MS - monotonicMs();
  return answerOf(await within(left, reply), READ_LIMIT_MS, alternatives);
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
