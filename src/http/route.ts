import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import type { LookupFunction, Socket } from 'node:net';
import type { SecureContext, TLSSocket } from 'node:tls';
import { withoutBrackets } from './environment-proxy.ts';
import { listen } from './guarded.ts';
import { HttpProxy } from './http-proxy.ts';
import type { Headers, RequestHandler, RouteRequest } from './request.ts';
import { headersOf, RouteExchange, TimedOut } from './route-exchange.ts';

/** What TLS trusts and shows, in PEM. */
export interface TlsSettings {
  readonly ca?: (string | Buffer)[];
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** How to get to an origin. */
export interface RouteSettings {
  /** For a connection, all handshakes included, in milliseconds; 0 for no limit. */
  readonly connectTimeoutMs: number;
  /** Asked by `prepareTls`, or when the first connection needs it; not for every connection. */
  readonly tls: () => TlsSettings;
  /** The URL of an HTTP proxy to go through. */
  readonly proxy?: string | undefined;
  /** Looks up the origin's name where no proxy does. */
  readonly lookup?: LookupFunction | undefined;
  /** Told the address that a connection without a proxy has reached. */
  readonly onAddress?: (address: string) => void;
}

/** What is told of each request on the diagnostics channel `mcp-latchkey:request`. */
export interface RequestBegun {
  readonly request: ClientRequest;
  readonly method: string;
}

/** What is told of each connection on the diagnostics channel `mcp-latchkey:connection`. */
export interface ConnectionBegun {
  /** Host and port, the port left out where it is the scheme's own. */
  readonly host: string;
  /** Resolves when it is ready, TLS included. */
  readonly opening: Promise<Socket>;
}

/** How long a connection may be idle, unless the gateway says (`Keep-Alive: timeout=`). */
const IDLE_MS = 4_000;
const LONGEST_IDLE_MS = 600_000;
/** A connection is closed so long before the gateway would. */
const IDLE_MARGIN_MS = 2_000;
const KEEPALIVE_PROBE_MS = 60_000;

// Not imported: loading them takes 2 to 4 ms each, and the connection is begun before that.
const net = () => process.getBuiltinModule('node:net');
const http = () => process.getBuiltinModule('node:http');
const tls = () => process.getBuiltinModule('node:tls');

const { channel } = process.getBuiltinModule('node:diagnostics_channel');
const requests = channel('mcp-latchkey:request');
const connections = channel('mcp-latchkey:connection');

/**
 * Connections to one origin, straight or through an HTTP proxy: by a tunnel for https, by absolute
 * URLs for plain http (RFC 9112 §3.2.2). Over node:http, which starts 12 ms sooner than undici and
 * takes 7 MB less.
 */
export class Route {
  readonly #url: URL;
  readonly #isTls: boolean;
  readonly #settings: RouteSettings;
  readonly #proxy: HttpProxy | undefined;
  readonly #opening = new Set<Socket>();
  readonly #idle = new Set<Socket>();
  #secureContext: SecureContext | undefined;
  #proxyContext: SecureContext | undefined;
  #tlsSession: Buffer | undefined;
  #agent: Agent | undefined;
  /** Begun before it was needed. */
  #early: Promise<Socket> | undefined;
  #idleMs = IDLE_MS;
  #idleHint: string | undefined;
  #isClosed = false;

  /** Throws a ProxyFailure when the proxy's URL is none. */
  constructor(origin: string, settings: RouteSettings) {
    this.#url = new URL(origin);
    this.#isTls = this.#url.protocol === 'https:';
    this.#settings = settings;
    this.#proxy = settings.proxy === undefined ? undefined : new HttpProxy(settings.proxy);
  }

  /**
   * Reads what TLS trusts and shows: once for all connections, since a hundred authorities take
   * their time. Throws when a file cannot be read or a PEM is none.
   */
  prepareTls(): void {
    if (this.#isTls) this.#context();
    // A file that is no use is named even where plain http needs none.
    else this.#settings.tls();
  }

  #context(): SecureContext {
    this.#secureContext ??= tls().createSecureContext(this.#settings.tls());
    return this.#secureContext;
  }

  /**
   * Opens the connection that the first request will take. Sends nothing but TLS's handshake on
   * it. When it is lost before that request, that request opens another.
   */
  connect(): void {
    const opening = this.#open();
    this.#early = opening;
    const forget = () => {
      if (this.#early === opening) this.#early = undefined;
    };
    const keep = (socket: Socket) => {
      if (this.#early !== opening) return;
      socket.once('close', forget);
      socket.setTimeout(this.#idleMs);
      socket.unref();
      this.#idle.add(socket);
    };
    opening.then(keep, forget);
  }

  /** Sends a request. What comes of it is told to `handler`, and nothing is thrown. */
  dispatch(options: RouteRequest, handler: RequestHandler): void {
    const { method, body } = options;
    const { hostname, port } = this.#url;
    const { host = this.#url.host } = options;
    const headers = [...options.headers, 'host', host, 'connection', 'keep-alive'];
    if (body) headers.push('content-length', String(body.length));
    let { path } = options;
    if (this.#proxy !== undefined && !this.#isTls) {
      path = this.#url.origin + path;
      headers.push(...this.#proxy.credentials);
    }
    this.#agent ??= this.#createAgent();
    let request: ClientRequest;
    try {
      request = http().request({ agent: this.#agent, method, path, hostname, port, headers });
    } catch (error) {
      handler.onResponseError(error as Error);
      return;
    }
    if (requests.hasSubscribers) requests.publish({ request, method } satisfies RequestBegun);
    const exchange = new RouteExchange(request, options, handler);
    const onResponse = (response: IncomingMessage) => {
      const received = headersOf(response.rawHeaders);
      this.#learnIdleTime(received['keep-alive']);
      exchange.respond(response, received);
    };
    listen(request, 'response', onResponse, exchange.crash);
  }

  /** Closes each connection once it is idle. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const socket of this.#idle) socket.destroy();
  }

  /** Closes every connection now. */
  async destroy(): Promise<void> {
    this.#isClosed = true;
    const closed = new Error('closed');
    for (const socket of this.#opening) socket.destroy(closed);
    for (const socket of this.#idle) socket.destroy();
    this.#agent?.destroy();
  }

  #createAgent(): Agent {
    const agent = new (http().Agent)({ keepAlive: true, maxFreeSockets: Number.POSITIVE_INFINITY });
    const reuse = agent.reuseSocket.bind(agent);
    return Object.assign(agent, {
      createConnection: (_: unknown, callback: (error: Error | null, socket?: Socket) => void) => {
        this.#connection().then((socket) => callback(null, socket), callback);
      },
      // All connections are alike.
      getName: () => '',
      keepSocketAlive: (socket: Socket) => {
        if (this.#isClosed || this.#idleMs <= 0) return false;
        // It runs while the connection is in use, too: each byte begins it anew.
        if (socket.timeout !== this.#idleMs) socket.setTimeout(this.#idleMs);
        socket.unref();
        this.#idle.add(socket);
        return true;
      },
      reuseSocket: (socket: Socket, request: ClientRequest) => {
        this.#idle.delete(socket);
        reuse(socket, request);
      },
    });
  }

  async #connection(): Promise<Socket> {
    const early = this.#early;
    this.#early = undefined;
    if (early === undefined) return this.#open();
    const socket = await early;
    this.#idle.delete(socket);
    return socket.writable ? socket.ref() : this.#open();
  }

  /** Resolves with a connection that is ready, every handshake included. */
  #open(): Promise<Socket> {
    const { hostname, port, host, protocol } = this.#proxy?.url ?? this.#url;
    const tcp = net().connect({
      host: withoutBrackets(hostname),
      port: Number(port || (protocol === 'https:' ? 443 : 80)),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_PROBE_MS,
      ...(this.#proxy === undefined && { lookup: this.#settings.lookup }),
    });
    this.#opening.add(tcp);
    const opening = this.#handshakes(tcp).finally(() => this.#opening.delete(tcp));
    connections.publish({ host, opening } satisfies ConnectionBegun);
    return opening;
  }

  async #handshakes(tcp: Socket): Promise<Socket> {
    const timeout = this.#settings.connectTimeoutMs;
    const giveUp = () => tcp.destroy(new TimedOut('ERR_CONNECT_TIMEOUT', this.#proxy?.url.host));
    const timer = timeout === 0 ? undefined : setTimeout(giveUp, timeout);
    try {
      const far = await this.#farEnd(tcp);
      const socket = this.#isTls ? await this.#secure(far, tcp) : far;
      this.#watch(socket);
      return socket;
    } catch (error) {
      tcp.destroy();
      // Why it was given up says more than what that brought about.
      throw tcp.errored instanceof TimedOut ? tcp.errored : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** To the origin, straight or by a tunnel; for plain http to the proxy, where there is one. */
  async #farEnd(tcp: Socket): Promise<Socket> {
    const proxy = this.#proxy;
    const connected = ready(tcp, 'connect');
    if (proxy === undefined) {
      await connected;
      this.#settings.onAddress?.(tcp.remoteAddress ?? '');
      return tcp;
    }
    let connection: Socket;
    try {
      connection = await connected;
      if (proxy.url.protocol === 'https:') connection = await this.#secureProxy(tcp, proxy.url);
    } catch (error) {
      throw proxy.unreachable(error as Error);
    }
    const { hostname, port } = this.#url;
    if (this.#isTls) await proxy.tunnel(connection, `${hostname}:${port || 443}`);
    return connection;
  }

  /** Trusts what the gateway's TLS trusts, and shows no client certificate. */
  #secureProxy(tcp: Socket, proxy: URL): Promise<TLSSocket> {
    this.#proxyContext ??= tls().createSecureContext(trustOf(this.#settings.tls()));
    const options = { socket: tcp, secureContext: this.#proxyContext, ...nameOf(proxy) };
    return ready(tls().connect(options), 'secureConnect', tcp);
  }

  /** `tcp` is what `far` is built on. */
  #secure(far: Socket, tcp: Socket): Promise<TLSSocket> {
    const session = this.#tlsSession;
    const socket = tls().connect({
      socket: far,
      secureContext: this.#context(),
      ALPNProtocols: ['http/1.1'],
      ...nameOf(this.#url),
      ...(session === undefined ? {} : { session }),
    });
    socket.on('session', (ticket) => {
      this.#tlsSession = ticket;
    });
    return ready(socket, 'secureConnect', tcp);
  }

  #watch(socket: Socket): void {
    const closeIdle = () => {
      if (!this.#idle.has(socket)) return;
      socket.destroy();
      // Until its `close` the agent might give it to a request.
      socket.emit('agentRemove');
    };
    // What comes when nothing was asked for must not be taken for the next answer.
    socket.on('data', closeIdle);
    socket.on('end', closeIdle);
    socket.on('timeout', closeIdle);
    socket.once('close', () => this.#idle.delete(socket));
  }

  #learnIdleTime(hint: Headers[string]): void {
    if (typeof hint !== 'string' || hint === this.#idleHint) return;
    this.#idleHint = hint;
    const [, seconds] = /(?:^|[\s,])timeout=(\d+)/i.exec(hint) ?? [];
    if (seconds === undefined) return;
    this.#idleMs = Math.min(Number(seconds) * 1000 - IDLE_MARGIN_MS, LONGEST_IDLE_MS);
  }
}

/** Resolves when a socket, built on `base`, says that it is ready. No error goes unheard later on. */
function ready<Kind extends Socket>(
  socket: Kind,
  event: 'connect' | 'secureConnect',
  base: Socket = socket,
): Promise<Kind> {
  return new Promise((resolve, reject) => {
    base.on('error', reject);
    socket.on('error', reject);
    socket.once(event, () => resolve(socket));
  });
}

function trustOf({ ca }: TlsSettings): TlsSettings {
  return ca === undefined ? {} : { ca };
}

/** Whom a certificate must be for. The server is told a name only (RFC 6066 §3). */
function nameOf({ hostname }: URL): { host: string; servername: string } {
  const host = withoutBrackets(hostname);
  return { host, servername: net().isIP(host) === 0 ? host : '' };
}
