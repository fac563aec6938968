import type { Failure } from '../failures/failure.ts';
import type { Message, MessageId, Response } from '../jsonrpc/message.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  NO_OBSERVER,
  type Transport,
} from '../transport/transport.ts';

/** Several deliveries, one after the other, seen as one. */
export class SendSequence implements Delivery {
  readonly done: Promise<Failure | undefined>;
  /** Resolves when `stop` or `abort` is called. */
  readonly ended: Promise<undefined>;
  #isEnded = false;
  /** Whether an earlier step may have run. */
  #mayHaveRun = false;
  #current: Delivery | undefined;
  #end!: () => void;

  /** Starts `steps` at once; `done` is what it resolves with. */
  constructor(steps: (sequence: SendSequence) => Promise<Failure | undefined>) {
    this.ended = new Promise((resolve) => {
      this.#end = () => resolve(undefined);
    });
    this.done = steps(this);
  }

  /** Whether `stop` or `abort` was called: the steps must start and report nothing more. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  get mayHaveRun(): boolean {
    return this.#mayHaveRun || this.#current?.mayHaveRun === true;
  }

  /** Sends a message as the next step. Resolves as its `done` does, with undefined if ended. */
  async send(
    upstream: Pick<Transport, 'send'>,
    message: Message,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    if (this.#isEnded) return undefined;
    const delivery = upstream.send(message, withOneReply(message, observer));
    this.follow(delivery);
    return delivery.done;
  }

  /** Sets `mayHaveRun` for good, whatever the steps report. */
  markMayHaveRun(): void {
    this.#mayHaveRun = true;
  }

  /** Makes a delivery that has already started the current step. */
  follow(delivery: Delivery): void {
    this.#mayHaveRun = this.mayHaveRun;
    this.#current = delivery;
  }

  /** Waits, but not longer than until `stop` or `abort`. */
  async pause(milliseconds: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const passed = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([passed, this.ended]);
    clearTimeout(timer);
  }

  stop(): void {
    this.#isEnded = true;
    this.#current?.stop();
    this.#end();
  }

  abort(): void {
    this.#isEnded = true;
    this.#current?.abort();
    this.#end();
  }
}

const nothing = Promise.resolve(undefined);

/** The delivery of a message that was dealt with here, without the gateway. */
export const DONE: Delivery = {
  done: nothing,
  mayHaveRun: false,
  stop: () => {},
  abort: () => {},
};

/** Ignores every message except the reply to the request with this id. */
export function onReplyTo(id: MessageId, onReply: (reply: Response) => void): MessageObserver {
  return {
    ...NO_OBSERVER,
    onMessage: (message) => {
      if (isReplyTo(id, message)) onReply(message);
    },
  };
}

/** Whether a message is the reply to the request with this id. */
export function isReplyTo(id: MessageId, message: Message): message is Response {
  return message.kind === 'response' && message.id?.key === id.key;
}

/**
 * Drops a second reply: what the first one started must not be followed by another reply, and a
 * later request with the same id must not get it.
 */
export function withOneReply(message: Message, observer: MessageObserver): MessageObserver {
  if (message.kind !== 'request') return observer;
  let hasReplied = false;
  return mapMessages(observer, (received) => {
    if (!isReplyTo(message.id, received)) return received;
    if (hasReplied) return undefined;
    hasReplied = true;
    return received;
  });
}
