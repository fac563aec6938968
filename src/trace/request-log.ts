import { cleanNetworkText } from '../failures/network-text.ts';
import { memberAt, valueIn } from '../jsonrpc/json-members.ts';
import type { Message } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { type EnvelopeMembers, envelopeOf } from './envelope.ts';
import type { OpenHttpLine } from './http-line.ts';
import type { ConnectionLine, Envelope } from './records.ts';
import type { Shown } from './shown-headers.ts';

type Connection = Omit<ConnectionLine, 'n' | 'run'>;

/** A message of the client's: a request that has no reply yet, or another that is not sent on yet. */
export interface Call {
  readonly message: Message;
  /** Of its line in the trace. */
  readonly n: number;
  readonly envelope: EnvelopeMembers;
  readonly ms: number;
  attempts: number;
  /** The newest HTTP request for it. */
  http: OpenHttpLine | undefined;
}

/**
 * What the log says of each request: at `info` one line with how it came out, at `debug` the
 * connections and each HTTP request with its headers.
 */
export class RequestLog {
  readonly #log: Log;
  /** A line of its own is being written. */
  isWriting = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /** The client has its reply, after `tookMs` milliseconds. */
  answered(call: Call, kind: 'result' | 'error', tookMs: number, reply: Buffer): void {
    const { attempts, message } = call;
    const { status, session } = call.http ?? {};
    const code = kind === 'error' ? valueIn(memberAt(reply, 'error', 'code')) : undefined;
    this.#write('info', [
      `${wordsFor(envelopeOf(message))}: ${kind === 'error' ? `error ${code}` : 'ok'}`,
      ...(status === undefined ? [] : [`HTTP ${status}`]),
      `${Math.round(tookMs)} ms`,
      attempts === 1 ? '1 attempt' : `${attempts} attempts`,
      `${message.bytes.length} bytes sent`,
      `${reply.length} bytes received`,
      ...(session === undefined ? [] : [`session ${session}`]),
    ]);
  }

  /** The client has given the request up. */
  cancelled(envelope: Envelope, tookMs: number): void {
    this.#write('info', [`${wordsFor(envelope)}: cancelled`, `${Math.round(tookMs)} ms`]);
  }

  connection({ connection, host, ms, tcpMs, readyMs, tls, error }: Connection): void {
    const since = (at: number) => `${Math.round(at - ms)} ms`;
    this.#write('debug', [
      `connection ${connection} to ${host}: ${error === undefined ? 'open' : `failed, ${error}`}`,
      ...(tcpMs === undefined ? [] : [`TCP after ${since(tcpMs)}`]),
      ...(readyMs === undefined || tls === undefined ? [] : [`${tls} after ${since(readyMs)}`]),
    ]);
  }

  http(line: OpenHttpLine): void {
    const { options, found, status, outcome, error, ms, sentMs, headMs, endMs, connection } = line;
    const { requestHeaders, responseHeaders } = line;
    const since = (at: number) => `${Math.round(at - ms)} ms`;
    const what = status === undefined ? 'no answer' : `HTTP ${status}`;
    this.#write('debug', [
      `${options.method} ${found?.path.text}: ${what}${outcome === undefined ? '' : `, ${outcome.kind}`}`,
      ...(error === undefined ? [] : [error]),
      ...(sentMs === undefined ? [] : [`sent after ${since(sentMs)}`]),
      ...(headMs === undefined ? [] : [`head after ${since(headMs)}`]),
      ...(endMs === undefined ? [] : [`over after ${since(endMs)}`]),
      ...(connection === undefined ? [] : [`connection ${connection}`]),
      ...headerWords('request headers', requestHeaders),
      ...headerWords('response headers', responseHeaders),
    ]);
  }

  #write(level: 'info' | 'debug', parts: readonly string[]): void {
    this.isWriting = true;
    this.#log[level](parts.map((part) => cleanNetworkText(part, 2_000)).join(', '));
    this.isWriting = false;
  }
}

function wordsFor({ method = '', name, id }: Envelope): string {
  const what = name === undefined ? method : `${method} ${name}`;
  return `${cleanNetworkText(what, 200)} (id ${cleanNetworkText(id ?? '', 50)})`;
}

function headerWords(what: string, headers: Shown | undefined): string[] {
  const shown: Record<string, string> = JSON.parse(headers?.json.toString() ?? '{}');
  const words = Object.entries(shown).map(([name, value]) => `${name}: ${value}`);
  return words.length === 0 ? [] : [`${what} { ${words.join('; ')} }`];
}
