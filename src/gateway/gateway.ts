import Pool from 'undici/lib/dispatcher/pool.js';
import { findKey, type KeyFinding, type KeySources } from '../auth/key.ts';
import type { Failure } from '../failures/failure.ts';
import type { Log } from '../log.ts';
import { type Message, parseMessage, type Response } from '../protocol/message.ts';
import type { MessageObserver, Sending, Upstream } from '../protocol/upstream.ts';
import { Exchange, type ExchangeEnd, type Headers } from './exchange.ts';
import { failureOfEnd, failureOfKey } from './failure-of-end.ts';
import { ServerStream } from './server-stream.ts';

export interface GatewayOptions {
  /** The MCP endpoint, its query included. */
  readonly url: URL;
  readonly keySources: KeySources;
  readonly env: NodeJS.ProcessEnv;
  readonly userAgent: string;
  readonly connectTimeoutMs: number;
  /** Longest silence of the gateway while a reply is due; 0 for no limit. */
  readonly timeoutMs: number;
  readonly log: Log;
}

/** What the handshake settled, sent along with everything later. */
interface Session {
  readonly id?: string;
  readonly protocolVersion?: string;
}

/**
 * A remote MCP endpoint over Streamable HTTP, revisions 2024-11-05 to 2025-11-25: each message is
 * one POST, and a GET stream is kept for what belongs to no request.
 */
export class Gateway implements Upstream {
  readonly #options: GatewayOptions;
  readonly #pool: Pool;
  readonly #path: string;
  #foundKey: KeyFinding | undefined;
  #session: Session = {};
  #serverStream: ServerStream | undefined;
  #serverMessages: MessageObserver | undefined;
  /** The handshake's message that is on its way: what comes later waits for it. */
  #handshake: { readonly method: string; readonly settled: Promise<unknown> } | undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#path = options.url.pathname + options.url.search;
    this.#pool = new Pool(options.url.origin, { connect: { timeout: options.connectTimeoutMs } });
  }

  listen(observer: MessageObserver): void {
    this.#serverMessages = observer;
  }

  send(message: Message, observer: MessageObserver): Sending {
    let exchange: Exchange | undefined;
    let isAborted = false;
    const run = async (before: Promise<unknown> | undefined): Promise<Failure | undefined> => {
      if (before !== undefined) await before;
      const key = this.#foundKey ?? (await this.#findKey());
      if (isAborted) return undefined;
      if (key.kind === 'unusable') return failureOfKey(this.#displayUrl(), key);
      const inSession = this.#session.id !== undefined && !isInitialize(message);
      exchange = this.#post(message, observer, key);
      const end = await exchange.ended;
      if (end.kind === 'replied' || end.kind === 'aborted') return undefined;
      if (message.kind !== 'request' && end.kind === 'accepted') {
        if (isInitialized(message)) this.#openServerStream();
        return undefined;
      }
      const gateway = this.#displayUrl();
      return failureOfEnd(end, { gateway, key: key.origin, message, inSession });
    };
    const settled = run(this.#mustWaitFor(message));
    if (isInitialize(message) || isInitialized(message)) this.#holdBack(message.method, settled);
    return {
      settled,
      abort: () => {
        isAborted = true;
        exchange?.abort();
      },
    };
  }

  async close(limitMs: number): Promise<void> {
    this.#serverStream?.close();
    if (this.#session.id !== undefined) await this.#deleteSession(limitMs);
    await this.#pool.destroy();
  }

  // `initialize` names the session and the revision, and `notifications/initialized` must have
  // been accepted before the session is used (MCP 2025-11-25, Lifecycle §Initialization). A reply
  // to something that the gateway asks meanwhile must not wait for the gateway.
  #mustWaitFor(message: Message): Promise<unknown> | undefined {
    if (message.kind === 'response' && this.#handshake?.method === 'initialize') return undefined;
    return this.#handshake?.settled;
  }

  #holdBack(method: string, settled: Promise<unknown>): void {
    const handshake = { method, settled };
    this.#handshake = handshake;
    void settled.then(() => {
      if (this.#handshake === handshake) this.#handshake = undefined;
    });
  }

  async #findKey(): Promise<KeyFinding> {
    const key = await findKey(this.#options.keySources, this.#options.env);
    if (key.kind === 'found' || key.kind === 'in-header') this.#foundKey = key;
    this.#options.log.debug(`key: ${key.kind}, ${key.origin.origin}`);
    return key;
  }

  #post(message: Message, observer: MessageObserver, key: KeyFinding): Exchange {
    if (isInitialize(message)) {
      this.#endServerStream();
      this.#session = {};
    }
    const awaited = message.kind === 'request' ? message.id : undefined;
    const exchange: Exchange = new Exchange(
      awaited,
      isInitialize(message)
        ? {
            congested: () => observer.congested(),
            onMessage: (received) => {
              if (received.kind === 'response' && received.id?.key === awaited?.key) {
                this.#learnSession(exchange.headers, received);
              }
              observer.onMessage(received);
            },
          }
        : observer,
    );
    const headers = this.#headers(key, 'application/json, text/event-stream');
    headers.push('content-type', 'application/json');
    this.#dispatch('POST', headers, exchange, message.bytes, this.#options.timeoutMs);
    return exchange;
  }

  #dispatch(
    method: 'POST' | 'GET' | 'DELETE',
    headers: string[],
    exchange: Exchange,
    body: Buffer | null,
    timeoutMs: number,
  ): void {
    this.#pool.dispatch(
      {
        path: this.#path,
        method,
        headers,
        body,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      },
      exchange,
    );
  }

  #headers(key: KeyFinding, accept: string): string[] {
    const { id, protocolVersion } = this.#session;
    const headers = ['accept', accept, 'user-agent', this.#options.userAgent];
    for (const [name, value] of this.#options.keySources.headers) headers.push(name, value);
    if (key.kind === 'found') headers.push('authorization', `Bearer ${key.key}`);
    if (protocolVersion !== undefined) headers.push('mcp-protocol-version', protocolVersion);
    if (id !== undefined) headers.push('mcp-session-id', id);
    return headers;
  }

  #learnSession(headers: Headers, reply: Response): void {
    if (reply.isError) return;
    const { result } = parseMessage(reply);
    const version = isRecord(result) ? result.protocolVersion : undefined;
    const id = headers['mcp-session-id'];
    this.#session = {
      // Both go into request headers: what is not visible ASCII must not get there.
      ...(typeof id === 'string' && VISIBLE_ASCII.test(id) ? { id } : {}),
      ...(typeof version === 'string' && VISIBLE_ASCII.test(version)
        ? { protocolVersion: version }
        : {}),
    };
    this.#options.log.info(
      `initialized, revision ${this.#session.protocolVersion ?? 'unknown'}, ${
        this.#session.id === undefined ? 'without a session' : 'with a session'
      }`,
    );
  }

  #openServerStream(): void {
    const observer = this.#serverMessages;
    if (observer === undefined) return;
    this.#endServerStream();
    this.#serverStream = new ServerStream({
      log: this.#options.log,
      open: (lastEventId) => {
        const exchange = new Exchange(undefined, observer);
        const key = this.#foundKey;
        const headers = this.#headers(key ?? NO_KEY, 'text/event-stream');
        if (lastEventId !== undefined) headers.push('last-event-id', lastEventId);
        this.#dispatch('GET', headers, exchange, null, 0);
        return exchange;
      },
      describe: (end) =>
        failureOfEnd(end, { gateway: this.#displayUrl(), key: (this.#foundKey ?? NO_KEY).origin }),
    });
  }

  #endServerStream(): void {
    this.#serverStream?.close();
    this.#serverStream = undefined;
  }

  async #deleteSession(limitMs: number): Promise<void> {
    const exchange = new Exchange(undefined, { onMessage: () => {}, congested: () => undefined });
    const headers = this.#headers(this.#foundKey ?? NO_KEY, 'application/json');
    this.#dispatch('DELETE', headers, exchange, null, limitMs);
    const timer = setTimeout(() => exchange.abort(), limitMs);
    const end: ExchangeEnd = await exchange.ended;
    clearTimeout(timer);
    this.#options.log.debug(`session ended: ${end.kind}`);
  }

  #displayUrl(): string {
    return this.#options.url.origin + this.#options.url.pathname;
  }
}

const NO_KEY: KeyFinding = { kind: 'none', origin: { source: 'none', origin: 'no source' } };

// What a session id may be made of (MCP 2025-11-25, Transports §Session Management, 1).
const VISIBLE_ASCII = /^[\x21-\x7e]{1,1024}$/;

function isInitialize(message: Message): message is Extract<Message, { kind: 'request' }> {
  return message.kind === 'request' && message.method === 'initialize';
}

function isInitialized(message: Message): message is Extract<Message, { kind: 'notification' }> {
  return message.kind === 'notification' && message.method === 'notifications/initialized';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
