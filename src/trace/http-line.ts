import type { RequestBegun } from '../http/client.ts';
import type { HttpRequest, RequestHandler } from '../http/request.ts';
import type { Exchange } from '../transport/exchange.ts';
import type { ExchangeOutcome } from '../transport/exchange-outcome.ts';
import { type EnvelopeMembers, putEnvelope } from './envelope.ts';
import type { LineBytes } from './line-bytes.ts';
import type { Shown } from './shown-headers.ts';
import type { TraceFile } from './trace-file.ts';

const MOST_BODY_BYTES = 4096;

/** What an HTTP request is for, if it is one of MCP's: `onReceived` can be set on it. */
export function asExchange(handler: RequestHandler): Exchange | undefined {
  // By what it has: each bundle has a class of its own.
  return 'ended' in handler && 'onReceived' in handler ? (handler as Exchange) : undefined;
}

/** `Mcp-Session-Id` in a head, whose names and values come by turns. */
export function sessionOf(raw: readonly string[]): string | undefined {
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] as string;
    if (name.length === 14 && name.toLowerCase() === 'mcp-session-id') return raw[at + 1];
  }
  return undefined;
}

/** A path as it may be shown, and as JSON. */
export interface ShownPath {
  readonly text: string;
  readonly json: Buffer;
}

/** What is known of an HTTP request when it begins. */
interface Begun {
  readonly ms: number;
  readonly http: number;
  readonly path: ShownPath;
  /** The envelope of its message. */
  readonly envelope: EnvelopeMembers | undefined;
  readonly as: number | undefined;
  readonly isTranslated: boolean;
  readonly attempt: number | undefined;
  readonly session: number | undefined;
  readonly requestHeaders: Shown;
}

/** The line of an HTTP request that is not over. */
export class OpenHttpLine {
  readonly verb: HttpRequest['method'];
  readonly body: Buffer | undefined;
  readonly ms: number;
  readonly http: number;
  readonly path: ShownPath;
  readonly as: number | undefined;
  readonly requestHeaders: Shown;
  readonly #envelope: EnvelopeMembers | undefined;
  readonly #isTranslated: boolean;
  readonly #attempt: number | undefined;
  session: number | undefined;
  connection: number | undefined;
  sentMs: number | undefined;
  headMs: number | undefined;
  endMs: number | undefined;
  status: number | undefined;
  responseHeaders: Shown | undefined;
  outcome: ExchangeOutcome | undefined;
  isClosed = false;

  constructor({ options }: RequestBegun, begun: Begun) {
    this.verb = options.method;
    this.body = options.body ?? undefined;
    this.ms = begun.ms;
    this.http = begun.http;
    this.path = begun.path;
    this.as = begun.as;
    this.requestHeaders = begun.requestHeaders;
    this.#envelope = begun.envelope;
    this.#isTranslated = begun.isTranslated;
    this.#attempt = begun.attempt;
    this.session = begun.session;
  }

  /** What went wrong, in the exchange's words. */
  get error(): string | undefined {
    const { outcome } = this;
    if (outcome?.kind === 'not-mcp') return outcome.what;
    if (outcome?.kind !== 'transport-error' && outcome?.kind !== 'bug') return undefined;
    const { code, message } = outcome.error as NodeJS.ErrnoException;
    return code === undefined ? message : `${code}: ${message}`;
  }

  /** Writes the line. Headers that a line has which is written together with it are not written again. */
  write(file: TraceFile): void {
    const { path, requestHeaders, responseHeaders } = this;
    const envelope = this.#envelope;
    const failure = this.#failureMembers();
    const mostBytes =
      path.json.length +
      (envelope?.others.length ?? 0) +
      (failure?.length ?? 0) +
      requestHeaders.json.length +
      (responseHeaders?.json.length ?? 0);
    const lines = file.beginLine(mostBytes, this.as === undefined ? this.body : undefined);
    if (lines === undefined) return;
    lines.own(TYPE);
    lines.ms(this.ms);
    putNumber(lines, HTTP, this.http);
    lines.own(VERB[this.verb]);
    lines.foreign(path.json);
    putNumber(lines, BYTES, this.body?.length ?? 0);
    putNumber(lines, AS, this.as);
    if (this.#isTranslated) lines.own(IS_TRANSLATED);
    putNumber(lines, ATTEMPT, this.#attempt);
    putNumber(lines, SESSION, this.session);
    putMs(lines, SENT, this.sentMs);
    putNumber(lines, CONNECTION, this.connection);
    putMs(lines, HEAD, this.headMs);
    putNumber(lines, STATUS, this.status);
    putMs(lines, END, this.endMs);
    if (this.outcome !== undefined) lines.own(outcomeMember(this.outcome.kind));
    if (failure !== undefined) lines.foreign(failure);
    if (envelope !== undefined) putEnvelope(lines, envelope);
    putHeaders(lines, REQUEST_HEADERS, requestHeaders, file);
    if (responseHeaders !== undefined) putHeaders(lines, RESPONSE_HEADERS, responseHeaders, file);
    file.endLine();
  }

  /** What went wrong, as JSON with a comma before each member. */
  #failureMembers(): Buffer | undefined {
    const { error, outcome } = this;
    const body = outcome && bodyText(outcome);
    if (error === undefined && body === undefined) return undefined;
    const json = (name: string, text: string | undefined) =>
      text === undefined ? '' : `,"${name}":${JSON.stringify(text)}`;
    return Buffer.from(json('error', error) + json('responseBody', body));
  }
}

const name = (text: string) => Buffer.from(`,"${text}":`);
const TYPE = Buffer.from('"type":"http","ms":');
const HTTP = name('http');
const BYTES = name('bytes');
const AS = name('as');
const IS_TRANSLATED = Buffer.from(',"isTranslated":true');
const ATTEMPT = name('attempt');
const SESSION = name('session');
const SENT = name('sentMs');
const CONNECTION = name('connection');
const HEAD = name('headMs');
const STATUS = name('status');
const END = name('endMs');
const REQUEST_HEADERS = { whole: name('requestHeaders'), as: name('requestHeadersAs') };
const RESPONSE_HEADERS = { whole: name('responseHeaders'), as: name('responseHeadersAs') };

const verbMember = (verb: string) => Buffer.from(`,"verb":"${verb}","path":`);
const VERB = { POST: verbMember('POST'), GET: verbMember('GET'), DELETE: verbMember('DELETE') };

const outcomes = new Map<string, Buffer>();

function outcomeMember(kind: string): Buffer {
  let member = outcomes.get(kind);
  if (member === undefined) {
    member = Buffer.from(`,"outcome":"${kind}"`);
    outcomes.set(kind, member);
  }
  return member;
}

function putNumber(lines: LineBytes, member: Uint8Array, value: number | undefined): void {
  if (value === undefined) return;
  lines.own(member);
  lines.integer(value);
}

function putMs(lines: LineBytes, member: Uint8Array, ms: number | undefined): void {
  if (ms === undefined) return;
  lines.own(member);
  lines.ms(ms);
}

function putHeaders(
  lines: LineBytes,
  member: typeof REQUEST_HEADERS,
  headers: Shown,
  { oldest, count }: TraceFile,
): void {
  if (headers.n >= oldest) putNumber(lines, member.as, headers.n);
  else {
    lines.own(member.whole);
    lines.foreign(headers.json);
    headers.n = count;
  }
}

/** The beginning of a body that is not a message; undefined where there is none. */
function bodyText(outcome: ExchangeOutcome): string | undefined {
  if (!('body' in outcome) || outcome.body.length === 0) return undefined;
  const text = outcome.body.toString('utf8', 0, MOST_BODY_BYTES);
  return outcome.body.length > MOST_BODY_BYTES ? `${text}…` : text;
}
