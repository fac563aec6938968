import { createParser, type EventSourceParser } from 'eventsource-parser';
import type { Dispatcher } from 'undici';
import { cleanNetworkText } from '../failures/network-text.ts';
import { type Message, type MessageId, readMessages, type Unusable } from '../protocol/message.ts';
import type { MessageObserver } from '../protocol/upstream.ts';

/** Names in lower case. */
export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** How an exchange came out: facts of the wire, to be judged by the gateway. */
export type ExchangeEnd =
  /** The reply was given to the observer. More messages may follow on an event stream. */
  | { readonly kind: 'replied' }
  /** Any 2xx where no reply is due, its body read to the end. */
  | { readonly kind: 'accepted'; readonly isEventStream: boolean }
  /** Not a 2xx. `body` is at most 64 KiB of it; `reply` is an error response found in it. */
  | {
      readonly kind: 'refused';
      readonly status: number;
      readonly headers: Headers;
      readonly body: Buffer;
      readonly reply?: Message;
    }
  /** A 2xx with a body that is not the reply; `what` says in words what it is instead. */
  | { readonly kind: 'not-mcp'; readonly status: number; readonly what: string }
  /** A message larger than the limit. */
  | { readonly kind: 'too-large'; readonly status: number }
  /**
   * The connection failed or the body broke off. `sent`: the request had begun to leave this
   * machine, so it may have run. `status` is there once the answer's head was.
   */
  | {
      readonly kind: 'broken';
      readonly error: Error;
      readonly sent: boolean;
      readonly status?: number;
    }
  | { readonly kind: 'aborted' };

const MAX_REFUSAL_BYTES = 64 * 1024;

class Aborted extends Error {}

/** An event stream that ended in good order, but without the reply. */
export class StreamEnded extends Error {
  override readonly message = 'the event stream ended before the reply';
}

/** Takes a body's chunks as they come. `end` is only called on a body that is whole. */
interface BodyReader {
  push(chunk: Buffer): void;
  end(): ExchangeEnd;
}

/**
 * One HTTP request to the gateway and what comes back on it (MCP 2025-11-25, Transports §Streamable
 * HTTP): the handler for undici's `dispatch`. `ended` never rejects, and settles exactly once: for
 * a request as soon as the reply is there.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly ended: Promise<ExchangeEnd>;
  /** Empty until the answer's head is there. */
  headers: Headers = {};
  /** The newest event id on an event stream (WHATWG HTML §9.2.6). */
  lastEventId: string | undefined;
  /** Milliseconds that an event stream asked to wait before it is opened again. */
  retryMs: number | undefined;

  readonly #awaited: MessageId | undefined;
  readonly #observer: MessageObserver;
  readonly #maxMessageBytes: number;
  #end!: (end: ExchangeEnd) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #reader: BodyReader | undefined;
  #status: number | undefined;
  #isAborted = false;
  #hasReplied = false;

  /**
   * `awaited` is the id of the request that is sent; without it no reply is due. A message of more
   * than `maxMessageBytes` ends the exchange: it is not kept in memory to find out how long it is.
   */
  constructor(awaited: MessageId | undefined, observer: MessageObserver, maxMessageBytes: number) {
    this.#awaited = awaited;
    this.#observer = observer;
    this.#maxMessageBytes = maxMessageBytes;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Ends it now: nothing more reaches the observer. */
  abort(): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#end({ kind: 'aborted' });
    this.#controller?.abort(new Aborted());
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isAborted) controller.abort(new Aborted());
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Headers,
  ): void {
    // 1xx heads announce the real one (RFC 9110 §15.2).
    if (status < 200) return;
    this.#status = status;
    this.headers = headers;
    this.#reader = this.#readerFor(status, mediaType(headers));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isAborted) return;
    this.#reader?.push(chunk);
    const congested = this.#observer.congested();
    if (congested === undefined) return;
    controller.pause();
    void congested.then(() => controller.resume());
  }

  onResponseEnd(): void {
    if (this.#isAborted || this.#reader === undefined) return;
    this.#end(this.#reader.end());
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const sent = this.#controller !== undefined;
    const status = this.#status === undefined ? {} : { status: this.#status };
    this.#end({ kind: 'broken', error, sent, ...status });
  }

  #readerFor(status: number, type: string | undefined): BodyReader {
    if (status < 200 || status >= 300) return this.#refusal(status, type);
    if (type === 'text/event-stream') return this.#eventStream(status);
    if (this.#awaited === undefined) return DISCARD;
    if (type === undefined || isJson(type)) return this.#json(status);
    return this.#otherType(status, type);
  }

  #refusal(status: number, type: string | undefined): BodyReader {
    const body = new Collected(MAX_REFUSAL_BYTES);
    return {
      push: (chunk) => void body.push(chunk),
      end: () => {
        const whole = body.take();
        const found = type !== undefined && isJson(type) ? this.#replyIn(whole) : undefined;
        const reply = found === undefined ? {} : { reply: found };
        return { kind: 'refused', status, headers: this.headers, body: whole, ...reply };
      },
    };
  }

  #json(status: number): BodyReader {
    const body = new Collected(this.#maxMessageBytes);
    return {
      push: (chunk) => {
        if (!body.push(chunk)) this.#giveUp(status);
      },
      end: () => {
        const what = this.#deliver(body.take());
        if (this.#hasReplied) return { kind: 'replied' };
        return { kind: 'not-mcp', status, what };
      },
    };
  }

  #eventStream(status: number): BodyReader {
    const events: EventSourceParser = createParser({
      maxBufferSize: this.#maxMessageBytes,
      onEvent: ({ id, event, data }) => {
        if (id !== undefined) this.lastEventId = id;
        if (data === '' || (event !== undefined && event !== 'message')) return;
        if (!this.#isAborted) this.#deliver(Buffer.from(data, 'latin1'));
      },
      onRetry: (milliseconds) => {
        this.retryMs = milliseconds;
      },
      onError: ({ type }) => {
        if (type === 'max-buffer-size-exceeded') this.#giveUp(status);
      },
    });
    return {
      // Each byte as one character: nothing is decoded, no character can be split between two
      // chunks, and 20 MB of text costs one byte a character.
      push: (chunk) => events.feed(chunk.toString('latin1')),
      end: () => {
        if (this.#hasReplied) return { kind: 'replied' };
        if (this.#awaited === undefined) return { kind: 'accepted', isEventStream: true };
        return { kind: 'broken', error: new StreamEnded(), sent: true, status };
      },
    };
  }

  #otherType(status: number, type: string): BodyReader {
    const body = new Collected(MAX_REFUSAL_BYTES);
    return {
      push: (chunk) => void body.push(chunk),
      end: () => ({ kind: 'not-mcp', status, what: whatItIs(type, body.take()) }),
    };
  }

  /** Gives the messages in `bytes` to the observer; says in words what else was there. */
  #deliver(bytes: Buffer): string {
    let what = 'an empty body';
    for (const message of bytes.length === 0 ? [] : readMessages(bytes).messages) {
      what = this.#deliverOne(message);
    }
    return what;
  }

  #deliverOne(message: Message | Unusable): string {
    if (message.kind === 'unusable') return `a body that is no message (${message.why})`;
    if (this.#isReply(message)) {
      this.#end(this.#reply(message));
      return 'the reply';
    }
    this.#observer.onMessage(message);
    return message.kind === 'response' ? 'a reply to another request' : `a ${message.kind}`;
  }

  #isReply(message: Message | Unusable): boolean {
    if (message.kind !== 'response' || this.#awaited === undefined) return false;
    return message.id?.key === this.#awaited.key;
  }

  #replyIn(bytes: Buffer): Message | undefined {
    const { messages } = readMessages(bytes);
    return messages.find((message): message is Message => this.#isReply(message));
  }

  #reply(reply: Message): ExchangeEnd {
    this.#hasReplied = true;
    this.#observer.onMessage(reply);
    return { kind: 'replied' };
  }

  #giveUp(status: number): void {
    this.#end({ kind: 'too-large', status });
    this.abort();
  }
}

/** Collects chunks up to a limit; what exceeds it is dropped. */
class Collected {
  #chunks: Buffer[] = [];
  #length = 0;
  readonly #limit: number;

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  /** False once the limit is exceeded. */
  push(chunk: Buffer): boolean {
    this.#length += chunk.length;
    if (this.#length > this.#limit) return false;
    this.#chunks.push(chunk);
    return true;
  }

  take(): Buffer {
    const whole =
      this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [];
    return whole;
  }
}

const DISCARD: BodyReader = {
  push: () => {},
  end: () => ({ kind: 'accepted', isEventStream: false }),
};

/** In words: a web page by its title, anything else by its type. */
function whatItIs(type: string, body: Buffer): string {
  if (!type.includes('html')) return `a body of type ${cleanNetworkText(type, 100)}`;
  const [, title = ''] = /<title[^>]{0,200}>([^<]{0,500})/i.exec(body.toString('utf8')) ?? [];
  const clean = cleanNetworkText(title.replaceAll('&amp;', '&'), 100);
  return clean === '' ? 'a web page' : `a web page, “${clean}”`;
}

function mediaType(headers: Headers): string | undefined {
  const value = headers['content-type'];
  const type = (Array.isArray(value) ? value[0] : value)?.split(';', 1)[0]?.trim().toLowerCase();
  return type === '' ? undefined : type;
}

function isJson(type: string): boolean {
  return type === 'application/json' || type.endsWith('+json');
}
