import { type KeySources, keyHeaderNames } from '../auth/key.ts';
import type { OAuthSettings } from '../auth/oauth/oauth-settings.ts';
import { isLoopbackHost } from '../http/loopback.ts';
import { Routes } from '../http/routes.ts';
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import { type Filter, filterOf } from './filters.ts';
import { checkedKeyHeader, headerLines, readHeaders } from './headers.ts';
import { milliseconds, oneOf, readOAuthSettings } from './oauth-settings.ts';
import { type OptionName, UsageError } from './options.ts';
import type { Policy } from './policy/policy.ts';
import { readPolicy } from './policy/policy-file.ts';
import { fromEnvironment, readCommandLine } from './read-options.ts';

const TRANSPORTS = ['auto', 'http', 'sse'] as const;
const TRACE_BODIES = ['none', 'heads', 'all'] as const;

/** `url` has the integration filter in its query. */
export interface ProxySettings extends KeySources {
  readonly routes: Routes;
  readonly oauth: OAuthSettings;
  readonly timeoutMs: number;
  /** How long the opening request is tried again while its failure may pass, in milliseconds. */
  readonly startPatienceMs: number;
  /** Whether the gateway's handshake and lists are kept for a start without it. */
  readonly usesCache: boolean;
  /** How long nothing is sent before a ping is; 0 for no ping. */
  readonly pingIntervalMs: number;
  readonly transport: (typeof TRANSPORTS)[number];
  readonly elicitsUrls: boolean;
  readonly opensServerStream: boolean;
  readonly maxMessageBytes: number;
  /** What the client may see and use: what all of them let through. */
  readonly filters: readonly Filter[];
  /** What the organization has set for this computer. */
  readonly policy?: Policy;
  readonly logLevel: LogLevel;
  readonly logFile?: string;
  /** Where a line about each call goes. */
  readonly auditFile?: string;
  /** Where the session is recorded. */
  readonly traceFile?: string;
  readonly traceBodies: (typeof TRACE_BODIES)[number];
  readonly traceMaxBytes: number;
  /** About files of the options that were read all the same; the routes add to them. */
  readonly warnings: readonly string[];
}

/** Short names of gateways. */
const BUILT_IN_GATEWAYS: ReadonlyMap<string, string> = new Map([
  ['kindo', 'https://api.kindo.ai/v1/mcp'],
]);

/** Settings from the proxy's command line, `<url> [options]`. Throws UsageError. */
export function readProxySettings(argv: readonly string[], env: NodeJS.ProcessEnv): ProxySettings {
  const { url, given, notes } = readCommandLine(argv);
  const settings = toSettings(url, given, env);
  return notes.length === 0
    ? settings
    : { ...settings, warnings: [...notes, ...settings.warnings] };
}

/**
 * Settings from a URL or built-in name and the options that were given, by name, as far as the
 * organization's policy allows them; `policy` is null where nothing is sent. Throws UsageError.
 */
export function toSettings(
  gateway: string,
  given: Readonly<Record<string, unknown>>,
  env: NodeJS.ProcessEnv,
  policy: Policy | undefined | null = policyOfThisComputer(),
): ProxySettings {
  const own = (name: OptionName): string[] => {
    // yargs reads `--no-browser` as `browser: false`.
    const isNegated = name.startsWith('no-') && given[name.slice(3)] === false;
    const value = given[name] ?? (isNegated ? 'true' : fromEnvironment(name, env));
    if (value === undefined) return [];
    return (Array.isArray(value) ? value : [value]).map(String);
  };
  const all = (name: OptionName): string[] => {
    const values = policy?.valuesOf(name, own(name)) ?? own(name);
    if ('why' in values) throw new UsageError(values.why);
    return [...values];
  };
  const last = (name: OptionName): string | undefined => {
    const value = all(name).at(-1);
    if (value === '') throw new UsageError(`--${name} needs a value`);
    return value;
  };
  const optional = (setting: string, name: OptionName) => {
    const value = last(name);
    return value === undefined ? {} : { [setting]: value };
  };
  const warnings: string[] = [];
  const warnOf = (option: string) => (words: string) => void warnings.push(`${option}: ${words}`);
  const keyHeader = checkedKeyHeader(last('key-header'));
  const account = accountName(last('account'));
  const headersIn = (lines: readonly string[]) =>
    readHeaders(lines, env, keyHeaderNames(keyHeader));
  const fileHeaders = headersIn(headerLines(last('header-file'), warnOf('--header-file')));
  const ownHeaders = headersIn(all('header'));
  const filters = [filterOf(all, false), policy?.filter].filter((filter) => filter !== undefined);
  const url = endpoint(gateway, last('allow-http') === 'true', last('integrations'));
  const headers = new Map([...fileHeaders, ...ownHeaders]);
  const keyEnv = last('key-env') ?? 'MCP_LATCHKEY_API_KEY';
  const refusal = policy?.refusalOf(url, headers, keyEnv, env);
  if (refusal !== undefined) throw new UsageError(refusal);
  return {
    url,
    headers,
    fileHeaders: new Set([...fileHeaders.keys()].filter((name) => !ownHeaders.has(name))),
    ...optional('keyCommand', 'key-command'),
    ...optional('keyFile', 'key-file'),
    keyEnv,
    ...(keyHeader === undefined ? {} : { keyHeader }),
    ...(account === undefined ? {} : { account }),
    oauth: readOAuthSettings(all),
    timeoutMs: milliseconds('timeout', last('timeout') ?? '600'),
    startPatienceMs: milliseconds('start-patience', last('start-patience') ?? '45'),
    usesCache: last('no-cache') !== 'true',
    pingIntervalMs: milliseconds('ping-interval', last('ping-interval') ?? '0'),
    transport: oneOf('transport', TRANSPORTS, last('transport') ?? 'auto'),
    elicitsUrls: oneOf('elicit-url', ['auto', 'off'], last('elicit-url') ?? 'auto') === 'auto',
    opensServerStream: last('no-server-stream') !== 'true',
    maxMessageBytes: bytes('max-message-bytes', last('max-message-bytes') ?? '67108864'),
    routes: new Routes({
      env: policy?.environment(env) ?? env,
      connectTimeoutMs: milliseconds('connect-timeout', last('connect-timeout') ?? '10'),
      warnOf,
      ...optional('caFile', 'ca'),
      ...optional('certFile', 'cert'),
      ...optional('certKeyFile', 'key-pem'),
      ...optional('certKeyPassphraseEnv', 'key-pem-passphrase-env'),
    }),
    ...optional('passphraseEnv', 'key-pem-passphrase-env'),
    filters,
    ...(policy ? { policy } : {}),
    logLevel: oneOf('log-level', LOG_LEVELS, last('log-level') ?? 'warn'),
    ...optional('logFile', 'log-file'),
    ...optional('auditFile', 'audit-log'),
    ...optional('traceFile', 'trace'),
    traceBodies: oneOf('trace-bodies', TRACE_BODIES, last('trace-bodies') ?? 'heads'),
    traceMaxBytes: bytes('trace-max-bytes', last('trace-max-bytes') ?? '67108864'),
    warnings,
  };
}

/** What the organization has set. Throws UsageError where that cannot be used. */
export function policyOfThisComputer(): Policy | undefined {
  const read = readPolicy();
  if (read === undefined) return undefined;
  if ('why' in read) throw new UsageError(read.why);
  return read.policy;
}

function endpoint(gateway: string, allowsHttp: boolean, integrations: string | undefined): URL {
  const text = BUILT_IN_GATEWAYS.get(gateway) ?? gateway;
  if (!/^\s*https?:\/\//i.test(text)) {
    const names = [...BUILT_IN_GATEWAYS.keys()].join(', ');
    // It may be a key, so it is not quoted.
    throw new UsageError(
      `expected a URL that starts with https://, or ${names}. Yours is hidden because it might be a key`,
    );
  }
  if (/\s/.test(text.trim())) {
    throw new UsageError('the URL contains a space. Put each option in its own argument');
  }
  if (!URL.canParse(text)) throw new UsageError('the URL is not valid. Check its host and port');
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new UsageError(
      'the URL contains a user name or password. Store a key with `mcp-latchkey login URL`',
    );
  }
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname) && !allowsHttp) {
    throw new UsageError(
      `${url.origin} is unencrypted and would expose the API key. Use https, or pass --allow-http`,
    );
  }
  url.hash = '';
  if (integrations !== undefined) {
    if (url.searchParams.has('integrations')) {
      throw new UsageError(
        'the URL already has an integrations filter. Use that or --integrations',
      );
    }
    const filter = `integrations=${names(integrations).map(encodeURIComponent).join(',')}`;
    url.search = url.search === '' ? filter : `${url.search}&${filter}`;
  }
  return url;
}

function names(list: string): string[] {
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

function accountName(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  if (given.trim() !== given || given.length > 100 || /\p{Cc}/u.test(given)) {
    throw new UsageError('--account must be 1 to 100 characters, without spaces around it');
  }
  return given;
}

function bytes(name: OptionName, number: string): number {
  if (!/^\d{1,10}$/.test(number) || Number(number) < 1024) {
    throw new UsageError(`--${name} must be a number of bytes, at least 1024`);
  }
  return Number(number);
}
