import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { RequestBegun } from '../http/client.ts';
import type { ConnectionBegun } from '../http/connector.ts';

/** A connection that was opened. Times in milliseconds of the trace's clock. */
export interface TracedConnection {
  /** Host and port, the port left out where it is the scheme's own. */
  readonly host: string;
  readonly startMs: number;
  /** When it was ready, TLS included. */
  endMs?: number;
  tls?: { readonly protocol: string; readonly certificate: PeerCertificate };
}

/** A request that was sent, and what came back. Times in milliseconds of the trace's clock. */
export interface TracedRequest {
  /** What it was sent for. */
  readonly label: string;
  readonly method: string;
  readonly startMs: number;
  /** The connection, where it was opened for this request. */
  connection?: TracedConnection;
  sentMs?: number;
  /** When the answer's head was there. */
  headMs?: number;
  endMs?: number;
  status?: number;
  /** The answer's; names in lower case, the last of several. As sent: not fit to show. */
  headers: Readonly<Record<string, string>>;
}

/**
 * Watches what the proxy's own parts do on the network, by what their route tells on its diagnostics
 * channels: so the facts are those of the very requests that the proxy sends.
 */
export class HttpTrace {
  readonly requests: TracedRequest[] = [];
  readonly connections: TracedConnection[] = [];
  /** Resolves when the first connection begins to be opened. */
  readonly firstConnection: Promise<void>;
  readonly #origin: number;
  readonly #label = new AsyncLocalStorage<string>();
  readonly #bySocket = new WeakMap<Socket, TracedConnection>();
  readonly #subscriptions: (() => void)[] = [];
  #onFirstConnection: () => void = () => {};

  /** `origin`: the `performance.now()` at which the trace's clock begins. */
  constructor(origin: number) {
    this.#origin = origin;
    this.firstConnection = new Promise((resolve) => {
      this.#onFirstConnection = resolve;
    });
    this.#subscribe<RequestBegun>('mcp-latchkey:request', (begun) => this.#onRequest(begun));
    this.#subscribe<ConnectionBegun>('mcp-latchkey:connection', (b) => this.#onConnection(b));
  }

  /** Milliseconds since the trace's clock began. */
  now(): number {
    return performance.now() - this.#origin;
  }

  /** Runs `send` and resolves with what it does, and with the requests that it sent. */
  async watch<Value>(
    label: string,
    send: () => Promise<Value>,
  ): Promise<{ value: Value; requests: TracedRequest[] }> {
    const before = this.requests.length;
    const value = await this.#label.run(label, send);
    return {
      value,
      requests: this.requests.slice(before).filter((request) => request.label === label),
    };
  }

  /** Stops watching. */
  close(): void {
    for (const unsubscribeOne of this.#subscriptions) unsubscribeOne();
  }

  #onRequest({ request, method }: RequestBegun): void {
    const label = this.#label.getStore();
    if (label === undefined) return;
    const watched: TracedRequest = { label, method, startMs: this.now(), headers: {} };
    this.requests.push(watched);
    request.once('socket', (socket) => this.#sent(watched, socket));
    request.once('response', (response) => this.#answered(watched, response));
    request.once('close', () => {
      watched.endMs = this.now();
    });
  }

  #onConnection({ host, opening }: ConnectionBegun): void {
    if (this.#label.getStore() === undefined) return;
    const connection = { host, startMs: this.now() };
    this.connections.push(connection);
    this.#onFirstConnection();
    opening.then(
      (socket) => this.#connected(connection, socket),
      () => {},
    );
  }

  #connected(connection: TracedConnection, socket: Socket): void {
    connection.endMs = this.now();
    this.#bySocket.set(socket, connection);
    if (!('encrypted' in socket)) return;
    const secure = socket as TLSSocket;
    connection.tls = {
      protocol: secure.getProtocol() ?? '',
      certificate: secure.getPeerCertificate(),
    };
  }

  #sent(watched: TracedRequest, socket: Socket): void {
    watched.sentMs = this.now();
    const connection = this.#bySocket.get(socket);
    if (connection === undefined) return;
    // What is sent later on it finds it open.
    this.#bySocket.delete(socket);
    watched.connection = connection;
  }

  #answered(watched: TracedRequest, { statusCode, rawHeaders }: IncomingMessage): void {
    watched.headMs = this.now();
    watched.status = statusCode ?? 0;
    watched.headers = Object.fromEntries(
      rawHeaders.flatMap((name, index) =>
        index % 2 === 0 ? [[name.toLowerCase(), rawHeaders[index + 1] ?? '']] : [],
      ),
    );
  }

  #subscribe<Message>(channel: string, onMessage: (message: Message) => void): void {
    const listener = (message: unknown) => onMessage(message as Message);
    subscribe(channel, listener);
    this.#subscriptions.push(() => unsubscribe(channel, listener));
  }
}
