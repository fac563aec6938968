import {
  itemsOf,
  MOST_ITEMS,
  memberAt,
  memberOf,
  stringOf,
  valueIn,
} from '../jsonrpc/json-members.ts';
import type { Request, Response } from '../jsonrpc/message.ts';
import { mayRepeatMethod } from './methods.ts';

/** Of a longer list nothing is known. */
const MOST_BYTES = 8 * 1024 * 1024;

/**
 * What the last `tools/list` said. The replies are kept as they came and read only when something
 * has failed: a healthy session never does.
 */
export class ToolCache {
  readonly #isShown: (tool: Buffer) => boolean;
  #pages: Buffer[] = [];
  #bytes = 0;

  /** `isShown`: whether the client gets to see a tool of the list. */
  constructor(isShown: (tool: Buffer) => boolean = () => true) {
    this.#isShown = isShown;
  }

  /** A page of the list; one that was asked for without a cursor begins a new list. */
  remember(request: Request, { isError, bytes }: Response): void {
    if (isError) return;
    if (memberAt(request.bytes, 'params', 'cursor') === undefined) {
      this.#pages = [];
      this.#bytes = 0;
    }
    this.#bytes += bytes.length;
    if (this.#bytes > MOST_BYTES) this.#pages = [];
    else this.#pages.push(bytes);
  }

  /** Of the tools that the client sees. Undefined where they are not all known: not listed yet, not to the end, or too many. */
  names(): string[] | undefined {
    const last = this.#pages.at(-1);
    const next = last && valueIn(memberAt(last, 'result', 'nextCursor'));
    if (last === undefined || typeof next === 'string') return undefined;
    const names = this.#tools()
      .filter((tool) => this.#isShown(tool))
      .map((tool) => stringOf(tool, 'name'))
      .filter((name) => name !== undefined);
    return names.length > MOST_ITEMS ? undefined : names;
  }

  /** Whether the same request twice does no more than once: by its method or its tool's hints. */
  mayRepeat(request: Request): boolean {
    if (request.method !== 'tools/call') return mayRepeatMethod(request.method);
    const called = stringOf(memberOf(request.bytes, 'params'), 'name');
    if (called === undefined) return false;
    const tool = this.#tools().find((known) => stringOf(known, 'name') === called);
    const annotations = memberOf(tool, 'annotations');
    return ['readOnlyHint', 'idempotentHint'].some(
      (hint) => valueIn(memberOf(annotations, hint)) === true,
    );
  }

  #tools(): Buffer[] {
    const left = () => MOST_ITEMS + 1 - tools.length;
    const tools: Buffer[] = [];
    for (const page of this.#pages) {
      tools.push(...(itemsOf(memberAt(page, 'result', 'tools'), left()) ?? []));
    }
    return tools;
  }
}
