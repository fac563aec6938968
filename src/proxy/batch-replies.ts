import type { Message, Unusable } from '../protocol/message.ts';

/** Gathers the replies to a batch into one JSON array, in the order they come (JSON-RPC 2.0 §6). */
export class BatchReplies {
  readonly #write: (batch: Buffer) => void;
  readonly #replies: Buffer[] = [];
  #missing: number;

  /** `write` gets the array once everything in `batch` that wants a reply has had its `add`. */
  constructor(batch: readonly (Message | Unusable)[], write: (batch: Buffer) => void) {
    this.#missing = batch.filter(wantsReply).length;
    this.#write = write;
  }

  /** Undefined for a request that gets no reply, since it was cancelled. */
  add(reply: Buffer | undefined): void {
    if (reply !== undefined) this.#replies.push(reply);
    this.#missing--;
    if (this.#missing > 0 || this.#replies.length === 0) return;
    const parts = this.#replies.flatMap((bytes) => [COMMA, bytes]).slice(1);
    this.#write(Buffer.concat([OPEN, ...parts, CLOSE]));
  }
}

const OPEN = Buffer.from('[');
const COMMA = Buffer.from(',');
const CLOSE = Buffer.from(']');

function wantsReply(message: Message | Unusable): boolean {
  return message.kind === 'request' || (message.kind === 'unusable' && message.id !== undefined);
}
