import type { Message, Request, Unusable } from '../jsonrpc/message.ts';
import type { Pieces } from '../jsonrpc/pieces.ts';

/** Gathers the replies to a batch into one JSON array, in the order they come (JSON-RPC 2.0 §6). */
export class BatchReplies {
  readonly #write: (batch: Buffer) => void;
  readonly #replies: Pieces[] = [];
  #missing: number;

  /** `write` gets the array once everything in `batch` that gets a reply has had its `add`. */
  constructor(batch: readonly (Message | Unusable)[], write: (batch: Buffer) => void) {
    this.#missing = batch.filter(wantsReply).length;
    this.#write = write;
  }

  /** Undefined for a request that gets no reply, since it was cancelled. */
  add(reply: Pieces | undefined): void {
    if (reply !== undefined) this.#replies.push(reply);
    this.#missing--;
    if (this.#missing > 0 || this.#replies.length === 0) return;
    const parts = this.#replies.flatMap((pieces) => [COMMA, ...pieces]).slice(1);
    this.#write(Buffer.concat([OPEN, ...parts, CLOSE]));
  }
}

const OPEN = Buffer.from('[');
const COMMA = Buffer.from(',');
const CLOSE = Buffer.from(']');

/**
 * Whether there is something to answer and an id to answer to. An error without an id, which
 * JSON-RPC 2.0 §5 provides for, is not sent: it would tell the client nothing that it can act on,
 * and one with the Go SDK ends its session at the first.
 */
export function wantsReply(message: Message | Unusable): message is Request | Answerable {
  if (message.kind === 'unusable') return message.id !== undefined && message.code !== undefined;
  return message.kind === 'request';
}

type Answerable = Unusable & Required<Pick<Unusable, 'id'>> & { readonly code: number };

/** The same error for each request, as one JSON array that is made in one piece: they may be many. */
export function errorBatch(
  ids: readonly { readonly raw: string | Buffer }[],
  error: { code: number; message: string },
): Buffer {
  const end = `,"error":${JSON.stringify(error)}}`;
  return Buffer.from(`[${ids.map(({ raw }) => `{"jsonrpc":"2.0","id":${raw}${end}`)}]`);
}
