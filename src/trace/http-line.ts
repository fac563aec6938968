import type { Socket } from 'node:net';
import type { RequestBegun } from '../http/client.ts';
import type { HttpRequest, RequestHandler, RequestWatcher } from '../http/request.ts';
import type { Message } from '../jsonrpc/message.ts';
import type { Exchange } from '../transport/exchange.ts';
import type { ExchangeOutcome, ExchangeWatcher } from '../transport/exchange-outcome.ts';
import { type EnvelopeMembers, putEnvelope } from './envelope.ts';
import type { LineBytes } from './line-bytes.ts';
import type { Shown } from './shown-headers.ts';
import type { TraceFile } from './trace-file.ts';

const MOST_BODY_BYTES = 4096;

/** What an HTTP request is for, if it is one of MCP's: it can be watched. */
function asExchange(handler: RequestHandler): Exchange | undefined {
  // By what it has: each bundle has a class of its own.
  return 'watcher' in handler ? (handler as Exchange) : undefined;
}

/** `Mcp-Session-Id` in a head, whose names and values come by turns. */
function sessionOf(raw: readonly string[]): string | undefined {
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

/** Who is told what becomes of an HTTP request. */
export interface HttpListener {
  now(): number;
  /** Does a step some time later, in the order in which they came. */
  later(step: () => void, keptBytes?: number): void;
  /** The answer has the id of a session. */
  session(line: OpenHttpLine, id: string): void;
  received(line: OpenHttpLine, message: Message, ms: number): void;
  over(line: OpenHttpLine): void;
}

/** What is found out about an HTTP request that has begun. */
interface Found {
  readonly path: ShownPath;
  /** The envelope of its message. */
  readonly envelope: EnvelopeMembers | undefined;
  /** The line that has its message. */
  readonly as: number | undefined;
  readonly isTranslated: boolean;
  readonly attempt: number | undefined;
}

/** The line of an HTTP request that is not over: notes what happens, each step at the least cost. */
export class OpenHttpLine implements RequestWatcher, ExchangeWatcher {
  readonly options: HttpRequest;
  readonly ms: number;
  readonly http: number;
  readonly #listener: HttpListener;
  readonly #isExchange: boolean;
  found: Found | undefined;
  socket: Socket | undefined;
  connection: number | undefined;
  session: number | undefined;
  sentMs: number | undefined;
  headMs: number | undefined;
  endMs: number | undefined;
  status: number | undefined;
  rawHeaders: readonly string[] | undefined;
  requestHeaders: Shown | undefined;
  responseHeaders: Shown | undefined;
  outcome: ExchangeOutcome | undefined;
  #isClosed = false;

  /** It is the `http`th of a run, and listened to from now on. */
  constructor(begun: RequestBegun, http: number, listener: HttpListener) {
    this.options = begun.options;
    this.ms = listener.now();
    this.http = http;
    this.#listener = listener;
    begun.watcher = this;
    const exchange = asExchange(begun.handler);
    this.#isExchange = exchange !== undefined;
    if (exchange !== undefined) exchange.watcher = this;
  }

  onSocket(socket: Socket): void {
    this.sentMs = this.#listener.now();
    this.socket = socket;
  }

  onHead(status: number, headers: readonly string[]): void {
    this.headMs = this.#listener.now();
    this.status = status;
    this.rawHeaders = headers;
    const session = sessionOf(headers);
    if (session === undefined) return;
    this.#listener.later(() => this.#listener.session(this, session));
  }

  onReceived(message: Message): void {
    const ms = this.#listener.now();
    const step = () => this.#listener.received(this, message, ms);
    this.#listener.later(step, message.bytes.length);
  }

  onEnded(outcome: ExchangeOutcome): void {
    if (this.outcome !== undefined) return;
    this.outcome = outcome;
    if (this.#isClosed) this.#over();
    else {
      const ms = this.#listener.now();
      this.#listener.later(() => {
        // An event stream may go on after the reply.
        if (outcome.kind === 'replied' || outcome.kind === 'accepted') return;
        this.endMs ??= ms;
        this.#listener.over(this);
      });
    }
  }

  onOver(): void {
    this.#isClosed = true;
    this.endMs ??= this.#listener.now();
    if (!this.#isExchange || this.outcome !== undefined) this.#over();
  }

  #over(): void {
    this.#listener.later(() => this.#listener.over(this));
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
    const { found, requestHeaders, responseHeaders } = this;
    if (found === undefined) return;
    const { path, envelope, as } = found;
    const body = this.options.body ?? undefined;
    const failure = this.#failureMembers();
    const mostBytes =
      path.json.length +
      3 * ((envelope?.others.length ?? 0) + (failure?.length ?? 0)) +
      (requestHeaders?.json.length ?? 0) +
      (responseHeaders?.json.length ?? 0);
    const lines = file.beginLine(mostBytes, as === undefined ? body : undefined);
    if (lines === undefined) return;
    lines.own(TYPE);
    lines.ms(this.ms);
    putNumber(lines, HTTP, this.http);
    lines.own(VERB[this.options.method]);
    lines.foreign(path.json);
    putNumber(lines, BYTES, body?.length ?? 0);
    putNumber(lines, AS, as);
    if (found.isTranslated) lines.own(IS_TRANSLATED);
    putNumber(lines, ATTEMPT, found.attempt);
    putNumber(lines, SESSION, this.session);
    putMs(lines, SENT, this.sentMs);
    putNumber(lines, CONNECTION, this.connection);
    putMs(lines, HEAD, this.headMs);
    putNumber(lines, STATUS, this.status);
    putMs(lines, END, this.endMs);
    if (this.outcome !== undefined) lines.own(outcomeMember(this.outcome.kind));
    if (failure !== undefined) lines.text(failure);
    if (envelope !== undefined) putEnvelope(lines, envelope);
    if (requestHeaders !== undefined) putHeaders(lines, REQUEST_HEADERS, requestHeaders, file);
    if (responseHeaders !== undefined) putHeaders(lines, RESPONSE_HEADERS, responseHeaders, file);
    file.endLine();
  }

  /** What went wrong, as JSON with a comma before each member. */
  #failureMembers(): string | undefined {
    const { error, outcome } = this;
    const body = outcome && bodyText(outcome);
    if (error === undefined && body === undefined) return undefined;
    const json = (name: string, text: string | undefined) =>
      text === undefined ? '' : `,"${name}":${JSON.stringify(text)}`;
    return json('error', error) + json('responseBody', body);
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
