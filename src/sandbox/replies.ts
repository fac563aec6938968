import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Json } from './methods.ts';

/** A reply that is written whole. A string body goes out as it is, anything else as JSON. */
export interface Reply {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
}

export const notFound: Reply = { status: 404, body: { error: 'Not Found' } };

export const eventStreamHeaders = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache',
};

/**
 * Reads a whole body as UTF-8. Over the limit it settles at once, keeps nothing, and lets the
 * rest run past unread: cutting the connection instead would often cost the client the reply.
 */
export function readBody(
  req: IncomingMessage,
  limit: number,
): Promise<string | 'too large' | 'aborted'> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const refuse = () => {
      chunks.length = 0;
      req.removeAllListeners('data');
      req.resume();
      resolve('too large');
    };
    if (Number(req.headers['content-length'] ?? 0) > limit) {
      refuse();
      return;
    }
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) refuse();
      else chunks.push(chunk);
    });
    req.on('end', () => resolve(Buffer.concat(chunks).toString()));
    req.on('close', () => resolve('aborted'));
  });
}

/** A refusal as the SDK's transports send it: a JSON-RPC error without an id. */
export function rpcRefusal(status: number, code: number, message: string): Reply {
  return { status, body: { jsonrpc: '2.0', error: { code, message }, id: null } };
}

/** Writes a whole reply. */
export function write(res: ServerResponse, { status, headers = {}, body }: Reply) {
  if (body === undefined) {
    res.writeHead(status, headers).end();
    return;
  }
  const payload = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  res.writeHead(status, {
    'Content-Type': 'application/json',
    ...headers,
    'Content-Length': payload.length,
  });
  res.end(payload);
}

/** Writes a message as an event of a stream. */
export function writeEvent(res: ServerResponse, message: Json) {
  res.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
}
