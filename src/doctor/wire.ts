import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { DiagnosticsChannel } from 'undici';
import type { ConnectionBegun, RequestBegun } from '../gateway/direct-route.ts';

/** A connection that was opened. Times in milliseconds of the wire's clock. */
export interface WireConnection {
  /** Host and port, the port left out where it is the scheme's own. */
  readonly host: string;
  readonly startMs: number;
  /** When it was ready, TLS included. */
  endMs?: number;
  tls?: { readonly protocol: string; readonly certificate: PeerCertificate };
}

/** A request that was sent, and what came back. Times in milliseconds of the wire's clock. */
export interface WireRequest {
  /** What it was sent for. */
  readonly label: string;
  readonly method: string;
  readonly startMs: number;
  /** The connection, where it was opened for this request. */
  connection?: WireConnection;
  sentMs?: number;
  /** When the answer's head was there. */
  headMs?: number;
  endMs?: number;
  status?: number;
  /** The answer's; names in lower case, the last of several. As sent: not fit to show. */
  headers: Readonly<Record<string, string>>;
}

type Channels = {
  'mcp-latchkey:request': RequestBegun;
  'mcp-latchkey:connection': ConnectionBegun;
  'undici:client:beforeConnect': DiagnosticsChannel.ClientBeforeConnectMessage;
  'undici:client:connected': DiagnosticsChannel.ClientConnectedMessage;
  'undici:client:connectError': DiagnosticsChannel.ClientConnectErrorMessage;
  'undici:client:sendHeaders': DiagnosticsChannel.ClientSendHeadersMessage;
  'undici:request:create': DiagnosticsChannel.RequestCreateMessage;
  'undici:request:headers': DiagnosticsChannel.RequestHeadersMessage;
  'undici:request:trailers': DiagnosticsChannel.RequestTrailersMessage;
  'undici:request:error': DiagnosticsChannel.RequestErrorMessage;
};

/**
 * Watches what the proxy's own parts do on the network, by what the direct route tells on its
 * diagnostics channel and undici, behind an HTTP proxy, on its own: so the facts are those of the
 * very requests that the proxy sends.
 */
export class Wire {
  readonly requests: WireRequest[] = [];
  readonly connections: WireConnection[] = [];
  /** Resolves when the first connection begins to be opened. */
  readonly firstConnection: Promise<void>;
  readonly #origin: number;
  readonly #label = new AsyncLocalStorage<string>();
  readonly #byRequest = new WeakMap<object, WireRequest>();
  /** A pool has one connector for all its connections, so these are in the order they began. */
  readonly #opening = new WeakMap<object, WireConnection[]>();
  readonly #bySocket = new WeakMap<Socket, WireConnection>();
  readonly #subscriptions: (() => void)[] = [];
  #onFirstConnection: () => void = () => {};

  /** `origin`: the `performance.now()` at which the wire's clock begins. */
  constructor(origin: number) {
    this.#origin = origin;
    this.firstConnection = new Promise((resolve) => {
      this.#onFirstConnection = resolve;
    });
    this.#subscribe('mcp-latchkey:request', (begun) => this.#watchDirect(begun));
    this.#subscribe('mcp-latchkey:connection', (begun) => this.#watchDirectConnection(begun));
    this.#subscribe('undici:client:beforeConnect', ({ connectParams, connector }) => {
      if (this.#label.getStore() === undefined) return;
      const connection = this.#beginConnection(connectParams.host);
      const opening = this.#opening.get(connector) ?? [];
      this.#opening.set(connector, [...opening, connection]);
    });
    this.#subscribe('undici:client:connected', ({ connector, socket }) => {
      const connection = this.#opening.get(connector)?.shift();
      if (connection === undefined) return;
      this.#connected(connection, socket);
    });
    this.#subscribe('undici:client:connectError', ({ connector }) => {
      this.#opening.get(connector)?.shift();
    });
    this.#subscribe('undici:request:create', ({ request }) => {
      const watched = this.#beginRequest(request.method ?? '');
      if (watched !== undefined) this.#byRequest.set(request, watched);
    });
    this.#subscribe('undici:client:sendHeaders', ({ request, socket }) => {
      const watched = this.#byRequest.get(request);
      if (watched === undefined) return;
      this.#sent(watched, socket);
    });
    this.#subscribe('undici:request:headers', ({ request, response }) => {
      const watched = this.#byRequest.get(request);
      if (watched === undefined) return;
      const words = response.headers.map((bytes) => bytes.toString('latin1'));
      this.#answered(watched, response.statusCode, words);
    });
    const end = ({ request }: { request: object }) => {
      const watched = this.#byRequest.get(request);
      if (watched !== undefined) watched.endMs ??= this.now();
    };
    this.#subscribe('undici:request:trailers', end);
    this.#subscribe('undici:request:error', end);
  }

  /** Milliseconds since the wire's clock began. */
  now(): number {
    return performance.now() - this.#origin;
  }

  /** Runs `send` and resolves with what it does, and with the requests that it sent. */
  async watch<Value>(
    label: string,
    send: () => Promise<Value>,
  ): Promise<{ value: Value; requests: WireRequest[] }> {
    const before = this.requests.length;
    const value = await this.#label.run(label, send);
    return {
      value,
      requests: this.requests.slice(before).filter((request) => request.label === label),
    };
  }

  /** Watches no more. */
  close(): void {
    for (const unsubscribeOne of this.#subscriptions) unsubscribeOne();
  }

  #watchDirect({ request, method }: RequestBegun): void {
    const watched = this.#beginRequest(method);
    if (watched === undefined) return;
    request.once('socket', (socket) => this.#sent(watched, socket));
    request.once('response', (response) =>
      this.#answered(watched, response.statusCode ?? 0, response.rawHeaders),
    );
    request.once('close', () => {
      watched.endMs = this.now();
    });
  }

  #watchDirectConnection({ host, opening }: ConnectionBegun): void {
    if (this.#label.getStore() === undefined) return;
    const connection = this.#beginConnection(host);
    opening.then(
      (socket) => this.#connected(connection, socket),
      () => {},
    );
  }

  #beginConnection(host: string): WireConnection {
    const connection = { host, startMs: this.now() };
    this.connections.push(connection);
    this.#onFirstConnection();
    return connection;
  }

  #connected(connection: WireConnection, socket: Socket): void {
    connection.endMs = this.now();
    this.#bySocket.set(socket, connection);
    if (!('encrypted' in socket)) return;
    const secure = socket as TLSSocket;
    connection.tls = {
      protocol: secure.getProtocol() ?? '',
      certificate: secure.getPeerCertificate(),
    };
  }

  /** Undefined when nobody watches. */
  #beginRequest(method: string): WireRequest | undefined {
    const label = this.#label.getStore();
    if (label === undefined) return undefined;
    const watched = { label, method, startMs: this.now(), headers: {} };
    this.requests.push(watched);
    return watched;
  }

  #sent(watched: WireRequest, socket: Socket): void {
    watched.sentMs = this.now();
    const connection = this.#bySocket.get(socket);
    if (connection === undefined) return;
    // What is sent later on it finds it open.
    this.#bySocket.delete(socket);
    watched.connection = connection;
  }

  /** `words`: the headers' names and values by turns. */
  #answered(watched: WireRequest, status: number, words: readonly string[]): void {
    watched.headMs = this.now();
    watched.status = status;
    watched.headers = Object.fromEntries(
      words.flatMap((name, index) =>
        index % 2 === 0 ? [[name.toLowerCase(), words[index + 1] ?? '']] : [],
      ),
    );
  }

  #subscribe<Name extends keyof Channels>(
    name: Name,
    onMessage: (message: Channels[Name]) => void,
  ): void {
    const listener = (message: unknown) => onMessage(message as Channels[Name]);
    subscribe(name, listener);
    this.#subscriptions.push(() => unsubscribe(name, listener));
  }
}
