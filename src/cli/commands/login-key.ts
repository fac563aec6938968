import { matcherFor } from '../../auth/configured-secrets.ts';
import {
  chosenOrigin,
  DEFAULT_ACCOUNT,
  isPlaceholder,
  keyHeaderNames,
  sendableKey,
  tailOf,
} from '../../auth/key.ts';
import { openGateway } from '../../bridge/open-gateway.ts';
import { type KeyTrial, tryKey } from '../../doctor/key-trial.ts';
import { toRpcError } from '../../failures/catalogue.ts';
import { Secrets } from '../../failures/secrets.ts';
import { createLog } from '../../log.ts';
import type { ProxySettings } from '../../settings/settings.ts';
import { insists } from '../../terminal/ask.ts';
import { promptHidden } from '../../terminal/hidden-prompt.ts';
import { Printer } from '../../terminal/printer.ts';
import { keychainError, withSlowNotice } from '../keychain-io.ts';

/** What came of it, as `--json` prints it. */
export interface KeyFinding {
  readonly gateway: string;
  readonly account: string;
  readonly stored: boolean;
  readonly outcome: KeyTrial['outcome'] | 'untried' | Obstacle;
  /** What was found about the key, in sentences. */
  readonly message: string;
  readonly tools?: number;
  /** The key's last four characters, when it is at least 16 long. */
  readonly tail?: string;
  /** The key that was stored before, which this one replaces. */
  readonly replaced?: { readonly tail?: string };
  /** This key was stored before. */
  readonly isSame?: true;
  /** The source that comes before the keychain here, in words. */
  readonly shadowedBy?: string;
}

type Obstacle = 'no-keychain' | 'no-key' | 'malformed' | 'cancelled';

/** Bytes that no key has. */
const MAX_INPUT = 64 * 1024;
const CLOSE_LIMIT_MS = 1_000;

/**
 * Asks for a key by a hidden prompt, or takes `piped`, tries it unless `verify` is false, and stores
 * it in the keychain. With `force`, also one that the gateway rejects or that could not be tested.
 */
export async function loginWithKey(
  settings: ProxySettings,
  options: { readonly verify: boolean; readonly force: boolean; readonly json: boolean },
  piped?: string,
): Promise<KeyFinding> {
  const { verify, force, json } = options;
  const { url, account = DEFAULT_ACCOUNT } = settings;
  const gateway = url.origin + url.pathname;
  const stopped = (outcome: KeyFinding['outcome'], message: string): KeyFinding => ({
    gateway,
    account,
    stored: false,
    outcome,
    message,
  });
  const { readKey, storeKey } = await import('../../auth/keychain.ts');
  // Before anyone is asked for a key that cannot be kept.
  const before = await withSlowNotice(readKey(url, account));
  if ('error' in before) return stopped('no-keychain', keychainError(before.error));

  const isTerminal = piped === undefined && process.stdin.isTTY;
  const text = isTerminal
    ? await promptHidden(`API key for ${gateway}\n(hidden): `, {
        input: process.stdin,
        output: process.stderr,
      })
    : (piped ?? (await readStdin()));
  if (text === undefined) return stopped('cancelled', 'Cancelled.');
  if (text.trim() === '') return stopped('no-key', 'No key entered.');
  const key = sendableKey(text);
  if (key === undefined) {
    return stopped(
      'malformed',
      isPlaceholder(text)
        ? 'That is a placeholder, not an API key. Copy the key itself.'
        : 'That is not a valid key: it contains spaces or invalid characters. Copy only the key.',
    );
  }

  const asks = isTerminal && !json;
  const secrets = new Secrets((keys) => matcherFor(keys, process.env, settings));
  secrets.add(key);
  const trial = verify
    ? await tryIt(settings, key, isTerminal ? 'the prompt' : 'standard input', secrets)
    : undefined;
  const found = {
    gateway,
    account,
    outcome: trial?.outcome ?? 'untried',
    message: secrets.mask(trialInWords(trial, url.host, force || asks)),
    ...(trial?.outcome === 'works' ? { tools: trial.tools } : {}),
    ...tailOf(key),
  } as const;
  let { message } = found;
  if (!force && (trial?.outcome === 'rejected' || trial?.outcome === 'failed')) {
    if (trial.outcome === 'rejected' || !asks) return { ...found, stored: false };
    new Printer(process.stderr).text(message, 0, 'yellow');
    message = '';
    if (!(await insists('Store it without a test?'))) return { ...found, stored: false, message };
  }
  const after = await withSlowNotice(storeKey(url, account, key));
  if ('error' in after) {
    message = `${message} ${keychainError(after.error)}`.trim();
    return { ...found, stored: false, outcome: 'no-keychain', message };
  }
  const { source, origin } = chosenOrigin(settings, process.env);
  const old = before.value.key;
  return {
    ...found,
    message,
    stored: true,
    ...(old === key ? { isSame: true } : old === null ? {} : { replaced: tailOf(old) }),
    ...(source === 'keychain' ? {} : { shadowedBy: origin }),
  };
}

/** All of stdin, as far as a key may be long. */
export async function readStdin(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_INPUT) break;
  }
  return text;
}

async function tryIt(
  settings: ProxySettings,
  key: string,
  origin: string,
  secrets: Secrets,
): Promise<KeyTrial> {
  const { keyHeader } = settings;
  // A key that a header gives would go along, or instead.
  const carriers = keyHeaderNames(keyHeader);
  const headers = new Map([...settings.headers].filter(([name]) => !carriers.includes(name)));
  const finding = {
    kind: 'found',
    key,
    ...(keyHeader === undefined ? {} : { keyHeader }),
    origin: { source: 'keychain', origin, ...tailOf(key) },
  } as const;
  const keys = { current: async () => finding, renew: async () => undefined };
  const log = createLog('error', (line) => void process.stderr.write(secrets.mask(line)));
  const gateway = openGateway({ ...settings, headers }, keys, log, secrets);
  try {
    return await tryKey(gateway, __VERSION__);
  } finally {
    await gateway.close(CLOSE_LIMIT_MS);
  }
}

/** What a gateway makes of a key, in sentences. `isSettled`: whether it is stored is decided elsewhere. */
function trialInWords(trial: KeyTrial | undefined, host: string, isSettled: boolean): string {
  switch (trial?.outcome) {
    case 'works':
      return `The key works. ${host} offers ${trial.tools} ${trial.tools === 1 ? 'tool' : 'tools'}.`;
    case 'rejected': {
      const { detail, resource } = trial.failure;
      const page = resource?.documentation;
      const said = detail === undefined ? '' : `: ${detail}`;
      const more = page === undefined ? ' or create a new one.' : ` or create a new one: ${page}`;
      return `${host} rejected this key (HTTP 401)${said}. Check that you copied all of it,${more}`;
    }
    case 'error':
      return `The key was accepted, but listing the tools failed: ${trial.said}.`;
    case 'forbidden':
      return toRpcError(trial.failure).message;
    case 'failed':
      return `${toRpcError(trial.failure).message} The key was not tested.${isSettled ? '' : ' Pass --force to store it anyway.'}`;
    default:
      return 'The key was not tested.';
  }
}
