import type { Socket } from 'node:net';

/** A request to the origin of a route. */
export interface HttpRequest {
  readonly origin: string;
  readonly method: 'POST' | 'GET' | 'DELETE';
  /** Path and query. */
  readonly path: string;
  /** What `Host` says; by default, host and port of the origin. */
  readonly host?: string;
  /** Names and values by turns. */
  readonly headers: string[];
  readonly body?: Buffer | null;
  /** Longest silence before the answer's head and within its body, in milliseconds; 0 for none. */
  readonly headersTimeout: number;
  readonly bodyTimeout: number;
}

/** Names in lower case; an array for a name that comes more than once. */
export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** Holds a request that is on its way. */
export interface RequestControl {
  /** Stops reading the answer until `resume`. */
  pause(): void;
  resume(): void;
  /** Gives the request up: `onResponseError` is told the reason. */
  abort(reason: Error): void;
}

/**
 * Told what comes of a request: its start, the head, the body in pieces, and then the end or an
 * error. What a method throws ends the request: `onResponseError` is told of it, as an error that
 * `isBug`, even after the end.
 */
export interface RequestHandler {
  /** Just before the first byte is sent. Not called where no connection came about. */
  onRequestStart(control: RequestControl): void;
  onResponseStart(status: number, headers: Headers): void;
  onResponseData(chunk: Buffer): void;
  onResponseEnd(): void;
  onResponseError(error: Error): void;
}

/** Watches a request from outside: each step before its handler does. Must not throw. */
export interface RequestWatcher {
  /** It has a connection. */
  onSocket(socket: Socket): void;
  /** The head of the answer is there; names and values of its headers by turns. */
  onHead(status: number, headers: readonly string[]): void;
  /** Nothing more comes. */
  onOver(): void;
}
