import { MASK } from './url-secrets.ts';

/** Shorter ones are too common in ordinary texts to be masked at all. */
const SHORTEST = 4;
/** Shorter ones are masked as whole words only, and not in base64 or hexadecimal. */
const SHORT = 8;
/** The beginning of a secret counts as the secret from half its length or this length on. */
const LONGEST_HEAD = 32;
const SHORTEST_HEAD = 12;

/**
 * Finds secrets in texts: in any letter case, also percent-encoded, as escapes of JSON or HTML, in
 * base64 and base64url, in hexadecimal, and with white space or invisible characters in between. The
 * beginning of one counts as well where it was cut off.
 */
export class SecretMatcher {
  // Not #private: each bundle has a class of its own, and one may get the other's.
  readonly needles: readonly string[];
  /** By `hashOf`, the beginnings of all needles; undefined where one has no plain beginning. */
  readonly beginnings: Uint8Array | undefined;
  /** The four bytes that a needle begins with. */
  readonly exact: ReadonlySet<number>;
  /** The newest other matcher, and the beginnings of both. */
  #other: SecretMatcher | undefined;
  #both: Uint8Array | undefined;

  constructor(secrets: Iterable<string>) {
    this.needles = [...new Set([...secrets].flatMap(needlesFor))];
    const begins = this.needles.map((needle) => needle.slice(0, SHORTEST));
    this.exact = new Set(begins.map((begin) => Buffer.from(begin).readInt32BE()));
    const isPlain = begins.every((begin) => /^[\x20-\x7e]*$/.test(begin));
    this.beginnings = isPlain ? hashesOf(this.exact) : undefined;
  }

  /**
   * The text with `[secret]` for each secret in it; the same text where there is none. With `isJson`
   * only in the strings and names of a JSON text, which stays valid.
   */
  mask(text: string, isJson = false): string {
    if (this.needles.length === 0) return text;
    const read = simplified(text, isJson);
    const spans = this.needles.flatMap((needle) => spansOf(needle, read, text));
    if (spans.length === 0) return text;
    spans.sort(([a], [b]) => a - b);
    let masked = '';
    let at = 0;
    for (const [start, end] of spans) {
      if (start >= at) masked += text.slice(at, start) + MASK;
      at = Math.max(at, end);
    }
    return masked + text.slice(at);
  }

  /**
   * Whether `mask`, or that of `other`, may find a secret in a text, given as UTF-8 from byte `start` to
   * byte `end`: a hundred times as fast as to look for them. Says so also of what only begins like one,
   * or has escapes by number or name.
   */
  mayFind(text: Buffer, other?: SecretMatcher, start = 0, end = text.length): boolean {
    if (this.needles.length === 0) return other?.mayFind(text, undefined, start, end) ?? false;
    const beginnings =
      other === undefined || other.needles.length === 0
        ? this.beginnings
        : this.#beginningsWith(other);
    if (beginnings === undefined) return true;
    let newest = 0;
    for (let at = start; at < end; at++) {
      const byte = text[at] as number;
      const char = PLAIN[byte] as number;
      if (char === SKIPPED) continue;
      if (char === SPECIAL) {
        if (byte !== BACKSLASH) {
          if (isEncoded(text, at)) return true;
          newest = (newest << 8) | byte;
        } else {
          let after = at + 1;
          while (text[after] === BACKSLASH) after++;
          const next = String.fromCharCode(text[after] ?? 0);
          if ('uUxX'.includes(next)) return true;
          // An odd number of them makes an escape of the next character, as of `n`.
          at = (after - at) % 2 === 1 && 'bfnrt'.includes(next) ? after : after - 1;
          continue;
        }
      } else newest = (newest << 8) | char;
      if (beginnings[hashOf(newest)] === 1 && this.#begins(newest, other)) return true;
    }
    return false;
  }

  /** Whether one begins with these four bytes, of which the hash says that one may. */
  #begins(newest: number, other?: SecretMatcher): boolean {
    return this.exact.has(newest) || other?.exact.has(newest) === true;
  }

  #beginningsWith(other: SecretMatcher): Uint8Array | undefined {
    if (this.#other !== other) {
      const [own, others] = [this.beginnings, other.beginnings];
      this.#other = other;
      this.#both = own && others && own.map((byte, at) => byte | (others[at] as number));
    }
    return this.#both;
  }
}

/** From the first code unit to the one after the last. */
type Span = readonly [start: number, end: number];

/** A text with every way to write a character undone, and where each character was. */
interface Simplified {
  readonly chars: string;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

/** In place of what no secret goes across: a quote that ends a JSON string, and MASK. */
const BARRIER = '\uffff';

let tokenPattern: RegExp | undefined;

// Every place in a text matches one of these, and what is read once is not read again.
const makePattern = () =>
  new RegExp(
    [
      String.raw`([^%\\&"[\s\p{Default_Ignorable_Code_Point}]{1,999})`,
      String.raw`%(?:25)*([\da-f]{2})`,
      String.raw`\\+u([\da-f]{4})`,
      String.raw`\\+x([\da-f]{2})`,
      String.raw`&#x([\da-f]{1,6});`,
      String.raw`&#(\d{1,7});`,
      '&(amp|lt|gt|quot|apos);',
      String.raw`(?:\\\\)*\\([^\\])`,
      String.raw`(\[secret\])`,
      String.raw`\\+|[\s\p{Default_Ignorable_Code_Point}]+`,
      '(.)',
    ].join('|'),
    'gisuy',
  );

const BACKSLASH = 0x5c;
const SKIPPED = 0;
const SPECIAL = 1;

/**
 * What `simplified` makes of each byte of UTF-8, as far as a byte tells. What is not ASCII is skipped:
 * it may be invisible.
 */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 0x80 || /\s/.test(String.fromCharCode(byte))) return SKIPPED;
  if (byte < 0x20) return byte + 0x80;
  return '\\%&'.includes(String.fromCharCode(byte))
    ? SPECIAL
    : folded(String.fromCharCode(byte)).charCodeAt(0);
});

/** Of the four newest bytes. */
function hashOf(bytes: number): number {
  return Math.imul(bytes, 0x9e3779b1) >>> 18;
}

function hashesOf(beginnings: Iterable<number>): Uint8Array {
  const hashes = new Uint8Array(1 << 14);
  for (const bytes of beginnings) hashes[hashOf(bytes)] = 1;
  return hashes;
}

/** Whether a percent sign or an ampersand begins a character that is written by its number or name. */
function isEncoded(text: Buffer, at: number): boolean {
  return /^(?:%[\da-f]{2}|&(?:#|amp;|lt;|gt;|quot;|apos;))/i.test(
    text.toString('latin1', at, at + 6),
  );
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
};

/** Without escapes, white space and letter case, with base64url as base64. Of JSON, only the strings. */
function simplified(text: string, isJson = false): Simplified {
  const starts: number[] = [];
  const ends: number[] = [];
  let chars = '';
  let inString = !isJson;
  let at = 0;
  tokenPattern ??= makePattern();
  const token = tokenPattern;
  const put = (char: string) => {
    if (!inString || /[\s\\]/.test(char)) return;
    chars += char;
    starts.push(at);
    ends.push(token.lastIndex);
  };
  token.lastIndex = 0;
  for (; at < text.length; at = token.lastIndex) {
    const [, plain, percent, unicode, short, hex, decimal, entity, escaped, mask, other] =
      token.exec(text) as RegExpExecArray;
    const code = percent ?? unicode ?? short ?? hex;
    if (plain !== undefined) {
      if (!inString) continue;
      chars += plain;
      for (; at < token.lastIndex; at++) ends.push(starts.push(at) && at + 1);
    } else if (code !== undefined) put(String.fromCharCode(Number.parseInt(code, 16)));
    else if (decimal !== undefined) put(String.fromCharCode(Number(decimal)));
    else if (entity !== undefined) put(ENTITIES[entity.toLowerCase()] as string);
    else if (escaped !== undefined && !'bfnrt'.includes(escaped)) put(escaped);
    else if (mask !== undefined) put(BARRIER);
    else if (other === '"' && isJson) {
      put(BARRIER);
      inString = !inString;
    } else if (other !== undefined) put(other);
  }
  return { chars: folded(chars), starts, ends };
}

function folded(chars: string): string {
  return chars
    .replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
    .replaceAll('-', '+')
    .replaceAll('_', '/');
}

/** The forms that are searched for in a simplified text. */
function needlesFor(secret: string): string[] {
  const plain = simplify(secret);
  // By its own length: what looks like escapes is shorter when it is simplified.
  if (secret.length < SHORT) return [plain].filter(isLongEnough);
  // A secret with `%41`, `\\n` or `&amp;` in it is simplified in one way as it is, in others where it is
  // encoded once more. For the others, these are all the same.
  const inJson = JSON.stringify(secret).slice(1, -1);
  const inUrl = encodeURIComponent(Buffer.from(secret).toString());
  const encoded = [inJson, inUrl, inUrl.replaceAll('%20', '+')].map(simplify);
  const literal = [secret, Buffer.from(secret).toString('latin1')].map((text) =>
    folded(text.replace(/[\s\\]/g, '')),
  );
  return [plain, ...encoded, ...literal, ...inBase64(secret), inHex(secret)].filter(isLongEnough);
}

function isLongEnough(needle: string): boolean {
  return needle.length >= SHORTEST;
}

function simplify(text: string): string {
  return simplified(text).chars;
}

/** What is the same in every text that has these bytes in it, at each of the three alignments. */
function inBase64(secret: string): string[] {
  return [0, 1, 2].map((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(secret)]);
    const whole = bytes.toString('base64').slice(0, Math.floor((bytes.length * 8) / 6));
    return folded(whole.slice(Math.ceil((before * 8) / 6)));
  });
}

function inHex(secret: string): string {
  return Buffer.from(secret).toString('hex');
}

function spansOf(needle: string, { chars, starts, ends }: Simplified, text: string): Span[] {
  const spans: Span[] = [];
  const { length } = needle;
  const isShort = length < SHORT;
  const head = Math.max(SHORTEST_HEAD, Math.min(length / 2, LONGEST_HEAD));
  const enough = isShort ? length : Math.min(length, head);
  const begin = needle.slice(0, SHORTEST);
  for (let at = chars.indexOf(begin); at >= 0; ) {
    let end = at + begin.length;
    while (end - at < length && chars[end] === needle[end - at]) end++;
    const isCut = !isShort && chars[end] === '…';
    const [start = 0, stop = 0] = [starts[at], ends[end - 1]];
    const isFound = end - at >= enough || isCut;
    if (isFound && (!isShort || isWord(text, start, stop))) spans.push([start, stop]);
    else end = at + 1;
    at = chars.indexOf(begin, end);
  }
  return spans;
}

function isWord(text: string, start: number, end: number): boolean {
  return !/[\p{L}\p{N}]/u.test((text[start - 1] ?? '') + (text[end] ?? ''));
}
