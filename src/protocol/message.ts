import { isUtf8 } from 'node:buffer';
import {
  CLOSE_BRACE,
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
 * `"é"` and `"\u00e9"`) and differs between a string and a number.
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

/** The response with the JSON text of its error changed, everything else as it came. */
export function withErrorChanged(response: Response, change: (json: string) => string): Response {
  const error = response.isError ? membersOf(response).error : undefined;
  if (error === undefined) return response;
  const json = response.bytes.toString('utf8', error.start, error.end);
  const changed = change(json);
  if (changed === json) return response;
  return { ...response, bytes: withReplaced(response.bytes, error, changed) };
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
