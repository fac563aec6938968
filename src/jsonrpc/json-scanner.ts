const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const PLUS = 0x2b;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
export const QUOTE = 0x22;
export const COMMA = 0x2c;
const COLON = 0x3a;
export const OPEN_BRACKET = 0x5b;
export const BACKSLASH = 0x5c;
export const CLOSE_BRACKET = 0x5d;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;

/** From the first byte of a value up to the one after it. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Where the wanted members are, in the order of their names; of a repeated one the last counts. */
export interface Members {
  /** Those before a break are there too. */
  readonly spans: readonly (Span | undefined)[];
  /** Where the object ends; -1 when it is not a JSON object or breaks off. */
  readonly end: number;
}

/**
 * Where the wanted members of the object at `start` are, without building values; every byte is
 * checked against RFC 8259 all the same.
 */
export function scanMembers(bytes: Buffer, start: number, names: readonly string[]): Members {
  const spans: (Span | undefined)[] = [];
  const end = eachMember(bytes, start, names, endOfValue, (index, _, valueStart, valueEnd) => {
    if (index >= 0) spans[index] = { start: valueStart, end: valueEnd };
  });
  return { spans, end };
}

/**
 * Calls `visit` for each member of the object at `start`: with the index of its name in `names`, or
 * -1, and with where its name begins and its value begins and ends. Returns where the object ends;
 * -1 when it is not an object, breaks off, or `visit` returned false. `endOf` finds where a value
 * ends.
 */
export function eachMember(
  bytes: Buffer,
  start: number,
  names: readonly string[],
  endOf: (bytes: Buffer, start: number) => number,
  visit: (index: number, start: number, valueStart: number, valueEnd: number) => unknown,
): number {
  if (bytes[start] !== OPEN_BRACE) return -1;
  let at = skipWhitespace(bytes, start + 1);
  if (bytes[at] === CLOSE_BRACE) return at + 1;
  for (;;) {
    const nameEnd = endOfString(bytes, at);
    if (nameEnd < 0) return -1;
    const colon = skipWhitespace(bytes, nameEnd);
    if (bytes[colon] !== COLON) return -1;
    const valueStart = skipWhitespace(bytes, colon + 1);
    const valueEnd = endOf(bytes, valueStart);
    if (valueEnd < 0) return -1;
    let index = names.length - 1;
    while (index >= 0 && !isNamed(bytes, at, nameEnd, names[index] as string)) index--;
    if (visit(index, at, valueStart, valueEnd) === false) return -1;
    at = skipWhitespace(bytes, valueEnd);
    if (bytes[at] === CLOSE_BRACE) return at + 1;
    if (bytes[at] !== COMMA) return -1;
    at = skipWhitespace(bytes, at + 1);
  }
}

/** Whether the JSON string from `start` to `end` says `name`, however it is escaped. */
export function isNamed(bytes: Buffer, start: number, end: number, name: string): boolean {
  // Neither UTF-8 nor escapes take fewer bytes than there are UTF-16 code units.
  if (end - start - 2 < name.length) return false;
  let at = start + 1;
  for (let index = 0; index < name.length; index++) {
    const wanted = name.charCodeAt(index);
    let unit = bytes[at++] as number;
    if (unit > 0x7f && wanted > 0x7f) {
      return JSON.parse(bytes.toString('utf8', start, end)) === name;
    }
    if (unit === BACKSLASH) {
      const escaped = bytes[at++] as number;
      unit = ESCAPED[escaped] as number;
      if (escaped === LETTER_U) {
        unit = 0;
        for (const last = at + 4; at < last; at++) unit = unit * 16 + hexDigit(bytes[at] as number);
      }
    }
    if (unit !== wanted) return false;
  }
  return at === end - 1;
}

function hexDigit(byte: number): number {
  return (byte & 0x0f) + (byte > 0x40 ? 9 : 0);
}

function isWhitespace(byte: number): boolean {
  return byte === SPACE || byte === LF || byte === CR || byte === 0x09;
}

/** The first byte at or after `start` that is not white space. */
export function skipWhitespace(bytes: Buffer, start: number): number {
  let at = start;
  // Nearly always there is none.
  while ((bytes[at] as number) <= SPACE && isWhitespace(bytes[at] as number)) at++;
  return at;
}

// A bit for each open object or array, set for an object: 64 MB of "[" must not become a gigabyte.
const shallow = new Uint8Array(32);

function grown(bits: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(bits.length * 2);
  larger.set(bits);
  return larger;
}

/** Where the JSON value at `start` ends, or -1 when there is none. Any depth, no recursion. */
export function endOfValue(bytes: Buffer, start: number): number {
  let open = shallow;
  let depth = 0;
  let closer = 0;
  let at = start;
  for (;;) {
    const first = bytes[at];
    if (first === OPEN_BRACE || first === OPEN_BRACKET) {
      at = skipWhitespace(bytes, at + 1);
      if (bytes[at] !== first + 2) {
        closer = first + 2;
        if (depth >> 3 === open.length) open = grown(open);
        const bit = 1 << (depth & 7);
        const others = (open[depth >> 3] as number) & ~bit;
        open[depth >> 3] = closer === CLOSE_BRACE ? others | bit : others;
        depth++;
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
      at = skipWhitespace(bytes, at);
      if (bytes[at] === closer) {
        at++;
        depth--;
        const isInObject = ((open[(depth - 1) >> 3] ?? 0) >> ((depth - 1) & 7)) & 1;
        closer = isInObject === 1 ? CLOSE_BRACE : CLOSE_BRACKET;
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
  const end = endOfCharacters(bytes, start + 1);
  return end >= 0 && end < bytes.length && bytes[end] === QUOTE ? end + 1 : -1;
}

/**
 * Where the characters end that are in a JSON string from `start` on: at the quote after them, or,
 * where that has not come, at the end of the bytes or at the backslash of an escape that is not whole.
 * -1 where one of them is not allowed in a string.
 */
export function endOfCharacters(bytes: Buffer, start: number): number {
  const length = bytes.length;
  let words: Int32Array | undefined;
  let at = start;
  for (;;) {
    const runEnd = Math.min(at + LONG_RUN_BYTES, length);
    while (at < runEnd && PLAIN[bytes[at] as number] === 1) at++;
    if (at === length) return length;
    if (at === runEnd) {
      words ??= wordsOf(bytes);
      at = endOfPlainWords(bytes, words, at);
      continue;
    }
    const byte = bytes[at] as number;
    if (byte === QUOTE) return at;
    if (byte !== BACKSLASH) return -1;
    // Never reads beyond the end: V8 would compile it once more.
    if (at + 1 === length) return at;
    const escaped = bytes[at + 1] as number;
    if (escaped === LETTER_U) {
      if (at + 5 >= length) return at;
      for (let digit = at + 2; digit < at + 6; digit++)
        if (!isHexDigit(bytes[digit] as number)) return -1;
      at += 6;
    } else {
      if (ESCAPED[escaped] === 0) return -1;
      at += 2;
    }
  }
}

/** 1 for each byte that may be in a string as it is. */
const PLAIN = new Uint8Array(256).fill(1, SPACE);
PLAIN[QUOTE] = 0;
PLAIN[BACKSLASH] = 0;

const LONG_RUN_BYTES = 32;

/** The whole words of what `bytes` is a view of. */
function wordsOf({ buffer }: Buffer): Int32Array {
  return new Int32Array(buffer, 0, buffer.byteLength >> 2);
}

/**
 * Goes on in a long run of plain characters eight bytes at a time, which is four times as fast. Stops
 * before a quote, a backslash or a control character, or at most eight bytes before the end.
 */
function endOfPlainWords(bytes: Buffer, words: Int32Array, start: number): number {
  const { byteOffset, length } = bytes;
  let index = (byteOffset + start + 3) >> 2;
  const last = ((byteOffset + length - 1) >> 2) - 1;
  if (index >= last) return start;
  const first = 4 * index - byteOffset;
  for (let at = start; at < first; at++) if (PLAIN[bytes[at] as number] === 0) return at;
  for (; index < last; index += 2) {
    const one = words[index] as number;
    const two = words[index + 1] as number;
    if (((special(one) | special(two)) & 0x80808080) !== 0) break;
  }
  return 4 * index - byteOffset;
}

/**
 * Sets the top bit of the byte of a word that is a quote, a backslash or a control character, and maybe of
 * others above it: where the subtraction borrows into that bit (Bit Twiddling Hacks §hasless). A
 * quote with one bit changed is a space, and only control characters are less. Bytes above 0x7f have
 * that bit themselves and are masked out.
 */
function special(word: number): number {
  return (((word ^ 0x02020202) - 0x21212121) | ((word ^ 0x5c5c5c5c) - 0x01010101)) & ~word;
}

export const LETTER_U = 0x75;

/** What a letter after a backslash means; 0 where it means nothing. */
const ESCAPED = new Uint8Array(256);
for (const [index, letter] of [...'"\\/bfnrt'].entries()) {
  ESCAPED[letter.charCodeAt(0)] = '"\\/\b\f\n\r\t'.charCodeAt(index);
}

function isHexDigit(byte: number): boolean {
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x66);
}

const LITERALS: Readonly<Record<number, string>> = { 116: 'true', 102: 'false', 110: 'null' };

function endOfScalar(bytes: Buffer, start: number): number {
  let at = start;
  if (bytes[at] === MINUS) at++;
  const first = bytes[at];
  if (first === undefined || first > NINE) return endOfLiteral(bytes, start);
  at = first === ZERO ? at + 1 : endOfDigits(bytes, at);
  if (at >= 0 && bytes[at] === POINT) at = endOfDigits(bytes, at + 1);
  if (at < 0 || ((bytes[at] ?? 0) | 0x20) !== 0x65) return at;
  const sign = bytes[at + 1];
  return endOfDigits(bytes, sign === PLUS || sign === MINUS ? at + 2 : at + 1);
}

/** Where the digits at `start` end, or -1 when there is none. */
function endOfDigits(bytes: Buffer, start: number): number {
  let at = start;
  while ((bytes[at] as number) >= ZERO && (bytes[at] as number) <= NINE) at++;
  return at === start ? -1 : at;
}

function endOfLiteral(bytes: Buffer, start: number): number {
  const literal = LITERALS[bytes[start] as number];
  if (literal === undefined) return -1;
  for (let index = 1; index < literal.length; index++) {
    if (bytes[start + index] !== literal.charCodeAt(index)) return -1;
  }
  return start + literal.length;
}

/**
 * Where the value at `start` ends, in text that is known to be valid: each byte costs a third of
 * what `endOfValue` takes for it. Never beyond the end of the bytes.
 */
export function endOfValidValue(bytes: Buffer, start: number): number {
  const length = bytes.length;
  let depth = 0;
  let at = start;
  while (at < length) {
    const byte = bytes[at] as number;
    if (byte === QUOTE) {
      at = endOfValidString(bytes, at);
      if (at < 0) return -1;
    } else {
      at++;
      // "[" and "{" differ in one bit, and so do "]" and "}".
      if ((byte & 0xdf) === OPEN_BRACKET) depth++;
      else if ((byte & 0xdf) === CLOSE_BRACKET) depth--;
      else if (depth === 0) return endOfWord(bytes, at);
    }
    if (depth <= 0) return at;
  }
  return -1;
}

/** Where the string at `start` ends, in text that is known to be valid; -1 when it breaks off. */
function endOfValidString(bytes: Buffer, start: number): number {
  let at = start + 1;
  for (;;) {
    // Twice as fast as to look at each byte, for short strings as well.
    const quote = bytes.indexOf(QUOTE, at);
    if (quote < 0) return -1;
    let first = quote;
    while (first > at && bytes[first - 1] === BACKSLASH) first--;
    at = quote + 1;
    // An odd number of backslashes before it escapes the quote.
    if (((quote - first) & 1) === 0) return at;
    // Where there is one such, as in JSON that is quoted in JSON, others are near.
    for (let near = at + NEAR_BYTES; at < near; at++) {
      const byte = bytes[at];
      if (byte === QUOTE) return at + 1;
      if (byte === BACKSLASH) near = ++at + NEAR_BYTES;
    }
  }
}

const NEAR_BYTES = 32;

function endOfWord(bytes: Buffer, start: number): number {
  let at = start;
  for (; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (byte <= COMMA ? byte === COMMA || isWhitespace(byte) : (byte & 0xdf) === CLOSE_BRACKET)
      break;
  }
  return at;
}
