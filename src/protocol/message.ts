import { isUtf8 } from 'node:buffer';

/**
 * A JSON-RPC id (JSON-RPC 2.0 §4). `raw` is the token as it was written, so that a number beyond
 * 2^53 is answered digit for digit; `key` is equal for ids that mean the same (`1.0` and `1`,
 * `"é"` and `"\u00e9"`) and differs between a string and a number.
 */
export interface MessageId {
  readonly raw: string;
  readonly key: string;
}

export interface Request {
  readonly kind: 'request';
  readonly bytes: Buffer;
  readonly id: MessageId;
  readonly method: string;
}

export interface Notification {
  readonly kind: 'notification';
  readonly bytes: Buffer;
  readonly method: string;
}

/** `id` is absent where an error answers something that could not be read (JSON-RPC 2.0 §5). */
export interface Response {
  readonly kind: 'response';
  readonly bytes: Buffer;
  readonly id?: MessageId;
  readonly isError: boolean;
  /** The HTTP status, where the gateway refused the request with this error. */
  readonly refusedWith?: number;
}

/** One JSON-RPC message. `bytes` is what came over the wire, on one line, valid UTF-8. */
export type Message = Request | Notification | Response;

/** Bytes that are no JSON-RPC message: `why` says so in words, `id` is what could be saved. */
export interface Unusable {
  readonly kind: 'unusable';
  readonly why: string;
  readonly id?: MessageId;
}

export interface ReadResult {
  readonly messages: readonly (Message | Unusable)[];
  /** Whether they came as a JSON array (a batch, MCP revision 2025-03-26). */
  readonly isBatch: boolean;
}

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Reads a JSON-RPC message, or a batch of them, without building values: the bytes are checked
 * against RFC 8259 and only the envelope's own members are looked at, so that a message of 20 MB
 * costs one pass and no copy, and everything unknown in it passes through untouched.
 *
 * The bytes may be changed in place: line ends between tokens become spaces, since one message is
 * one line on stdio (MCP 2025-11-25, Transports §stdio). Never throws.
 */
export function readMessages(input: Buffer): ReadResult {
  const bytes = asUtf8(input);
  const start = skipWhitespace(bytes, 0);
  if (bytes[start] === OPEN_BRACKET) return readBatch(bytes, start);
  const { spans, end } = scanMembers(bytes, start, ENVELOPE);
  const isWhole = end >= 0 && skipWhitespace(bytes, end) === bytes.length;
  const envelope = { spans, end: isWhole ? end : -1 };
  return { messages: [toMessage(bytes, start, envelope)], isBatch: false };
}

function readBatch(bytes: Buffer, start: number): ReadResult {
  const messages: (Message | Unusable)[] = [];
  let at = skipWhitespace(bytes, start + 1);
  if (bytes[at] === CLOSE_BRACKET && skipWhitespace(bytes, at + 1) === bytes.length) {
    return { messages: [{ kind: 'unusable', why: 'an empty batch' }], isBatch: true };
  }
  for (;;) {
    const envelope = scanMembers(bytes, at, ENVELOPE);
    const notAnObject = envelope.end < 0 && bytes[at] !== OPEN_BRACE ? endOfValue(bytes, at) : -1;
    messages.push(toMessage(bytes, at, envelope));
    const end = notAnObject >= 0 ? notAnObject : envelope.end;
    if (end < 0) break;
    at = skipWhitespace(bytes, end);
    if (bytes[at] === COMMA) {
      at = skipWhitespace(bytes, at + 1);
      continue;
    }
    if (bytes[at] === CLOSE_BRACKET && skipWhitespace(bytes, at + 1) === bytes.length) break;
    messages.push({ kind: 'unusable', why: 'a batch that is not valid JSON' });
    break;
  }
  return { messages, isBatch: true };
}

/**
 * The id of a request of which only the beginning and the end are known; undefined when it cannot
 * be found there or when it is no request. Most clients write it early, the TypeScript SDK last.
 */
export function salvageRequestId(head: Buffer, tail: Buffer): MessageId | undefined {
  const { spans } = scanMembers(head, skipWhitespace(head, 0), ENVELOPE);
  const end = END_OF_REQUEST.exec(tail.toString('latin1'));
  if (spans.method === undefined && !end?.[0].includes('"method"')) return undefined;
  if (spans.id !== undefined) return readId(head, spans.id);
  const raw = end?.[1];
  if (raw === undefined) return undefined;
  const bytes = Buffer.from(raw, 'latin1');
  return endOfValue(bytes, 0) === bytes.length
    ? readId(bytes, { start: 0, end: bytes.length })
    : undefined;
}

// Behind `params`, which is what makes a request large, there are only short members.
const END_OF_REQUEST =
  /"id"\s*:\s*("[^"\\]{0,200}"|-?\d{1,200})\s*(?:,\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]{0,200}"\s*){0,2}\}\s*$/;

/** The whole message as a value. Only for messages that `readMessages` has accepted. */
export function parseMessage(message: Message): Record<string, unknown> {
  return JSON.parse(message.bytes.toString('utf8'));
}

/**
 * The response with its id written as the request wrote it: a gateway whose JSON parser rounds a
 * large number would otherwise answer a request that the client never made.
 */
export function responseBytesFor(request: MessageId, response: Response): Buffer {
  if (response.id === undefined || response.id.raw === request.raw) return response.bytes;
  return withReplaced(response.bytes, membersOf(response).id, request.raw);
}

/**
 * The response with another `message` in its error, everything else as it came; or, where `error`
 * has a `code`, with another error altogether.
 */
export function withError(
  response: Response,
  error: { readonly message: string; readonly code?: number; readonly data?: unknown },
): Response {
  const { bytes } = response;
  const old = membersOf(response).error;
  if (old === undefined) return response;
  if (error.code !== undefined) {
    return { ...response, bytes: withReplaced(bytes, old, JSON.stringify(error)) };
  }
  const { message } = scanMembers(bytes, old.start, ['message']).spans;
  if (message !== undefined) {
    return { ...response, bytes: withReplaced(bytes, message, JSON.stringify(error.message)) };
  }
  const isEmpty = bytes[skipWhitespace(bytes, old.start + 1)] === CLOSE_BRACE;
  const member = `"message":${JSON.stringify(error.message)}${isEmpty ? '' : ','}`;
  const start = old.start + 1;
  return { ...response, bytes: withReplaced(bytes, { start, end: start }, member) };
}

function membersOf({ bytes }: Message): Envelope['spans'] {
  return scanMembers(bytes, skipWhitespace(bytes, 0), ENVELOPE).spans;
}

function withReplaced(bytes: Buffer, span: Span | undefined, json: string): Buffer {
  if (span === undefined) return bytes;
  const { start, end } = span;
  return Buffer.concat([bytes.subarray(0, start), Buffer.from(json), bytes.subarray(end)]);
}

/** One line of an error response to `id` (JSON-RPC 2.0 §5.1). */
export function errorResponse(
  id: MessageId,
  error: { code: number; message: string; data?: unknown },
): Buffer {
  return Buffer.from(`{"jsonrpc":"2.0","id":${id.raw},"error":${JSON.stringify(error)}}`);
}

function asUtf8(bytes: Buffer): Buffer {
  // WHATWG streams and SSE decode with replacement; what is sent on must be UTF-8 all the same.
  const utf8 = isUtf8(bytes) ? bytes : Buffer.from(bytes.toString('utf8'));
  const hasByteOrderMark = utf8[0] === 0xef && utf8[1] === 0xbb && utf8[2] === 0xbf;
  return hasByteOrderMark ? utf8.subarray(3) : utf8;
}

function onOneLine(bytes: Buffer): Buffer {
  for (const lineEnd of [LF, CR]) {
    for (let at = bytes.indexOf(lineEnd); at !== -1; at = bytes.indexOf(lineEnd, at + 1)) {
      bytes[at] = SPACE;
    }
  }
  return bytes;
}

interface Span {
  readonly start: number;
  readonly end: number;
}

interface Members<Name extends string> {
  /** The wanted members; of a repeated one the last counts. Those before a break are there too. */
  readonly spans: { [name in Name]?: Span };
  /** Where the object ends; -1 when it is no JSON object or breaks off. */
  readonly end: number;
}

const ENVELOPE = ['jsonrpc', 'id', 'method', 'result', 'error'] as const;

type Envelope = Members<(typeof ENVELOPE)[number]>;

function toMessage(bytes: Buffer, start: number, { spans, end }: Envelope): Message | Unusable {
  const { jsonrpc, method, result, error } = spans;
  const id = spans.id && readId(bytes, spans.id);
  const saved = id === undefined ? {} : { id };
  const unusable = (why: string): Unusable => ({ kind: 'unusable', why, ...saved });
  if (end < 0) {
    return unusable(bytes[start] === OPEN_BRACE ? 'not valid JSON' : 'not a JSON object');
  }
  if (jsonrpc === undefined || text(bytes, jsonrpc) !== '"2.0"') {
    return unusable('"jsonrpc" is not "2.0"');
  }
  const own = onOneLine(bytes.subarray(start, end));
  if (method !== undefined) {
    if (bytes[method.start] !== QUOTE) return unusable('"method" is not a string');
    if (result !== undefined || error !== undefined) {
      return unusable('it has both "method" and "result" or "error"');
    }
    const name: string = JSON.parse(text(bytes, method));
    if (spans.id === undefined) return { kind: 'notification', bytes: own, method: name };
    if (id === undefined) return unusable('"id" is neither a string nor a number');
    return { kind: 'request', bytes: own, id, method: name };
  }
  if ((result === undefined) === (error === undefined)) {
    return unusable('it has neither "method" nor exactly one of "result" and "error"');
  }
  if (error !== undefined && bytes[error.start] !== OPEN_BRACE) {
    return unusable('"error" is not an object');
  }
  if (id === undefined) {
    const isUnanswerable =
      error !== undefined && (spans.id === undefined || text(bytes, spans.id) === 'null');
    if (!isUnanswerable) return unusable('it is a response without a usable "id"');
  }
  return { kind: 'response', bytes: own, isError: error !== undefined, ...saved };
}

function readId(bytes: Buffer, span: Span): MessageId | undefined {
  const raw = text(bytes, span);
  const first = bytes[span.start] as number;
  if (first === QUOTE) return { raw, key: `s${JSON.parse(raw)}` };
  if (first === 0x2d || (first >= 0x30 && first <= 0x39)) return { raw, key: `n${Number(raw)}` };
  return undefined;
}

function text(bytes: Buffer, span: Span): string {
  return bytes.toString('utf8', span.start, span.end);
}

function scanMembers<Name extends string>(
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

function skipWhitespace(bytes: Buffer, start: number): number {
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
function endOfValue(bytes: Buffer, start: number): number {
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

function endOfString(bytes: Buffer, start: number): number {
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
