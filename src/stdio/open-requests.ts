import type { Request } from '../jsonrpc/message.ts';
import type { Pieces } from '../jsonrpc/pieces.ts';
import type { Delivery } from '../transport/transport.ts';

/** Takes the reply to a request; undefined when there is to be none. */
export type Answer = (reply: Pieces | undefined) => void;

/** A request of the client's that has not been answered. */
export class OpenRequest {
  readonly request: Request;
  readonly answer: Answer;
  sending: Delivery | undefined;
  /** Its progress token; null until it is asked for. */
  token: string | undefined | null = null;
  /** Of `OpenRequests`: where it is there, undefined when it is not, and how many came before it. */
  index: number | undefined;
  order = 0;

  constructor(request: Request, answer: Answer) {
    this.request = request;
    this.answer = answer;
  }
}

/**
 * The requests that have not been answered: thousands a second come and go. Not a `Set`, whose table
 * is replaced by a cleaner one now and then, and points to its successor: once one of them is old,
 * V8 frees no later one, nor what is in it, before a full garbage collection (a third more CPU time
 * a call, measured with 64 calls in flight).
 */
export class OpenRequests {
  readonly #items: OpenRequest[] = [];
  #added = 0;

  /** In any order. A copy, so that the loop may remove. */
  [Symbol.iterator](): IterableIterator<OpenRequest> {
    return [...this.#items].values();
  }

  add(item: OpenRequest): void {
    item.order = this.#added++;
    item.index = this.#items.push(item) - 1;
  }

  has(item: OpenRequest): boolean {
    return item.index !== undefined;
  }

  /** False when it is not there. */
  delete(item: OpenRequest): boolean {
    const { index } = item;
    if (index === undefined) return false;
    item.index = undefined;
    const last = this.#items.pop() as OpenRequest;
    if (last !== item) {
      this.#items[index] = last;
      last.index = index;
    }
    return true;
  }

  /** The newest one with this id, should a client have used an id twice. */
  withId(key: string | undefined): OpenRequest | undefined {
    let found: OpenRequest | undefined;
    for (const item of this.#items) {
      const isOlder = found !== undefined && item.order < found.order;
      if (item.request.id.key === key && !isOlder) found = item;
    }
    return found;
  }
}
