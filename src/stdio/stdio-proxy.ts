import type { Readable, Writable } from 'node:stream';
import {
  CATALOGUE,
  internalError,
  type RpcError,
  tooLargeError,
  toRpcError,
} from '../failures/catalogue.ts';
import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Secrets } from '../failures/secrets.ts';
import { INVALID_REQUEST, PARSE_ERROR } from '../jsonrpc/error-codes.ts';
import { memberAt } from '../jsonrpc/json-members.ts';
import {
  errorResponse,
  idOf,
  type Message,
  type ReadResult,
  type Request,
  type Response,
  readMessages,
  salvageRequestId,
  type Unusable,
} from '../jsonrpc/message.ts';
import { joined, type Pieces, piecesOf, responsePiecesFor } from '../jsonrpc/pieces.ts';
import type { Log } from '../log.ts';
import { monotonicMs } from '../monotonic-clock.ts';
import { isOpenEnded } from '../transport/methods.ts';
import type { Delivery, MessageObserver, Transport } from '../transport/transport.ts';
import { BatchReplies, errorBatch, wantsReply } from './batch-replies.ts';
import { LineReader } from './line-reader.ts';
import { MessageWriter } from './message-writer.ts';
import { type Answer, OpenRequest, OpenRequests } from './open-requests.ts';
import { progressTokenIn, progressTokenOf, TaskTokens } from './progress-tokens.ts';
import type { StdioObserver } from './stdio-observer.ts';

/**
 * How long replies may still come once the client has closed stdin: the MCP SDK sends SIGTERM after
 * 2 s, and SIGKILL 2 s later.
 */
const DRAIN_LIMIT_MS = 1_500;
/** The same, if nothing has been sent that could be answered. */
const UNSENT_DRAIN_LIMIT_MS = 1_000;
/** How long the end of the session may take. */
const CLOSE_LIMIT_MS = 1_000;
/**
 * How long what was written may take to leave: the client may have stopped reading. Longer on Windows,
 * where a thread of the system writes each part, and a client that reads must get all of it.
 */
const FLUSH_LIMIT_MS = process.platform === 'win32' ? 2_000 : 500;
/** How long a cancelled exchange may stay open after the cancellation was sent. */
const CANCEL_LIMIT_MS = 900;
/** How many messages a batch of the client's may have: all are in flight at once. */
const MOST_IN_BATCH = 1_000;

export interface StdioProxyOptions {
  readonly input: Readable;
  readonly output: Writable;
  readonly upstream: Transport;
  /** What a request that failed gets, where that may be something else than an error for `failure`. */
  readonly replyTo?: (
    request: Request,
    failure: Failure,
  ) => Promise<Response | undefined> | undefined;
  readonly maxMessageBytes: number;
  /** What reaches the client in no error. */
  readonly secrets: Secrets;
  readonly log: Log;
  /** Told of what passes. Must not throw. */
  readonly observer?: StdioObserver | undefined;
}

/**
 * The stdio side: reads the client's messages from `input`, sends each upstream and writes what
 * comes back to `output`, one message a line. Every request gets exactly one reply with its id; a
 * cancelled one gets none (MCP 2025-11-25, Cancellation).
 */
export class StdioProxy {
  readonly #input: Readable;
  readonly #writer: MessageWriter;
  readonly #upstream: Transport;
  readonly #replyTo: StdioProxyOptions['replyTo'];
  readonly #maxMessageBytes: number;
  readonly #secrets: Secrets;
  readonly #log: Log;
  readonly #watcher: StdioObserver | undefined;
  readonly #inFlight = new OpenRequests();
  /** How many messages are on their way to the gateway, or wait for what comes back. */
  #sendings = 0;
  readonly #tasks = new TaskTokens();
  readonly #stopped: Promise<void>;
  #onStop = () => {};
  #onIdle: (() => void) | undefined;

  constructor(options: StdioProxyOptions) {
    this.#input = options.input;
    this.#writer = new MessageWriter(options.output);
    this.#upstream = options.upstream;
    this.#replyTo = options.replyTo;
    this.#maxMessageBytes = options.maxMessageBytes;
    this.#secrets = options.secrets;
    this.#log = options.log;
    this.#watcher = options.observer;
    this.#stopped = new Promise((resolve) => {
      this.#onStop = resolve;
    });
    this.#upstream.listen(this.#observer(undefined));
  }

  /**
   * Runs until the client closes `input` or `stop` is called, and then ends in four steps. Each has
   * a limit, so that the end takes 3 s at most (4.5 s on Windows, where the client does not read):
   *
   * 1. Replies that still come are passed on, for 1.5 s, or 1 s if nothing has been sent. Skipped or
   *    cut short by `stop`.
   * 2. Every request that is still open is given up, and gets an error.
   * 3. The session is ended.
   * 4. What was written to `output` leaves the process.
   */
  async run(): Promise<void> {
    await Promise.race([this.#readInput(), this.#stopped]);
    this.#input.pause();

    for (const inFlight of this.#inFlight) {
      if (isOpenEnded(inFlight.request.method)) this.#giveUp(inFlight);
    }
    const start = monotonicMs();
    const drained = Promise.race([this.#idle(), this.#stopped]);
    await within(UNSENT_DRAIN_LIMIT_MS, drained);
    const mayBeAnswered = [...this.#inFlight].some(({ sending }) => sending?.mayHaveRun);
    if (mayBeAnswered) await within(DRAIN_LIMIT_MS - UNSENT_DRAIN_LIMIT_MS, drained);
    const waitedMs = Math.round(monotonicMs() - start);
    this.#log.debug(`waited ${waitedMs} ms for replies, ${this.#sendings} did not come`);

    for (const inFlight of this.#inFlight) this.#giveUp(inFlight);

    await within(CLOSE_LIMIT_MS, this.#upstream.close(CLOSE_LIMIT_MS));

    await within(FLUSH_LIMIT_MS, this.#writer.flush());
  }

  /** Makes `run` end without waiting for replies. */
  stop(): void {
    this.#onStop();
  }

  /** Resolves when the client has closed `input`, or it can be read no longer. */
  #readInput(): Promise<void> {
    const lines = new LineReader({
      limitBytes: this.#maxMessageBytes,
      onLine: (line) => this.#fromClient(line),
      onTooLong: (head, tail) => this.#tooLong(head, tail),
    });
    return new Promise((resolve) => {
      this.#input.on('data', (chunk: Buffer) => lines.push(chunk));
      this.#input.once('end', () => lines.end());
      for (const event of ['end', 'close', 'error']) this.#input.on(event, () => resolve());
    });
  }

  /** Resolves when nothing is on its way to the gateway or back. */
  #idle(): Promise<void> {
    if (this.#sendings === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #giveUp(inFlight: OpenRequest): void {
    const { request, sending } = inFlight;
    const error = sending?.mayHaveRun === true ? INTERRUPTED : NOT_RUN;
    sending?.abort();
    this.#answer(inFlight, [errorResponse(request.id, error)]);
  }

  #fromClient(line: Buffer): void {
    const read = readMessages(line, MOST_IN_BATCH);
    const { messages, isBatch } = read;
    if (!isBatch) {
      for (const message of messages) this.#take(message, (reply) => this.#write(reply));
      return;
    }
    if (read.rest !== undefined) {
      const why = `a batch of more than ${MOST_IN_BATCH} messages`;
      this.#refuseBatch(read, INVALID_REQUEST, why);
      return;
    }
    if (messages.some((message) => message.kind === 'unusable' && message.code === PARSE_ERROR)) {
      this.#refuseBatch(read, PARSE_ERROR, 'a batch that is not valid JSON');
      return;
    }
    // The gateway gets each message in a POST of its own, the client its replies in one array
    // (MCP 2025-03-26, Base Protocol §Batching; JSON-RPC 2.0 §6).
    const replies = new BatchReplies(messages, (reply) => this.#write([reply]));
    for (const message of messages) this.#take(message, (reply) => replies.add(reply));
  }

  #tooLong(head: Buffer, tail: Buffer): void {
    const error = tooLargeError(this.#maxMessageBytes);
    this.#log.warn(`a message from the client is not sent: ${error.message}`);
    this.#watcher?.received({ kind: 'unusable', why: error.message, code: undefined });
    const id = salvageRequestId(head, tail);
    if (id !== undefined) this.#write([errorResponse(id, error)]);
  }

  #take(message: Message | Unusable, answer: Answer): void {
    this.#watcher?.received(message);
    if (message.kind === 'unusable') this.#refuse(message, answer);
    else if (message.kind === 'request') this.#request(message, answer);
    else if (isCancellation(message)) this.#cancel(message);
    else this.#send(message, this.#observer(undefined));
  }

  #refuse(unusable: Unusable, answer: Answer): void {
    this.#log.warn(`a line from the client is not a JSON-RPC message: ${unusable.why}`);
    if (wantsReply(unusable)) {
      answer([errorResponse(unusable.id, refusal(unusable.code, unusable.why))]);
    }
  }

  /** Answers each request of a batch of which none is sent, without blocking what is in flight. */
  #refuseBatch(batch: ReadResult, code: number, why: string): void {
    this.#log.warn(`a line from the client is not a JSON-RPC message: ${why}`);
    const error = refusal(code, why);
    const refuse = async () => {
      for (let read: ReadResult | undefined = batch; read !== undefined; read = read.rest?.()) {
        const ids = read.messages.filter(wantsReply).map(({ id }) => id);
        if (ids.length > 0) this.#write([errorBatch(ids, error)]);
        await new Promise((resolve) => setImmediate(resolve));
        await this.#writer.congested();
      }
      return undefined;
    };
    const refusing: Delivery = {
      done: refuse(),
      mayHaveRun: false,
      stop: () => {},
      abort: () => {},
    };
    this.#watch(refusing, () => {});
  }

  #request(request: Request, answer: Answer): void {
    const inFlight = new OpenRequest(request, answer);
    this.#inFlight.add(inFlight);
    inFlight.sending = this.#send(request, this.#observer(inFlight), (error, failure) => {
      const fail = (reply?: Response) =>
        this.#answer(inFlight, [reply?.bytes ?? errorResponse(request.id, error)]);
      const reply = failure && this.#replyTo?.(request, failure);
      return reply === undefined ? fail() : reply.then(fail, () => fail());
    });
  }

  // The request gets no reply from here on. Its exchange ends when the gateway has the
  // cancellation, or soon after: what the gateway streams until then is not lost.
  #cancel(notification: Message): void {
    const id = memberAt(notification.bytes, 'params', 'requestId');
    const cancelled = this.#inFlight.withId(id && idOf(id)?.key);
    cancelled?.sending?.stop();
    if (cancelled !== undefined) this.#answer(cancelled, undefined);
    const cancellation = this.#send(notification, this.#observer(undefined));
    const end = () => {
      clearTimeout(timer);
      cancelled?.sending?.abort();
    };
    const timer = setTimeout(end, CANCEL_LIMIT_MS);
    void cancellation.done.then(end, end);
  }

  #send(
    message: Message,
    observer: MessageObserver,
    onError: OnError = (error) => this.#logError(message, error),
  ): Delivery {
    const sending = this.#begin(message, observer);
    this.#watch(sending, onError);
    return sending;
  }

  #watch(sending: Delivery, onError: OnError): void {
    this.#sendings++;
    const end = () => {
      this.#sendings--;
      if (this.#sendings === 0) this.#onIdle?.();
    };
    const settle = (error?: RpcError, failure?: Failure) => {
      const failing = error && onError(error, failure);
      if (failing === undefined) end();
      else void failing.then(end, end);
    };
    void sending.done.then(
      (failure) => settle(failure && this.#secrets.maskError(toRpcError(failure)), failure),
      (bug: Error) => {
        this.#log.error(`bug: ${bug.stack}`);
        settle(internalError(bug));
      },
    );
  }

  // A bug must not leave a request without its reply.
  #begin(message: Message, observer: MessageObserver): Delivery {
    try {
      return this.#upstream.send(message, observer);
    } catch (bug) {
      const done = Promise.reject(bug);
      return { done, mayHaveRun: true, stop: () => {}, abort: () => {} };
    }
  }

  #observer(own: OpenRequest | undefined): MessageObserver {
    return {
      onMessage: (message) => this.#fromGateway(message, own),
      congested: () => this.#writer.congested(),
    };
  }

  #fromGateway(message: Message, own: OpenRequest | undefined): void {
    if (message.kind !== 'response') {
      const token = progressTokenIn(message);
      if (token === undefined || this.#mayProgress(token)) {
        this.#watcher?.sent(message);
        this.#write(piecesOf(message));
      } else this.#log.debug('dropped progress of a request that is over or was never made');
      return;
    }
    const key = message.id?.key;
    const isOwn = own !== undefined && own.request.id.key === key && this.#inFlight.has(own);
    const target = isOwn ? own : this.#inFlight.withId(key);
    if (target === undefined) {
      this.#log.warn('dropped a reply from the gateway that no request is waiting for');
      return;
    }
    if (!message.isError) this.#tasks.add(target.request);
    this.#answer(target, responsePiecesFor(target.request.id, this.#secrets.maskMessage(message)));
  }

  // Some clients end the session over progress that they do not expect.
  #mayProgress(token: string): boolean {
    for (const inFlight of this.#inFlight) {
      if (inFlight.token === null) inFlight.token = progressTokenOf(inFlight.request);
      if (inFlight.token === token) return true;
    }
    return this.#tasks.has(token);
  }

  #answer(inFlight: OpenRequest, reply: Pieces | undefined): void {
    if (!this.#inFlight.delete(inFlight)) return;
    this.#watcher?.answered(inFlight.request, reply && joined(reply));
    inFlight.answer(reply);
  }

  #logError(message: Message, error: RpcError): void {
    const what = message.kind === 'response' ? "the client's reply" : message.method;
    this.#log.warn(`could not deliver ${cleanNetworkText(what)}: ${error.message}`);
  }

  #write(message: Pieces | undefined): void {
    if (message !== undefined) this.#writer.write(message);
  }
}

/** What is done about a message that failed. */
type OnError = (error: RpcError, failure?: Failure) => Promise<void> | void;

function refusal(code: number, why: string): { code: number; message: string } {
  const what = code === PARSE_ERROR ? 'Parse error' : 'Invalid request';
  return { code, message: `${what}: ${why}` };
}

function isCancellation(message: Message): boolean {
  return message.kind === 'notification' && message.method === 'notifications/cancelled';
}

/** Resolves when `promise` has settled, after `limitMs` at the latest. */
function within(limitMs: number, promise: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, limitMs);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    promise.then(done, done);
  });
}

const INTERRUPTED: RpcError = {
  code: CATALOGUE.interrupted.code,
  message:
    'Connection lost: mcp-latchkey was stopped before the reply. The request may have run. Check whether it took effect before you try again.',
  data: {
    reason: 'interrupted',
    hint: 'Check whether it took effect before you try again.',
    retryable: false,
  },
};

const NOT_RUN: RpcError = {
  code: CATALOGUE.unreachable.code,
  message:
    'Cannot reach the gateway: mcp-latchkey was stopped first. The request did not run. Try again.',
  data: { reason: 'unreachable', hint: 'Try again.', retryable: true },
};
