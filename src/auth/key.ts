import type { Failure } from '../failures/failure.ts';
import { isLoopbackHost } from '../http/loopback.ts';
import type { Log } from '../log.ts';
import { isPipe, readPrivate, UnusableFile } from '../private-path.ts';
import { optionWords, shellWord } from '../terminal/shell-word.ts';

/** Where a key may come from, as the command line gave it. */
export interface KeySources {
  /** The endpoint: the keychain has keys for its origin and path. */
  readonly url: URL;
  /** Headers given by `--header` and `--header-file`, names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** The names of those that `--header-file` gave. */
  readonly fileHeaders: ReadonlySet<string>;
  readonly keyCommand?: string;
  readonly keyFile?: string;
  readonly keyEnv: string;
  /** The header that takes the key, bare, in lower case; without it, `Authorization: Bearer`. */
  readonly keyHeader?: string;
  /** The account in the keychain, when one was named. */
  readonly account?: string;
  /** The environment variable with the passphrase of the client certificate's key: a secret, too. */
  readonly passphraseEnv?: string;
  /** Where the user may sign in, an account needs no key. */
  readonly oauth?: { readonly auth: 'auto' | 'key' | 'oauth' };
}

/** A key that was found, or the reason why there is none to send. */
export type KeyResult =
  | {
      readonly kind: 'found';
      readonly key: string;
      /** As in `KeySources`. */
      readonly keyHeader?: string;
      readonly origin: KeyOrigin;
    }
  | { readonly kind: 'in-header'; readonly origin: KeyOrigin }
  | {
      /** The request goes out as it is, for gateways that need no key. */
      readonly kind: 'none';
      readonly origin: KeyOrigin;
    }
  | {
      readonly kind: 'unusable';
      readonly reason: 'malformed_api_key' | 'no_api_key';
      /** in words that fit after a colon. */
      readonly detail?: string;
      /** Whether a placeholder is where the key should be. */
      readonly isPlaceholder?: true;
      readonly origin: KeyOrigin;
    };

export type KeyOrigin = NonNullable<Failure['key']>;

/** The name of the entry that is used when none is asked for by `--account`. */
export const DEFAULT_ACCOUNT = 'default';

/** No key, and no set of headers, is as long. */
export const MAX_FILE_BYTES = 64 * 1024;

/** The text of a file with a secret, without a byte order mark. */
export const textOf = (bytes: Buffer) => bytes.toString().replace(/^\ufeff/, '');

const BEARER = /^bearer(?:\s+|$)/i;

// Keys are opaque: what a field value may contain (RFC 9110 §5.5), less white space.
const SENDABLE_KEY = /^[\x21-\x7e]+$/;

/** The headers, in lower case, that carry the key when a client's config gives one by `--header`. */
export function keyHeaderNames(keyHeader: string | undefined): readonly string[] {
  return keyHeader === undefined ? ['authorization', 'x-api-key'] : [keyHeader];
}

// Not “these”, which an editor made: what else it has changed is not known.
const QUOTED = /^(?:"([^"]*)"|'([^']*)'|`([^`]*)`)$/;

/** `text` without the white space and the pairs of quotes around it. */
function unquoted(text: string): string {
  const trimmed = text.trim();
  const inner = QUOTED.exec(trimmed)
    ?.slice(1)
    .find((group) => group !== undefined);
  return inner === undefined ? trimmed : unquoted(inner);
}

/** The value of a header that carries a key, without quotes around it or around its credentials. */
export function unquotedHeader(value: string): string {
  const [, scheme = '', credentials = ''] = /^([\w-]+ +)?(.*)$/s.exec(unquoted(value)) ?? [];
  return scheme + unquoted(credentials);
}

/**
 * The key in what a user pasted, without the white space and quotes around it and a `Bearer ` before
 * it; undefined when the rest cannot be sent: it is empty, a placeholder, or contains white space,
 * control characters or characters beyond ASCII.
 */
export function sendableKey(text: string): string | undefined {
  const key = bareKey(text);
  return SENDABLE_KEY.test(key) && !PLACEHOLDER.test(key) ? key : undefined;
}

// ${NAME}, ${env:NAME}, @{NAME}, {{NAME}}; $(command), $NAME, $env:NAME; %NAME%; <your key>.
const PLACEHOLDER =
  /^(?:[$@#]?\{[^"]*\}|\$\(.*\)|\$[A-Z_][A-Z\d_]*|\$[Ee][Nn][Vv]:\w+|%[A-Za-z_][\w:.-]*%|<.*>)$/s;

/** Whether `text` is what a client or a user should have replaced by the key, such as `${env:NAME}`. */
export function isPlaceholder(text: string): boolean {
  return PLACEHOLDER.test(bareKey(text));
}

function bareKey(text: string): string {
  return unquoted(unquoted(text).replace(BEARER, ''));
}

/** The value of a variable that the user names; not what the object inherits, as `constructor`. */
export function environmentValue(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const value: unknown = env[name];
  return typeof value === 'string' ? value : undefined;
}

/**
 * Where the key is taken from: the first of these sources that is given, whether or not it turns
 * out to have a key.
 */
export function chosenOrigin(sources: KeySources, env: NodeJS.ProcessEnv): KeyOrigin {
  const header = keyHeaderNames(sources.keyHeader).find((name) => sources.headers.has(name));
  if (header !== undefined) {
    return sources.fileHeaders.has(header)
      ? { source: 'header-file', origin: '--header-file' }
      : { source: 'header', origin: `the header ${header}` };
  }
  if (sources.keyCommand !== undefined) {
    return { source: 'key-command', origin: '--key-command' };
  }
  if (sources.keyFile !== undefined) {
    return { source: 'key-file', origin: `the file ${sources.keyFile}` };
  }
  if ((environmentValue(sources.keyEnv, env) ?? '').trim() !== '') {
    return { source: 'key-env', origin: `the environment variable ${sources.keyEnv}` };
  }
  const { account = DEFAULT_ACCOUNT } = sources;
  const name = account === DEFAULT_ACCOUNT ? 'the keychain' : `keychain account ${account}`;
  return { source: 'keychain', origin: name };
}

/**
 * Looks for the key where `chosenOrigin` says, again each time. Takes as long as the source does, at
 * most 10 s. What a key command writes to stderr goes to `log`. Never rejects.
 */
export async function findKey(
  sources: KeySources,
  env: NodeJS.ProcessEnv,
  log: Log,
): Promise<KeyResult> {
  const finding = await findChosenKey(sources, env, log);
  const options = loginOptions(sources);
  if (options === '') return finding;
  return { ...finding, origin: { ...finding.origin, loginOptions: options } };
}

/** As in `KeyOrigin`: without them, `login` would refuse, try or store the key elsewhere. */
export function loginOptions({ url, account, keyHeader }: KeySources): string {
  const isOpen = url.protocol === 'http:' && !isLoopbackHost(url.hostname);
  const isNamed = account !== undefined && account !== DEFAULT_ACCOUNT;
  return [
    ...(isOpen ? ['--allow-http'] : []),
    ...(isNamed ? optionWords('account', account) : []),
    ...(keyHeader === undefined ? [] : optionWords('key-header', keyHeader)),
  ]
    .map((word) => ` ${shellWord(word)}`)
    .join('');
}

async function findChosenKey(
  sources: KeySources,
  env: NodeJS.ProcessEnv,
  log: Log,
): Promise<KeyResult> {
  const origin = chosenOrigin(sources, env);
  switch (origin.source) {
    case 'key-command':
      return fromCommand(sources, origin, log);
    case 'key-file':
      return fromFile(sources, origin, log);
    case 'key-env':
      return usableKey(environmentValue(sources.keyEnv, env) ?? '', sources, origin);
    case 'keychain':
      return fromKeychain(sources, origin);
    default:
      return inHeader(sources, origin);
  }
}

function inHeader(sources: KeySources, origin: KeyOrigin): KeyResult {
  const { headers, keyHeader } = sources;
  const name = keyHeaderNames(keyHeader).find((own) => headers.has(own)) as string;
  const value = headers.get(name) as string;
  const key = value.replace(BEARER, '');
  const isBearer = name !== 'authorization' || BEARER.test(value);
  const credentials = value.replace(/^[\w-]+ +/, '');
  if (isPlaceholder(credentials)) return malformedKey(credentials, origin);
  // Other schemes have parameters (RFC 9110 §11.4); a Bearer token is one word (RFC 6750 §2.1).
  if (!(isBearer ? SENDABLE_KEY : /^[\x20-\x7e]+$/).test(key)) return malformedKey(key, origin);
  return { kind: 'in-header', origin: { ...origin, ...tailOf(key) } };
}

async function fromCommand(sources: KeySources, origin: KeyOrigin, log: Log): Promise<KeyResult> {
  const { runKeyCommand } = await import('./key-command.ts');
  const result = await runKeyCommand(sources.keyCommand ?? '', log);
  if ('error' in result) return noKey(origin, result.error);
  return usableKey(result.text, sources, origin);
}

/** It is read again for each rejected key. */
let warned: string | undefined;

async function fromFile(sources: KeySources, origin: KeyOrigin, log: Log): Promise<KeyResult> {
  const file = sources.keyFile ?? '';
  let text: string;
  try {
    if (isPipe(file, 'secret')) {
      const { readPipe } = await import('./key-command.ts');
      const result = await readPipe(file);
      if ('error' in result) return noKey(origin, result.error);
      text = result.text;
    } else {
      const warn = (words: string) => {
        if (words !== warned) log.warn(`--key-file: ${words}`);
        warned = words;
      };
      text = textOf(readPrivate(file, 'secret', warn, MAX_FILE_BYTES));
    }
  } catch (error) {
    if (error instanceof UnusableFile) return noKey(origin, error.message);
    throw error;
  }
  if (text.trim() === '') return noKey(origin, `the file ${file} is empty`);
  return usableKey(text, sources, origin);
}

async function fromKeychain(sources: KeySources, origin: KeyOrigin): Promise<KeyResult> {
  const { account, oauth } = sources;
  // Who names an account needs its key, unless it may be an account to sign in with.
  const isOptional = account === undefined || (oauth !== undefined && oauth.auth !== 'key');
  const { readKeyOnce } = await import('./keychain.ts');
  const result = await readKeyOnce(sources.url, account ?? DEFAULT_ACCOUNT);
  if ('error' in result) {
    const { isAbsent, words } = result.error;
    // Where there is no keychain at all, none may be needed.
    if (!isAbsent || !isOptional) return noKey(origin, words);
    return { kind: 'none', origin: { ...NO_ORIGIN, keychainError: words } };
  }
  const { key, nearMiss } = result.value;
  if (key !== null) return usableKey(key, sources, origin);
  const near = nearMiss && `one for ${nearMiss} with a different slash at the end`;
  if (account === undefined) {
    const hint = near === undefined ? {} : { nearMiss: `the keychain has ${near}` };
    return { kind: 'none', origin: { ...NO_ORIGIN, ...hint } };
  }
  const hint = near === undefined ? '' : `. It has ${near}`;
  const missing = `the keychain has no key for account ${account}${hint}`;
  if (!isOptional) return noKey(origin, missing);
  return { kind: 'none', origin: { ...NO_ORIGIN, nearMiss: missing } };
}

const NO_ORIGIN: KeyOrigin = { source: 'none', origin: 'no source' };

/** `{ tail }` with the key's last four characters when it is at least 16 long, else `{}`. */
export function tailOf(key: string): { tail?: string } {
  return key.length >= 16 ? { tail: key.slice(-4) } : {};
}

function noKey(origin: KeyOrigin, detail: string): KeyResult {
  return { kind: 'unusable', reason: 'no_api_key', detail, origin };
}

function malformedKey(text: string, origin: KeyOrigin): KeyResult {
  const placeholder = isPlaceholder(text) ? { isPlaceholder: true as const } : {};
  return { kind: 'unusable', reason: 'malformed_api_key', ...placeholder, origin };
}

function usableKey(text: string, { keyHeader }: KeySources, origin: KeyOrigin): KeyResult {
  const key = sendableKey(text);
  if (key === undefined) return malformedKey(text, origin);
  return {
    kind: 'found',
    key,
    ...(keyHeader === undefined ? {} : { keyHeader }),
    origin: { ...origin, ...tailOf(key) },
  };
}
