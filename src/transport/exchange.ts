import type { Transform } from 'node:stream';
import { cleanNetworkText } from '../failures/network-text.ts';
import { ByteCollector } from '../http/byte-collector.ts';
import { type ContentCoding, contentCoding, openDecoder } from '../http/content-coding.ts';
import { EventStream } from '../http/event-stream.ts';
import { guarded, isBug, listen } from '../http/guarded.ts';
import type { Headers, RequestControl, RequestHandler } from '../http/request.ts';
import { withMembers } from '../jsonrpc/json-members.ts';
import {
  asReplyTo,
  type Message,
  type MessageId,
  type Response,
  readMessages,
  type Unusable,
} from '../jsonrpc/message.ts';
import { joined, lengthOf, mayStayInPieces, type Pieces, readPieces } from '../jsonrpc/pieces.ts';
import { type BodyReader, discardingReader, otherReader, refusalReader } from './body-readers.ts';
import { isErrorObject } from './error-words.ts';
import { type ExchangeOutcome, type ExchangeWatcher, HTTP_SSE_STREAM } from './exchange-outcome.ts';
import { Linger } from './linger.ts';
import {
  boundedRetryMs,
  formatOf,
  isJson,
  isSuccess,
  mediaType,
  StreamEnded,
  sendableId,
  whatItIs,
} from './response-parts.ts';
import type { MessageObserver } from './transport.ts';

/**
 * What an exchange is to bring: the reply to the request with this id, the word that a message was
 * accepted, or what comes on an event stream until it ends.
 */
export type Expectation = MessageId | 'acceptance' | 'stream';

/** What the fields' names and the id of an event may take besides the message itself. */
const EVENT_FRAMING_BYTES = 64 * 1024;
/** How long an event stream may stay silent after an error that no reply has followed. */
const REFUSAL_GRACE_MS = 1_000;

const ERROR_EVENT = Buffer.from('error');

class Aborted extends Error {}

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
  /** Whether a message has come besides the reply. */
  hasMessage = false;
  /** Told of an event that is not a message: its type and its data, as they came. */
  onOtherEvent: ((type: string, data: Buffer) => void) | undefined;
  /** Told of what came in place of a message. */
  onUnusable: ((found: Unusable) => void) | undefined;
  watcher: ExchangeWatcher | undefined;
  /** Whether an error with the request's own id, the first message that came, is not its answer. */
  isRefusal: ((reply: Response) => boolean) | undefined;

  readonly #due: Expectation;
  readonly #observer: MessageObserver;
  readonly #maxMessageBytes: number;
  #resolve!: (end: ExchangeOutcome) => void;
  #control: RequestControl | undefined;
  #reader: BodyReader | undefined;
  #coding: ContentCoding | undefined;
  #decoder: Transform | undefined;
  /** Why the connection broke while the decoder was still at work. */
  #error: Error | undefined;
  #status: number | undefined;
  #isAborted = false;
  #hasReplied = false;
  /** Whether the body is what its type says, or that does not matter. */
  #isFormatKnown = true;
  /** The error that came last, in the place of the reply. */
  #refusal: Extract<ExchangeOutcome, { kind: 'refused' }> | undefined;
  #grace: NodeJS.Timeout | undefined;
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
      this.#resolve = resolve;
    });
  }

  /** Whether the request has a connection, and begins to leave this computer. */
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
    this.#isFormatKnown = !isSuccess(status) || typeof this.#due === 'string';
    if (isSuccess(status) && this.#due === 'acceptance') {
      this.#end({ kind: 'accepted', isEventStream: false });
      this.#linger = new Linger(() => this.abort());
    }
    const coding = contentCoding(headers);
    if (typeof coding !== 'object') this.#coding = coding;
    else {
      const words = cleanNetworkText(coding.unknown, 100);
      this.#undecodable(`a body encoded as ${words}`);
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
    // What came before the error may contain the reply.
    if (this.#decoder === undefined) this.#bodyEnded();
    else this.#decoder.end();
  }

  #push(chunk: Buffer, source: RequestControl | Transform): void {
    if (!this.#isFormatKnown) this.#detectFormat(chunk);
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
      else this.#undecodable(`a broken ${coding} body`);
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
    clearTimeout(this.#grace);
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
    if (!isSuccess(status)) {
      const head = { status, headers: this.headers };
      return refusalReader(head, (bytes) => this.#replyIn(bytes), this.#finish);
    }
    if (type === 'text/event-stream') return this.#eventStream(status);
    if (typeof this.#due === 'string') return discardingReader(this.#finish);
    if (type === undefined || isJson(type)) return this.#json(status);
    return otherReader(status, type, this.#finish);
  }

  /** Reads a body for what it is where its type says otherwise. */
  #detectFormat(chunk: Buffer): void {
    const format = formatOf(chunk);
    if (format === undefined) return;
    this.#isFormatKnown = true;
    const status = this.#status as number;
    const type = mediaType(this.headers) ?? '';
    const isEvents = type === 'text/event-stream';
    if (format === 'json' && type !== '' && !isJson(type)) {
      this.#reader = this.#json(status, isEvents ? undefined : type);
    } else if (format === 'events' && !isEvents) this.#reader = this.#eventStream(status, type);
  }

  /** `type`: what it is said to be, where that is not JSON. */
  #json(status: number, type?: string): BodyReader {
    const body = new ByteCollector({
      limitBytes: this.#maxMessageBytes,
      expectedBytes: Number(this.headers['content-length'] ?? 0) || 0,
      mayKeep: mayStayInPieces,
    });
    return {
      push: (chunk) => {
        if (!body.push(chunk)) this.#finish({ kind: 'too-large', status });
      },
      end: () => {
        const pieces = body.takePieces();
        const found = this.#deliver(pieces);
        if (this.#hasReplied) return { kind: 'replied' };
        const what = type === undefined ? found : whatItIs(type, joined(pieces));
        return this.#refusal ?? { kind: 'not-mcp', status, what };
      },
      salvage: () => {
        const bytes = body.take();
        if (this.#replyIn(bytes) === undefined) return undefined;
        this.#deliver([bytes]);
        return { kind: 'replied' };
      },
    };
  }

  /** `type`: what it is said to be, where that is not an event stream. */
  #eventStream(status: number, type?: string): BodyReader {
    const tooLarge = () => this.#finish({ kind: 'too-large', status });
    const events = new EventStream({
      limitBytes: this.#maxMessageBytes + EVENT_FRAMING_BYTES,
      onEvent: ({ id, type: name, data }) => {
        if (this.#isAborted) return;
        if (id !== undefined) this.lastEventId = sendableId(id);
        const length = lengthOf(data);
        if (length === 0) return;
        const isError = name.equals(ERROR_EVENT) && typeof this.#due !== 'string';
        if (name.length > 0 && !isError) {
          const type = name.toString('latin1');
          this.onOtherEvent?.(type, joined(data));
          if (type === 'endpoint' && typeof this.#due !== 'string') this.#finish(HTTP_SSE_STREAM);
          return;
        }
        if (length > this.#maxMessageBytes) tooLarge();
        else this.#deliver(data, isError);
        if (this.#linger !== undefined) this.#linger.refresh();
        else if (this.#hasReplied && !this.#isAborted)
          this.#linger = new Linger(() => this.abort());
      },
      onRetry: (milliseconds) => {
        this.retryMs = boundedRetryMs(milliseconds);
      },
    });
    return {
      push: (chunk) => {
        if (!events.push(chunk)) tooLarge();
      },
      end: () => {
        if (this.#hasReplied) return { kind: 'replied' };
        if (this.#refusal !== undefined) return this.#refusal;
        if (type !== undefined && !this.hasMessage) {
          return { kind: 'not-mcp', status, what: `a body of type ${cleanNetworkText(type, 100)}` };
        }
        if (this.#due === 'stream') return { kind: 'accepted', isEventStream: true };
        return { kind: 'transport-error', error: new StreamEnded(), sent: true, status };
      },
      salvage: () => this.#refusal,
    };
  }

  // A function in the constructor that does the same took 15 MB more with 50,000 calls.
  #end(end: ExchangeOutcome): void {
    this.watcher?.onEnded(end);
    this.#resolve(end);
  }

  /**
   * Gives the messages in `pieces` to the observer; says in words what else was there. `isError`: the
   * gateway calls it an error, whatever it is.
   */
  #deliver(pieces: Pieces, isError = false): string {
    if (pieces[0]?.length === 0) return 'an empty body';
    const { messages, rest } = readPieces(pieces);
    let what = '';
    for (const message of messages) what = this.#deliverOne(message);
    const isUnusable = messages[0]?.kind === 'unusable' && messages.length === 1;
    if (isUnusable && (isError || isErrorObject(joined(pieces))))
      this.#refuse({ body: Buffer.from(joined(pieces)) });
    return rest === undefined ? what : 'an oversized batch';
  }

  #deliverOne(message: Message | Unusable): string {
    if (message.kind === 'unusable') {
      this.onUnusable?.(message);
      return `an invalid message. Reason: ${message.why}`;
    }
    this.watcher?.onReceived(message);
    const reply = this.#asReply(message);
    if (reply !== undefined) {
      const isRefusal = !this.hasMessage && this.isRefusal?.(reply) === true;
      if (isRefusal) this.#refuse({ body: reply.bytes, reply }, true);
      else this.#reply(reply);
      return 'the reply';
    }
    const due = this.#due;
    if (message.kind === 'response' && message.id === undefined && typeof due !== 'string') {
      // JSON-RPC 2.0 §5: it could not tell the id. It has had only this one here.
      const bytes = withMembers(message.bytes, { id: due.raw });
      this.#refuse({ body: message.bytes, reply: { ...message, id: due, bytes } });
      return 'an error without id';
    }
    this.hasMessage = true;
    this.#refusal = undefined;
    clearTimeout(this.#grace);
    this.#observer.onMessage(message);
    return message.kind === 'response' ? 'an unrelated reply' : `a ${message.kind}`;
  }

  #asReply(message: Message | Unusable): Response | undefined {
    if (message.kind !== 'response' || typeof this.#due === 'string') return undefined;
    return asReplyTo(this.#due, message);
  }

  /** Notes an error that came in the place of the reply: the outcome, unless something follows. */
  #refuse(error: { body: Buffer; reply?: Response }, isOwn = false): void {
    if (this.#hasReplied || typeof this.#due === 'string') return;
    const status = this.#status as number;
    const isFirst = !this.hasMessage;
    const refusal = { kind: 'refused', status, isOwn, isFirst, ...error } as const;
    this.#refusal = refusal;
    clearTimeout(this.#grace);
    this.#grace = setTimeout(() => this.#finish(refusal), isOwn ? 0 : REFUSAL_GRACE_MS);
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
    clearTimeout(this.#grace);
    this.#hasReplied = true;
    this.#end({ kind: 'replied' });
  }

  /** Settles with `end` and reads no further. */
  readonly #finish = (end: ExchangeOutcome): void => {
    this.#linger?.end();
    clearTimeout(this.#grace);
    this.#end(end);
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#control?.abort(new Aborted());
    this.#decoder?.destroy();
  };
}
