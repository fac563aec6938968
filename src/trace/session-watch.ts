import { subscribe } from 'node:diagnostics_channel';
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
import { envelopeOf, isErrorReply, KIND, membersOf } from './envelope.ts';
import { type HttpListener, OpenHttpLine, type ShownPath } from './http-line.ts';
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
/** How many steps may wait to be done together, and how many bytes may be kept for them. */
const MOST_STEPS = 64;
const MOST_KEPT_BYTES = 1024 * 1024;
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
  /** What is not looked into yet. */
  #steps: (() => void)[] = [];
  #keptBytes = 0;
  /** Whether steps are done at once: a line of the log must not be late. */
  readonly #isPrompt: boolean;
  #connectionCount = 0;
  #httpCount = 0;

  constructor(settings: Settings) {
    this.#url = settings.url;
    this.#logLevel = settings.logLevel;
    this.#isPrompt = settings.logLevel === 'info' || settings.logLevel === 'debug';
    this.#harmless(() => this.#start(settings))();
  }

  #start({ url, traceFile, traceBodies, traceMaxBytes }: Settings): void {
    if (traceFile !== undefined) {
      const limits = { bodies: traceBodies, maxBytes: traceMaxBytes };
      const complete = () => this.#doSteps();
      this.#file = new TraceFile({ file: traceFile, run: process.pid, ...limits, complete });
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
    this.#doSteps();
    for (const line of this.#open.all()) this.#safely(() => this.#onOver(line));
    await this.#file?.end().catch((thrown) => this.#logBug(thrown));
  }

  /** Records a line of the log. */
  readonly onLogLine = guarded(
    (level: LogLevel, text: string): void => {
      // What fails here is dropped: a line of the log about it would fail as well, without end.
      // What the request log says is recorded already.
      if (this.#log?.isWriting === true) return;
      const ms = rounded(this.#now());
      this.#later(() => this.#add({ type: 'log', ms, level, text }));
    },
    () => {},
  );

  readonly received = this.#harmless((message: Message | Unusable): void => {
    const ms = this.#now();
    this.#later(() => this.#onReceived(message, ms), bytesOf(message));
  });

  readonly answered = this.#harmless((request: Request, reply: Buffer | undefined): void => {
    const ms = this.#now();
    this.#file?.release();
    this.#later(() => this.#onAnswered(request, reply, ms), reply?.length);
  });

  readonly sent = this.#harmless((message: Message): void => {
    const ms = this.#now();
    this.#file?.release();
    this.#later(() => this.#onSent(message, ms), message.bytes.length);
  });

  /**
   * Has a step done together with those that come soon, so that the session waits less for each: in the
   * order in which they came, and before their lines may be written. `keptBytes` are in memory until then.
   */
  #later(step: () => void, keptBytes = 0): void {
    this.#steps.push(step);
    this.#keptBytes += keptBytes;
    const isFull = this.#steps.length >= MOST_STEPS || this.#keptBytes >= MOST_KEPT_BYTES;
    if (this.#isPrompt || isFull) this.#doSteps();
    else this.#file?.writeLater();
  }

  #doSteps(): void {
    const steps = this.#steps;
    this.#steps = [];
    this.#keptBytes = 0;
    for (const step of steps) this.#safely(step);
  }

  #onReceived(message: Message | Unusable, ms: number): void {
    if (message.kind === 'unusable') {
      const { why } = message;
      this.#add({ type: 'stdio', to: 'proxy', ms: rounded(ms), kind: 'unusable', why, bytes: 0 });
      return;
    }
    const envelope = membersOf(message);
    const n = this.#message({ type: MESSAGE_LINE.fromClient, ms, envelope, bytes: message.bytes });
    this.#calls.add({ n, message, envelope, ms, attempts: 0, http: undefined });
  }

  #onAnswered(request: Request, reply: Buffer | undefined, ms: number): void {
    const call = this.#callOfBytes(request.bytes) ?? this.#callWith(request);
    if (call !== undefined) this.#calls.remove(call);
    const { attempts = 0 } = call ?? {};
    const tookMs = ms - (call?.ms ?? ms);
    if (reply === undefined) {
      const envelope = envelopeOf(request);
      const line = { type: 'cancelled', ms: rounded(ms), ...envelope } as const;
      this.#add(line satisfies Unnumbered<CancelledLine>);
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
  }

  #onSent(message: Message, ms: number): void {
    const { bytes } = message;
    const as = this.#sameFromGateway(bytes)?.n;
    this.#message({ type: MESSAGE_LINE.toClient, ms, envelope: membersOf(message), bytes, as });
  }

  /** The gateway's newest message, where it is what the client gets. */
  #sameFromGateway(bytes: Buffer): Passed | undefined {
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
      ...{ type: 'connection', ms: rounded(this.#now()), connection, host },
    };
    const over = () => {
      this.#later(() => this.#add(line));
      if (this.#log !== undefined) this.#log.connection(line);
      else if (this.#early.length < MOST_EARLY) this.#early.push(line);
    };
    tcp.once(
      'connect',
      this.#harmless(() => {
        line.tcpMs = rounded(this.#now());
      }),
    );
    opening.then(
      this.#harmless((socket: Socket) => {
        line.readyMs = rounded(this.#now());
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
    const line = new OpenHttpLine(begun, ++this.#httpCount, this.#http);
    this.#later(() => this.#onBegun(line));
  }

  #onBegun(line: OpenHttpLine): void {
    const { body, headers, path } = line.options;
    const passed = body
      ? this.#calls.findNewest(({ message }) => message.bytes === body)
      : undefined;
    const message = passed?.message ?? (body ? messageOf(body) : undefined);
    const call = message?.kind === 'request' ? (passed ?? this.#callWith(message)) : undefined;
    if (passed !== undefined && passed !== call) this.#calls.remove(passed);
    const at = headers.indexOf('mcp-session-id');
    if (at >= 0) line.session ??= this.#sessionNumber(headers[at + 1] ?? '');
    line.requestHeaders = this.#requestHeaders.of(headers);
    line.found = {
      path: this.#shownPath(path),
      envelope: passed?.envelope ?? (message && membersOf(message)),
      as: passed?.n,
      isTranslated: passed === undefined && call !== undefined,
      attempt: call && ++call.attempts,
    };
    if (call !== undefined) call.http = line;
    this.#open.add(line);
  }

  readonly #http: HttpListener = {
    now: () => this.#now(),
    later: (step, keptBytes) => this.#later(step, keptBytes),
    session: (line, id) => {
      line.session = this.#sessionNumber(id);
    },
    received: (line, message, ms) => this.#onFromGateway(line, message, ms),
    over: (line) => this.#onOver(line),
  };

  /** Writes the line of an HTTP request. */
  #onOver(line: OpenHttpLine): void {
    if (!this.#open.remove(line)) return;
    const { socket, rawHeaders } = line;
    if (socket !== undefined) line.connection = this.#connections.get(socket);
    if (rawHeaders !== undefined) line.responseHeaders = this.#responseHeaders.of(rawHeaders);
    if (this.#file !== undefined) line.write(this.#file);
    this.#log?.http(line);
  }

  #callOfBytes(bytes: Buffer): Call | undefined {
    return this.#calls.find(({ message }) => message.bytes === bytes);
  }

  #callWith({ id }: Request): Call | undefined {
    return this.#calls.find(
      ({ message }) => message.kind === 'request' && message.id.key === id.key,
    );
  }

  #onFromGateway({ http }: OpenHttpLine, message: Message, ms: number): void {
    const { bytes } = message;
    const type = MESSAGE_LINE.fromGateway;
    const n = this.#message({ type, ms, http, envelope: membersOf(message), bytes });
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

  #safely(step: () => void): void {
    try {
      step();
    } catch (thrown) {
      this.#logBug(thrown as Error);
    }
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
    return performance.now() - this.#origin;
  }
}

function bytesOf(message: Message | Unusable): number {
  return message.kind === 'unusable' ? 0 : message.bytes.length;
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
