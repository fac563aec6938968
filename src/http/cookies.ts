/** As many as RFC 6265 §6.1 asks for, for one host, and as long. */
const MOST_COOKIES = 50;
const MOST_BYTES = 4096;
/** What a request carries of them: servers take some 16 KiB of headers in all. */
const MOST_SENT_BYTES = 8192;

// A field value (RFC 9110 §5.5) in one line.
const SENDABLE = /^[\x20-\x7e\x80-\xff]*$/;

interface Cookie {
  readonly pair: string;
  readonly path: string;
  readonly isSecure: boolean;
  /** As `Date.now()` has it; Infinity for one that lasts as long as the process. */
  readonly expiresAt: number;
}

/**
 * The cookies of one origin (RFC 6265 §5.3, §5.4), in memory: load balancers send each client back to
 * the worker that has its session by them.
 */
export class Cookies {
  readonly #url: URL;
  /** By name and path, the oldest first. */
  readonly #cookies = new Map<string, Cookie>();

  constructor(origin: URL) {
    this.#url = origin;
  }

  /**
   * Keeps what `Set-Cookie` lines set, or removes what they end. `path` is that of the request, with
   * or without a query. Returns the values that are kept.
   */
  store(lines: readonly string[], path: string): string[] {
    return lines.flatMap((line) => this.#storeOne(line, path) ?? []);
  }

  /** The value of `Cookie` for a request to this path; undefined where there is nothing to send. */
  headerFor(path: string): string | undefined {
    const now = Date.now();
    const fitting = [...this.#cookies.values()].filter(
      (cookie) =>
        cookie.expiresAt > now &&
        (!cookie.isSecure || this.#url.protocol === 'https:') &&
        isWithin(withoutQuery(path), cookie.path),
    );
    fitting.sort((a, b) => b.path.length - a.path.length);
    let header = '';
    for (const { pair } of fitting) {
      if (header.length + pair.length > MOST_SENT_BYTES) continue;
      header += header === '' ? pair : `; ${pair}`;
    }
    return header === '' ? undefined : header;
  }

  #storeOne(line: string, requestPath: string): string | undefined {
    const [pair = '', ...parts] = line.split(';');
    const [name, value] = splitAt(pair);
    if (name === '' || !pair.includes('=') || !SENDABLE.test(pair)) return undefined;
    if (name.length + value.length > MOST_BYTES) return undefined;
    const attributes = new Map(parts.map(splitAt).map(([key, own]) => [key.toLowerCase(), own]));
    if (!this.#isForHost(attributes.get('domain') ?? '')) return undefined;
    const given = attributes.get('path') ?? '';
    const path = given.startsWith('/') ? given : defaultPath(requestPath);
    const expiresAt = expiry(attributes.get('max-age'), attributes.get('expires'));
    const key = `${name};${path}`;
    if (expiresAt <= Date.now()) {
      this.#cookies.delete(key);
      return undefined;
    }
    const isSecure = attributes.has('secure');
    this.#cookies.set(key, { pair: `${name}=${value}`, path, isSecure, expiresAt });
    const [oldest = ''] = this.#cookies.keys();
    if (this.#cookies.size > MOST_COOKIES) this.#cookies.delete(oldest);
    return value;
  }

  /** RFC 6265 §5.1.3. */
  #isForHost(domain: string): boolean {
    const wanted = domain.replace(/^\./, '').toLowerCase();
    const { hostname } = this.#url;
    if (wanted === '' || hostname === wanted) return true;
    // An address is not a domain of another.
    return hostname.endsWith(`.${wanted}`) && !/^[\d.]+$/.test(hostname);
  }
}

/** Before and after the first "=", without the white space around. */
function splitAt(text: string): [name: string, value: string] {
  const at = text.indexOf('=');
  if (at < 0) return [text.trim(), ''];
  return [text.slice(0, at).trim(), text.slice(at + 1).trim()];
}

/** RFC 6265 §5.2.1, §5.2.2: `Max-Age` comes first, and what cannot be read does not count. */
function expiry(maxAge: string | undefined, expires: string | undefined): number {
  if (maxAge !== undefined && /^-?\d+$/.test(maxAge)) return Date.now() + Number(maxAge) * 1000;
  const at = expires === undefined ? Number.NaN : Date.parse(expires);
  return Number.isNaN(at) ? Number.POSITIVE_INFINITY : at;
}

/** RFC 6265 §5.1.4. */
function defaultPath(requestPath: string): string {
  const path = withoutQuery(requestPath);
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

function isWithin(path: string, cookiePath: string): boolean {
  if (!path.startsWith(cookiePath)) return false;
  return (
    path.length === cookiePath.length || cookiePath.endsWith('/') || path[cookiePath.length] === '/'
  );
}

function withoutQuery(path: string): string {
  return path.split('?', 1)[0] as string;
}
