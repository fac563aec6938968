import type { Transform } from 'node:stream';
import { cleanNetworkText } from '../failures/network-text.ts';
import { ByteCollector } from '../http/byte-collector.ts';
import { type ContentCoding, contentCoding, openDecoder } from '../http/content-coding.ts';
import { EventStream } from '../http/event-stream.ts';
import { guarded, isBug, listen } from '../http/guarded.ts';
import type { Headers, RequestControl, RequestHandler } from '../http/request.ts';
import {
  asReplyTo,
  type Message,
  type MessageId,
  MOST_MESSAGES,
  type Response,
  readMessages,
  type Unusable,
} from '../jsonrpc/message.ts';
import { type ExchangeOutcome, HTTP_SSE_STREAM } from './exchange-outcome.ts';
import { Linger } from './linger.ts';
import { isJson, isSuccess, mediaType, sendableId, whatItIs } from './response-parts.ts';
import type { MessageObserver } from './transport.ts';

/**
 * What an exchange is to bring: the reply to the request with this id, the word that a message was
 * accepted, or what comes on an event stream until it ends.
 */
export type Expectation = MessageId | 'acceptance' | 'stream';

const MAX_REFUSAL_BYTES = 64 * 1024;
/** What the fields' names and the id of an event may take besides the message itself. */
const EVENT_FRAMING_BYTES = 64 * 1024;
/** What `retry:` may ask for: no busy loop, and no stream that is as good as given up. */
const SHORTEST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 60_000;

class Aborted extends Error {}

/** An event stream that ended in good order, but without the reply. */
export class StreamEnded extends Error {
  readonly code = 'STREAM_ENDED';
  override readonly message = 'the event stream ended before the reply';
}

/** Takes a body's chunks as they come. */
interface BodyReader {
  push(chunk: Buffer): void;
  /** The body is whole. */
  end(): ExchangeOutcome;
  /** The body broke off. Undefined unless it has brought what was due all the same. */
  salvage(): ExchangeOutcome | undefined;
}

/** What can be made to wait. */
interface Source {
  pause(): unknown;
  resume(): unknown;
}

/**
 * One HTTP request to the gateway and what comes back on it (MCP 2025-11-25, Transports §Streamable
 * HTTP): the handler of a route's `dispatch`. `ended` never rejects, and settles exactly once: for
 * a request as soon as the reply is there, for a notification with the head of the answer.
 */
export class Exchange implements RequestHandler {
  readonly ended: Promise<ExchangeOutcome>;
  /** Empty until the answer's head is there. */
  headers: Headers = {};
  /**
   * The newest event id on an event stream (WHATWG HTML §9.2.6). Undefined when there is none, or
   * when it is one that no header can carry.
   */
  lastEventId: string | undefined;
  /** Milliseconds that an event stream asked to wait before it is opened again. */
  retryMs: number | undefined;
  /** Told of an event that is no message: its type and its data, as they came. */
  onOtherEvent: ((type: string, data: Buffer) => void) | undefined;
  /** Told of what came in place of a message. */
  onUnusable: ((found: Unusable) => void) | undefined;

  readonly #due: Expectation;
  readonly #observer: MessageObserver;
  readonly #maxMessageBytes: number;
  #end!: (end: ExchangeOutcome) => void;
  #control: RequestControl | undefined;
  #reader: BodyReader | undefined;
  #coding: ContentCoding | undefined;
  #decoder: Transform | undefined;
  /** Why the connection broke while the decoder was still at work. */
  #error: Error | undefined;
  #status: number | undefined;
  #isAborted = false;
  #hasReplied = false;
  #linger: Linger | undefined;

  /**
   * A message of more than `maxMessageBytes` ends the exchange: it is not kept in memory to find
   * out how long it is.
   */
  constructor(due: Expectation, observer: MessageObserver, maxMessageBytes: number) {
    this.#due = due;
    this.#observer = observer;
    this.#maxMessageBytes = maxMessageBytes;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Whether the request has a connection, and begins to leave this machine. */
  get hasBegun(): boolean {
    return this.#control !== undefined;
  }

  /** Ends it now: nothing more reaches the observer. */
  abort(): void {
    this.#finish({ kind: 'aborted' });
  }

  onRequestStart(control: RequestControl): void {
    this.#control = control;
    if (this.#isAborted) control.abort(new Aborted());
  }

  onResponseStart(status: number, headers: Headers): void {
    // 1xx heads announce the real one (RFC 9110 §15.2).
    if (status < 200 || this.#isAborted) return;
    this.#status = status;
    this.headers = headers;
    this.#reader = this.#readerFor(status, mediaType(headers));
    if (isSuccess(status) && this.#due === 'acceptance') {
      this.#end({ kind: 'accepted', isEventStream: false });
      this.#linger = this.#stayOpen();
    }
    const coding = contentCoding(headers);
    if (typeof coding !== 'object') this.#coding = coding;
    else {
      const words = cleanNetworkText(coding.unknown, 100);
      this.#undecodable(`a body in the coding ${words}, which was not asked for`);
    }
  }

  onResponseData(chunk: Buffer): void {
    const control = this.#control as RequestControl;
    if (this.#isAborted || this.#reader === undefined || chunk.length === 0) return;
    if (this.#coding === undefined) {
      this.#push(chunk, control);
      return;
    }
    this.#decoder ??= this.#openDecoder(this.#coding, chunk);
    if (this.#decoder.write(chunk)) return;
    control.pause();
    this.#decoder.once('drain', () => control.resume());
  }

  onResponseEnd(): void {
    if (this.#decoder === undefined) this.#bodyEnded();
    else this.#decoder.end();
  }

  onResponseError(error: Error): void {
    if (isBug(error)) {
      this.#crash(error);
      return;
    }
    this.#error = error;
    // What came before the error may hold the reply.
    if (this.#decoder === undefined) this.#bodyEnded();
    else this.#decoder.end();
  }

  #push(chunk: Buffer, source: Source): void {
    this.#reader?.push(chunk);
    const congested = this.#observer.congested();
    if (congested === undefined) return;
    source.pause();
    void congested.then(
      guarded(() => source.resume(), this.#crash),
      this.#crash,
    );
  }

  #openDecoder(coding: ContentCoding, first: Buffer): Transform {
    const decoder = openDecoder(coding, first);
    const onData = (chunk: Buffer) => {
      if (!this.#isAborted) this.#push(chunk, decoder);
    };
    const onError = () => {
      if (this.#error !== undefined) this.#bodyEnded();
      else this.#undecodable(`a body whose ${coding} compression is broken`);
    };
    listen(decoder, 'data', onData, this.#crash);
    listen(decoder, 'end', () => this.#bodyEnded(), this.#crash);
    listen(decoder, 'error', onError, this.#crash);
    return decoder;
  }

  /** It is whole, or broke off with `#error`. */
  #bodyEnded(): void {
    this.#linger?.end();
    if (this.#isAborted) return;
    const error = this.#error;
    const end = error === undefined ? this.#reader?.end() : this.#reader?.salvage();
    const sent = this.hasBegun;
    const status = this.#status === undefined ? {} : { status: this.#status };
    this.#end(
      end ?? { kind: 'transport-error', error: error ?? new StreamEnded(), sent, ...status },
    );
  }

  /** Ends it after a failure of this program in itself. */
  readonly #crash = (error: Error): void => {
    this.#finish({ kind: 'bug', error });
    // After the reply no request waits for the outcome: then `uncaughtException` logs it.
    if (this.#hasReplied) throw error;
  };

  #undecodable(what: string): void {
    const status = this.#status as number;
    const refused = isSuccess(status) ? undefined : this.#reader?.salvage();
    this.#finish(refused ?? { kind: 'not-mcp', status, what });
  }

  #readerFor(status: number, type: string | undefined): BodyReader {
    if (!isSuccess(status)) return this.#refusal(status, type);
    if (type === 'text/event-stream') return this.#eventStream(status);
    if (typeof this.#due === 'string') return this.#discard();
    if (type === undefined || isJson(type)) return this.#json(status);
    return this.#otherType(status, type);
  }

  #refusal(status: number, type: string | undefined): BodyReader {
    const body = new ByteCollector(MAX_REFUSAL_BYTES);
    const end = (isWhole: boolean): ExchangeOutcome => {
      const bytes = body.take();
      const reply = this.#replyInErrorResponse(bytes, type);
      const isCut = !isWhole && reply === undefined && /^\s*[[{]/.test(bytes.toString('latin1'));
      return {
        ...{ kind: 'http-error', status, headers: this.headers, body: bytes },
        ...(reply === undefined ? {} : { reply }),
        ...(isCut ? { isReplyCut: true } : {}),
      };
    };
    return {
      push: (chunk) => {
        if (!body.push(chunk)) this.#finish(end(false));
      },
      end: () => end(true),
      salvage: () => end(false),
    };
  }

  /** Whatever its type is said to be: plain text often holds JSON here. */
  #replyInErrorResponse(body: Buffer, type: string | undefined): Response | undefined {
    if (type !== 'text/event-stream') return this.#replyIn(body);
    for (const [, data = ''] of body.toString('utf8').matchAll(/^data:(.*)$/gm)) {
      const reply = this.#replyIn(Buffer.from(data));
      if (reply !== undefined) return reply;
    }
    return undefined;
  }

  #json(status: number): BodyReader {
    const announced = Number(this.headers['content-length'] ?? 0) || 0;
    const body = new ByteCollector(this.#maxMessageBytes, announced);
    return {
      push: (chunk) => {
        if (!body.push(chunk)) this.#finish({ kind: 'too-large', status });
      },
      end: () => {
        const what = this.#deliver(body.take());
        return this.#hasReplied ? { kind: 'replied' } : { kind: 'not-mcp', status, what };
      },
      salvage: () => {
        const bytes = body.take();
        if (this.#replyIn(bytes) === undefined) return undefined;
        this.#deliver(bytes);
        return { kind: 'replied' };
      },
    };
  }

  #eventStream(status: number): BodyReader {
    const tooLarge = () => this.#finish({ kind: 'too-large', status });
    const events = new EventStream({
      limitBytes: this.#maxMessageBytes + EVENT_FRAMING_BYTES,
      onEvent: ({ id, type, data }) => {
        if (this.#isAborted) return;
        if (id !== undefined) this.lastEventId = sendableId(id);
        if (data.length === 0) return;
        if (type.length > 0) {
          const name = type.toString('latin1');
          this.onOtherEvent?.(name, data);
          if (name === 'endpoint' && typeof this.#due !== 'string') this.#finish(HTTP_SSE_STREAM);
          return;
        }
        if (data.length > this.#maxMessageBytes) tooLarge();
        else this.#deliver(data);
        if (this.#linger !== undefined) this.#linger.refresh();
        else if (this.#hasReplied && !this.#isAborted) this.#linger = this.#stayOpen();
      },
      onRetry: (milliseconds) => {
        this.retryMs = Math.min(Math.max(milliseconds, SHORTEST_RETRY_MS), LONGEST_RETRY_MS);
      },
    });
    return {
      push: (chunk) => {
        if (!events.push(chunk)) tooLarge();
      },
      end: () => {
        if (this.#hasReplied) return { kind: 'replied' };
        if (this.#due === 'stream') return { kind: 'accepted', isEventStream: true };
        return { kind: 'transport-error', error: new StreamEnded(), sent: true, status };
      },
      salvage: () => undefined,
    };
  }

  #otherType(status: number, type: string): BodyReader {
    const body = new ByteCollector(MAX_REFUSAL_BYTES);
    const end = (): ExchangeOutcome => ({
      kind: 'not-mcp',
      status,
      what: whatItIs(type, body.take()),
    });
    return {
      push: (chunk) => {
        if (!body.push(chunk)) this.#finish(end());
      },
      end,
      salvage: () => undefined,
    };
  }

  #discard(): BodyReader {
    const end = (): ExchangeOutcome => ({ kind: 'accepted', isEventStream: false });
    let length = 0;
    return {
      push: (chunk) => {
        length += chunk.length;
        if (length > MAX_REFUSAL_BYTES) this.#finish(end());
      },
      end,
      salvage: end,
    };
  }

  /** Gives the messages in `bytes` to the observer; says in words what else was there. */
  #deliver(bytes: Buffer): string {
    if (bytes.length === 0) return 'an empty body';
    const { messages, rest } = readMessages(bytes);
    let what = '';
    for (const message of messages) what = this.#deliverOne(message);
    return rest === undefined ? what : `a batch of more than ${MOST_MESSAGES} messages`;
  }

  #deliverOne(message: Message | Unusable): string {
    if (message.kind === 'unusable') {
      this.onUnusable?.(message);
      return `a body that is no message (${message.why})`;
    }
    const reply = this.#asReply(message);
    if (reply !== undefined) {
      this.#reply(reply);
      return 'the reply';
    }
    this.#observer.onMessage(message);
    return message.kind === 'response' ? 'a reply to another request' : `a ${message.kind}`;
  }

  #asReply(message: Message | Unusable): Response | undefined {
    if (message.kind !== 'response' || typeof this.#due === 'string') return undefined;
    return asReplyTo(this.#due, message);
  }

  #replyIn(bytes: Buffer): Response | undefined {
    for (const message of readMessages(bytes).messages) {
      const reply = this.#asReply(message);
      if (reply !== undefined) return reply;
    }
    return undefined;
  }

  #reply(reply: Message): void {
    this.#observer.onMessage(reply);
    this.#hasReplied = true;
    this.#end({ kind: 'replied' });
  }

  #stayOpen(): Linger {
    return new Linger(() => this.abort());
  }

  /** Settles with `end` and reads no further. */
  #finish(end: ExchangeOutcome): void {
    this.#linger?.end();
    this.#end(end);
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#control?.abort(new Aborted());
    this.#decoder?.destroy();
  }
}
