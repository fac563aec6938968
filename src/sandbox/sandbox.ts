import { randomUUID } from 'node:crypto';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Account, accounts, authenticate, sandboxKeys } from './accounts.ts';
import { answer, type Exchange, isMessage, isObject, isRequest, type Json } from './methods.ts';
import {
  eventStreamHeaders,
  notFound,
  type Reply,
  readBody,
  rpcRefusal,
  write,
  writeEvent,
} from './replies.ts';
import {
  endSession,
  findSession,
  gatewayRevision,
  openStream,
  type Session,
  sessionRevisions,
} from './sessions.ts';
import { createTools } from './tools.ts';

export { accounts };

export interface SandboxOptions {
  /** Port on 127.0.0.1; 0, the default, takes a free one. */
  port?: number;
  /** Largest request body in bytes; the default is the gateway's own 52,428,800. */
  bodyLimit?: number;
  /** Milliseconds to wait before each reply of the endpoint. Default 0. */
  latencyMs?: number;
  /** Reply with `text/event-stream` instead of `application/json`. */
  sse?: boolean;
  /**
   * Assign an `Mcp-Session-Id` at `initialize` and require it afterwards, speak revisions
   * 2024-11-05 to 2025-11-25, serve a GET stream, and end the session on DELETE.
   */
  sessions?: boolean;
  /** Answer this many POSTs with this status first; see {@link Sandbox.failNext}. */
  fail?: { count: number; status: number };
  /** Called when a request has been answered or cut off. */
  onServed?: (request: SandboxRequest) => void;
}

/** One HTTP request as the sandbox received it. */
export interface SandboxRequest {
  method: string;
  /** Request target as it stood in the request line. */
  url: string;
  headers: IncomingHttpHeaders;
  /** The body as text; empty until it has arrived, and when it was over the limit. */
  text: string;
  /** The body parsed as JSON; undefined when it is no JSON. */
  body: unknown;
  /** HTTP status of the reply; undefined until then, and when the client left first. */
  status?: number;
  /** Code of the JSON-RPC error in the reply, if it held one. */
  errorCode?: number;
  /** Milliseconds from the head of the request to the end of the reply. */
  ms?: number;
}

export interface Sandbox {
  /** The MCP endpoint: `http://127.0.0.1:PORT/v1/mcp`. */
  readonly url: string;
  /** `http://127.0.0.1:PORT`. */
  readonly origin: string;
  /** Origin of the page that the hint of credentials_unavailable names; not `origin`. */
  readonly frontend: string;
  readonly keys: typeof sandboxKeys;
  /** Every request received, oldest first. Set `length = 0` to forget them. */
  readonly requests: SandboxRequest[];
  /**
   * Answers the next `count` POSTs to the endpoint with `status`, before even looking at their
   * key; 0 ends a burst. `headers` are added to the reply, such as `{ 'Retry-After': '1' }`.
   * Throws a RangeError when `status` (default 503) is not between 400 and 599.
   */
  failNext(count: number, status?: number, headers?: Record<string, string>): void;
  /**
   * Sends a message to every session: on its newest GET stream, or once it opens one.
   * Throws when the sandbox keeps no sessions.
   */
  notify(message: Json): void;
  /** Forgets every session, as a gateway does that was restarted, and closes their streams. */
  endSessions(): void;
  /** Stops listening and cuts every connection, idle or not. */
  close(): Promise<void>;
}

const endpointPath = '/v1/mcp';
const metadataPath = '/.well-known/oauth-protected-resource';
/**
 * Starts an MCP gateway on loopback that answers as the hosted one does, failures included:
 * without options it keeps no session, needs no handshake and speaks revision 2024-11-05.
 * Rejects with the error of `listen`, such as EADDRINUSE.
 */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const { bodyLimit = 52_428_800, latencyMs = 0, sse = false, onServed } = options;
  const sessions = options.sessions ? new Map<string, Session>() : undefined;
  const requests: SandboxRequest[] = [];
  const tools = createTools();
  const closing = new AbortController();
  let burst: { left: number; status: number; headers: Record<string, string> };

  function failNext(count: number, status = 503, headers: Record<string, string> = {}) {
    if (!(status >= 400 && status <= 599)) throw new RangeError(`${status} is no HTTP failure`);
    burst = { left: count, status, headers };
  }
  failNext(options.fail?.count ?? 0, options.fail?.status);

  const server = createServer((req, res) => {
    const started = performance.now();
    const request: SandboxRequest = {
      method: req.method ?? '',
      url: req.url ?? '',
      headers: req.headers,
      text: '',
      body: undefined,
    };
    requests.push(request);
    req.on('error', () => {});
    res.on('error', () => {});
    res.on('close', () => {
      if (res.headersSent) request.status = res.statusCode;
      request.ms = performance.now() - started;
      onServed?.(request);
    });
    serve(req, res, request).catch((error: unknown) => {
      if (closing.signal.aborted || res.headersSent) res.destroy();
      else write(res, { status: 500, body: { error: `Sandbox: ${String(error)}` } });
    });
  });

  async function serve(req: IncomingMessage, res: ServerResponse, request: SandboxRequest) {
    const body = await readBody(req, bodyLimit);
    if (body === 'aborted') return;
    if (body !== 'too large') {
      request.text = body;
      request.body = parseJson(body);
    }
    // A web page could reach it too (MCP 2025-11-25, Transports, Security Warning).
    if (![undefined, origin, frontend].includes(request.headers.origin)) {
      write(res, rpcRefusal(403, -32000, 'Forbidden: Origin is not the sandbox itself'));
      return;
    }
    const target = parseTarget(request.url);
    if (target?.pathname === metadataPath || target?.pathname === metadataPath + endpointPath) {
      write(res, request.method === 'GET' ? metadata() : notFound);
      return;
    }
    const verbs = sessions ? ['POST', 'GET', 'DELETE'] : ['POST'];
    if (target?.pathname !== endpointPath || !verbs.includes(request.method)) {
      write(res, notFound);
      return;
    }
    if (latencyMs > 0) await sleep(latencyMs, undefined, { signal: closing.signal });
    if (request.method === 'POST' && burst.left > 0) {
      burst.left--;
      write(res, {
        status: burst.status,
        headers: burst.headers,
        body: { error: STATUS_CODES[burst.status] ?? 'Unknown' },
      });
      return;
    }
    const account = authenticate(request.headers);
    if (account?.standing === 'not entitled') {
      write(res, { status: 403, body: { error: 'Forbidden' } });
      return;
    }
    if (account?.standing !== 'good') {
      write(res, unauthorized());
      return;
    }
    if (sessions && request.method === 'GET') {
      openStream(res, request.headers, sessions);
    } else if (sessions && request.method === 'DELETE') {
      const found = findSession(request.headers, sessions);
      if ('refusal' in found) {
        write(res, found.refusal);
      } else {
        endSession(found.id, sessions);
        write(res, { status: 204 });
      }
    } else if (body === 'too large') {
      const message = `Request body too large. Maximum size is ${formatBytes(bodyLimit)}.`;
      write(res, { status: 413, body: { message } });
    } else {
      await exchange(res, request, account, target.searchParams);
    }
  }

  async function exchange(
    res: ServerResponse,
    request: SandboxRequest,
    account: Account,
    query: URLSearchParams,
  ) {
    const { headers } = request;
    const accept = headers.accept ?? '';
    if (!accept.includes('application/json') || !accept.includes('text/event-stream')) {
      const message =
        'Not Acceptable: Client must accept both application/json and text/event-stream';
      write(res, rpcRefusal(406, -32000, message));
      return;
    }
    if (!/^application\/json\s*(;|$)/i.test(headers['content-type'] ?? '')) {
      const message = 'Unsupported Media Type: Content-Type must be application/json';
      write(res, rpcRefusal(415, -32000, message));
      return;
    }
    if (request.body === undefined) {
      write(res, rpcRefusal(400, -32700, 'Parse error: Invalid JSON'));
      return;
    }
    const starts = isRequest(request.body) && request.body.method === 'initialize';
    const replyHeaders: Record<string, string> = {};
    let session: Session | undefined;
    if (sessions && !(starts && headers['mcp-session-id'] === undefined)) {
      const found = findSession(headers, sessions);
      if ('refusal' in found) {
        write(res, found.refusal);
        return;
      }
      session = found.session;
      if (starts) {
        write(res, rpcRefusal(400, -32600, 'Invalid Request: Server already initialized'));
        return;
      }
    }
    // Only revision 2025-03-26 knows JSON-RPC batches (its basic/index, "Batching").
    const isBatch = Array.isArray(request.body) && session?.revision === '2025-03-26';
    const messages: unknown[] = isBatch ? (request.body as unknown[]) : [request.body];
    if (messages.length === 0 || !messages.every(isMessage)) {
      write(res, rpcRefusal(400, -32600, 'Invalid Request: not a JSON-RPC message'));
      return;
    }
    for (const { method, params } of messages) {
      if (method !== 'notifications/cancelled') continue;
      const { requestId } = isObject(params) ? params : {};
      session?.running.get(requestId)?.abort();
    }
    const asked = messages.filter(isRequest);
    if (asked.length === 0) {
      write(res, { status: 202 });
      return;
    }

    if (sessions && starts) {
      const id = randomUUID();
      session = { revision: gatewayRevision, streams: [], held: [], running: new Map() };
      sessions.set(id, session);
      replyHeaders['Mcp-Session-Id'] = id;
    }
    if (sse) {
      res.writeHead(200, { ...replyHeaders, ...eventStreamHeaders });
      res.flushHeaders();
    }
    const common: Omit<Exchange, 'signal'> = {
      account,
      filter: integrationFilter(query, headers),
      tools,
      frontend,
      negotiate(requested) {
        if (!session) return gatewayRevision;
        session.revision = sessionRevisions.includes(requested)
          ? requested
          : (sessionRevisions.at(-1) ?? gatewayRevision);
        return session.revision;
      },
      send(message) {
        if (sse) writeEvent(res, message);
      },
    };
    const replies = await Promise.all(
      asked.map(async (message) => {
        const cancelling = new AbortController();
        session?.running.set(message.id, cancelling);
        const signal = AbortSignal.any([closing.signal, cancelling.signal]);
        try {
          const outcome = await answer(message, { ...common, signal });
          if ('error' in outcome) request.errorCode = outcome.error.code;
          const reply = { jsonrpc: '2.0', id: message.id, ...outcome };
          common.send(reply);
          return reply;
        } catch (error) {
          // A cancelled request gets no reply (basic/utilities/cancellation).
          if (cancelling.signal.aborted) return undefined;
          throw error;
        } finally {
          session?.running.delete(message.id);
        }
      }),
    );
    const sent = replies.filter((reply) => reply !== undefined);
    if (sse) res.end();
    else if (sent.length === 0) write(res, { status: 202 });
    else write(res, { status: 200, headers: replyHeaders, body: isBatch ? sent : sent[0] });
  }

  function metadata(): Reply {
    return {
      status: 200,
      body: {
        resource: url,
        bearer_methods_supported: ['header'],
        resource_name: 'mcp-latchkey sandbox',
        resource_documentation: 'https://www.npmjs.com/package/mcp-latchkey',
      },
    };
  }

  function unauthorized(): Reply {
    return {
      status: 401,
      headers: { 'WWW-Authenticate': `Bearer resource_metadata="${origin}${metadataPath}"` },
      body: { error: 'Unauthorized' },
    };
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const url = origin + endpointPath;
  const frontend = `http://localhost:${port}`;

  return {
    url,
    origin,
    frontend,
    keys: sandboxKeys,
    requests,
    failNext,
    notify(message) {
      if (!sessions) throw new Error('Only a sandbox started with sessions can notify.');
      for (const session of sessions.values()) {
        const stream = session.streams.at(-1);
        if (stream) writeEvent(stream, message);
        else session.held.push(message);
      }
    },
    endSessions() {
      if (!sessions) return;
      for (const id of [...sessions.keys()]) endSession(id, sessions);
    },
    close() {
      closing.abort();
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

function integrationFilter(
  query: URLSearchParams,
  headers: IncomingHttpHeaders,
): ReadonlySet<string> | undefined {
  const header = headers['x-kindo-integrations'];
  const lists = query.has('integrations')
    ? query.getAll('integrations')
    : header === undefined
      ? undefined
      : [String(header)];
  return lists && new Set(lists.flatMap((list) => list.split(',').map((name) => name.trim())));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parseTarget(target: string): URL | undefined {
  try {
    return new URL(target, 'http://127.0.0.1');
  } catch {
    return undefined;
  }
}

function formatBytes(bytes: number): string {
  if (bytes % 1_048_576 === 0) return `${bytes / 1_048_576} MB`;
  return bytes % 1024 === 0 ? `${bytes / 1024} KB` : `${bytes} bytes`;
}
