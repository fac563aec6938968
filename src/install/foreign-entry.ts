import { isPlaceholder, sendableKey } from '../auth/key.ts';
import { UsageError } from '../settings/options.ts';
import { readCommandLine } from '../settings/read-options.ts';
import { toSettings } from '../settings/settings.ts';
import { type Launch, launchOf } from './clients.ts';
import { isTable } from './config-text.ts';
import { EntryError, type GivenOptions, proxyWords, SECRET_NAME } from './entry.ts';

/** An entry that reaches a gateway in another way, and what it is as an entry of this program. */
export interface ForeignEntry {
  /** `mcp-remote`, `supergateway`, `mcp-proxy`, or `a URL` for one that the client reaches itself. */
  readonly kind: string;
  readonly url: URL;
  /** The proxy's command line, without the key and its account. */
  readonly words: readonly string[];
  /** The key that it has in plain text. */
  readonly key?: string;
  /** Variables of the entry's `env` that have the key and nothing else to do. */
  readonly spentVariables: readonly string[];
  /** What its `env` needs in addition: where the client puts a key in the place of a name. */
  readonly env: Readonly<Record<string, string>>;
  /** Clauses on options that are not the same here. */
  readonly notes: readonly string[];
}

/** It cannot be moved, for the reason `why`: a clause. */
export interface ImmovableEntry {
  readonly kind: string;
  readonly why: string;
}

type Value = Readonly<Record<string, unknown>>;

/** A bridge's command line: its own options as this program's, or mcp-remote's. */
type ReadWords = (words: readonly string[], env: Variables) => string[] | undefined;
type Variables = Readonly<Record<string, string>>;

const BRIDGES: Readonly<Record<string, ReadWords>> = {
  'mcp-remote': (words) => [...words],
  supergateway: fromSupergateway,
  'mcp-proxy': fromMcpProxy,
};

/** What an entry calls the URL of its gateway, by client. */
const URL_MEMBERS = ['url', 'serverUrl', 'httpUrl', 'baseUrl', 'uri'];
const HEADER_MEMBERS = ['headers', 'http_headers'];
/** What only an entry with a URL has. */
export const REMOTE_MEMBERS = [...URL_MEMBERS, ...HEADER_MEMBERS, 'transport', 'transportType'];

/**
 * What an entry would be here that runs another bridge, or has a key in plain text beside a URL;
 * undefined for every other entry.
 */
export function foreignEntry(value: Value): ForeignEntry | ImmovableEntry | undefined {
  const launch = launchOf(value);
  const bridge = launch && bridgeOf(launch);
  const kind = launch ? bridge?.kind : 'a URL';
  if (kind === undefined) return undefined;
  const env = launch?.env ?? {};
  try {
    const words = bridge ? BRIDGES[kind]?.(bridge.words, env) : wordsOfRemote(value);
    return words === undefined ? undefined : read(kind, words, env);
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof EntryError)) throw error;
    return { kind, why: error.message };
  }
}

/** The bridge that an entry starts, by npx, uvx, a file, or a container; and its command line. */
function bridgeOf({ command, args }: Launch): { kind: string; words: string[] } | undefined {
  const all = [command, ...args];
  const end = all.findIndex((word) => /^https?:/i.test(word));
  const start = all.findLastIndex((word, at) => at < end && bridgeName(word) !== undefined);
  const kind = bridgeName(all[start] ?? '');
  return kind === undefined ? undefined : { kind, words: all.slice(start + 1) };
}

/** `mcp-remote` of `mcp-remote@latest`, `…/mcp-remote/dist/proxy.js` or `ghcr.io/…/mcp-proxy:v1`. */
function bridgeName(word: string): string | undefined {
  const [, name = ''] =
    /^(?:.*[\\/])?(mcp-remote|supergateway|mcp-proxy)(?:@[\w.^~-]+|:[\w.-]+|\.exe|\.cmd)?$/.exec(
      word.replace(/(?<=[\\/](?:mcp-remote|supergateway))[\\/]dist[\\/][\w.-]+$/, ''),
    ) ?? [];
  return Object.hasOwn(BRIDGES, name) ? name : undefined;
}

/** supergateway (README of 3.4): undefined where it serves, instead of being a client. */
function fromSupergateway(words: readonly string[]): string[] | undefined {
  const options = pairs(words, {
    header: 1,
    oauth2Bearer: 1,
    logLevel: 1,
    sse: 1,
    streamableHttp: 1,
  });
  const url = options.find(({ name }) => name === 'sse' || name === 'streamableHttp')?.values[0];
  if (url === undefined || options.some(({ name }) => name === 'stdio')) return undefined;
  return [
    url,
    ...options.flatMap(({ name, values: [value = ''] }) => {
      if (name === 'header') return ['--header', value];
      if (name === 'oauth2Bearer') return ['--header', `Authorization: Bearer ${value}`];
      const isLevel = name === 'logLevel' && value !== 'info';
      return isLevel ? ['--log-level', value === 'debug' ? 'debug' : 'error'] : [];
    }),
  ];
}

/** mcp-proxy (README of 0.10): undefined where it serves, instead of being a client. */
function fromMcpProxy(words: readonly string[], variables: Variables): string[] | undefined {
  const options = pairs(words, {
    ...{ H: 2, headers: 2, transport: 1, 'log-level': 1, 'verify-ssl': 1 },
    ...{ 'client-id': 1, 'client-secret': 1, 'token-url': 1 },
  });
  const [url] = options.flatMap(({ name, values }) => (name === '' ? values : []));
  if (url === undefined || !/^https?:/i.test(url)) return undefined;
  if (
    options.some(({ name }) => /^(?:client-id|client-secret|token-url|no-verify-ssl)$/.test(name))
  ) {
    throw new EntryError('it uses options that have no counterpart here');
  }
  const token =
    variables.API_ACCESS_TOKEN === undefined ? [] : ['Authorization: Bearer ${API_ACCESS_TOKEN}'];
  return [
    url,
    ...options.flatMap(({ name, values: [first = '', second = ''] }) => {
      if (name === 'H' || name === 'headers') return ['--header', `${first}: ${second}`];
      if (name === 'verify-ssl' && !/^(?:true|false)?$/i.test(first)) return ['--ca', first];
      return name === 'debug' ? ['--log-level', 'debug'] : [];
    }),
    ...token.flatMap((header) => ['--header', header]),
  ];
}

/** Options with as many words as `counts` says, switches, and (as '') what is neither. */
function pairs(words: readonly string[], counts: Readonly<Record<string, number>>) {
  const options: { name: string; values: string[] }[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    const [, name, inline] = /^--?([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) options.push({ name: '', values: [word] });
    else if (inline !== undefined) options.push({ name, values: [inline] });
    else {
      const count = counts[name] ?? 0;
      options.push({ name, values: words.slice(at + 1, at + 1 + count) });
      at += count;
    }
  }
  return options;
}

/** A URL with headers, one of which has a key in plain text, as a command line. */
function wordsOfRemote(value: Value): string[] | undefined {
  const url = URL_MEMBERS.map((member) => value[member]).find((own) => typeof own === 'string');
  const headers = HEADER_MEMBERS.flatMap((member) =>
    isTable(value[member]) ? Object.entries(value[member]) : [],
  );
  const isPlain = ([name, own]: [string, unknown]) =>
    SECRET_NAME.test(name) && typeof own === 'string' && sendableKey(own) !== undefined;
  if (typeof url !== 'string' || !headers.some(isPlain)) return undefined;
  return [url, ...headers.flatMap(([name, own]) => ['--header', `${name}: ${own}`])];
}

function read(
  kind: string,
  words: readonly string[],
  env: Variables,
): ForeignEntry | ImmovableEntry {
  const { url, given, notes } = readCommandLine(words);
  const headers = [given.header ?? []].flat().map(String);
  const spent = new Set<string>();
  const kept: string[] = [];
  const moved: Record<string, string> = {};
  const dropped: string[] = [];
  let key: string | undefined;
  let keyHeader: string | undefined;
  let hasKey = false;
  for (const line of headers) {
    const [name = '', template = ''] = line.split(/:(.*)/s).map((part) => part.trim());
    if (/^(?:accept|content-type)$/i.test(name)) {
      dropped.push(`the header ${name} is set by the proxy itself`);
      continue;
    }
    if (!SECRET_NAME.test(name)) {
      kept.push(line);
      continue;
    }
    const variables: string[] = [];
    const filled = template.replace(/\$\{(\w+)\}/g, (whole, variable: string) => {
      if (!Object.hasOwn(env, variable)) return whole;
      variables.push(variable);
      return env[variable] as string;
    });
    const value = sendableKey(filled);
    const isOfClient = value === undefined && isPlaceholder(filled);
    // The user's environment has the key, or the client puts it into `env`: its name may stay.
    if (isOfClient && (variables.length > 0 || /^(?:[\w-]+ +)?\$\{\w+\}$/.test(template))) {
      kept.push(line);
      continue;
    }
    if (value === undefined && !isOfClient) {
      return { kind, why: `its header ${name} has a value that cannot be stored as a key` };
    }
    if (hasKey) return { kind, why: 'it has several keys, and one can be stored' };
    hasKey = true;
    if (name.toLowerCase() !== 'authorization') keyHeader = name;
    if (value === undefined) moved.MCP_LATCHKEY_API_KEY = filled;
    else key = value;
    for (const variable of variables) spent.add(variable);
  }
  const options = Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) =>
      name === 'header' || value === undefined
        ? []
        : [[name, value === true ? true : [value].flat().map(String)] as const],
    ),
  );
  const all: GivenOptions = {
    ...options,
    ...(kept.length > 0 ? { header: kept } : {}),
    ...(keyHeader === undefined ? {} : { 'key-header': keyHeader }),
  };
  const settings = toSettings(url, { 'allow-http': given['allow-http'] }, {});
  return {
    kind,
    url: settings.url,
    words: proxyWords(settings.url.href, all),
    ...(key === undefined ? {} : { key }),
    spentVariables: [...spent].filter((name) => !kept.some((line) => line.includes(`{${name}}`))),
    env: moved,
    notes: [...notes, ...dropped],
  };
}
