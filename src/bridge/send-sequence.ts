import type { Failure } from '../failures/failure.ts';
import type { Message, MessageId, Response } from '../jsonrpc/message.ts';
import type { Delivery, MessageObserver, Transport } from '../transport/transport.ts';

/** A `Sending` made of several: begun one after the other, ended together. */
export class SendSequence implements Delivery {
  readonly done: Promise<Failure | undefined>;
  /** Resolves when it has been ended from outside. */
  readonly ended: Promise<void>;
  #isOver = false;
  /** A step before the present one may have. */
  #mayHaveRun = false;
  #current: Delivery | undefined;
  #end!: () => void;

  /** `steps` is begun at once; what it resolves with is how this one settles. */
  constructor(steps: (course: SendSequence) => Promise<Failure | undefined>) {
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.done = steps(this);
  }

  /** Whether it has been ended from outside: nothing new is begun, nothing more is said. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get mayHaveRun(): boolean {
    return this.#mayHaveRun || this.#current?.mayHaveRun === true;
  }

  /** Sends a message as the next step. Resolves as its `settled` does; undefined when over. */
  async send(
    upstream: Transport,
    message: Message,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    if (this.#isOver) return undefined;
    const sending = upstream.send(message, withOneReply(message, observer));
    this.follow(sending);
    return sending.done;
  }

  /** From now on it counts as one that may have run, whatever its steps say. */
  begun(): void {
    this.#mayHaveRun = true;
  }

  /** Takes what is sent already for the present step. */
  follow(sending: Delivery): void {
    this.#mayHaveRun = this.mayHaveRun;
    this.#current = sending;
  }

  /** Waits, unless and until it is over. */
  async pause(milliseconds: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const passed = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([passed, this.ended]);
    clearTimeout(timer);
  }

  stop(): void {
    this.#isOver = true;
    this.#current?.stop();
    this.#end();
  }

  abort(): void {
    this.#isOver = true;
    this.#current?.abort();
    this.#end();
  }
}

const nothing = Promise.resolve(undefined);

/** What has been seen to here, without the gateway. */
export const DONE: Delivery = {
  done: nothing,
  mayHaveRun: false,
  stop: () => {},
  abort: () => {},
};

/** Whether a message is the reply to the request with this id. */
export function isReplyTo(id: MessageId, message: Message): message is Response {
  return message.kind === 'response' && message.id?.key === id.key;
}

/**
 * The observer of a request, spared a second reply: what was begun on account of the first must not
 * be followed by another, and a later request of the same id must not get it.
 */
export function withOneReply(message: Message, observer: MessageObserver): MessageObserver {
  if (message.kind !== 'request') return observer;
  let hasReplied = false;
  return {
    congested: () => observer.congested(),
    onMessage: (received) => {
      if (isReplyTo(message.id, received)) {
        if (hasReplied) return;
        hasReplied = true;
      }
      observer.onMessage(received);
    },
  };
}

/** A result for a request, from its JSON. */
export function resultFor(id: MessageId, result: Buffer | string): Response {
  const bytes = Buffer.concat([
    Buffer.from(`{"jsonrpc":"2.0","id":${id.raw},"result":`),
    Buffer.from(result),
    Buffer.from('}'),
  ]);
  return { kind: 'response', bytes, id, isError: false };
}

/** An id of a request that the proxy itself makes; no client's counter gets there. */
export function ownId(name: string): MessageId {
  const text = `mcp-latchkey:${name}`;
  return { raw: JSON.stringify(text), key: `s${text}` };
}
