import { type Credential, headersOf } from '../auth/credential.ts';
import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Secrets } from '../failures/secrets.ts';
import { displayUrl } from '../failures/url-secrets.ts';
import type { Diagnosis } from '../http/classify-network-error.ts';
import type { HttpClient } from '../http/client.ts';
import { isProxyFailure } from '../http/http-proxy.ts';
import type { Routes } from '../http/routes.ts';
import type { Message } from '../jsonrpc/message.ts';
import { failureOfCredential } from './classify-outcome.ts';
import type { Exchange } from './exchange.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { isOpenEnded } from './methods.ts';
import type { SessionHeaders } from './session.ts';

export interface EndpointOptions {
  /** The MCP endpoint, its query included. */
  readonly url: URL;
  /** What the user's config adds to each request; names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly userAgent: string;
  readonly routes: Routes;
  /** Longest silence of the gateway while a reply is due, in milliseconds; 0 for no limit. */
  readonly timeoutMs: number;
  /** Learns the gateway's cookies. */
  readonly secrets: Secrets;
}

/** Who sends a request: decides the headers that tell. */
export interface Sender {
  readonly credential: Credential;
  readonly session: SessionHeaders | undefined;
}

const BOTH_FORMATS = 'application/json, text/event-stream';

/** The HTTP side of one MCP endpoint: where it is, how to get there, what each request carries. */
export class Endpoint {
  /** Without what may be secret in it. */
  readonly displayUrl: string;
  /** Path and query; changed by a permanent redirect. */
  target: string;
  /** Where the session was begun, should a redirect have led elsewhere. */
  sessionTarget: string;
  readonly #options: EndpointOptions;
  #route: HttpClient | undefined;
  #trustsSystem: boolean | undefined;

  constructor(options: EndpointOptions) {
    const { pathname, search } = options.url;
    this.#options = options;
    this.displayUrl = displayUrl(options.url);
    this.target = pathname + search;
    this.sessionTarget = this.target;
  }

  /** Opens the route there, once. Returns why nothing can be sent with `key`: that may change. */
  open(credential: Credential): Failure | undefined {
    const gateway = this.displayUrl;
    if (credential.kind === 'unusable') return failureOfCredential(gateway, credential);
    const diagnosis = this.#openRoute();
    if (diagnosis === undefined) return undefined;
    return { reason: 'unreachable', gateway, key: credential.origin, ...diagnosis };
  }

  #openRoute(): Diagnosis | undefined {
    const { url, routes } = this.#options;
    try {
      this.#route ??= this.#learnCookies(routes.open(url.origin));
      return undefined;
    } catch (error) {
      if (isProxyFailure(error as Error)) return { networkCause: 'proxy-invalid' };
      const { code, message } = error as NodeJS.ErrnoException;
      const isNamed = code === 'ERR_PEM_FILE' || code === 'ERR_PEM_ENCRYPTED';
      const detail = isNamed ? message : `a certificate file could not be used: ${code}`;
      const networkCause =
        code === 'ERR_PEM_ENCRYPTED' ? 'private-key-encrypted' : 'certificate-file';
      return { networkCause, detail: cleanNetworkText(detail) };
    }
  }

  /** POSTs a message. */
  post(exchange: Exchange, target: string, message: Message, sender: Sender): void {
    const headers = [
      'content-type',
      'application/json',
      ...this.#headers('POST', target, BOTH_FORMATS, sender),
    ];
    if (message.kind !== 'response' && message.headers !== undefined) {
      headers.push(...message.headers);
    }
    const timeoutMs = this.timeoutMs(message);
    this.#dispatch(exchange, 'POST', target, headers, timeoutMs, message.bytes);
  }

  /** Longest silence while the answer to a message is due, in milliseconds; 0 for no limit. */
  timeoutMs(message: Message): number {
    if (message.kind !== 'response' && isOpenEnded(message.method)) return 0;
    return this.#options.timeoutMs;
  }

  /**
   * Opens an event stream, after `lastEventId` where one is given. `timeoutMs` is its longest
   * silence; 0 for no limit.
   */
  get(
    exchange: Exchange,
    target: string,
    lastEventId: string | undefined,
    sender: Sender,
    timeoutMs = 0,
  ): void {
    const headers = this.#headers('GET', target, 'text/event-stream', sender);
    if (lastEventId !== undefined) headers.push('last-event-id', lastEventId);
    exchange.lastEventId = lastEventId;
    this.#dispatch(exchange, 'GET', target, headers, timeoutMs);
  }

  /** Ends a session. */
  delete(exchange: Exchange, limitMs: number, sender: Sender): void {
    const headers = this.#headers('DELETE', this.sessionTarget, BOTH_FORMATS, sender);
    this.#dispatch(exchange, 'DELETE', this.sessionTarget, headers, limitMs);
  }

  /**
   * After a certificate of an unknown issuer: trusts the operating system's store too, from now on
   * and for all that failed at the same time. False when that cannot help. Not from the start,
   * since reading the store takes its time and few need it.
   */
  trustSystemAfter(end: ExchangeOutcome): boolean {
    if (end.kind !== 'transport-error' || !this.#options.routes.canTrustSystem()) return false;
    if (!UNKNOWN_ISSUER.has((end.error as NodeJS.ErrnoException).code ?? '')) return false;
    this.#trustsSystem ??= this.#trustSystem();
    return this.#trustsSystem;
  }

  #trustSystem(): boolean {
    const { url, routes } = this.#options;
    const before = this.#route;
    try {
      this.#route = this.#learnCookies(routes.open(url.origin, { trustsSystem: true }));
    } catch {
      return false;
    }
    void before?.close();
    return true;
  }

  #learnCookies(route: HttpClient): HttpClient {
    route.onCookie = (value) => this.#options.secrets.addCookie(value);
    return route;
  }

  /** As the route's. */
  openAhead(): void {
    this.#route?.openAhead();
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    await this.#route?.destroy();
  }

  #headers(method: string, target: string, accept: string, sender: Sender): string[] {
    const { credential, session } = sender;
    const { headers: own, userAgent } = this.#options;
    const headers = ['accept', accept];
    if (!own.has('user-agent')) headers.push('user-agent', userAgent);
    for (const [name, value] of own) if (name !== 'host') headers.push(name, value);
    headers.push(...headersOf(credential, method, this.#options.url.origin + target));
    const { id, protocolVersion } = session ?? {};
    if (protocolVersion !== undefined) headers.push('mcp-protocol-version', protocolVersion);
    if (id !== undefined) headers.push('mcp-session-id', id);
    return headers;
  }

  #dispatch(
    exchange: Exchange,
    method: 'POST' | 'GET' | 'DELETE',
    path: string,
    headers: string[],
    timeoutMs: number,
    body: Buffer | null = null,
  ): void {
    const { url, headers: own } = this.#options;
    const { origin } = url;
    const host = own.get('host') ?? url.host;
    const timeouts = { headersTimeout: timeoutMs, bodyTimeout: timeoutMs };
    this.#route?.dispatch({ origin, method, path, host, headers, body, ...timeouts }, exchange);
  }
}

const UNKNOWN_ISSUER = new Set([
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
]);
