import { type ServerResponse, STATUS_CODES } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { accounts, authenticate, sandboxKeys } from './accounts.ts';
import { answerPost, type Visitor } from './answer-post.ts';
import { listenOnLoopback, parseTarget, type SandboxRequest } from './loopback-server.ts';
import type { Json } from './methods.ts';
import {
  type AuthorizationServer,
  type OAuthOptions,
  startAuthorizationServer,
} from './oauth/authorization-server.ts';
import { registeredClients } from './oauth/clients.ts';
import { holders, TokenAccess } from './oauth/token-access.ts';
import { notFound, type Reply, rpcRefusal, write, writeEvent } from './replies.ts';
import { endSession, findSession, openStream, type Session } from './sessions.ts';
import { createTools } from './tools.ts';

export type { SandboxRequest };
export { accounts, registeredClients };

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
  /** Have an authorization server beside the gateway, and accept its tokens as well as the keys. */
  oauth?: OAuthOptions;
  /** Called when a request has been answered or cut off, by the authorization server too. */
  onServed?: (request: SandboxRequest) => void;
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
  /** The authorization server; undefined without the option. */
  readonly oauth: AuthorizationServer | undefined;
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

  async function serve(res: ServerResponse, request: SandboxRequest, isTooLarge: boolean) {
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
    const visitor = admit(request);
    if ('refusal' in visitor) {
      write(res, visitor.refusal);
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
    } else if (isTooLarge) {
      const message = `Request body too large. Maximum size is ${formatBytes(bodyLimit)}.`;
      write(res, { status: 413, body: { message } });
    } else {
      await answerPost(res, request, visitor, target.searchParams, gateway);
    }
  }

  /** Lets a holder of a good key in, or of a token; a token is only looked at where a key is not known. */
  function admit(request: SandboxRequest): Visitor | { refusal: Reply } {
    const account = authenticate(request.headers);
    if (account?.standing === 'good') return { account };
    if (account?.standing === 'not entitled') {
      return { refusal: { status: 403, body: { error: 'Forbidden' } } };
    }
    const admitted = tokens?.admit(request) ?? { refusal: unauthorized() };
    if ('refusal' in admitted) return admitted;
    const { account: user, scopes } = admitted;
    return { account: user, refuse: (message) => tokens?.refuseMessage(message, scopes, tools) };
  }

  function metadata(): Reply {
    return {
      status: 200,
      body: {
        resource: url,
        ...(oauth === undefined
          ? {}
          : {
              authorization_servers: [oauth.issuer],
              scopes_supported: ['mcp:read', 'mcp:write'],
              dpop_bound_access_tokens_required: oauth.requiresDpop,
            }),
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

  const server = await listenOnLoopback({
    port: options.port ?? 0,
    bodyLimit,
    requests,
    onServed,
    closing,
    serve,
  });
  const { origin, port } = server;
  const url = origin + endpointPath;
  const frontend = `http://localhost:${port}`;
  const gateway = { sessions, sse, tools, frontend, signal: closing.signal };
  let oauth: AuthorizationServer | undefined;
  let tokens: TokenAccess | undefined;
  if (options.oauth !== undefined) {
    // Its own port, the next one: an origin of its own, as most authorization servers have.
    const { port: own = options.port ? port + 1 : 0 } = options.oauth;
    const surroundings = { resource: url, holders, onServed };
    try {
      oauth = await startAuthorizationServer({ ...options.oauth, port: own }, surroundings);
    } catch (error) {
      await server.close();
      throw error;
    }
    tokens = new TokenAccess(oauth, { url, origin, metadataUrl: origin + metadataPath });
  }

  return {
    url,
    origin,
    frontend,
    keys: sandboxKeys,
    requests,
    oauth: oauth && {
      ...oauth,
      rotateNonce() {
        oauth.rotateNonce();
        tokens?.rotateNonce();
      },
    },
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
    async close() {
      await Promise.all([server.close(), oauth?.close()]);
    },
  };
}

function formatBytes(bytes: number): string {
  if (bytes % 1_048_576 === 0) return `${bytes / 1_048_576} MB`;
  return bytes % 1024 === 0 ? `${bytes / 1024} KB` : `${bytes} bytes`;
}
