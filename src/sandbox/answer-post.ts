import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Account } from './accounts.ts';
import type { SandboxRequest } from './loopback-server.ts';
import { answer, type Exchange, isMessage, isObject, isRequest, type Json } from './methods.ts';
import { eventStreamHeaders, type Reply, rpcRefusal, write, writeEvent } from './replies.ts';
import { findSession, gatewayRevision, type Session, sessionRevisions } from './sessions.ts';
import type { Tool } from './tools.ts';

/** What every POST to the endpoint meets. */
interface Gateway {
  /** Undefined when the gateway keeps none. */
  sessions: Map<string, Session> | undefined;
  /** Reply with event streams. */
  sse: boolean;
  tools: ReadonlyMap<string, Tool>;
  /** As in `Exchange`. */
  frontend: string;
  /** Aborted when the sandbox closes. */
  signal: AbortSignal;
}

/** Who sends a request. */
export interface Visitor {
  account: Account;
  /** The refusal of a message that the visitor may not send; absent: every message is allowed. */
  refuse?(message: Json): Reply | undefined;
}

/** Answers one POST of MCP from a visitor who has been let in. */
export async function answerPost(
  res: ServerResponse,
  request: SandboxRequest,
  { account, refuse }: Visitor,
  query: URLSearchParams,
  { sessions, sse, tools, frontend, signal: closing }: Gateway,
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
  for (const message of messages) {
    const refusal = refuse?.(message);
    if (refusal === undefined) continue;
    write(res, refusal);
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
      const signal = AbortSignal.any([closing, cancelling.signal]);
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
