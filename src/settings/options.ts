import { parseArgs } from 'node:util';
import {
  environmentValue,
  type KeySources,
  keyHeaderNames,
  MAX_FILE_BYTES,
  textOf,
} from '../auth/key.ts';
import { nearestNames } from '../failures/nearest-name.ts';
import { isLoopbackHost } from '../http/loopback.ts';
import { Routes } from '../http/routes.ts';
import { LOG_LEVELS, type LogLevel } from '../log.ts';
import { readPrivate, UnusableFile } from '../private-path.ts';

/** The command line or the environment says something that cannot be followed. */
export class UsageError extends Error {}

interface Option {
  readonly alias?: string;
  readonly type: 'string' | 'boolean';
  readonly array?: true;
  readonly requiresArg?: true;
  /** The value is a path: `install` makes it absolute. */
  readonly path?: true;
  readonly describe: string;
}

/** The proxy's options, as yargs takes them. Each also as `MCP_LATCHKEY_…` in the environment. */
export const PROXY_OPTIONS = {
  header: {
    alias: 'H',
    type: 'string',
    array: true,
    requiresArg: true,
    describe: "a header to send, 'Name: value'; @{VAR} or ${VAR} is an environment variable",
  },
  'header-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: "a file of headers to send, 'Name: value' on each line",
  },
  'key-command': {
    type: 'string',
    requiresArg: true,
    describe: 'a command that prints the API key',
  },
  'key-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'a file that holds the API key',
  },
  'key-env': {
    type: 'string',
    requiresArg: true,
    describe: 'the environment variable that holds the API key (MCP_LATCHKEY_API_KEY)',
  },
  account: {
    type: 'string',
    requiresArg: true,
    describe: 'which of several keys for one gateway to take from the keychain (default)',
  },
  'key-header': {
    type: 'string',
    requiresArg: true,
    describe: 'send the key bare in this header, such as x-api-key, not in Authorization',
  },
  integrations: {
    type: 'string',
    requiresArg: true,
    describe: 'offer the tools of these integrations only: linear,github',
  },
  'allow-http': {
    type: 'boolean',
    describe: 'allow plain http:// beyond this machine: the key is then readable on the way',
  },
  timeout: {
    type: 'string',
    requiresArg: true,
    describe: 'longest silence while a reply is due, in seconds; 0 for no limit (600)',
  },
  'connect-timeout': {
    type: 'string',
    requiresArg: true,
    describe: 'longest wait for a connection, in seconds; 0 for no limit (10)',
  },
  ca: {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'a PEM file of certificate authorities to trust as well',
  },
  cert: {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'a PEM file: the client certificate to show',
  },
  'key-pem': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: "a PEM file: the client certificate's private key",
  },
  transport: {
    type: 'string',
    requiresArg: true,
    describe:
      'how to speak to the gateway: http (Streamable HTTP), sse (the deprecated HTTP+SSE), or auto, which finds out (auto)',
  },
  'elicit-url': {
    type: 'string',
    requiresArg: true,
    describe:
      'offer a link to reconnect an integration to clients that can show one: auto, off (auto)',
  },
  'max-message-bytes': {
    type: 'string',
    requiresArg: true,
    describe: 'the largest message to carry, either way (67108864)',
  },
  'log-level': {
    type: 'string',
    requiresArg: true,
    describe: `how much to log to stderr: ${LOG_LEVELS.join(', ')} (warn)`,
  },
  'log-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'append the log to this file as well',
  },
} as const satisfies Record<string, Option>;

const TRANSPORTS = ['auto', 'http', 'sse'] as const;

type OptionName = keyof typeof PROXY_OPTIONS;

/** `url` has the integration filter in its query. */
export interface ProxySettings extends KeySources {
  readonly routes: Routes;
  readonly timeoutMs: number;
  readonly transport: (typeof TRANSPORTS)[number];
  readonly elicitsUrls: boolean;
  readonly maxMessageBytes: number;
  readonly logLevel: LogLevel;
  readonly logFile?: string;
  /** About files of the options that were read all the same; the routes add to them. */
  readonly warnings: readonly string[];
}

/** Names that stand for a gateway's URL. */
const BUILT_IN_GATEWAYS: ReadonlyMap<string, string> = new Map([
  ['kindo', 'https://api.kindo.ai/v1/mcp'],
]);

const PARSER_OPTIONS = Object.fromEntries(
  Object.entries<Option>(PROXY_OPTIONS).map(([name, { type, alias, array }]) => [
    name,
    { type, multiple: array === true, ...(alias === undefined ? {} : { short: alias }) },
  ]),
);

/**
 * Reads the proxy's command line, `<url> [options]`. Not with yargs, as the commands do, which
 * takes 24 ms to load; and not with parseArgs, which takes 0.5 ms, for the URL alone that most configs
 * have. Throws UsageError.
 */
export function readProxySettings(argv: readonly string[], env: NodeJS.ProcessEnv): ProxySettings {
  const { values, positionals, tokens } = argv.some((word) => word.startsWith('-'))
    ? parseArgs({
        args: [...argv],
        options: PARSER_OPTIONS,
        allowPositionals: true,
        strict: false,
        tokens: true,
      })
    : { values: {}, positionals: argv, tokens: [] };
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const { name, rawName, value, inlineValue } = token;
    if (!Object.hasOwn(PROXY_OPTIONS, name)) {
      throw new UsageError(unknownOption(rawName, Object.keys(PROXY_OPTIONS)));
    }
    const isMissing = value === undefined || (!inlineValue && value.startsWith('-'));
    if (PROXY_OPTIONS[name as OptionName].type === 'string' && isMissing) {
      throw new UsageError(`${rawName} needs a value`);
    }
  }
  const [url, ...rest] = positionals;
  if (url === undefined) throw new UsageError('the URL of the gateway is missing');
  if (rest.length > 0) throw new UsageError(ONE_URL_ONLY);
  return toSettings(url, values, env);
}

/**
 * What is wrong with an option that is none of `known`, and what was likely meant. `rawName` has its
 * hyphens. It is quoted only where it is letters and hyphens: else it may be a key.
 */
export function unknownOption(rawName: string, known: readonly string[]): string {
  const name = rawName.replace(/^-+/, '');
  const what = /^[a-z-]{1,30}$/i.test(name)
    ? `unknown option ${rawName}`
    : 'unknown option, not shown here since it may be a key';
  if (name === 'url') return `${what}: give the URL on its own, without a name before it`;
  if (/^(?:(?:api|auth|bearer)[-_]?)?(?:key|token|bearer)$/i.test(name)) {
    return `${what}: no option takes the key, since every program on this machine could read it. Store it with mcp-latchkey login`;
  }
  const [near] = nearestNames(name, known, 1);
  return near === undefined ? what : `${what}; the nearest one is --${near}`;
}

/**
 * The command line for yargs, so that a value which begins and ends with a quote keeps both: its
 * parser (22) takes them off in `--name='a' and 'b'`, and leaves them in `--name "'a' and 'b'"`.
 */
export function withQuotes(argv: readonly string[]): string[] {
  return argv.flatMap((word) => {
    const [, name, value] = /^(--[\w-]+)=(["'].*)$/s.exec(word) ?? [];
    return name === undefined || value === undefined ? [word] : [name, value];
  });
}

// The other word may be a key, so it is not quoted.
const ONE_URL_ONLY =
  'one URL only, and no key: every program on this machine can read what stands here. Store the key with mcp-latchkey login';

/** Settings from a URL or built-in name and the options that were given, by name. Throws UsageError. */
export function toSettings(
  gateway: string,
  given: Readonly<Record<string, unknown>>,
  env: NodeJS.ProcessEnv,
): ProxySettings {
  const all = (name: OptionName): string[] => {
    const value = given[name] ?? fromEnvironment(name, env);
    if (value === undefined) return [];
    return (Array.isArray(value) ? value : [value]).map(String);
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
  const keyCommand = last('key-command');
  const keyFile = last('key-file');
  const logFile = last('log-file');
  const keyHeader = keyHeaderName(last('key-header'));
  const account = accountName(last('account'));
  const headersIn = (lines: readonly string[]) => headers(lines, env, keyHeaderNames(keyHeader));
  const fileHeaders = headersIn(linesOf(last('header-file'), warnOf('--header-file')));
  const ownHeaders = headersIn(all('header'));
  return {
    url: endpoint(gateway, last('allow-http') === 'true', last('integrations')),
    headers: new Map([...fileHeaders, ...ownHeaders]),
    fileHeaders: new Set([...fileHeaders.keys()].filter((name) => !ownHeaders.has(name))),
    ...(keyCommand === undefined ? {} : { keyCommand }),
    ...(keyFile === undefined ? {} : { keyFile }),
    keyEnv: last('key-env') ?? 'MCP_LATCHKEY_API_KEY',
    ...(keyHeader === undefined ? {} : { keyHeader }),
    ...(account === undefined ? {} : { account }),
    timeoutMs: milliseconds('timeout', last('timeout') ?? '600'),
    transport: oneOf('transport', TRANSPORTS, last('transport') ?? 'auto'),
    elicitsUrls: oneOf('elicit-url', ['auto', 'off'], last('elicit-url') ?? 'auto') === 'auto',
    maxMessageBytes: bytes('max-message-bytes', last('max-message-bytes') ?? '67108864'),
    routes: new Routes({
      env,
      connectTimeoutMs: milliseconds('connect-timeout', last('connect-timeout') ?? '10'),
      warnOf,
      ...optional('caFile', 'ca'),
      ...optional('certFile', 'cert'),
      ...optional('certKeyFile', 'key-pem'),
    }),
    logLevel: oneOf('log-level', LOG_LEVELS, last('log-level') ?? 'warn'),
    ...(logFile === undefined ? {} : { logFile }),
    warnings,
  };
}

function fromEnvironment(name: OptionName, env: NodeJS.ProcessEnv): string | string[] | undefined {
  const value = env[`MCP_LATCHKEY_${name.toUpperCase().replaceAll('-', '_')}`];
  if (value === undefined || value === '') return undefined;
  if (name === 'header') return value.split('\n').filter((line) => line.trim() !== '');
  if (PROXY_OPTIONS[name].type === 'boolean')
    return /^(?:1|true|yes|on)$/i.test(value) ? 'true' : 'false';
  return value;
}

function endpoint(gateway: string, allowsHttp: boolean, integrations: string | undefined): URL {
  const text = BUILT_IN_GATEWAYS.get(gateway) ?? gateway;
  if (!/^\s*https?:\/\//i.test(text)) {
    const names = [...BUILT_IN_GATEWAYS.keys()].join(', ');
    // What stands there may be a key, so it is not quoted.
    throw new UsageError(
      `what stands in the place of the URL is no URL that starts with https://, and no built-in gateway (${names}). It is not shown here, since it may be a key`,
    );
  }
  if (/\s/.test(text.trim())) {
    throw new UsageError('the URL has a space in it: give each option as a word of its own');
  }
  if (!URL.canParse(text)) throw new UsageError('the URL is none: check its host and port');
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw new UsageError('a user name or password in the URL is not used: give the key on its own');
  }
  if (url.protocol === 'http:' && !isLoopbackHost(url.hostname) && !allowsHttp) {
    throw new UsageError(
      `${url.origin} is plain http: the API key would be readable on the way. Use https, or --allow-http if you know the network`,
    );
  }
  url.hash = '';
  if (integrations !== undefined) {
    if (url.searchParams.has('integrations')) {
      throw new UsageError('the URL has its own integrations filter: use that or --integrations');
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

/** What this program sends itself, or what is for one connection (RFC 9110 §7.6.1). */
const OWN_HEADERS =
  /^(?:accept|connection|content-(?:encoding|length|type)|expect|keep-alive|last-event-id|mcp-(?:method|name|param-.*|protocol-version|session-id)|proxy-.*|te|trailer|transfer-encoding|upgrade)$/;

const HEADER_NAME = /^[!#$%&'*+.^_`|~\w-]+$/;

function keyHeaderName(given: string | undefined): string | undefined {
  const name = given?.toLowerCase();
  if (name === undefined) return undefined;
  if (!HEADER_NAME.test(name)) throw new UsageError("--key-header wants a header's name");
  if (OWN_HEADERS.test(name) || name === 'host' || name === 'user-agent') {
    throw new UsageError(`the header ${name} cannot take the key`);
  }
  return name;
}

function accountName(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  if (given.trim() !== given || given.length > 100 || /\p{Cc}/u.test(given)) {
    throw new UsageError('--account wants a name of at most 100 characters');
  }
  return given;
}

/** The lines of a file of headers, less the empty ones and those that begin with `#`. */
function linesOf(path: string | undefined, warn: (words: string) => void): string[] {
  if (path === undefined) return [];
  try {
    return textOf(readPrivate(path, 'secret', warn, MAX_FILE_BYTES))
      .split('\n')
      .filter((line) => !/^\s*(?:#|$)/.test(line));
  } catch (error) {
    throw error instanceof UnusableFile ? new UsageError(error.message) : error;
  }
}

/** `carriers`: the names of those that carry a key. */
function headers(
  lines: readonly string[],
  env: NodeJS.ProcessEnv,
  carriers: readonly string[],
): ReadonlyMap<string, string> {
  const result = new Map<string, string>();
  for (const line of lines) {
    const [, name, template] = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*:(.*)$/s.exec(line) ?? [];
    if (name === undefined || template === undefined) {
      throw new UsageError("a header must be written 'Name: value'");
    }
    const key = name.toLowerCase();
    if (OWN_HEADERS.test(key)) {
      throw new UsageError(`the header ${key} cannot be set: mcp-latchkey or HTTP itself sets it`);
    }
    const value = template
      .replace(/[$@]\{(\w+)\}/g, (_, variable: string) => {
        const expanded = environmentValue(variable, env);
        if (expanded === undefined) {
          throw new UsageError(`the header ${key} names ${variable}, which is not set`);
        }
        return expanded;
      })
      .trim();
    // A key with characters that cannot be sent is a malformed_api_key, said to the client.
    if (!carriers.includes(key) && !/^[\t\x20-\x7e]*$/.test(value)) {
      throw new UsageError(`the header ${key} has characters that cannot be sent`);
    }
    result.set(key, value);
  }
  return result;
}

function milliseconds(name: OptionName, seconds: string): number {
  const value = Number(seconds);
  if (!(value >= 0 && value <= 2_000_000)) throw new UsageError(`--${name} wants seconds`);
  return Math.round(value * 1000);
}

function bytes(name: OptionName, number: string): number {
  if (!/^\d{1,10}$/.test(number) || Number(number) < 1024) {
    throw new UsageError(`--${name} wants a number of bytes, 1024 at least`);
  }
  return Number(number);
}

function oneOf<Choice extends string>(
  name: OptionName,
  choices: readonly Choice[],
  given: string,
): Choice {
  const choice = choices.find((known) => known === given);
  if (choice === undefined) throw new UsageError(`--${name} wants one of ${choices.join(', ')}`);
  return choice;
}
