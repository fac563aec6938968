import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Json } from './running-proxy.ts';

/** Where an exchange breaks. */
export type Stage =
  | 'behind the request'
  | 'within the head'
  | 'behind the head'
  | 'within the body'
  | 'between events'
  | 'behind the reply';

/** How the answer's body is framed: by its length, in chunks, or by the end of the connection. */
export type Framing = 'length' | 'chunks' | 'end';

export interface Fault {
  stage: Stage;
  by: 'reset' | 'close';
  format: 'json' | 'events';
  framing: Framing;
}

interface Request {
  method: string;
  headers: Map<string, string>;
  message: Json;
}

interface Call {
  name: string;
  arguments: { effect: string; fault?: Fault };
}

/** Lets what was written arrive before the connection goes. */
const PAUSE_MS = 20;

/**
 * An MCP gateway on bare TCP that breaks off any answer at any byte, and that counts what it really
 * did. `tools/call` has one side effect, named in its arguments, and breaks off the first time as
 * its `fault` says. Of its tools `reads` may be repeated, `writes` may not.
 */
export class FaultGateway {
  /** How often each side effect took place. */
  readonly effects = new Map<string, number>();
  /** How often `initialize` was answered. */
  handshakes = 0;
  /** How the next connection ends before anything is read from it. */
  nextConnection: 'reset' | 'close' | undefined;
  /** Milliseconds that a call takes. */
  callMs = 0;
  /** Resolves when a GET stream has been asked for: there is none. */
  readonly askedForStream: Promise<void>;
  #onStream: () => void = () => {};
  readonly #withSessions: boolean;
  readonly #withEventIds: boolean;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => this.#accept(socket));
  /** What each event stream holds, by the side effect: to go on with it. */
  readonly #streams = new Map<string, string[]>();
  #session: string | undefined;
  #sessions = 0;
  #port = 0;

  private constructor(withSessions: boolean, withEventIds: boolean) {
    this.#withSessions = withSessions;
    this.#withEventIds = withEventIds;
    this.askedForStream = new Promise((resolve) => {
      this.#onStream = resolve;
    });
  }

  /** Listens on loopback until the test is over. */
  static async start({ sessions = false, eventIds = false } = {}): Promise<FaultGateway> {
    const gateway = new FaultGateway(sessions, eventIds);
    await gateway.listen();
    onTestFinished(() => gateway.stop());
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}/v1/mcp`;
  }

  /** Listens again, on the port that it had. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Goes away as a process does that is killed: every connection and session is lost. */
  stop(): void {
    this.#server.close();
    this.#session = undefined;
    this.dropConnections();
  }

  dropConnections(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
    const by = this.nextConnection;
    this.nextConnection = undefined;
    if (by !== undefined) {
      breakOff(socket, by);
      return;
    }
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (let end = bytes.indexOf('\r\n\r\n'); end !== -1; end = bytes.indexOf('\r\n\r\n')) {
        const [line = '', ...fields] = bytes.toString('latin1', 0, end).split('\r\n');
        const headers = new Map(fields.map((field) => splitField(field)));
        const length = Number(headers.get('content-length') ?? 0);
        if (bytes.length < end + 4 + length) return;
        const body = bytes.toString('utf8', end + 4, end + 4 + length);
        bytes = bytes.subarray(end + 4 + length);
        const message: Json = body === '' ? {} : JSON.parse(body);
        this.#handle({ method: line.split(' ')[0] as string, headers, message }, socket);
      }
    });
  }

  #handle({ method, headers, message }: Request, socket: Socket): void {
    const isKnown = !this.#withSessions || headers.get('mcp-session-id') === this.#session;
    if (message.method === 'initialize') {
      this.handshakes++;
      if (this.#withSessions) this.#session = `session-${++this.#sessions}`;
      reply(
        socket,
        message.id,
        {
          protocolVersion: '2025-11-25',
          capabilities: {},
          serverInfo: { name: 'faulty', version: '1' },
        },
        this.#session,
      );
    } else if (!isKnown) respond(socket, '404 Not Found');
    else if (method === 'GET') this.#resume(headers.get('last-event-id'), socket);
    else if (method === 'DELETE' || message.id === undefined) respond(socket, '202 Accepted');
    else if (message.method === 'tools/call') this.#call(message, socket);
    else if (message.method === 'tools/list') {
      const tools = [{ name: 'writes' }, { name: 'reads', annotations: { readOnlyHint: true } }];
      reply(socket, message.id, { tools });
    } else reply(socket, message.id, {});
  }

  #call({ id, params }: Json, socket: Socket): void {
    const { effect, fault } = (params as Call).arguments;
    const count = (this.effects.get(effect) ?? 0) + 1;
    this.effects.set(effect, count);
    const events = [
      { method: 'notifications/progress', params: { progressToken: effect, progress: count } },
      { id, result: { effect, count } },
    ].map((message, at) => this.#event(message, `${effect} ${at}`));
    this.#streams.set(effect, events);
    if (fault !== undefined && count === 1) breakAt(fault, id, events, { effect, count }, socket);
    else if (this.callMs === 0) reply(socket, id, { effect, count });
    else setTimeout(() => reply(socket, id, { effect, count }), this.callMs);
  }

  #event(message: Json, id: string): string {
    const data = `data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`;
    return this.#withEventIds ? `retry: 100\nid: ${id}\n${data}` : data;
  }

  #resume(lastEventId: string | undefined, socket: Socket): void {
    const [, effect = '', last] = /^(.*) (\d)$/.exec(lastEventId ?? '') ?? [];
    const events = this.#streams.get(effect);
    if (events === undefined) {
      respond(socket, '405 Method Not Allowed');
      this.#onStream();
    } else respond(socket, '200 OK', 'text/event-stream', events.slice(Number(last) + 1).join(''));
  }
}

function splitField(field: string): [string, string] {
  const colon = field.indexOf(':');
  return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()];
}

function respond(
  socket: Socket,
  status: string,
  type = 'text/plain',
  body = '',
  fields = '',
): void {
  const length = `content-length: ${Buffer.byteLength(body)}\r\n`;
  socket.write(`HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\n${length}${fields}\r\n${body}`);
}

function reply(socket: Socket, id: unknown, result: Json, session?: string): void {
  const field = session === undefined ? '' : `mcp-session-id: ${session}\r\n`;
  respond(
    socket,
    '200 OK',
    'application/json',
    JSON.stringify({ jsonrpc: '2.0', id, result }),
    field,
  );
}

/** Answers up to where the fault says. */
function breakAt(fault: Fault, id: unknown, events: string[], result: Json, socket: Socket): void {
  const { stage, by, format, framing } = fault;
  const json = JSON.stringify({ jsonrpc: '2.0', id, result });
  const whole = format === 'json' ? json : events.join('');
  const type = format === 'json' ? 'application/json' : 'text/event-stream';
  // One byte more than there is: the body is never whole.
  const fields = {
    length: `content-length: ${Buffer.byteLength(whole) + 1}`,
    chunks: 'transfer-encoding: chunked',
    end: 'connection: close',
  };
  const head = `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\n${fields[framing]}\r\n\r\n`;
  const firstEvent = (events[0] as string).length;
  const parts: Record<Stage, string> = {
    'behind the request': '',
    'within the head': '',
    'behind the head': '',
    'within the body': whole.slice(0, format === 'json' ? whole.length / 2 : firstEvent + 20),
    'between events': whole.slice(0, firstEvent),
    'behind the reply': whole,
  };
  const body = parts[stage];
  const isChunked = framing === 'chunks' && body !== '';
  const framed = isChunked ? `${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n` : body;
  if (stage === 'within the head') socket.write(head.slice(0, 30));
  else if (stage !== 'behind the request') socket.write(head + framed);
  setTimeout(() => breakOff(socket, by), stage === 'behind the request' ? 0 : PAUSE_MS);
}

function breakOff(socket: Socket, by: 'reset' | 'close'): void {
  if (by === 'reset') socket.resetAndDestroy();
  else socket.end();
}
