import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import { HttpExchange, headersOf } from './client-request.ts';
import { ConnectionPool } from './connection-pool.ts';
import { Connector, type ConnectorSettings } from './connector.ts';
import { Cookies } from './cookies.ts';
import { listen } from './guarded.ts';
import type { Headers, HttpRequest, RequestHandler, RequestWatcher } from './request.ts';

/** What is told of each request on the diagnostics channel `mcp-latchkey:request`. */
export interface RequestBegun {
  readonly request: ClientRequest;
  readonly method: string;
  readonly options: HttpRequest;
  readonly handler: RequestHandler;
  /** Whoever is told of the request may set it. */
  watcher?: RequestWatcher;
}

/** The most that is believed of a gateway's `Keep-Alive: timeout=`. */
const LONGEST_IDLE_MS = 600_000;
/** A connection is closed so long before the gateway would. */
const IDLE_MARGIN_MS = 2_000;

// Not imported: loading it takes 2 to 4 ms, and the connection is begun before that.
const http = () => process.getBuiltinModule('node:http');

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
  readonly #pool: ConnectionPool;
  #idleHint: string | undefined;
  /** Undefined before the first cookie. */
  #cookies: Cookies | undefined;
  /** Told the value of each cookie that is kept: it may be a secret. */
  onCookie: ((value: string) => void) | undefined;

  /** Throws a ProxyFailure when the proxy's URL is invalid. */
  constructor(origin: string, settings: ConnectorSettings) {
    this.#url = new URL(origin);
    this.#connector = new Connector(this.#url, settings);
    this.#pool = new ConnectionPool(() => this.#connector.open());
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
    this.#pool.open();
  }

  /**
   * Opens connections for requests that may come at once. Does nothing without TLS, where opening
   * one takes a single round trip, nor where an HTTP proxy would have to open each.
   */
  openAhead(): void {
    if (this.#url.protocol !== 'https:' || this.#connector.proxy !== undefined) return;
    void this.#pool.openAhead();
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
    const agent = this.#pool as unknown as Agent;
    let request: ClientRequest;
    try {
      request = http().request({ agent, method, path, hostname, port, headers });
    } catch (error) {
      handler.onResponseError(error as Error);
      return;
    }
    let watcher: RequestWatcher | undefined;
    if (requests.hasSubscribers) {
      const begun: RequestBegun = { request, method, options, handler };
      requests.publish(begun);
      ({ watcher } = begun);
    }
    const exchange = new HttpExchange(request, options, handler, watcher);
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
    this.#pool.close();
  }

  /** Closes every connection now. */
  async destroy(): Promise<void> {
    this.#connector.destroy();
    this.#pool.destroy();
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
    this.#pool.idleMs = Math.min(Number(seconds) * 1000 - IDLE_MARGIN_MS, LONGEST_IDLE_MS);
  }
}
