import type { RequestBegun } from '../http/client.ts';
import type { RequestHandler } from '../http/request.ts';
import type { Exchange } from '../transport/exchange.ts';
import type { ExchangeOutcome } from '../transport/exchange-outcome.ts';
import { msText } from './ms-text.ts';
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

/** What is known of an HTTP request when it begins. */
interface Begun {
  readonly ms: number;
  readonly http: number;
  readonly path: string;
  /** The envelope of its message as JSON, without braces. */
  readonly about: string | undefined;
  readonly as: number | undefined;
  readonly isTranslated: boolean;
  readonly attempt: number | undefined;
  readonly session: number | undefined;
  readonly requestHeaders: Shown;
}

/** The line of an HTTP request that is not over. */
export class OpenHttpLine {
  readonly verb: string;
  readonly body: Buffer | undefined;
  readonly ms: number;
  readonly http: number;
  readonly path: string;
  readonly as: number | undefined;
  readonly requestHeaders: Shown;
  readonly #about: string | undefined;
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

  constructor({ method, options }: RequestBegun, begun: Begun) {
    this.verb = method;
    this.body = options.body ?? undefined;
    this.ms = begun.ms;
    this.http = begun.http;
    this.path = begun.path;
    this.as = begun.as;
    this.requestHeaders = begun.requestHeaders;
    this.#about = begun.about;
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

  /**
   * Writes the line. Headers that a line has which is written together with it are not written again.
   * Not by JSON.stringify, which takes four times as long.
   */
  write(file: TraceFile): void {
    const { outcome, error, requestHeaders, responseHeaders } = this;
    let json = `"type":"http","ms":${msText(this.ms)},"http":${this.http},"verb":"${this.verb}"`;
    json += `,"path":${JSON.stringify(this.path)},"bytes":${this.body?.length ?? 0}`;
    if (this.as !== undefined) json += `,"as":${this.as}`;
    if (this.#isTranslated) json += ',"isTranslated":true';
    if (this.#attempt !== undefined) json += `,"attempt":${this.#attempt}`;
    if (this.session !== undefined) json += `,"session":${this.session}`;
    if (this.sentMs !== undefined) json += `,"sentMs":${msText(this.sentMs)}`;
    if (this.connection !== undefined) json += `,"connection":${this.connection}`;
    if (this.headMs !== undefined)
      json += `,"headMs":${msText(this.headMs)},"status":${this.status}`;
    if (this.endMs !== undefined) json += `,"endMs":${msText(this.endMs)}`;
    if (outcome !== undefined) json += `,"outcome":"${outcome.kind}"`;
    if (error !== undefined) json += `,"error":${JSON.stringify(error)}`;
    const body = outcome && bodyText(outcome);
    if (body !== undefined) json += `,"responseBody":${JSON.stringify(body)}`;
    if (this.#about !== undefined) json += `,${this.#about}`;
    json += headersMember('requestHeaders', requestHeaders, file);
    if (responseHeaders !== undefined) {
      json += headersMember('responseHeaders', responseHeaders, file);
    }
    const n = file.add(json, this.as === undefined ? this.body : undefined);
    if (requestHeaders.n < file.oldest) requestHeaders.n = n;
    if (responseHeaders !== undefined && responseHeaders.n < file.oldest) responseHeaders.n = n;
  }
}

function headersMember(name: string, { json, n }: Shown, { oldest }: TraceFile): string {
  return n >= oldest ? `,"${name}As":${n}` : `,"${name}":${json}`;
}

/** The beginning of a body that is not a message; undefined where there is none. */
function bodyText(outcome: ExchangeOutcome): string | undefined {
  if (!('body' in outcome) || outcome.body.length === 0) return undefined;
  const text = outcome.body.toString('utf8', 0, MOST_BODY_BYTES);
  return outcome.body.length > MOST_BODY_BYTES ? `${text}…` : text;
}
