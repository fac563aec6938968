import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { HttpExchange, headersOf } from './client-request.ts';
import { Connector, type ConnectorSettings } from './connector.ts';
import { Cookies } from './cookies.ts';
import { listen } from './guarded.ts';
import type { Headers, HttpRequest, RequestHandler } from './request.ts';

/** What is told of each request on the diagnostics channel `mcp-latchkey:request`. */
export interface RequestBegun {
  readonly request: ClientRequest;
  readonly method: string;
  readonly options: HttpRequest;
  readonly handler: RequestHandler;
}

/** How long a connection may be idle, unless the gateway says (`Keep-Alive: timeout=`). */
const IDLE_MS = 4_000;
const LONGEST_IDLE_MS = 600_000;
/** A connection is closed so long before the gateway would. */
const IDLE_MARGIN_MS = 2_000;

// Not imported: loading it takes 2 to 4 ms, and the connection is begun before that.
const http = () => process.getBuiltinModule('node:http');

const IS_IDLE = Symbol('isIdle');

/** On the socket, not in a `Set` of the idle ones: see stdio/open-requests.ts. */
interface PooledSocket extends Socket {
  /** Whether no request is on it. */
  [IS_IDLE]?: boolean;
}

const requests = process
  .getBuiltinModule('node:diagnostics_channel')
  .channel('mcp-latchkey:request');

/**
 * Requests to one origin, over connections that are kept for the next ones. Through an HTTP proxy
 * plain http is asked for by absolute URLs (RFC 9112 §3.2.2). Over node:http, which starts 12 ms
 * sooner than undici and takes 7 MB less.
 */
export class HttpClient {
  readonly #url: URL;
  readonly #connector: Connector;
  readonly #sockets = new Set<PooledSocket>();
  #agent: Agent | undefined;
  /** Begun before it was needed. */
  #early: Promise<PooledSocket> | undefined;
  #idleMs = IDLE_MS;
  #idleHint: string | undefined;
  #isClosed = false;
  /** Undefined before the first cookie. */
  #cookies: Cookies | undefined;
  /** Told the value of each cookie that is kept: it may be a secret. */
  onCookie: ((value: string) => void) | undefined;

  /** Throws a ProxyFailure when the proxy's URL is invalid. */
  constructor(origin: string, settings: ConnectorSettings) {
    this.#url = new URL(origin);
    this.#connector = new Connector(this.#url, settings);
  }

  /** As the connector's. */
  prepareTls(): void {
    this.#connector.prepareTls();
  }

  /**
   * Opens the connection that the first request will take. Sends only TLS's handshake on it. When it
   * is lost before that request, that request opens another.
   */
  connect(): void {
    const opening = this.#open();
    this.#early = opening;
    const forget = () => {
      if (this.#early === opening) this.#early = undefined;
    };
    const keep = (socket: PooledSocket) => {
      if (this.#early !== opening) return;
      socket.once('close', forget);
      this.#keep(socket);
    };
    opening.then(keep, forget);
  }

  /** Sends a request. What comes of it is told to `handler`, and nothing is thrown. */
  dispatch(options: HttpRequest, handler: RequestHandler): void {
    const { method, body } = options;
    const { hostname, port } = this.#url;
    const { host = this.#url.host } = options;
    const headers = [...options.headers, 'host', host, 'connection', 'keep-alive'];
    if (body) headers.push('content-length', String(body.length));
    this.#addCookies(headers, options.path);
    const { proxy } = this.#connector;
    let { path } = options;
    if (proxy !== undefined && this.#url.protocol === 'http:') {
      path = this.#url.origin + path;
      headers.push(...proxy.credentials);
    }
    this.#agent ??= this.#createAgent();
    let request: ClientRequest;
    try {
      request = http().request({ agent: this.#agent, method, path, hostname, port, headers });
    } catch (error) {
      handler.onResponseError(error as Error);
      return;
    }
    if (requests.hasSubscribers) {
      requests.publish({ request, method, options, handler } satisfies RequestBegun);
    }
    const exchange = new HttpExchange(request, options, handler);
    const onResponse = (response: IncomingMessage) => {
      const received = headersOf(response.rawHeaders);
      this.#learnIdleTime(received['keep-alive']);
      this.#keepCookies(received['set-cookie'], options.path);
      exchange.respond(response, received);
    };
    listen(request, 'response', onResponse, exchange.crash);
  }

  /** Closes each connection once it is idle. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const socket of this.#sockets) if (socket[IS_IDLE]) socket.destroy();
  }

  /** Closes every connection now. */
  async destroy(): Promise<void> {
    this.#isClosed = true;
    this.#connector.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#agent?.destroy();
  }

  /** What node:http lets an agent override, for connections that are opened here and all alike. */
  #createAgent(): Agent {
    const client = this;
    class Pool extends http().Agent {
      override createConnection(
        _: unknown,
        // As node:http calls it: with one of the two (node:http, agent.createConnection).
        callback: (error: Error | null, socket: Socket) => void = () => {},
      ): undefined {
        client
          .#connection()
          .then((socket) => callback(null, socket), callback as (error: Error) => void);
      }

      override getName(): string {
        return '';
      }

      override keepSocketAlive(socket: PooledSocket): boolean {
        if (client.#isClosed || client.#idleMs <= 0) return false;
        client.#keep(socket);
        return true;
      }

      override reuseSocket(socket: PooledSocket, request: ClientRequest): void {
        socket[IS_IDLE] = false;
        super.reuseSocket(socket, request);
      }
    }
    return new Pool({ keepAlive: true, maxFreeSockets: Number.POSITIVE_INFINITY });
  }

  #keep(socket: PooledSocket): void {
    // It runs while the connection is in use, too: each byte starts it again.
    if (socket.timeout !== this.#idleMs) socket.setTimeout(this.#idleMs);
    socket.unref();
    socket[IS_IDLE] = true;
  }

  async #connection(): Promise<PooledSocket> {
    const early = this.#early;
    this.#early = undefined;
    if (early === undefined) return this.#open();
    const socket = await early;
    socket[IS_IDLE] = false;
    return socket.writable ? socket.ref() : this.#open();
  }

  async #open(): Promise<PooledSocket> {
    const socket: PooledSocket = await this.#connector.open();
    const closeIdle = () => {
      if (!socket[IS_IDLE]) return;
      socket.destroy();
      // Until its `close` the agent could give it to a request (node:http, Class: http.Agent).
      socket.emit('agentRemove');
    };
    // Unsolicited data must not be parsed as the next response.
    socket.on('data', closeIdle);
    socket.on('end', closeIdle);
    socket.on('timeout', closeIdle);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  }

  /** To the user's own, where the headers have some: there must be one `Cookie` (RFC 6265 §5.4). */
  #addCookies(headers: string[], path: string): void {
    const cookies = this.#cookies?.headerFor(path);
    if (cookies === undefined) return;
    const at = headers.findIndex((text, index) => index % 2 === 0 && text === 'cookie') + 1;
    if (at === 0) headers.push('cookie', cookies);
    else headers[at] = `${headers[at]}; ${cookies}`;
  }

  #keepCookies(lines: Headers[string], path: string): void {
    if (lines === undefined) return;
    this.#cookies ??= new Cookies(this.#url);
    for (const value of this.#cookies.store([lines].flat(), path)) this.onCookie?.(value);
  }

  #learnIdleTime(hint: Headers[string]): void {
    if (typeof hint !== 'string' || hint === this.#idleHint) return;
    this.#idleHint = hint;
    const [, seconds] = /(?:^|[\s,])timeout=(\d+)/i.exec(hint) ?? [];
    if (seconds === undefined) return;
    this.#idleMs = Math.min(Number(seconds) * 1000 - IDLE_MARGIN_MS, LONGEST_IDLE_MS);
  }
}
