// The format of a trace: one JSON object a line, in the order in which they were written. A reader
// ignores types and members that it does not know.

/** What each line has. */
interface Line {
  /** Counts the lines of a run from 1. */
  readonly n: number;
  /** The process that wrote the line: several may write to one file. */
  readonly run: number;
  /** When it happened or began: milliseconds since the run began. */
  readonly ms: number;
}

/** The content of a message; nothing of it with `--trace-bodies none`. */
interface Content {
  /** Of the whole message. */
  readonly bytes: number;
  /** The message itself, less the secrets in it. */
  readonly message?: unknown;
  /** The beginning of one that is longer than what is recorded; ends in "…". */
  readonly head?: string;
  /** Same bytes as the message of the line with this number: not recorded twice. */
  readonly as?: number;
}

type MessageKind = 'request' | 'notification' | 'result' | 'error' | 'unusable';

/** What can be told of a message by its envelope. */
export interface Envelope {
  readonly kind: MessageKind;
  /** As JSON. */
  readonly id?: string;
  readonly method?: string;
  /** The tool's or prompt's name, or the resource's URI. */
  readonly name?: string;
}

/** The first line of a run. */
export interface RunLine extends Line {
  readonly type: 'run';
  /** ISO 8601, when the run began. */
  readonly at: string;
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  /** Its URL without query and tokens. */
  readonly gateway: string;
}

/** A message on stdio. */
interface StdioLine extends Line, Envelope, Content {
  readonly type: 'stdio';
  readonly to: 'proxy' | 'client';
  /** Of a reply: milliseconds since the request came. */
  readonly tookMs?: number;
  /** Of a reply: how many HTTP requests it took. 0: answered by mcp-latchkey itself. */
  readonly attempts?: number;
  /** Of what is unusable: why, in words. */
  readonly why?: string;
}

/** The client cancelled a request, so that it gets no reply. */
export interface CancelledLine extends Line, Envelope {
  readonly type: 'cancelled';
}

/** A connection to the gateway, or to the HTTP proxy before it. */
export interface ConnectionLine extends Line {
  readonly type: 'connection';
  readonly connection: number;
  /** Host and port. */
  readonly host: string;
  /** When TCP, and when all was ready, TLS included. */
  readonly tcpMs?: number;
  readonly readyMs?: number;
  /** The protocol's version. */
  readonly tls?: string;
  readonly error?: string;
}

/** An HTTP request and what came back, written when it is over. `ms`: when it was ready to be sent. */
export interface HttpLine extends Line, Partial<Envelope>, Content {
  readonly type: 'http';
  /** Counts the requests of a run from 1. */
  readonly http: number;
  readonly verb: string;
  /** Without the query and tokens. */
  readonly path: string;
  readonly requestHeaders?: Readonly<Record<string, string>>;
  /** They are those of the line with this number, a little before. Not after `readTrace`. */
  readonly requestHeadersAs?: number;
  /** Which HTTP request it is for the same message of the client; absent for a message of its own. */
  readonly attempt?: number;
  /** Not sent as the client wrote it: translated between the eras of MCP. */
  readonly isTranslated?: true;
  /** Counts the sessions of a run from 1. */
  readonly session?: number;
  readonly connection?: number;
  /** When it had a connection, when the head of the answer came, and when all was over. */
  readonly sentMs?: number;
  readonly headMs?: number;
  readonly endMs?: number;
  readonly status?: number;
  readonly responseHeaders?: Readonly<Record<string, string>>;
  readonly responseHeadersAs?: number;
  /** How it came out: `replied`, `accepted`, `http-error`, `transport-error` and so on. */
  readonly outcome?: string;
  readonly error?: string;
  /** Of a body that is not a message: at most 4 KiB. */
  readonly responseBody?: string;
}

/** A message from the gateway, on the answer to an HTTP request. */
interface ReceivedLine extends Line, Envelope, Content {
  readonly type: 'received';
  readonly http: number;
}

/** A line of the log, of any level. */
interface LogLine extends Line {
  readonly type: 'log';
  readonly level: 'error' | 'warn' | 'info' | 'debug';
  readonly text: string;
}

/** Lines that are missing, since the disk was too slow. */
interface DroppedLine extends Line {
  readonly type: 'dropped';
  readonly lines: number;
}

export type TraceLine =
  | RunLine
  | StdioLine
  | CancelledLine
  | ConnectionLine
  | HttpLine
  | ReceivedLine
  | LogLine
  | DroppedLine;

type Writable<Members> = { -readonly [Name in keyof Members]: Members[Name] };
/** A line without the numbers that it gets when it is written. */
export type Unnumbered<Own extends Line> = Omit<Writable<Own>, 'n' | 'run'>;
