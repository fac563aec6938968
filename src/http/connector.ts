import type { LookupFunction, Socket } from 'node:net';
import type { SecureContext, TLSSocket } from 'node:tls';
import { TimedOut } from './client-request.ts';
import { withoutBrackets } from './environment-proxy.ts';
import { HttpProxy } from './http-proxy.ts';

/** What TLS trusts and shows, in PEM. */
export interface TlsSettings {
  readonly ca?: (string | Buffer)[];
  readonly cert?: Buffer;
  readonly key?: Buffer;
  /** Of `key`. */
  readonly passphrase?: string;
}

/** How to get to an origin. */
export interface ConnectorSettings {
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

/** What is told of each connection on the diagnostics channel `mcp-latchkey:connection`. */
export interface ConnectionBegun {
  /** Host and port, the port left out where it is the scheme's own. */
  readonly host: string;
  /** What it is built on. */
  readonly tcp: Socket;
  /** Resolves when it is ready, TLS included. */
  readonly opening: Promise<Socket>;
}

const KEEPALIVE_PROBE_MS = 60_000;

// Not imported: loading them takes 2 to 4 ms each, and the connection is begun before that.
const net = () => process.getBuiltinModule('node:net');
const tls = () => process.getBuiltinModule('node:tls');

const { channel } = process.getBuiltinModule('node:diagnostics_channel');
const connections = channel('mcp-latchkey:connection');

/**
 * Opens connections to one origin: straight, or through an HTTP proxy, by a tunnel for https. Each is
 * ready when it is handed out, TLS included.
 */
export class Connector {
  readonly proxy: HttpProxy | undefined;
  readonly #url: URL;
  readonly #isTls: boolean;
  readonly #settings: ConnectorSettings;
  readonly #opening = new Set<Socket>();
  #secureContext: SecureContext | undefined;
  #proxyContext: SecureContext | undefined;
  #tlsSession: Buffer | undefined;

  /** Throws a ProxyFailure when the proxy's URL is invalid. */
  constructor(url: URL, settings: ConnectorSettings) {
    this.#url = url;
    this.#isTls = url.protocol === 'https:';
    this.#settings = settings;
    this.proxy = settings.proxy === undefined ? undefined : new HttpProxy(settings.proxy);
  }

  /**
   * Reads what TLS trusts and shows: once for all connections, since a hundred authorities take
   * their time. Throws when a file cannot be read or is not a PEM file.
   */
  prepareTls(): void {
    if (this.#isTls) this.#context();
    // A file that cannot be used is named even where plain http does not need it.
    else this.#settings.tls();
  }

  /** Resolves with a connection that is ready. Rejects with the reason if none can be made. */
  open(): Promise<Socket> {
    const { hostname, port, host, protocol } = this.proxy?.url ?? this.#url;
    const tcp = net().connect({
      host: withoutBrackets(hostname),
      port: Number(port || (protocol === 'https:' ? 443 : 80)),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_PROBE_MS,
      ...(this.proxy === undefined && { lookup: this.#settings.lookup }),
    });
    this.#opening.add(tcp);
    const opening = this.#handshakes(tcp).finally(() => this.#opening.delete(tcp));
    if (connections.hasSubscribers) {
      connections.publish({ host, tcp, opening } satisfies ConnectionBegun);
    }
    return opening;
  }

  /** Gives up the connections that are being opened. */
  destroy(): void {
    const closed = new Error('closed');
    for (const socket of this.#opening) socket.destroy(closed);
  }

  #context(): SecureContext {
    this.#secureContext ??= tls().createSecureContext(this.#settings.tls());
    return this.#secureContext;
  }

  async #handshakes(tcp: Socket): Promise<Socket> {
    const timeout = this.#settings.connectTimeoutMs;
    const giveUp = () => tcp.destroy(new TimedOut('ERR_CONNECT_TIMEOUT', this.proxy?.url.host));
    const timer = timeout === 0 ? undefined : setTimeout(giveUp, timeout);
    try {
      const far = await this.#farEnd(tcp);
      return this.#isTls ? await this.#secure(far, tcp) : far;
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
    const proxy = this.proxy;
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
