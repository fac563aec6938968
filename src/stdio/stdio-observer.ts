import type { Message, Request, Unusable } from '../jsonrpc/message.ts';

/** Watches what the client and this program send each other. */
export interface StdioObserver {
  /** The client has sent this. */
  received(message: Message | Unusable): void;
  /** A request of the client's gets this reply; undefined for none, since it was cancelled. */
  answered(request: Request, reply: Buffer | undefined): void;
  /** The client gets this, which is not a reply to a request. */
  sent(message: Message): void;
}
