// Where the browser comes back to after a sign-in (RFC 8252 §7.3): a listener on loopback, for one
// request with the right `state`.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isLoopbackHost } from '../../http/loopback.ts';
import { failurePage, PAGE_HEADERS, refusalPage, successPage } from './callback-pages.ts';
import {
  type CallbackOptions,
  type CallbackServer,
  type ReceivedCallback,
  SignInError,
} from './stored-sign-in.ts';

/** The fixed port cannot be used. `message`: a sentence that says why. */
export class PortTaken extends SignInError {}

/** The path of the redirect URI. */
export const CALLBACK_PATH = '/callback';
const LINK_PATH = '/sign-in/';

/** Codes and error descriptions are long, but not as long. */
const MAX_HEADER_BYTES = 32 * 1024;
const MAX_CONNECTIONS = 64;
/** How long a request may take to arrive. */
const REQUEST_LIMIT_MS = 5_000;
/** How often another random port is tried, where one is free on 127.0.0.1 alone. */
const PORT_TRIES = 10;
/** How long the browser may take to read its page. */
const PAGE_LIMIT_MS = 5_000;

/**
 * Listens on 127.0.0.1, and on the same port of ::1 where there is IPv6. Rejects with PortTaken when
 * the port is fixed and cannot be used on both, and with the system's error when no port can.
 */
export async function openCallbackServer(options: CallbackOptions): Promise<CallbackServer> {
  const server = new Listener(options.gatewayHost);
  const { port = 0, isFixed = false } = options;
  for (let left = PORT_TRIES; ; left--) {
    const tried = left === PORT_TRIES ? port : 0;
    try {
      await server.listen(tried);
      return server;
    } catch (error) {
      await server.close();
      const { code } = error as NodeJS.ErrnoException;
      if (tried !== 0 && isFixed) throw new PortTaken(portSentence(tried, code));
      if (left === 0) throw error;
    }
  }
}

const portSentence = (port: number, code: string | undefined) =>
  code === 'EADDRINUSE'
    ? `The callback port ${port} is in use by another program. Close that program, or set another port with --callback-port.`
    : `The callback port ${port} cannot be used: ${code}. Set another port with --callback-port.`;

interface Link {
  readonly href: string;
  readonly isOnce: boolean;
}

interface ExpectedCallback {
  readonly state: string;
  readonly resolve: (received: ReceivedCallback) => void;
}

class Listener implements CallbackServer {
  port = 0;
  readonly #gatewayHost: string;
  #servers: Server[] = [];
  /** By path. Undefined once one has been used that is good once. */
  readonly #links = new Map<string, Link | undefined>();
  #expected: ExpectedCallback | undefined;

  constructor(gatewayHost: string) {
    this.#gatewayHost = gatewayHost;
  }

  async listen(port: number): Promise<void> {
    this.port = await this.#listenOn('127.0.0.1', port);
    try {
      await this.#listenOn('::1', this.port);
    } catch (error) {
      // This computer has no IPv6.
      const { code = '' } = error as NodeJS.ErrnoException;
      if (!/^(?:EADDRNOTAVAIL|EAFNOSUPPORT|EINVAL)$/.test(code)) throw error;
    }
  }

  linkTo({ href, protocol, hostname }: URL, isOnce = true): string {
    if (protocol !== 'https:' && !(protocol === 'http:' && isLoopbackHost(hostname))) {
      throw new SignInError('The sign-in page does not use https.');
    }
    const path = `${LINK_PATH}${randomBytes(18).toString('base64url')}`;
    this.#links.set(path, { href, isOnce });
    return `http://127.0.0.1:${this.port}${path}`;
  }

  callback(state: string, signal: AbortSignal): Promise<ReceivedCallback> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#expected = undefined;
        reject(signal.reason);
      };
      this.#expected = {
        state,
        resolve: (received) => {
          signal.removeEventListener('abort', onAbort);
          resolve(received);
        },
      };
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  async close(): Promise<void> {
    const servers = this.#servers;
    this.#servers = [];
    await Promise.all(
      servers.map((server) => {
        const closed = new Promise((resolve) => server.close(resolve));
        server.closeAllConnections();
        return closed;
      }),
    );
  }

  #listenOn(host: string, port: number): Promise<number> {
    const server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: REQUEST_LIMIT_MS,
        requestTimeout: REQUEST_LIMIT_MS,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => void this.#answer(request, response),
    );
    server.maxConnections = MAX_CONNECTIONS;
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, ipv6Only: host === '::1' }, () => {
        resolve((server.address() as AddressInfo).port);
      });
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    const { method, url = '', headers } = request;
    // A page of another origin whose name leads to this address (DNS rebinding) sends its own name.
    if (!this.#isOwnHost(headers.host)) {
      return refuse(response, 421, 'This is not the address of a sign-in');
    }
    if (method !== 'GET') {
      response.setHeader('allow', 'GET');
      return refuse(response, 405, 'This page only answers a browser');
    }
    const [path = '', query = ''] = url.split('?', 2);
    if (path.startsWith(LINK_PATH)) return this.#follow(path, response);
    if (path !== CALLBACK_PATH) {
      return refuse(response, 404, 'This page is not part of a sign-in');
    }
    const parameters = new URLSearchParams(query);
    const expected = this.#expected;
    if (expected === undefined || !isFor(expected, parameters)) {
      return refuse(response, 400, 'This is not the current sign-in');
    }
    this.#expected = undefined;
    this.#stopListening(response);
    expected.resolve({
      parameters,
      succeed: () => send(response, 200, successPage(this.#gatewayHost)),
      fail: (words) => send(response, 400, failurePage(words)),
    });
  }

  #isOwnHost(host: string | undefined): boolean {
    const port = this.port === 80 ? '' : `:${this.port}`;
    return ['127.0.0.1', 'localhost', '[::1]'].some((own) => host?.toLowerCase() === own + port);
  }

  async #follow(path: string, response: ServerResponse): Promise<void> {
    const link = this.#links.get(path);
    if (link === undefined) {
      const wasUsed = this.#links.has(path);
      const title = wasUsed ? 'This link was used already' : 'This page is not part of a sign-in';
      return refuse(response, wasUsed ? 410 : 404, title);
    }
    if (link.isOnce) this.#links.set(path, undefined);
    response.writeHead(303, { ...PAGE_HEADERS, location: link.href }).end();
  }

  /** Takes no other request. The browser that waits for its page has it yet to come. */
  #stopListening(waiting: ServerResponse): void {
    for (const server of this.#servers) server.close();
    waiting.once('close', () => void this.close());
  }
}

/** Whether these are the parameters of the redirect with this `state`. */
export function isFor({ state }: { state: string }, parameters: URLSearchParams): boolean {
  const names = [...parameters.keys()];
  // Each at most once (RFC 6749 §3.1).
  if (new Set(names).size < names.length) return false;
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(parameters.get('state') ?? ''), hash(state));
}

const refuse = (response: ServerResponse, status: number, title: string) =>
  send(response, status, refusalPage(title));

/** Resolves once the page is sent, or the browser is gone. */
function send(response: ServerResponse, status: number, page: string): Promise<void> {
  if (response.destroyed || response.writableEnded) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => response.destroy(), PAGE_LIMIT_MS);
    response.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    response.writeHead(status, PAGE_HEADERS).end(page);
  });
}
