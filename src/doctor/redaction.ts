import { isIP } from 'node:net';
import type { Secrets } from '../failures/secrets.ts';
import { isLoopbackHost } from '../http/loopback.ts';

/** What is private in a report, besides what can be told by its look. */
export interface Private {
  /** Nothing but the secrets is to be masked. */
  readonly keysOnly: boolean;
  /** The gateway's host name: the one that is shown. */
  readonly gatewayHost: string;
  /** Keys and the like, to be shown nowhere. */
  readonly secrets: Secrets;
  readonly homes: readonly string[];
  readonly userName: string;
  /** Names of this computer. */
  readonly machines: readonly string[];
  /** Host names of HTTP proxies. */
  readonly proxies: readonly string[];
}

/** The last part of words that look like a host name and are the name of a file. */
const FILE_ENDINGS = new Set(
  'bak cmd cjs crt exe html js json key log md mjs node pem service so toml ts txt yaml yml'.split(
    ' ',
  ),
);

// Wider than the rules for names (RFC 1123 §2.1), so that nothing gets by for an odd character; and
// runs that are taken apart later, so that no text takes long.
const DOTTED = /[\p{L}\p{N}_.-]+/gu;
const LAST_LABEL = /^\p{L}[\p{L}\p{N}_-]/u;
const ADDRESS =
  /(?<![\w:.])(?:[\da-f]{0,4}:){2,7}[\da-f]{0,4}(?:%\w+)?(?![\w:])|(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)/gi;

/** The user's name as Windows shortens it (8.3): `C:\\Users\\ADALOV~1`. */
const SHORT_USER_NAME = /(?<=[\\/]Users[\\/]{1,2})[^\\/\s"']{1,6}~\d+/gi;

/**
 * Removes from texts what is private: keys, user names, home folders, and every host name
 * and IP address but the gateway's. The same host gets the same number throughout.
 */
export class Redaction {
  readonly #private: Private;
  /** Addresses of the gateway, and hosts of whom to ask. */
  readonly #shown = new Set<string>();
  readonly #names = new Map<string, string>();

  constructor(own: Private) {
    this.#private = own;
  }

  /** Lets these addresses and host names be seen. Names in lower case. */
  show(hosts: readonly string[]): void {
    for (const host of hosts) this.#shown.add(host);
  }

  mask(text: string): string {
    const { keysOnly, secrets, homes, userName, machines, proxies } = this.#private;
    let masked = secrets.mask(text);
    if (keysOnly) return masked;
    for (const home of homes) {
      // Of a home that is `/`, nothing tells.
      if (home.length > 1) masked = masked.replace(inAnySpelling(home), '~');
    }
    if (userName !== '') {
      const name = escaped(userName);
      masked = masked.replace(
        new RegExp(`(?<=[\\\\/@])${name}(?![\\w-])|(?<![\\w-])${name}(?=@)`, 'gi'),
        '[user]',
      );
    }
    masked = masked.replace(SHORT_USER_NAME, '[user]');
    for (const proxy of proxies)
      masked = replaceWord(masked, proxy, () => this.#named(proxy, 'proxy'));
    for (const machine of machines) {
      masked = replaceWord(masked, machine, () => this.#named(machine, 'this computer'));
    }
    return masked
      .replace(DOTTED, (run) => this.#dotted(run))
      .replace(ADDRESS, (found) => this.#address(found));
  }

  /** `mask`, for every string in a JSON value. */
  maskAll<Value>(value: Value): Value {
    if (typeof value === 'string') return this.mask(value) as Value;
    if (Array.isArray(value)) return value.map((own) => this.maskAll(own)) as Value;
    if (typeof value !== 'object' || value === null) return value;
    const members = Object.entries(value).map(([name, own]) => [name, this.maskAll(own)]);
    return Object.fromEntries(members) as Value;
  }

  /** A run with the host name in it masked: from behind two dots to the last word in letters. */
  #dotted(run: string): string {
    const labels = run.split('.');
    const last = labels.findLastIndex((label) => LAST_LABEL.test(label));
    const first = labels.lastIndexOf('', last) + 1;
    if (first >= last) return run;
    const name = labels
      .slice(first, last + 1)
      .join('.')
      .replace(/^-+/, '');
    if (this.#isPublic(name)) return run;
    const around = (parts: string[]) => parts.map((label) => `${label}.`).join('');
    const rest = labels.slice(last + 1).map((label) => `.${label}`);
    return `${around(labels.slice(0, first))}${this.#numbered(name, 'host')}${rest.join('')}`;
  }

  /** The gateway's own name and what can be read from it, and names of files. */
  #isPublic(name: string): boolean {
    const lower = name.toLowerCase();
    const { gatewayHost } = this.#private;
    const isParent = gatewayHost.toLowerCase().endsWith(`.${lower}`);
    const ending = lower.slice(lower.lastIndexOf('.') + 1);
    return (
      lower === gatewayHost.toLowerCase() ||
      isParent ||
      this.#shown.has(lower) ||
      isLoopbackHost(lower) ||
      FILE_ENDINGS.has(ending)
    );
  }

  #address(found: string): string {
    const bare = found.replace(/%.*$/, '');
    if (isIP(bare) === 0 || isLoopbackHost(bare) || bare === this.#private.gatewayHost)
      return found;
    return this.#shown.has(bare) ? found : this.#numbered(bare, 'address');
  }

  #numbered(name: string, kind: string): string {
    const lower = name.toLowerCase();
    const known = this.#names.get(lower);
    if (known !== undefined) return known;
    const number =
      [...this.#names.values()].filter((own) => own.startsWith(`[${kind}-`)).length + 1;
    return this.#named(lower, `${kind}-${number}`);
  }

  #named(name: string, label: string): string {
    this.#names.set(name.toLowerCase(), `[${label}]`);
    return `[${label}]`;
  }
}

function replaceWord(text: string, word: string, by: () => string): string {
  if (word === '' || isLoopbackHost(word)) return text;
  const name = escaped(word);
  // `proxy` is a name, and a word in sentences about one.
  const pattern = /[-.\d]/.test(word)
    ? `(?<![\\w.-])${name}(?![\\w-]|\\.\\w)`
    : `(?<=(?:through|HTTP proxy) |//)${name}(?![\\w-])|(?<![\\w.-])${name}(?=:\\d)`;
  return text.replace(new RegExp(pattern, 'gi'), by);
}

/**
 * A path as programs spell it: in any case, with either slash, doubled in JSON, and with percent
 * escapes in file URLs.
 */
function inAnySpelling(path: string): RegExp {
  const spelled = [...path].map((character) => {
    if (/[\\/]/.test(character)) return '[\\\\/]{1,2}';
    // Half of a pair, which Windows allows in a name, has no encoding.
    const encoded = /\p{Cs}/u.test(character) ? character : encodeURIComponent(character);
    return encoded === character ? escaped(character) : `(?:${escaped(character)}|${encoded})`;
  });
  return new RegExp(spelled.join(''), 'gi');
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
