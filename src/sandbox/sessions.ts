import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Json } from './methods.ts';
import { eventStreamHeaders, type Reply, rpcRefusal, write, writeEvent } from './replies.ts';

/** The revision of a gateway that keeps no session. */
export const gatewayRevision = '2024-11-05';
/** Those of one that keeps sessions, the newest last. */
export const sessionRevisions = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'];

export interface Session {
  revision: string;
  streams: ServerResponse[];
  /** Messages for the client that wait for a GET stream. */
  held: Json[];
  /** Requests being answered, by ID, so that they can be cancelled. */
  running: Map<unknown, AbortController>;
}

/** The session that a request names, or how it is refused. */
export function findSession(
  headers: IncomingHttpHeaders,
  sessions: Map<string, Session>,
): { id: string; session: Session } | { refusal: Reply } {
  const id = headers['mcp-session-id'];
  if (typeof id !== 'string' || id === '') {
    return { refusal: rpcRefusal(400, -32000, 'Bad Request: Mcp-Session-Id header is required') };
  }
  const session = sessions.get(id);
  if (!session) return { refusal: rpcRefusal(404, -32001, 'Session not found') };
  const revision = headers['mcp-protocol-version'];
  if (revision !== undefined && !sessionRevisions.includes(String(revision))) {
    const supported = sessionRevisions.join(', ');
    const message = `Bad Request: Unsupported protocol version (supported versions: ${supported})`;
    return { refusal: rpcRefusal(400, -32000, message) };
  }
  return { id, session };
}

/** Opens the GET stream of a session, and sends what waits for it. */
export function openStream(
  res: ServerResponse,
  headers: IncomingHttpHeaders,
  known: Map<string, Session>,
) {
  if (!headers.accept?.includes('text/event-stream')) {
    const message = 'Not Acceptable: Client must accept text/event-stream';
    write(res, rpcRefusal(406, -32000, message));
    return;
  }
  const found = findSession(headers, known);
  if ('refusal' in found) {
    write(res, found.refusal);
    return;
  }
  const { session } = found;
  res.writeHead(200, eventStreamHeaders);
  res.flushHeaders();
  session.streams.push(res);
  res.on('close', () => {
    session.streams = session.streams.filter((stream) => stream !== res);
  });
  for (const message of session.held.splice(0)) writeEvent(res, message);
}

/** Forgets a session and ends its streams. */
export function endSession(id: string, known: Map<string, Session>) {
  const session = known.get(id);
  known.delete(id);
  for (const stream of session?.streams ?? []) stream.end();
}
