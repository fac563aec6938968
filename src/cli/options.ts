import parseArguments from 'yargs-parser';
import { KEY_HEADERS } from '../auth/key.ts';
import { isLoopbackHost } from '../auth/loopback.ts';
import type { RouteOptions } from '../gateway/route.ts';
import { LOG_LEVELS, type LogLevel } from '../log.ts';

/** The command line or the environment says something that cannot be followed. */
export class UsageError extends Error {}

interface Option {
  readonly alias?: string;
  readonly type: 'string' | 'boolean';
  readonly array?: true;
  readonly requiresArg?: true;
  readonly describe: string;
}

/** The proxy's options, as yargs takes them. Each also as `MCP_LATCHKEY_…` in the environment. */
export const PROXY_OPTIONS = {
  header: {
    alias: 'H',
    type: 'string',
    array: true,
    requiresArg: true,
    describe: "a header to send, 'Name: value'; ${VAR} stands for an environment variable",
  },
  'key-file': {
    type: 'string',
    requiresArg: true,
    describe: 'a file that holds the API key',
  },
  'key-env': {
    type: 'string',
    requiresArg: true,
    describe: 'the environment variable that holds the API key (MCP_LATCHKEY_API_KEY)',
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
    describe: 'longest wait for a connection, in seconds (10)',
  },
  ca: {
    type: 'string',
    requiresArg: true,
    describe: 'a PEM file of certificate authorities to trust as well',
  },
  cert: {
    type: 'string',
    requiresArg: true,
    describe: 'a PEM file: the client certificate to show',
  },
  'key-pem': {
    type: 'string',
    requiresArg: true,
    describe: "a PEM file: the client certificate's private key",
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
    describe: 'append the log to this file as well',
  },
} as const satisfies Record<string, Option>;

type OptionName = keyof typeof PROXY_OPTIONS;
const OPTION_NAMES = Object.keys(PROXY_OPTIONS) as OptionName[];

export interface ProxySettings {
  /** The endpoint, with the integration filter in its query. */
  readonly url: URL;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly keyFile?: string;
  readonly keyEnv: string;
  readonly route: RouteOptions;
  readonly timeoutMs: number;
  readonly elicitsUrls: boolean;
  readonly maxMessageBytes: number;
  readonly logLevel: LogLevel;
  readonly logFile?: string;
}

/** Names that stand for a gateway's URL. */
const BUILT_IN_GATEWAYS: Readonly<Record<string, string>> = {
  kindo: 'https://api.kindo.ai/v1/mcp',
};

/**
 * Reads the proxy's command line, `<url> [options]`. yargs-parser and not yargs: it reads the same
 * way and takes 4 ms to load instead of 24. Throws UsageError.
 */
export function readProxySettings(argv: readonly string[], env: NodeJS.ProcessEnv): ProxySettings {
  const names = (type: Option['type']) =>
    OPTION_NAMES.filter((name) => PROXY_OPTIONS[name].type === type);
  const { argv: parsed, error } = parseArguments.detailed([...argv], {
    string: names('string'),
    boolean: names('boolean'),
    alias: { header: 'H' },
    configuration: {
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-positional-numbers': false,
    },
  });
  if (error) throw new UsageError(error.message);
  const { _: positionals, ...given } = parsed;
  for (const name of Object.keys(given)) {
    if (name !== 'H' && !OPTION_NAMES.includes(name as OptionName)) {
      throw new UsageError(`unknown option ${name.length === 1 ? '-' : '--'}${name}`);
    }
  }
  const [url, ...rest] = positionals.map(String);
  if (url === undefined) throw new UsageError('the URL of the gateway is missing');
  if (rest.length > 0) throw new UsageError(`one URL only, but got also: ${rest.join(' ')}`);
  return toSettings(url, given, env);
}

/** Settings from a URL or built-in name and the options that were given, by name. Throws UsageError. */
function toSettings(
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
  const keyFile = last('key-file');
  const optional = (setting: string, name: OptionName) => {
    const value = last(name);
    return value === undefined ? {} : { [setting]: value };
  };
  return {
    url: endpoint(gateway, last('allow-http') === 'true', last('integrations')),
    headers: headers(all('header'), env),
    ...(keyFile === undefined ? {} : { keyFile }),
    keyEnv: last('key-env') ?? 'MCP_LATCHKEY_API_KEY',
    timeoutMs: milliseconds('timeout', last('timeout') ?? '600'),
    logLevel: oneOf('log-level', LOG_LEVELS, last('log-level') ?? 'warn'),
    ...optional('logFile', 'log-file'),
    route: {
      env,
      connectTimeoutMs: milliseconds('connect-timeout', last('connect-timeout') ?? '10'),
      ...optional('caFile', 'ca'),
      ...optional('certFile', 'cert'),
      ...optional('certKeyFile', 'key-pem'),
    },
    elicitsUrls: oneOf('elicit-url', ['auto', 'off'], last('elicit-url') ?? 'auto') === 'auto',
    maxMessageBytes: bytes('max-message-bytes', last('max-message-bytes') ?? '67108864'),
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
  const text = BUILT_IN_GATEWAYS[gateway] ?? gateway;
  if (!URL.canParse(text) || !/^https?:\/\//i.test(text)) {
    const names = Object.keys(BUILT_IN_GATEWAYS).join(', ');
    throw new UsageError(
      `'${text}' is no URL that starts with https://, and no built-in gateway (${names})`,
    );
  }
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

/** What this program sends itself, or HTTP forbids to set. */
const OWN_HEADERS = new Set([
  'accept',
  'connection',
  'content-length',
  'content-type',
  'expect',
  'keep-alive',
  'mcp-protocol-version',
  'mcp-session-id',
  'transfer-encoding',
  'upgrade',
]);

function headers(lines: readonly string[], env: NodeJS.ProcessEnv): ReadonlyMap<string, string> {
  const result = new Map<string, string>();
  for (const line of lines) {
    const [, name, template] = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*:(.*)$/s.exec(line) ?? [];
    if (name === undefined || template === undefined) {
      throw new UsageError("--header wants 'Name: value'");
    }
    const key = name.toLowerCase();
    if (OWN_HEADERS.has(key)) throw new UsageError(`the header ${key} cannot be set`);
    const value = template
      .replace(/\$\{(\w+)\}/g, (_, variable: string) => {
        const expanded = env[variable];
        if (expanded === undefined) {
          throw new UsageError(`the header ${key} names \${${variable}}, which is not set`);
        }
        return expanded;
      })
      .trim();
    // A key with characters that cannot be sent is a malformed_api_key, said to the client.
    if (!KEY_HEADERS.includes(key) && !/^[\t\x20-\x7e]*$/.test(value)) {
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
