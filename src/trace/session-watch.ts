import { subscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Secrets } from '../failures/secrets.ts';
import { displayUrl } from '../failures/url-secrets.ts';
import type { RequestBegun } from '../http/client.ts';
import type { ConnectionBegun } from '../http/connector.ts';
import { guarded } from '../http/guarded.ts';
import { type Message, type Request, readMessages, type Unusable } from '../jsonrpc/message.ts';
import type { Log, LogLevel } from '../log.ts';
import type { ProxySettings } from '../settings/settings.ts';
import type { StdioObserver } from '../stdio/stdio-observer.ts';
import type { ExchangeOutcome } from '../transport/exchange-outcome.ts';
import { envelopeOf, isErrorReply, KIND, membersOf } from './envelope.ts';
import { asExchange, OpenHttpLine, type ShownPath, sessionOf } from './http-line.ts';
import { MESSAGE_LINE, type MessageLine, writeMessage } from './message-line.ts';
import { OpenCalls } from './open-calls.ts';
import type { CancelledLine, ConnectionLine, RunLine, Unnumbered } from './records.ts';
import { type Call, RequestLog } from './request-log.ts';
import { ShownHeaders } from './shown-headers.ts';
import { TraceFile } from './trace-file.ts';

/** A message of the gateway's, to know it again by its bytes. */
interface Passed {
  readonly n: number;
  readonly bytes: Buffer;
  readonly isError: boolean;
}

const MOST_EARLY = 10;
/** How many of the client's messages are known at a time. */
const MOST_KNOWN = 10_000;

type Settings = Pick<
  ProxySettings,
  'url' | 'traceFile' | 'traceBodies' | 'traceMaxBytes' | 'logLevel'
>;

/**
 * Watches a session from outside: stdio as `StdioProxy` tells of it, HTTP as the routes tell of it on
 * their diagnostics channels. Records it where `--trace` says, and has a line for each request in a
 * log of the level `info` or `debug`.
 */
export class SessionWatch implements StdioObserver {
  readonly #origin = performance.now();
  #file: TraceFile | undefined;
  readonly #logLevel: LogLevel;
  readonly #url: URL;
  #log: RequestLog | undefined;
  /** The client's requests without a reply, and its newest other messages. */
  readonly #calls = new OpenCalls<Call>(MOST_KNOWN);
  /** The newest message of the gateway's. */
  #fromGateway: Passed | undefined;
  readonly #sessions = new Map<string, number>();
  readonly #connections = new WeakMap<Socket, number>();
  /** The HTTP requests that are not over. */
  readonly #open = new OpenCalls<OpenHttpLine>(Number.POSITIVE_INFINITY);
  /** Connections that were open before there was a log. */
  readonly #early: Unnumbered<ConnectionLine>[] = [];
  readonly #requestHeaders = new ShownHeaders((id) => this.#sessionLabel(id));
  readonly #responseHeaders = new ShownHeaders((id) => this.#sessionLabel(id));
  /** The newest path, and how it is shown. */
  #path: string | undefined;
  #shown: ShownPath = { text: '', json: Buffer.from('""') };
  #bugLog: Log | undefined;
  /** Failures of the watch before there was a log. */
  readonly #earlyBugs: Error[] = [];
  #connectionCount = 0;
  #httpCount = 0;

  constructor(settings: Settings) {
    this.#url = settings.url;
    this.#logLevel = settings.logLevel;
    this.#harmless(() => this.#start(settings))();
  }

  #start({ url, traceFile, traceBodies, traceMaxBytes }: Settings): void {
    if (traceFile !== undefined) {
      const limits = { bodies: traceBodies, maxBytes: traceMaxBytes };
      this.#file = new TraceFile({ file: traceFile, run: process.pid, ...limits });
    }
    this.#add({
      type: 'run',
      ms: 0,
      at: new Date(performance.timeOrigin + this.#origin).toISOString(),
      version: __VERSION__,
      node: process.versions.node,
      platform: process.platform,
      gateway: displayUrl(url),
    } satisfies Unnumbered<RunLine>);
    // It watches for as long as the process lives.
    subscribe(
      'mcp-latchkey:request',
      this.#harmless((begun) => this.#onRequest(begun as RequestBegun)),
    );
    subscribe(
      'mcp-latchkey:connection',
      this.#harmless((begun) => this.#onConnection(begun as ConnectionBegun)),
    );
  }

  /** Lets lines be written: `secrets` knows what must not be in them. */
  readonly begin = this.#harmless((secrets: Secrets, log: Log): void => {
    this.#bugLog = log;
    for (const bug of this.#earlyBugs) log.error(`bug: ${bug.stack}`);
    this.#file?.begin(secrets, log);
    if (this.#logLevel !== 'info' && this.#logLevel !== 'debug') return;
    this.#log = new RequestLog(log);
    for (const line of this.#early) this.#log.connection(line);
  });

  /** Writes what is left, HTTP requests that are still open included. Never rejects. */
  async end(): Promise<void> {
    for (const line of this.#open.all()) this.#over(line);
    await this.#file?.end().catch((thrown) => this.#logBug(thrown));
  }

  /** Records a line of the log. */
  readonly onLogLine = guarded(
    (level: LogLevel, text: string): void => {
      // What fails here is dropped: a line of the log about it would fail as well, without end.
      // What the request log says is recorded already.
      if (this.#log?.isWriting !== true) this.#add({ type: 'log', ms: this.#now(), level, text });
    },
    () => {},
  );

  readonly received = this.#harmless((message: Message | Unusable): void => {
    const ms = this.#now();
    if (message.kind === 'unusable') {
      const { why } = message;
      this.#add({ type: 'stdio', to: 'proxy', ms, kind: 'unusable', why, bytes: 0 });
      return;
    }
    const envelope = membersOf(message);
    const n = this.#message({ type: MESSAGE_LINE.fromClient, ms, envelope, bytes: message.bytes });
    const own = { status: undefined, session: undefined };
    this.#calls.add({ n, message, envelope, ms, attempts: 0, ...own });
  });

  readonly answered = this.#harmless((request: Request, reply: Buffer | undefined): void => {
    const ms = this.#now();
    const call = this.#callOfBytes(request.bytes) ?? this.#callWith(request);
    if (call !== undefined) this.#calls.remove(call);
    const { attempts = 0 } = call ?? {};
    const tookMs = rounded(ms - (call?.ms ?? ms));
    if (reply === undefined) {
      const envelope = envelopeOf(request);
      this.#add({ type: 'cancelled', ms, ...envelope } satisfies Unnumbered<CancelledLine>);
      this.#log?.cancelled(envelope, tookMs);
      return;
    }
    const same = this.#sameFromGateway(reply);
    const kind = (same?.isError ?? isErrorReply(reply)) ? 'error' : 'result';
    this.#message({
      type: MESSAGE_LINE.toClient,
      ms,
      envelope: { kind: KIND[kind], others: (call?.envelope ?? membersOf(request)).others },
      took: { ms: tookMs, attempts },
      bytes: reply,
      as: same?.n,
    });
    if (call !== undefined) this.#log?.answered(call, kind, tookMs, reply);
  });

  readonly sent = this.#harmless((message: Message): void => {
    const { bytes } = message;
    const as = this.#sameFromGateway(bytes)?.n;
    const ms = this.#now();
    this.#message({ type: MESSAGE_LINE.toClient, ms, envelope: membersOf(message), bytes, as });
  });

  /** The gateway's newest message, where it is what the client gets. The key is known by now. */
  #sameFromGateway(bytes: Buffer): Passed | undefined {
    this.#file?.release();
    const newest = this.#fromGateway;
    this.#fromGateway = undefined;
    return newest !== undefined && isEqual(newest.bytes, bytes) ? newest : undefined;
  }

  /** Returns the number of the message's line, 0 where there is no file. */
  #message(line: MessageLine): number {
    return this.#file === undefined ? 0 : writeMessage(this.#file, line);
  }

  #onConnection({ host, tcp, opening }: ConnectionBegun): void {
    const connection = ++this.#connectionCount;
    const line: Unnumbered<ConnectionLine> = {
      ...{ type: 'connection', ms: this.#now(), connection, host },
    };
    const over = () => {
      this.#add(line);
      if (this.#log !== undefined) this.#log.connection(line);
      else if (this.#early.length < MOST_EARLY) this.#early.push(line);
    };
    tcp.once(
      'connect',
      this.#harmless(() => {
        line.tcpMs = this.#now();
      }),
    );
    opening.then(
      this.#harmless((socket: Socket) => {
        line.readyMs = this.#now();
        this.#connections.set(socket, connection);
        const tls = 'encrypted' in socket ? (socket as TLSSocket).getProtocol() : null;
        if (tls !== null) line.tls = tls;
        over();
      }),
      this.#harmless((error: NodeJS.ErrnoException) => {
        line.error = error.code ?? error.message;
        over();
      }),
    );
  }

  #onRequest(begun: RequestBegun): void {
    this.#file?.release();
    const { request, options, handler } = begun;
    const { body, headers } = options;
    const passed = body
      ? this.#calls.findNewest(({ message }) => message.bytes === body)
      : undefined;
    const message = passed?.message ?? (body ? messageOf(body) : undefined);
    const call = message?.kind === 'request' ? (passed ?? this.#callWith(message)) : undefined;
    if (passed !== undefined && passed !== call) this.#calls.remove(passed);
    const at = headers.indexOf('mcp-session-id');
    const line = new OpenHttpLine(begun, {
      ms: this.#now(),
      http: ++this.#httpCount,
      path: this.#shownPath(options.path),
      envelope: passed?.envelope ?? (message && membersOf(message)),
      as: passed?.n,
      isTranslated: passed === undefined && call !== undefined,
      attempt: call && ++call.attempts,
      session: at < 0 ? undefined : this.#sessionNumber(headers[at + 1] ?? ''),
      requestHeaders: this.#requestHeaders.of(headers),
    });
    this.#open.add(line);
    // Each comes once. `once` would make another function, and take it away again.
    request.on(
      'socket',
      this.#harmless((socket: Socket) => {
        line.sentMs = this.#now();
        line.connection = this.#connections.get(socket);
      }),
    );
    request.on(
      'response',
      this.#harmless(({ statusCode = 0, rawHeaders }: IncomingMessage) => {
        line.headMs = this.#now();
        line.status = statusCode;
        line.responseHeaders = this.#responseHeaders.of(rawHeaders);
        const begun = sessionOf(rawHeaders);
        if (begun !== undefined) line.session = this.#sessionNumber(begun);
        if (call !== undefined) {
          call.status = statusCode;
          call.session = line.session;
        }
      }),
    );
    const exchange = asExchange(handler);
    request.on(
      'close',
      this.#harmless(() => {
        line.isClosed = true;
        line.endMs = this.#now();
        if (exchange === undefined || line.outcome !== undefined) this.#over(line);
      }),
    );
    if (exchange === undefined) return;
    exchange.onReceived = this.#harmless((received: Message) =>
      this.#onReceived(received, line.http),
    );
    void exchange.ended.then(
      this.#harmless((outcome: ExchangeOutcome) => {
        line.outcome = outcome;
        // An event stream may go on after the reply.
        const { kind } = outcome;
        if (line.isClosed || (kind !== 'replied' && kind !== 'accepted')) {
          line.endMs ??= this.#now();
          this.#over(line);
        }
      }),
    );
  }

  /** Writes the line of an HTTP request. */
  readonly #over = this.#harmless((line: OpenHttpLine): void => {
    if (!this.#open.remove(line)) return;
    if (this.#file !== undefined) line.write(this.#file);
    this.#log?.http(line);
  });

  #callOfBytes(bytes: Buffer): Call | undefined {
    return this.#calls.find(({ message }) => message.bytes === bytes);
  }

  #callWith({ id }: Request): Call | undefined {
    return this.#calls.find(
      ({ message }) => message.kind === 'request' && message.id.key === id.key,
    );
  }

  #onReceived(message: Message, http: number): void {
    const { bytes } = message;
    const envelope = membersOf(message);
    const type = MESSAGE_LINE.fromGateway;
    const n = this.#message({ type, ms: this.#now(), http, envelope, bytes });
    this.#fromGateway = { n, bytes, isError: message.kind === 'response' && message.isError };
  }

  #shownPath(path: string): ShownPath {
    if (path === this.#path) return this.#shown;
    const url = new URL(path, this.#url.origin);
    const shown = displayUrl(url).slice(url.origin.length);
    const text = url.search === '' ? shown : `${shown}?…`;
    this.#path = path;
    this.#shown = { text, json: Buffer.from(JSON.stringify(text)) };
    return this.#shown;
  }

  #sessionLabel(id: string): string {
    return `[session ${this.#sessionNumber(id)}]`;
  }

  #sessionNumber(id: string): number {
    let number = this.#sessions.get(id);
    if (number === undefined) {
      number = this.#sessions.size + 1;
      this.#sessions.set(id, number);
      this.#file?.hideSession(id);
    }
    return number;
  }

  /**
   * Each step of the watch: a failure in it is logged, and the caller goes on. The session never ends
   * or waits because it is watched.
   */
  #harmless<Args extends unknown[]>(step: (...args: Args) => void): (...args: Args) => void {
    return guarded(step, (bug) => this.#logBug(bug));
  }

  readonly #logBug = guarded(
    (bug: Error): void => {
      if (this.#bugLog !== undefined) this.#bugLog.error(`bug: ${bug.stack}`);
      else if (this.#earlyBugs.length < MOST_EARLY) this.#earlyBugs.push(bug);
    },
    // The log itself fails.
    () => {},
  );

  #add(line: object): void {
    this.#file?.add(JSON.stringify(line).slice(1, -1));
  }

  #now(): number {
    return rounded(performance.now() - this.#origin);
  }
}

/** The message that a body of this program's own is. */
function messageOf(body: Buffer): Message | undefined {
  // A copy, since reading may change it.
  const [message] = readMessages(Buffer.from(body)).messages;
  return message === undefined || message.kind === 'unusable' ? undefined : message;
}

function isEqual(one: Buffer, other: Buffer): boolean {
  return one === other || (one.length === other.length && one.equals(other));
}

/** To a hundredth of a millisecond. */
function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
