import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { readBody, write } from './replies.ts';

/** One HTTP request as the sandbox received it. */
export interface SandboxRequest {
  method: string;
  /** Request target as it stood in the request line. */
  url: string;
  headers: IncomingHttpHeaders;
  /** The body as text; empty until it has arrived, and when it was over the limit. */
  text: string;
  /** The body parsed as JSON; undefined when it is not JSON. */
  body: unknown;
  /** HTTP status of the reply; undefined until then, and when the client left first. */
  status?: number;
  /** Code of the JSON-RPC error in the reply, if it held one. */
  errorCode?: number;
  /** Milliseconds from the head of the request to the end of the reply. */
  ms?: number;
}

export interface LoopbackServer {
  /** `http://127.0.0.1:PORT`. */
  readonly origin: string;
  readonly port: number;
  /** Stops listening and cuts every connection, idle or not. */
  close(): Promise<void>;
}

interface Service {
  /** Port on 127.0.0.1; 0 takes a free one. */
  port: number;
  /** Largest request body in bytes. */
  bodyLimit: number;
  /** Every request received, oldest first: each is added when its head has arrived. */
  requests: SandboxRequest[];
  /** Called when a request has been answered or cut off. */
  onServed: ((request: SandboxRequest) => void) | undefined;
  /** Aborted by `close`. */
  closing: AbortController;
  /** Answers a request whose body has arrived; `isTooLarge`: it was over the limit and is gone. */
  serve(res: ServerResponse, request: SandboxRequest, isTooLarge: boolean): Promise<void> | void;
}

/**
 * An HTTP server on 127.0.0.1 that keeps a record of what it is asked. Rejects with the error of
 * `listen`, such as EADDRINUSE. What `serve` throws becomes a 500.
 */
export async function listenOnLoopback(service: Service): Promise<LoopbackServer> {
  const { closing, bodyLimit } = service;

  async function receive(req: IncomingMessage, res: ServerResponse, request: SandboxRequest) {
    const body = await readBody(req, bodyLimit);
    if (body === 'aborted') return;
    const isTooLarge = body === 'too large';
    if (!isTooLarge) {
      request.text = body;
      request.body = parseJson(body);
    }
    await service.serve(res, request, isTooLarge);
  }

  const server = createServer((req, res) => {
    const started = performance.now();
    const request: SandboxRequest = {
      method: req.method ?? '',
      url: req.url ?? '',
      headers: req.headers,
      text: '',
      body: undefined,
    };
    service.requests.push(request);
    req.on('error', () => {});
    res.on('error', () => {});
    res.on('close', () => {
      if (res.headersSent) request.status = res.statusCode;
      request.ms = performance.now() - started;
      service.onServed?.(request);
    });
    receive(req, res, request).catch((error: unknown) => {
      if (closing.signal.aborted || res.headersSent) res.destroy();
      else write(res, { status: 500, body: { error: `Sandbox: ${String(error)}` } });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(service.port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    port,
    close() {
      closing.abort();
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

/** The target of a request line; undefined when it is not a path. */
export function parseTarget(target: string): URL | undefined {
  try {
    return new URL(target, 'http://127.0.0.1');
  } catch {
    return undefined;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
