import { type Option, PROXY_OPTIONS } from './options.ts';

/** What an option of mcp-remote is here: an option and its value, or undefined for none. */
type Counterpart = readonly [option: string, value: string] | undefined;

/** mcp-remote's switches that this program does not have. */
const SWITCHES: Readonly<Record<string, Counterpart>> = {
  debug: ['log-level', 'debug'],
  silent: ['log-level', 'error'],
  'keep-alive': ['ping-interval', '30'],
  'enable-proxy': undefined,
  ipv4: undefined,
  'client-credentials': ['grant', 'client-credentials'],
  'device-code': ['grant', 'device-code'],
  'disable-cookies': undefined,
  'disable-resource-parameter': undefined,
  'use-id-token': undefined,
};

/** Its options with a value, and those that take that value here. */
const OPTIONS: Readonly<Record<string, string | undefined>> = {
  'body-timeout': 'timeout',
  'headers-timeout': 'timeout',
  'ignore-tool': 'deny-tool',
  'auth-success-url': undefined,
  'auth-timeout': undefined,
  'callback-path': undefined,
  host: 'callback-host',
  protocol: undefined,
  resource: undefined,
  'static-oauth-client-info': undefined,
  'static-oauth-client-metadata': undefined,
  'token-endpoint': undefined,
};

/** Its transports. The one that is not first is used here as well, where it is all there is. */
const TRANSPORTS: Readonly<Record<string, string>> = {
  'http-first': 'auto',
  'sse-first': 'auto',
  'http-only': 'http',
  'sse-only': 'sse',
};

/** What happens here without an option. */
const NOT_NEEDED = ['--enable-proxy', '--ipv4', '--protocol'];

/** A command line of mcp-remote in this program's words, and what became of each option. */
export interface OwnCommandLine {
  readonly words: readonly string[];
  /** Clauses. None has a value that was given: it may be a key. */
  readonly notes: readonly string[];
}

/**
 * mcp-remote's command line, `<url> [port] [options]` (README of 0.15.1), as this program's own. What
 * neither of the two knows stays as it is. Undefined when nothing in it is mcp-remote's alone.
 */
export function fromMcpRemote(argv: readonly string[]): OwnCommandLine | undefined {
  // Those come first, so that an option in this program's words counts more.
  const translated: string[] = [];
  const kept: string[] = [];
  const notes: string[] = [];
  const translate = (given: string, counterpart: Counterpart, shown = '') => {
    const [option = '', value = ''] = counterpart ?? [];
    if (isOwn(option)) translated.push(`--${option}=${value}`);
    notes.push(
      `${given} of mcp-remote ${isOwn(option) ? `is --${option}${shown} here` : fateOf(given)}`,
    );
  };
  let positionals = 0;
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] as string;
    const [, name, inline] = /^--?([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) {
      positionals++;
      // The port for its sign-in.
      if (positionals === 2 && /^\d{1,5}$/.test(word))
        translate('the port', ['callback-port', word]);
      else kept.push(word);
      continue;
    }
    const given = `--${name}`;
    const own: Option | undefined = isOwn(name) ? PROXY_OPTIONS[name] : undefined;
    const isForeign = own === undefined && Object.hasOwn(OPTIONS, name);
    const hasValue = own?.type === 'string' || isForeign || name === 'H';
    const value = hasValue ? (inline ?? argv[++at] ?? '') : '';
    if (name === 'transport' && Object.hasOwn(TRANSPORTS, value)) {
      const transport = TRANSPORTS[value] as string;
      translate(`--transport ${value}`, ['transport', transport], ` ${transport}`);
    } else if (own === undefined && Object.hasOwn(SWITCHES, name)) {
      const counterpart = SWITCHES[name];
      // It logs with both.
      const isOverruled = name === 'silent' && argv.includes('--debug');
      if (!isOverruled) translate(given, counterpart, ` ${counterpart?.[1]}`);
    } else if (isForeign) {
      const option = OPTIONS[name];
      // Here one limit is for both waits.
      const isOverruled =
        name === 'headers-timeout' && argv.some((other) => /^--body-t/.test(other));
      if (!isOverruled) translate(given, option === undefined ? undefined : [option, value]);
    } else {
      kept.push(word, ...(hasValue && inline === undefined && value !== '' ? [value] : []));
    }
  }
  return notes.length === 0 ? undefined : { words: [...translated, ...kept], notes };
}

const isOwn = (name: string): name is keyof typeof PROXY_OPTIONS =>
  Object.hasOwn(PROXY_OPTIONS, name);

const fateOf = (given: string) =>
  NOT_NEEDED.includes(given) ? 'is not needed here' : 'has no counterpart here and is left out';
