import { isIP } from 'node:net';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { withoutBrackets } from '../http/environment-proxy.ts';
import { PROXY_OPTIONS } from '../settings/options.ts';
import { optionWords } from '../terminal/shell-word.ts';
import type { Launch } from './clients.ts';

/** The proxy's options as they were given: a value, several, or true for a switch. */
export type GivenOptions = Readonly<Record<string, string | readonly string[] | true>>;

/** What was asked for cannot be written into a config. The message says why, and what to do. */
export class EntryError extends Error {}

const NEVER_A_KEY = 'Do not keep keys in a config file';

/** Names of headers and query parameters whose value is a secret: their last word tells. */
export const SECRET_NAME =
  /(?:^|[-_.])(?:auth|authorization|cookie|credentials?|pat|bearer|jwt|\w*token|api-?key|key|\w*secret|passw\w*|sig\w*)$/i;

/**
 * The proxy's command line for a config: the URL, then the options, with paths made absolute, for
 * the client starts the proxy in a folder of its own choice. Throws EntryError where an option or
 * the URL contains a key.
 */
export function proxyWords(url: string, options: GivenOptions): string[] {
  for (const [name] of new URL(url).searchParams) {
    if (SECRET_NAME.test(name)) {
      throw new EntryError(
        `the URL seems to contain a key (parameter ${name}). ${NEVER_A_KEY}. Remove it and run \`mcp-latchkey login URL\``,
      );
    }
  }
  const words = [url];
  for (const [name, given] of Object.entries(options)) {
    for (const own of [given].flat()) {
      if (name === 'header') refuseKeyIn(own, options['key-header']);
      const value = own === true ? own : written(name, own);
      words.push(...(value === true ? [`--${name}`] : optionWords(name, value)));
    }
  }
  return words;
}

const PATH_OPTIONS = new Set(
  Object.entries(PROXY_OPTIONS).flatMap(([name, option]) => ('path' in option ? [name] : [])),
);

/** An option's value as it works in any client. */
function written(option: string, value: string): string {
  // Claude Code and Gemini CLI expand `${VAR}`: the key would be on the command line.
  if (option === 'header') return value.replace(/\$(?=\{\w+\})/g, '@');
  if (!PATH_OPTIONS.has(option)) return value;
  // A shell leaves `~` as it is in quotes and after `=`, and a client starts without a shell.
  return resolve(value.replace(/^~(?=$|[\\/])/, () => homedir()));
}

function refuseKeyIn(header: string | true, keyHeader: unknown): void {
  const name = nameOfKeyIn(String(header), keyHeader);
  if (name === undefined) return;
  throw new EntryError(
    `the header ${name} contains a key. ${NEVER_A_KEY}. Run \`mcp-latchkey login URL\`, or use @{VAR} for an environment variable`,
  );
}

/**
 * The name of a header that contains a key: of `Authorization: Bearer abc`, but not of
 * `Authorization: Bearer @{KEY}`. `keyHeader`: one that has the key whatever its name.
 */
export function nameOfKeyIn(header: string, keyHeader: unknown): string | undefined {
  const [given = '', value = ''] = header.split(/:(.*)/s);
  // A shell of Windows leaves single quotes as they are.
  const name = given.replace(/["'`\u2018-\u201f]/g, '').trim();
  const isTemplate = /^\s*(?:[\w-]+\s+)?(?:[$@]\{\w+\}\s*)+$/.test(value);
  const carriesKey =
    SECRET_NAME.test(name) || name.toLowerCase() === String(keyHeader).toLowerCase();
  return carriesKey && !isTemplate ? name : undefined;
}

/**
 * The entry that starts this `version` by npx, and no other: a minor release of 0.x may break what
 * works (Semantic Versioning 2.0.0, 4). With `--prefer-offline` npm asks the registry only for what it
 * does not have yet. Windows needs `cmd /c` before it: npx is a batch file there, which Node.js no
 * longer starts since CVE-2024-27980. Throws EntryError for words that cmd would change.
 */
export function npxLaunch(
  version: string,
  words: readonly string[],
  platform: NodeJS.Platform,
): Launch {
  const args = ['-y', '--prefer-offline', `mcp-latchkey@${version}`, ...words];
  if (platform !== 'win32') return { command: 'npx', args };
  return { command: 'cmd', args: ['/c', 'npx', ...args.map(wordForCmd)] };
}

/** What cmd.exe acts on, unless it stands in double quotes. */
const CMD_ACTS_ON = /[&|<>^()]/;

/**
 * cmd reads the line twice: for `/c`, and again for `%*` in npx.cmd. Double quotes protect a word
 * both times, and a client puts them around words with white space only. So a URL gets a space at
 * its end, which a URL's reader drops (WHATWG URL §4.4), and gets its quotes with that. Percent
 * escapes stay: cmd leaves `%C3%A4` as it is while no variable is called `C3`.
 */
function wordForCmd(word: string): string {
  if (!/["%\r\n]/.test(word.replace(/%[\da-f]{2}/gi, ''))) {
    if (!CMD_ACTS_ON.test(word) || /[ \t]/.test(word)) return word;
    if (/^https?:/.test(word)) return `${word} `;
  }
  throw new EntryError(`the Windows command line would alter "${word}". Leave out --npx`);
}

/** A name for the gateway: `kindo` for https://api.kindo.ai/v1/mcp. */
export function nameForGateway(url: URL): string {
  const host = withoutBrackets(url.hostname);
  if (isIP(host) !== 0 || host === 'localhost') return 'local-gateway';
  const labels = host.split('.');
  const name = labels.slice(0, -1).find((label) => !/^(?:api|mcp|www|gateway)$/.test(label));
  return name ?? host.replace(/[^a-z0-9]+/g, '-');
}

/** Throws EntryError for a name that no client could show, or that JavaScript reads otherwise. */
export function checkName(name: string): void {
  if (/^[^\p{C}]{1,64}$/u.test(name) && name.trim() === name && name !== '__proto__') return;
  throw new EntryError(`"${name}" is not a valid name. Use 1 to 64 visible characters`);
}
