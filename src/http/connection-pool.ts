import type { ClientRequest } from 'node:http';
import type { Socket } from 'node:net';

/** How long a connection may be idle, unless the gateway says (`Keep-Alive: timeout=`). */
const IDLE_MS = 4_000;
/** How many connections are opened ahead, and how long the first may take for the others. */
const AHEAD = 7;
const QUICK_MS = 1_000;

const IS_IDLE = Symbol('isIdle');
const USES = Symbol('uses');

/** On the socket, not in a `Set` or `Map`: see stdio/open-requests.ts. */
interface PooledSocket extends Socket {
  /** Whether no request is on it. */
  [IS_IDLE]?: boolean;
  /** How many requests it was given. */
  [USES]?: number;
}

/** What node:http gives its agents, with the error that `@types/node` leaves out. */
type AgentRequest = ClientRequest & {
  onSocket(socket: Socket | undefined, error?: Error): void;
};

/**
 * The connections to one origin, which are kept for later requests: the agent of its requests
 * (node:http takes every object with `addRequest`). A request gets an idle connection, or the first
 * that is opened or becomes idle while it waits.
 */
export class ConnectionPool {
  /** Read by node:http. */
  readonly keepAlive = true;
  /** How long a connection may be idle, in milliseconds. At 0 or less none is used twice. */
  idleMs = IDLE_MS;
  readonly #connect: () => Promise<Socket>;
  readonly #sockets = new Set<PooledSocket>();
  /** The one that was used last comes last, and is taken first. */
  readonly #idle: PooledSocket[] = [];
  readonly #waiting: AgentRequest[] = [];
  /** How many connections are being opened for requests, those ahead left out. */
  #opening = 0;
  /** Whether a connection has served a second request: some gateways close each after one. */
  #areReusable = false;
  #isClosed = false;

  /** `connect` resolves with a connection that is ready. */
  constructor(connect: () => Promise<Socket>) {
    this.#connect = connect;
  }

  /** Called by node:http for each request. An error of the connection's becomes the request's. */
  addRequest(request: ClientRequest): void {
    let socket = this.#idle.pop();
    while (socket !== undefined && !socket.writable) socket = this.#idle.pop();
    if (socket !== undefined) {
      this.#give(socket, request);
      return;
    }
    this.#waiting.push(request as AgentRequest);
    if (this.#waiting.length > this.#opening) this.open();
  }

  /** Opens a connection for the request that waits, or for the first that comes. */
  open(): void {
    this.#opening++;
    const onReady = (socket: Socket) => {
      this.#opening--;
      this.#add(socket);
    };
    const onError = (error: Error) => {
      this.#opening--;
      if (this.#waiting.length > this.#opening) this.#waiting.shift()?.onSocket(undefined, error);
    };
    this.#connect().then(onReady, onError);
  }

  /**
   * Opens connections for requests that may come at once: one, and the others if that was quick.
   * No request depends on them. Never rejects.
   */
  async openAhead(): Promise<void> {
    const begin = performance.now();
    const openOne = async () => this.#add(await this.#connect());
    try {
      await openOne();
      if (this.#isClosed || performance.now() - begin > QUICK_MS) return;
      await Promise.all(Array.from({ length: AHEAD - 1 }, openOne));
    } catch {
      // A request that needs another connection opens it, and has the reason when it cannot.
    }
  }

  /** Closes each connection once it is idle. */
  close(): void {
    this.#isClosed = true;
    for (const socket of [...this.#idle]) socket.destroy();
  }

  /** Closes every connection now. */
  destroy(): void {
    this.#isClosed = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  #add(socket: PooledSocket): void {
    const closeIdle = () => {
      if (socket[IS_IDLE]) socket.destroy();
    };
    // Unsolicited data must not be parsed as the next response.
    socket.on('data', closeIdle);
    socket.on('end', closeIdle);
    socket.on('timeout', closeIdle);
    // From node:http: the response is read to its end, and both sides keep the connection.
    socket.on('free', () => this.#free(socket));
    socket.once('close', () => {
      this.#sockets.delete(socket);
      const at = this.#idle.indexOf(socket);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    this.#sockets.add(socket);
    const request = this.#waiting.shift();
    if (request === undefined) this.#keep(socket);
    else this.#give(socket, request);
  }

  #free(socket: PooledSocket): void {
    if ((socket[USES] ?? 0) > 1) this.#areReusable = true;
    const mayReuse = this.#areReusable && !this.#isClosed && this.idleMs > 0 && socket.writable;
    const request = mayReuse ? this.#waiting.shift() : undefined;
    if (request === undefined) this.#keep(socket);
    else this.#give(socket, request);
  }

  #give(socket: PooledSocket, request: ClientRequest): void {
    socket[IS_IDLE] = false;
    socket[USES] = (socket[USES] ?? 0) + 1;
    socket.ref();
    request.onSocket(socket);
  }

  #keep(socket: PooledSocket): void {
    if (this.#isClosed || this.idleMs <= 0 || !socket.writable) {
      socket.destroy();
      return;
    }
    // It runs while the connection is in use, too: each byte starts it again.
    if (socket.timeout !== this.idleMs) socket.setTimeout(this.idleMs);
    socket.unref();
    socket[IS_IDLE] = true;
    this.#idle.push(socket);
  }
}
