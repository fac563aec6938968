const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
export const QUOTE = 0x22;
export const COMMA = 0x2c;
const COLON = 0x3a;
export const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
export const CLOSE_BRACKET = 0x5d;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;

/** From the first byte of a value up to the one behind it. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Members<Name extends string> {
  /** The wanted members; of a repeated one the last counts. Those before a break are there too. */
  readonly spans: { [name in Name]?: Span };
  /** Where the object ends; -1 when it is no JSON object or breaks off. */
  readonly end: number;
}

/**
 * Where the wanted members of the object at `start` are, without building values; every byte is
 * checked against RFC 8259 all the same. Names of at most seven characters are found.
 */
export function scanMembers<Name extends string>(
  bytes: Buffer,
  start: number,
  names: readonly Name[],
): Members<Name> {
  const spans: { [name in Name]?: Span } = {};
  if (bytes[start] !== OPEN_BRACE) return { spans, end: -1 };
  let at = skipWhitespace(bytes, start + 1);
  if (bytes[at] === CLOSE_BRACE) return { spans, end: at + 1 };
  for (;;) {
    const keyEnd = endOfString(bytes, at);
    if (keyEnd < 0) return { spans, end: -1 };
    const name = names[names.indexOf(memberName(bytes, at, keyEnd) as Name)];
    at = skipWhitespace(bytes, keyEnd);
    if (bytes[at] !== COLON) return { spans, end: -1 };
    const valueStart = skipWhitespace(bytes, at + 1);
    const valueEnd = endOfValue(bytes, valueStart);
    if (valueEnd < 0) return { spans, end: -1 };
    if (name !== undefined) spans[name] = { start: valueStart, end: valueEnd };
    at = skipWhitespace(bytes, valueEnd);
    if (bytes[at] === CLOSE_BRACE) return { spans, end: at + 1 };
    if (bytes[at] !== COMMA) return { spans, end: -1 };
    at = skipWhitespace(bytes, at + 1);
  }
}

const LONGEST_NAME = 'jsonrpc'.length;

function memberName(bytes: Buffer, start: number, end: number): string {
  // "\u0069d" is "id" too, in at most six bytes a character.
  if (end - start > 2 + 6 * LONGEST_NAME) return '';
  const raw = bytes.toString('latin1', start + 1, end - 1);
  return raw.includes('\\') ? JSON.parse(`"${raw}"`) : raw;
}

function isWhitespace(byte: number | undefined): boolean {
  return byte === SPACE || byte === LF || byte === CR || byte === 0x09;
}

/** The first byte at or behind `start` that is no white space. */
export function skipWhitespace(bytes: Buffer, start: number): number {
  let at = start;
  while (isWhitespace(bytes[at])) at++;
  return at;
}

// A byte for each open object or array: 64 MB of "[" must not become a gigabyte of numbers.
const shallow = new Uint8Array(256);

function grown(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(bytes.length * 2);
  larger.set(bytes);
  return larger;
}

/** Where the JSON value at `start` ends, or -1 when there is none. Any depth, no recursion. */
export function endOfValue(bytes: Buffer, start: number): number {
  let closers = shallow;
  let depth = 0;
  let at = start;
  for (;;) {
    const first = bytes[at];
    if (first === OPEN_BRACE || first === OPEN_BRACKET) {
      const closer = first + 2;
      at = skipWhitespace(bytes, at + 1);
      if (bytes[at] !== closer) {
        if (depth === closers.length) closers = grown(closers);
        closers[depth++] = closer;
        if (closer === CLOSE_BRACE) at = startOfMemberValue(bytes, at);
        if (at < 0) return -1;
        continue;
      }
      at++;
    } else if (first === QUOTE) at = endOfString(bytes, at);
    else at = endOfScalar(bytes, at);
    if (at < 0) return -1;
    for (;;) {
      if (depth === 0) return at;
      const closer = closers[depth - 1];
      at = skipWhitespace(bytes, at);
      if (bytes[at] === closer) {
        depth--;
        at++;
        continue;
      }
      if (bytes[at] !== COMMA) return -1;
      at = skipWhitespace(bytes, at + 1);
      if (closer === CLOSE_BRACE) at = startOfMemberValue(bytes, at);
      if (at < 0) return -1;
      break;
    }
  }
}

function startOfMemberValue(bytes: Buffer, start: number): number {
  const keyEnd = endOfString(bytes, start);
  if (keyEnd < 0) return -1;
  const colon = skipWhitespace(bytes, keyEnd);
  return bytes[colon] === COLON ? skipWhitespace(bytes, colon + 1) : -1;
}

/** Where the JSON string at `start` ends, or -1 when there is none. */
export function endOfString(bytes: Buffer, start: number): number {
  if (bytes[start] !== QUOTE) return -1;
  const length = bytes.length;
  let plainFrom = start + 1;
  for (let at = start + 1; at < length; at++) {
    if (at - plainFrom === LONG_RUN_BYTES) {
      at = endOfPlainWords(bytes, at);
      plainFrom = at + 1;
    }
    const byte = bytes[at] as number;
    if (byte === QUOTE) return at + 1;
    if (byte < SPACE) return -1;
    if (byte !== BACKSLASH) continue;
    at++;
    plainFrom = at + 1;
    const escaped = bytes[at];
    if (escaped === 0x75) {
      for (const end = at + 4; at < end; at++) if (!isHexDigit(bytes[at + 1])) return -1;
    } else if (escaped === undefined || !ESCAPES.has(escaped)) return -1;
  }
  return -1;
}

const LONG_RUN_BYTES = 32;

/**
 * Goes on in a long run of plain characters four bytes at a time, which is three times as fast.
 * Stops at a word that has a quote, a backslash or a control character in it, at most one byte
 * before the end.
 */
function endOfPlainWords(bytes: Buffer, start: number): number {
  const first = start + (-(bytes.byteOffset + start) & 3);
  const count = (bytes.length - 1 - first) >> 2;
  if (count <= 0) return start;
  for (let at = start; at < first; at++) {
    const byte = bytes[at] as number;
    if (byte === QUOTE || byte === BACKSLASH || byte < SPACE) return at;
  }
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + first, count);
  let index = 0;
  for (; index < count; index++) {
    const word = words[index] as number;
    const quote = word ^ 0x22222222;
    const backslash = word ^ 0x5c5c5c5c;
    // A byte is zero, or below 0x20, where the subtraction borrows into its top bit (Bit Twiddling
    // Hacks §haszero, §hasless). Bytes above 0x7f have that bit themselves and are masked out.
    const found =
      ((quote - 0x01010101) & ~quote) |
      ((backslash - 0x01010101) & ~backslash) |
      ((word - 0x20202020) & ~word);
    if ((found & 0x80808080) !== 0) break;
  }
  return first + 4 * index;
}

const ESCAPES = new Set(Buffer.from('"\\/bfnrt'));

function isHexDigit(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x66);
}

const SCALAR = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)$/;

function endOfScalar(bytes: Buffer, start: number): number {
  let end = start;
  for (; end < bytes.length; end++) {
    const byte = bytes[end];
    if (byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isWhitespace(byte)) {
      break;
    }
  }
  return SCALAR.test(bytes.toString('latin1', start, end)) ? end : -1;
}
