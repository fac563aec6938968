import type { CommandModule } from 'yargs';
import { chosenOrigin, DEFAULT_ACCOUNT, findKey, tailOf } from '../../auth/key.ts';
import type { KeychainAnswer, KeychainEntry } from '../../auth/keychain.ts';
import type { CacheSummary } from '../../bridge/gateway-cache/cache-file.ts';
import type { KeySourceName } from '../../failures/failure.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { createLog } from '../../log.ts';
import { PROXY_OPTIONS, pickOptions } from '../../settings/options.ts';
import { type ProxySettings, policyOfThisComputer, toSettings } from '../../settings/settings.ts';
import { asSentence, Printer, tailInWords } from '../../terminal/printer.ts';
import { ownCacheFolder } from '../compile-cache.ts';
import { keychainError as keychainErrorOf, withSlowNotice } from '../keychain-io.ts';
import { signInFacts } from './login-sign-in.ts';

interface Arguments {
  url?: string | undefined;
  json: boolean;
}

/** As `--json` prints it. Never contains a key. */
interface Status {
  /** What the keychain contains: all of it, or what is for `gateway`. */
  readonly stored: readonly StoredKey[];
  /** Why the keychain cannot be read. */
  readonly keychainError?: string;
  /** Where the key for the URL comes from, when one was given. */
  readonly used?: UsedKey;
  /** All sign-ins of this user, or those to `gateway`. Never a token. */
  readonly signIns: readonly StoredSignInFacts[];
  /** What the client can be given while the gateway cannot be reached. */
  readonly cached: readonly CacheSummary[];
  /** What the organization has set for this computer. */
  readonly policy?: PolicyFacts;
}

interface PolicyFacts {
  readonly file: string;
  /** Whom to ask about it. */
  readonly contact?: string;
  /** What it sets, in a sentence each. */
  readonly sets: readonly string[];
}

interface StoredKey {
  readonly gateway: string;
  readonly account: string;
  /** The key's last four characters, when it is at least 16 long. */
  readonly tail?: string;
}

interface StoredSignInFacts {
  readonly gateway: string;
  readonly account: string;
  readonly issuer?: string;
  /** Who signed in, where the server says so. */
  readonly subject?: string;
  /** Separated by spaces. */
  readonly scopes?: string;
  /** When the access token expires, as an ISO date. */
  readonly expires?: string;
  /** Whether it is renewed without the user. */
  readonly refreshable?: boolean;
  /** Whether it may be used: it has tokens that have not expired, or can be renewed. */
  readonly isUsable: boolean;
  /** Why it cannot be read. */
  readonly trouble?: string;
}

interface UsedKey {
  readonly gateway: string;
  readonly account: string;
  /** `none` when the request goes out without a key. */
  readonly source: KeySourceName;
  /** The source in words. */
  readonly origin: string;
  readonly tail?: string;
  /** Why this source, and what is the matter with it, in a sentence. */
  readonly why: string;
  /** Whether a request can go out: false when the source has no usable key. */
  readonly isUsable: boolean;
  /** Whether the keychain has a key that is not used because of this source. */
  readonly shadowsKeychain: boolean;
  /** The gateway that the keychain has a key for instead: its URL differs in the slash at its end. */
  readonly nearMiss?: string;
}

/**
 * `mcp-latchkey status [url]`: which keys and sign-ins are stored, and which is used for the URL. Exit 1
 * when neither would be sent to it, or, without a URL, when the keychain cannot be read.
 */
export const statusCommand: CommandModule<object, Arguments> = {
  command: 'status [url]',
  describe: 'Show stored API keys and sign-ins, and which is used',
  builder: (yargs) =>
    yargs
      .usage(
        "$0 status [url] [options]\n\nShows which API keys and sign-ins are stored. With a URL and the options from your client's config, also shows which one is used. Never prints a key or token.",
      )
      .positional('url', { type: 'string', describe: 'URL of the MCP endpoint' })
      .options({
        json: { type: 'boolean', default: false, describe: 'Print as JSON' },
        account: PROXY_OPTIONS.account,
        header: PROXY_OPTIONS.header,
        'header-file': PROXY_OPTIONS['header-file'],
        'key-command': PROXY_OPTIONS['key-command'],
        'key-file': PROXY_OPTIONS['key-file'],
        'key-env': PROXY_OPTIONS['key-env'],
        'key-header': PROXY_OPTIONS['key-header'],
        'allow-http': PROXY_OPTIONS['allow-http'],
        ...pickOptions(['auth', 'store-key-command', 'store-key-file']),
      })
      .nargs('header', 1),
  async handler(argv) {
    const settings = argv.url === undefined ? undefined : toSettings(argv.url, argv, process.env);
    const { listKeys } = await import('../../auth/keychain.ts');
    const policy = policyFacts();
    const signIns = await signInsOf(argv, settings);
    const stored = await statusOf(await withSlowNotice(listKeys()), signIns, settings);
    const status = { ...stored, ...(policy === undefined ? {} : { policy }) };
    const isGood =
      status.used === undefined
        ? status.keychainError === undefined
        : status.used.isUsable && status.used.source !== 'none';
    process.exitCode = isGood ? 0 : 1;
    const out = new Printer(process.stdout);
    const { knownNewerVersion } = await import('../../install/install.ts');
    const newerVersion = knownNewerVersion(__VERSION__);
    if (argv.json) return out.json({ ...status, newerVersion });
    printStatus(out, status, settings);
    if (newerVersion === undefined) return;
    out.line();
    out.line(`mcp-latchkey ${newerVersion} is available. To use it, run:`);
    out.command(['update']);
  },
};

/** Throws UsageError where the policy cannot be used. */
function policyFacts(): PolicyFacts | undefined {
  const policy = policyOfThisComputer();
  if (policy === undefined) return undefined;
  const { file, contact } = policy;
  return { file, ...(contact === undefined ? {} : { contact }), sets: policy.summary() };
}

async function statusOf(
  listed: KeychainAnswer<KeychainEntry[]>,
  signIns: readonly StoredSignInFacts[],
  settings: ProxySettings | undefined,
): Promise<Status> {
  const cached = await cachedFor(settings?.url);
  const all = 'error' in listed ? [] : listed.value;
  const unread = 'error' in listed ? { keychainError: keychainErrorOf(listed.error) } : {};
  const withoutKeys = (entries: KeychainEntry[]) =>
    entries.map(({ gateway, account, key }) => ({ gateway, account, ...tailOf(key) }));
  if (settings === undefined) return { stored: withoutKeys(all), ...unread, signIns, cached };
  const gateway = settings.url.origin + settings.url.pathname;
  const own = all.filter((entry) => entry.gateway === gateway);
  const used = withSignIn(await usedKey(settings, gateway, own), signIns, settings);
  const { account } = used;
  const withoutSlash = (name: string) => name.replace(/\/$/, '');
  const near = all.find(
    (entry) => entry.account === account && withoutSlash(entry.gateway) === withoutSlash(gateway),
  );
  const isAsked = used.source === 'none' || used.source === 'keychain';
  const isMissed = isAsked && !own.some((entry) => entry.account === account);
  return {
    stored: withoutKeys(own),
    ...unread,
    used: isMissed && near !== undefined ? { ...used, nearMiss: near.gateway } : used,
    signIns,
    cached,
  };
}

/** All of this user's sign-ins, or those to the gateway. */
async function signInsOf(
  given: Readonly<Record<string, unknown>>,
  settings: ProxySettings | undefined,
): Promise<StoredSignInFacts[]> {
  // Only the sources of the key to them matter then, whatever the gateway.
  const { oauth } = settings ?? toSettings('https://gateway.invalid', given, process.env, null);
  const { listSignIns } = await import('../../auth/oauth/user-sign-in.ts');
  const silent = createLog('error', () => {});
  const all = await listSignIns(oauth, process.env, silent);
  const gateway = settings && settings.url.origin + settings.url.pathname;
  return all
    .filter(({ entry }) => (gateway ?? entry.gateway) === entry.gateway)
    .map(({ entry, found }) => {
      const named = {
        gateway: cleanNetworkText(entry.gateway, 500),
        account: cleanNetworkText(entry.account, 100),
      };
      if (found.kind === 'unreadable') return { ...named, isUsable: false, trouble: found.words };
      if (found.kind === 'none') return { ...named, isUsable: false };
      const { tokens } = found.signIn;
      const isFresh = tokens !== undefined && (tokens.expiresAt ?? Infinity) > Date.now();
      const isUsable = isFresh || tokens?.refreshToken !== undefined;
      return { ...named, ...signInFacts(found.signIn), isUsable };
    });
}

/** What is used where there is no key. */
function withSignIn(
  used: UsedKey,
  signIns: readonly StoredSignInFacts[],
  { oauth }: ProxySettings,
): UsedKey {
  const isAsked = oauth.auth === 'oauth' || (oauth.auth === 'auto' && used.source === 'none');
  const found = signIns.find(({ account }) => account === used.account);
  if (!isAsked || found === undefined) return used;
  const { tail: _, ...base } = used;
  const why = found.isUsable
    ? oauth.auth === 'oauth'
      ? '--auth oauth asks for it.'
      : REASONS['sign-in']
    : `It cannot be used: ${found.trouble ?? 'it has expired, or was ended. Sign in again with login'}.`;
  return {
    ...base,
    ...{ source: 'sign-in', origin: 'the sign-in', why, isUsable: found.isUsable },
    shadowsKeychain: false,
  };
}

async function cachedFor(url: URL | undefined): Promise<CacheSummary[]> {
  const folder = ownCacheFolder(process.env);
  const { listCaches } = await import('../../bridge/gateway-cache/cache.ts');
  return folder === undefined ? [] : listCaches(folder, url);
}

async function usedKey(
  settings: ProxySettings,
  gateway: string,
  stored: readonly KeychainEntry[],
): Promise<UsedKey> {
  const { account = DEFAULT_ACCOUNT } = settings;
  const chosen = chosenOrigin(settings, process.env);
  const isStored = stored.some((entry) => entry.account === account);
  const base = {
    gateway,
    account,
    ...chosen,
    isUsable: true,
    shadowsKeychain: isStored && chosen.source !== 'keychain',
  };
  if (chosen.source === 'key-command') {
    return { ...base, why: `${REASONS[chosen.source]} The command was not run.` };
  }
  const silent = createLog('error', () => {});
  const finding = await findKey(settings, process.env, silent);
  const { loginOptions: _, nearMiss: __, ...origin } = finding.origin;
  switch (finding.kind) {
    case 'found':
    case 'in-header':
      return { ...base, ...origin, why: REASONS[chosen.source] };
    case 'none':
      return { ...base, ...origin, why: REASONS.none };
    case 'unusable': {
      const what = finding.isPlaceholder
        ? 'the key is a placeholder that was not filled in'
        : 'the key contains spaces or invalid characters';
      const detail = finding.detail ?? what;
      return { ...base, isUsable: false, why: asSentence(detail) };
    }
  }
}

const REASONS = {
  header: 'A header takes precedence over every other source.',
  'header-file': 'A header takes precedence over every other source.',
  'key-command': 'It takes precedence over --key-file, the environment and the keychain.',
  'key-file': 'It takes precedence over the environment and the keychain.',
  'key-env': 'It takes precedence over the keychain.',
  keychain: 'No other source is set.',
  'sign-in': 'No API key is set.',
  none: 'Requests are sent without a key.',
} as const satisfies Record<KeySourceName, string>;

function printStatus(
  out: Printer,
  { stored, keychainError, used, signIns, cached, policy }: Status,
  settings: ProxySettings | undefined,
): void {
  if (policy !== undefined) {
    const { file, sets } = policy;
    out.title(`Managed by your organization (${file})`);
    for (const set of sets) out.text(set, 2);
    out.line();
  }
  if (used !== undefined) {
    printUsed(out, used);
    out.line();
  }
  out.title('Stored keys');
  if (keychainError !== undefined) out.marked('warn', keychainError);
  else if (stored.length === 0) {
    out.marked('skipped', settings === undefined ? 'none' : 'none for this URL');
  }
  const width = Math.max(...stored.map(({ account }) => account.length));
  let gateway: string | undefined;
  for (const entry of stored) {
    if (entry.gateway !== gateway) out.line(`  ${out.paint('cyan', entry.gateway)}`);
    gateway = entry.gateway;
    out.line(`    ${entry.account.padEnd(width)}${tailInWords(entry)}`);
  }
  if (signIns.length > 0) printSignIns(out, signIns);
  if (cached.length > 0) printCached(out, cached);
}

function printSignIns(out: Printer, signIns: readonly StoredSignInFacts[]): void {
  out.line();
  out.title('Signed in');
  for (const { gateway, account, issuer, subject, scopes, expires, ...rest } of signIns) {
    out.line(`  ${out.paint('cyan', gateway)}`);
    const as = subject === undefined ? '' : ` as ${subject}`;
    const at = issuer === undefined ? '' : `, at ${issuer}`;
    out.text(`${account}${as}${at}`, 4);
    if (scopes !== undefined) out.text(`scopes: ${scopes}`, 4);
    if (rest.trouble !== undefined) out.text(asSentence(rest.trouble), 4, 'yellow');
    else if (!rest.isUsable) out.text('has ended: sign in again', 4, 'yellow');
    else {
      const isFresh = expires !== undefined && Date.parse(expires) > Date.now();
      const until = isFresh ? [`until ${expires}`] : [];
      const renews = rest.refreshable ? ['renews itself'] : [];
      const words = [...until, ...renews].join(', then ');
      if (words !== '') out.text(words, 4);
    }
  }
}

function printCached(out: Printer, cached: readonly CacheSummary[]): void {
  out.line();
  out.title('Cached lists, for a start without the gateway');
  for (const { gateway, account, revision, savedAt, items } of cached) {
    out.line(`  ${out.paint('cyan', gateway)}`);
    const counts = Object.entries(items).map(([method, count]) => `${count} from ${method}`);
    out.text([`${account}, MCP ${revision}, ${savedAt}`, ...counts].join('; '), 4);
  }
}

function printUsed(out: Printer, used: UsedKey): void {
  const { source, origin, isUsable, shadowsKeychain, nearMiss } = used;
  const mark = !isUsable ? 'fail' : source === 'none' ? 'warn' : 'ok';
  out.title(`Key used for ${used.gateway}`);
  out.marked(mark, source === 'none' ? 'No key found.' : `From ${origin}${tailInWords(used)}`);
  out.text(used.why, 2);
  if (shadowsKeychain) {
    const warning = `The key in the keychain is not used, because ${origin} takes precedence. Remove that to use the keychain.`;
    out.marked('warn', warning);
  }
  if (nearMiss !== undefined) {
    const hint = `The keychain has a key for ${nearMiss} with a different slash at the end. Use that URL, or store a key for this one with login.`;
    out.marked('warn', hint);
  }
  out.text("This is for the current shell and options. Your client's environment may differ.", 2);
}
