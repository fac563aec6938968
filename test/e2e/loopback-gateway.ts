import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Json } from './running-proxy.ts';

/** A request as the gateway received it. */
export interface Received {
  method: string;
  /** Path and query. */
  target: string;
  headers: IncomingHttpHeaders;
  body: string;
  /** The body's JSON, {} where there is none. */
  message: Json;
}

export type Respond = (received: Received, response: ServerResponse) => void;

export interface LoopbackGateway {
  /** The endpoint, `/v1/mcp`. */
  url: string;
  /** Every request so far, in the order they came. */
  received: Received[];
  /** Resolves with the first request, of those so far and to come, that fits. */
  request(fits: (received: Received) => boolean): Promise<Received>;
  close(): Promise<void>;
}

/** A real HTTP server on loopback that answers as the test says; `port` 0 for any that is free. */
export async function startGateway(respond: Respond, port = 0): Promise<LoopbackGateway> {
  const received: Received[] = [];
  const waiting = new Set<() => void>();
  const server = createServer(async (request, response) => {
    const body = await read(request);
    const { method = '', url = '', headers } = request;
    const message = body.startsWith('{') ? JSON.parse(body) : {};
    const entry = { method, target: url, headers, body, message };
    received.push(entry);
    for (const wake of waiting) wake();
    respond(entry, response);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  onTestFinished(close);
  const address = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${address.port}/v1/mcp`,
    received,
    close,
    request: async (fits) => {
      while (!received.some(fits)) {
        await new Promise<void>((resolve) => {
          waiting.add(resolve);
        });
      }
      return received.find(fits) as Received;
    },
  };
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Answers as a plain MCP server does: 405 on GET, 202 without an id, else `result` as JSON. */
export function answer(
  { method, message }: Received,
  response: ServerResponse,
  result: unknown = message.method === 'initialize'
    ? { protocolVersion: '2025-06-18', capabilities: {}, serverInfo: { name: 's', version: '1' } }
    : {},
): void {
  if (method !== 'POST') response.writeHead(method === 'GET' ? 405 : 204).end();
  else if (message.id === undefined || message.method === undefined) response.writeHead(202).end();
  else sendJson(response, { jsonrpc: '2.0', id: message.id, result });
}

export function sendJson(response: ServerResponse, body: unknown, headers: Json = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

export function sendEvents(response: ServerResponse, ...messages: object[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const message of messages) response.write(`data: ${JSON.stringify(message)}\n\n`);
}
