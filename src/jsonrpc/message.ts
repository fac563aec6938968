import { isUtf8 } from 'node:buffer';
import { INVALID_REQUEST, PARSE_ERROR } from './error-codes.ts';
import { memberAt, memberOf, valueIn, withMembers } from './json-members.ts';
import {
  CLOSE_BRACKET,
  COMMA,
  endOfValue,
  type Members,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
  type Span,
  scanMembers,
  skipWhitespace,
} from './json-scanner.ts';

/**
 * A JSON-RPC id (JSON-RPC 2.0 §4). `raw` is the token as it was written, so that a number beyond
 * 2^53 is answered digit for digit; `key` is equal for ids that mean the same (`1.0` and `1`,
 * `"é"` and `"\u00e9"`) and differs between others, numbers that a double cannot tell apart
 * included.
 */
export interface MessageId {
  readonly raw: string;
  readonly key: string;
}

/** Names and values by turns, as they go into the request's head; values are safe for that. */
export type HttpHeaders = readonly string[];

export interface Request {
  readonly kind: 'request';
  readonly bytes: Buffer;
  readonly id: MessageId;
  readonly method: string;
  /** What is to be sent along over HTTP. */
  readonly headers?: HttpHeaders;
}

export interface Notification {
  readonly kind: 'notification';
  readonly bytes: Buffer;
  readonly method: string;
  /** What is to be sent along over HTTP. */
  readonly headers?: HttpHeaders;
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

/** Bytes that are not a JSON-RPC message: `why` says so in words, `id` is what could be saved. */
export interface Unusable {
  readonly kind: 'unusable';
  readonly why: string;
  /** Without a key where it is too long to be looked up. */
  readonly id?: MessageId | { readonly raw: Buffer; readonly key?: undefined };
  /** What to answer (JSON-RPC 2.0 §5.1). Undefined for a response, which is never answered. */
  readonly code: typeof PARSE_ERROR | typeof INVALID_REQUEST | undefined;
}

export interface ReadResult {
  readonly messages: readonly (Message | Unusable)[];
  /** Whether they came as a JSON array (a batch, MCP revision 2025-03-26). */
  readonly isBatch: boolean;
  /** Reads on in a batch of more messages than are read at once. */
  readonly rest?: () => ReadResult;
}

/** How many messages of a batch are read at once, unless told. */
export const MOST_MESSAGES = 10_000;
/** Whatever is longer than this is not an id or a method that anyone sends. */
const LONGEST_NAME_BYTES = 1024;
/** How much longer text may become by the characters that replace what is not UTF-8. */
const MOST_REPLACED_BYTES = 1024 * 1024;

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;

/**
 * Reads a JSON-RPC message, or a batch of them, without building values: the bytes are checked
 * against RFC 8259 and only the envelope's own members are looked at, so that a message of 20 MB
 * costs one pass and no copy, and everything unknown in it passes through untouched.
 *
 * The bytes may be changed in place: line ends between tokens become spaces, since one message is
 * one line on stdio (MCP 2025-11-25, Transports §stdio). Of a batch the first `most` messages are
 * read. Never throws.
 */
export function readMessages(input: Buffer, most = MOST_MESSAGES): ReadResult {
  const bytes = asUtf8(input);
  if (bytes === undefined) {
    const why = 'not valid UTF-8';
    return { messages: [{ kind: 'unusable', why, code: PARSE_ERROR }], isBatch: false };
  }
  const start = skipWhitespace(bytes, 0);
  if (bytes[start] === OPEN_BRACKET)
    return readBatch(bytes, skipWhitespace(bytes, start + 1), most, true);
  const isObject = bytes[start] === OPEN_BRACE;
  const { spans, end } = isObject
    ? scanMembers(bytes, start, ENVELOPE)
    : { spans: [], end: endOfValue(bytes, start) };
  const isWhole = end >= 0 && skipWhitespace(bytes, end) === bytes.length;
  return {
    messages: [toMessage(bytes, start, { spans, end: isWhole ? end : -1 })],
    isBatch: false,
  };
}

function readBatch(bytes: Buffer, start: number, most: number, isFirst = false): ReadResult {
  const messages: (Message | Unusable)[] = [];
  const isEnd = (at: number) =>
    bytes[at] === CLOSE_BRACKET && skipWhitespace(bytes, at + 1) === bytes.length;
  const unusable = (why: string, code: Unusable['code']): Unusable => ({
    kind: 'unusable',
    why,
    code,
  });
  if (isFirst && isEnd(start)) messages.push(unusable('an empty batch', INVALID_REQUEST));
  else {
    for (let at = start; ; at = skipWhitespace(bytes, at + 1)) {
      if (messages.length === most) {
        return { messages, isBatch: true, rest: () => readBatch(bytes, at, most) };
      }
      const envelope =
        bytes[at] === OPEN_BRACE
          ? scanMembers(bytes, at, ENVELOPE)
          : { spans: [], end: endOfValue(bytes, at) };
      messages.push(toMessage(bytes, at, envelope));
      if (envelope.end < 0) break;
      at = skipWhitespace(bytes, envelope.end);
      if (bytes[at] === COMMA) continue;
      if (!isEnd(at)) messages.push(unusable('a batch that is not valid JSON', PARSE_ERROR));
      break;
    }
  }
  return { messages, isBatch: true };
}

/**
 * JSON as one line, where `input` is valid JSON (RFC 8259) and nothing else; undefined otherwise. The
 * bytes may be changed in place, as by `readMessages`.
 */
export function validJson(input: Buffer): Buffer | undefined {
  if (!isUtf8(input)) return undefined;
  const end = endOfValue(input, skipWhitespace(input, 0));
  return end >= 0 && skipWhitespace(input, end) === input.length ? onOneLine(input) : undefined;
}

/**
 * The id of a request of which only the beginning and the end are known; undefined when it cannot
 * be found there or when it is not a request. Most clients write it early, the TypeScript SDK last.
 */
export function salvageRequestId(head: Buffer, tail: Buffer): MessageId | undefined {
  const { spans } = scanMembers(head, skipWhitespace(head, 0), ENVELOPE);
  const [, id, method] = spans;
  const end = END_OF_REQUEST.exec(tail.toString('latin1'));
  if (method === undefined && !end?.[0].includes('"method"')) return undefined;
  if (id !== undefined) return idOf(slice(head, id));
  const raw = end?.[1];
  if (raw === undefined) return undefined;
  const bytes = Buffer.from(raw, 'latin1');
  return endOfValue(bytes, 0) === bytes.length ? idOf(bytes) : undefined;
}

// Behind `params`, which is what makes a request large, there are only short members.
const END_OF_REQUEST =
  /"id"\s*:\s*("[^"\\]{0,200}"|-?\d{1,200})\s*(?:,\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]{0,200}"\s*){0,2}\}\s*$/;

/**
 * The response with its id written as the request wrote it: a gateway whose JSON parser rounds a
 * large number would otherwise answer a request that the client never made.
 */
export function responseBytesFor(request: MessageId, response: Response): Buffer {
  if (response.id === undefined || response.id.raw === request.raw) return response.bytes;
  return withMembers(response.bytes, { id: request.raw });
}

/**
 * The response as the reply to the request with this id; undefined when it is another's. A number
 * may come back rounded to what a double can hold (RFC 8259 §6).
 */
export function asReplyTo(request: MessageId, response: Response): Response | undefined {
  const { id } = response;
  if (id === undefined || id.key === request.key) return id && response;
  const areNumbers = id.key.startsWith('n') && request.key.startsWith('n');
  const value = Number(request.raw);
  if (!areNumbers || !Number.isFinite(value) || Number(id.raw) !== value) return undefined;
  return { ...response, id: request, bytes: responseBytesFor(request, response) };
}

/** The response with its error changed to the JSON that `change` makes of it, if any. */
export function withErrorChanged(
  response: Response,
  change: (error: Buffer) => string | undefined,
): Response {
  const error = response.isError ? memberOf(response.bytes, 'error') : undefined;
  const changed = error && change(error);
  if (changed === undefined) return response;
  return { ...response, bytes: withMembers(response.bytes, { error: changed }) };
}

/** The code of an error response; undefined for a result. */
export function errorCodeOf(response: Response): unknown {
  return response.isError ? valueIn(memberAt(response.bytes, 'error', 'code')) : undefined;
}

/** One line of an error response to `id` (JSON-RPC 2.0 §5.1). */
export function errorResponse(
  id: { readonly raw: string | Buffer },
  error: { code: number; message: string; data?: unknown },
): Buffer {
  const { raw } = id;
  return Buffer.concat([
    Buffer.from('{"jsonrpc":"2.0","id":'),
    typeof raw === 'string' ? Buffer.from(raw) : raw,
    Buffer.from(`,"error":${JSON.stringify(error)}}`),
  ]);
}

// WHATWG streams and SSE decode with replacement; what is sent on must be UTF-8 all the same.
function asUtf8(bytes: Buffer): Buffer | undefined {
  const utf8 = isUtf8(bytes) ? bytes : withReplacements(bytes);
  const hasByteOrderMark = utf8?.[0] === 0xef && utf8[1] === 0xbb && utf8[2] === 0xbf;
  return hasByteOrderMark ? utf8?.subarray(3) : utf8;
}

/** Piece by piece: as one string it would take twice its size, and three times that as UTF-8. */
function withReplacements(bytes: Buffer): Buffer | undefined {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const utf8 = Buffer.allocUnsafe(bytes.length + MOST_REPLACED_BYTES);
  let length = 0;
  for (let start = 0; start < bytes.length; ) {
    const end = start + 8 * 1024;
    const text = decoder.decode(bytes.subarray(start, end), { stream: end < bytes.length });
    if (Buffer.byteLength(text) > utf8.length - length) return undefined;
    length += utf8.write(text, length);
    start = end;
  }
  return utf8.subarray(0, length);
}

// Byte by byte once there is any: to search for each would take seconds where there are millions.
function onOneLine(bytes: Buffer): Buffer {
  for (const lineEnd of [LF, CR]) {
    const first = bytes.indexOf(lineEnd);
    if (first < 0) continue;
    for (let at = first; at < bytes.length; at++) if (bytes[at] === lineEnd) bytes[at] = SPACE;
  }
  return bytes;
}

const NULL = Buffer.from('null');
const ENVELOPE = ['jsonrpc', 'id', 'method', 'result', 'error'];

function toMessage(bytes: Buffer, start: number, { spans, end }: Members): Message | Unusable {
  const [jsonrpc, idSpan, methodSpan, resultSpan, errorSpan] = spans;
  const rawId = idSpan && slice(bytes, idSpan);
  const id = rawId && idOf(rawId);
  const mayBeResponse =
    resultSpan !== undefined ||
    errorSpan !== undefined ||
    (end < 0 && breaksOffInOutcome(bytes, start, spans));
  const unusable = (why: string, code: Unusable['code'] = INVALID_REQUEST): Unusable => ({
    kind: 'unusable',
    why,
    code: mayBeResponse ? undefined : code,
    ...savedId(rawId, id),
  });
  if (end < 0) return unusable('not valid JSON', PARSE_ERROR);
  if (bytes[start] !== OPEN_BRACE) return unusable('not a JSON object');
  if (jsonrpc === undefined || !isVersion(bytes, jsonrpc)) {
    return unusable('"jsonrpc" is not "2.0"');
  }
  if (id === undefined && rawId !== undefined && rawId.length > LONGEST_NAME_BYTES) {
    return unusable(`"id" is longer than ${LONGEST_NAME_BYTES} bytes`);
  }
  let own = onOneLine(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
  let [method, result, error] = [methodSpan, resultSpan, errorSpan];
  if (mayBeResponse) {
    // Many libraries write the members that do not apply as null, and others refuse them.
    method = unlessNull(bytes, methodSpan);
    error = unlessNull(bytes, errorSpan);
    const isResult = error === undefined && method === undefined;
    result = isResult ? resultSpan : unlessNull(bytes, resultSpan);
    own = without(own, { method, result, error }, [methodSpan, resultSpan, errorSpan]);
  }
  const isResponse = result !== undefined || error !== undefined;
  if (method !== undefined) {
    if (bytes[method.start] !== QUOTE) return unusable('"method" is not a string');
    if (isResponse) return unusable('it has both "method" and "result" or "error"');
    if (method.end - method.start > LONGEST_NAME_BYTES) {
      return unusable(`"method" is longer than ${LONGEST_NAME_BYTES} bytes`);
    }
    const name = stringIn(bytes, method);
    if (rawId === undefined) return { kind: 'notification', bytes: own, method: name };
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
    const isUnanswerable = error !== undefined && (rawId === undefined || rawId.equals(NULL));
    if (!isUnanswerable) return unusable('it is a response without a usable "id"');
  }
  const saved = id === undefined ? {} : { id };
  return { kind: 'response', bytes: own, isError: error !== undefined, ...saved };
}

/** Whether text that is not valid JSON breaks off in the "result" or the "error" of a response. */
function breaksOffInOutcome(bytes: Buffer, start: number, spans: Members['spans']): boolean {
  const end = spans.reduce((last, span) => Math.max(last, span?.end ?? 0), start);
  return /^\s*[{,]\s*"(?:result|error)"\s*:/.test(bytes.toString('latin1', end, end + 100));
}

function unlessNull(bytes: Buffer, span: Span | undefined): Span | undefined {
  return span !== undefined && slice(bytes, span).equals(NULL) ? undefined : span;
}

/** The message without those of the members that were found, but do not count. */
function without(
  message: Buffer,
  counted: Readonly<Record<string, Span | undefined>>,
  found: readonly (Span | undefined)[],
): Buffer {
  const names = Object.keys(counted).filter((name, at) => counted[name] !== found[at]);
  if (names.length === 0) return message;
  return withMembers(message, Object.fromEntries(names.map((name) => [name, undefined])));
}

function savedId(rawId: Buffer | undefined, id: MessageId | undefined): Pick<Unusable, 'id'> {
  if (id !== undefined) return { id };
  return rawId?.[0] === QUOTE || isNumeric(rawId) ? { id: { raw: rawId as Buffer } } : {};
}

/** An id from its JSON; undefined for what is not one, or is longer than any that is sent. */
export function idOf(token: Buffer): MessageId | undefined {
  if (token.length > LONGEST_NAME_BYTES) return undefined;
  const raw = token.toString('utf8');
  if (token[0] === QUOTE) return { raw, key: `s${JSON.parse(raw)}` };
  return isNumeric(token) ? { raw, key: keyOfNumber(raw) } : undefined;
}

function isNumeric(token: Buffer | undefined): boolean {
  const first = token?.[0] as number;
  return first === 0x2d || (first >= 0x30 && first <= 0x39);
}

/** The same for `1`, `1.0` and `10e-1`, and for no two numbers that differ: a double would not do. */
function keyOfNumber(raw: string): string {
  if (/^(?:0|-?[1-9]\d{0,14})$/.test(raw)) return `n${raw}`;
  const [, sign, whole, fraction = '', exponent = '0'] = NUMBER.exec(raw) as unknown as string[];
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  let end = digits.length;
  while (digits[end - 1] === '0') end--;
  if (end === 0) return 'n0';
  const power = Number(exponent) - fraction.length + digits.length - end;
  const isShort = power >= 0 && power < 15;
  return `n${sign}${digits.slice(0, end)}${isShort ? '0'.repeat(power) : `e${power}`}`;
}

const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE](.+))?$/;

const VERSION = Buffer.from('"2.0"');

/** Compares byte by byte, and makes no view of them: there is one in each message. */
function isVersion(bytes: Buffer, { start, end }: Span): boolean {
  if (end - start !== VERSION.length) return false;
  for (let at = 0; at < VERSION.length; at++) if (bytes[start + at] !== VERSION[at]) return false;
  return true;
}

/** What a JSON string says. */
function stringIn(bytes: Buffer, { start, end }: Span): string {
  const text = bytes.toString('utf8', start + 1, end - 1);
  return text.includes('\\') ? JSON.parse(`"${text}"`) : text;
}

function slice(bytes: Buffer, { start, end }: Span): Buffer {
  return bytes.subarray(start, end);
}
