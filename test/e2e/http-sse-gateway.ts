import type { ServerResponse } from 'node:http';
import { type LoopbackGateway, type Received, startGateway } from './loopback-gateway.ts';
import type { Json } from './running-proxy.ts';

/** One event stream, as the gateway holds it. */
export interface Stream {
  /** 1 for the first. */
  number: number;
  response: ServerResponse;
  /** Sends a `message` event. */
  message(message: object): void;
  /** Sends bytes as they are. */
  write(text: string): void;
}

interface HttpSseOptions {
  /** Answers a POST to the URL itself; 405 unless told. */
  refuse?: (received: Received, response: ServerResponse) => void;
  /** Answers the GET; opens the stream unless told. */
  open?: (stream: Stream, received: Received) => void;
  /** What the endpoint event says; `/messages?session=N` unless told. */
  endpoint?: string;
  /** Answers a POST to the endpoint; false for the usual answer. */
  take?: (received: Received, stream: Stream, response: ServerResponse) => boolean;
}

export interface HttpSseGateway extends LoopbackGateway {
  streams: Stream[];
  /** What was POSTed to the endpoint, as `method in N`. */
  posts(): string[];
}

const INITIALIZE_RESULT = {
  protocolVersion: '2024-11-05',
  capabilities: { tools: { listChanged: true } },
  serverInfo: { name: 's', version: '1' },
};

/** A gateway of the HTTP+SSE transport (MCP 2024-11-05) that does otherwise where the test says so. */
export async function startHttpSseGateway(options: HttpSseOptions = {}): Promise<HttpSseGateway> {
  const {
    refuse = (_, response) => void response.writeHead(405).end(),
    open = (stream) => sendEndpoint(stream, options.endpoint),
    take = () => false,
  } = options;
  const streams: Stream[] = [];
  const posts: string[] = [];
  const gateway = await startGateway((received, response) => {
    if (received.target.startsWith('/.well-known/')) {
      response.writeHead(404).end();
      return;
    }
    if (received.method === 'GET') {
      const write = (text: string) => void response.write(text);
      const stream: Stream = {
        number: streams.length + 1,
        response,
        write,
        message: (message) => write(`event: message\ndata: ${JSON.stringify(message)}\n\n`),
      };
      streams.push(stream);
      open(stream, received);
      return;
    }
    const [, number] = /^\/messages\?session=(\d+)$/.exec(received.target) ?? [];
    const stream = streams[Number(number) - 1];
    if (stream === undefined) {
      refuse(received, response);
      return;
    }
    posts.push(`${received.message.method ?? 'reply'} in ${number}`);
    if (take(received, stream, response)) return;
    response.writeHead(202).end('Accepted');
    replyOn(stream, received.message);
  });
  return { ...gateway, streams, posts: () => posts };
}

/** Sends the head of the stream and its first event. */
export function sendEndpoint(stream: Stream, reference?: string): void {
  stream.response.writeHead(200, { 'content-type': 'text/event-stream' });
  stream.write(`event: endpoint\ndata: ${reference ?? `/messages?session=${stream.number}`}\n\n`);
}

/** Answers a request as a plain server does. */
export function replyOn(stream: Stream, { id, method }: Json): void {
  if (id === undefined || method === undefined) return;
  const result = method === 'initialize' ? INITIALIZE_RESULT : { from: stream.number };
  stream.message({ jsonrpc: '2.0', id, result });
}
