import type { Failure } from '../../failures/failure.ts';
import {
  itemsOf,
  memberOf,
  membersOf,
  textIn,
  valueIn,
  withMembers,
} from '../../jsonrpc/json-members.ts';
import type { Notification, Request, Response } from '../../jsonrpc/message.ts';
import { type MessageObserver, mapMessages, type Transport } from '../../transport/transport.ts';
import { metaOf, proxyId, requestOf } from '../messages.ts';
import { isReplyTo } from '../send-sequence.ts';
import type { ToolHints } from './rules.ts';

/** How many pages of the list are fetched. */
const MOST_PAGES = 1_000;
/** How many UTF-16 code units the names may have in all. Tools beyond that stay unknown. */
const MOST_CHARACTERS = 8 * 1024 * 1024;

/** The annotations of the gateway's tools, as its lists have shown them. */
export class KnownTools {
  readonly #gateway: Transport;
  #hints = new Map<string, ToolHints>();
  #characters = 0;
  /** All pages, since the list has changed. Resolves with why the gateway did not answer. */
  #fetched: Promise<Failure | undefined> | undefined;
  #count = 0;

  constructor(gateway: Transport) {
    this.#gateway = gateway;
  }

  hintsOf(name: string): ToolHints | undefined {
    return this.#hints.get(name);
  }

  learn(name: string, hints: ToolHints): void {
    if (!this.#hints.has(name)) this.#characters += name.length;
    if (this.#characters <= MOST_CHARACTERS) this.#hints.set(name, hints);
  }

  /** The list has changed, or another session begins. */
  forget(): void {
    this.#hints = new Map();
    this.#characters = 0;
    this.#fetched = undefined;
  }

  /**
   * Fetches all pages of the list, for a call whose tool is not known; once until it changes. Resolves
   * with why the gateway did not answer. A refused list leaves the tool unknown. `observer` gets what
   * comes beside the list.
   */
  fetch(call: Request | Notification, observer: MessageObserver): Promise<Failure | undefined> {
    if (this.#fetched !== undefined) return this.#fetched;
    const fetched = this.#fetchAll(call, observer);
    this.#fetched = fetched;
    const tryAgain = () => {
      if (this.#fetched === fetched) this.#fetched = undefined;
    };
    fetched.then((failure) => failure && tryAgain(), tryAgain);
    return fetched;
  }

  async #fetchAll(
    call: Request | Notification,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    const meta = metaOf(call);
    const _meta = meta && withMembers(meta, { progressToken: undefined });
    let cursor: Buffer | undefined;
    for (let page = 0; page < MOST_PAGES; page++) {
      const hints = this.#hints;
      let reply: Response | undefined;
      const id = proxyId(`known-tools:${++this.#count}`);
      const failure = await this.#gateway.send(
        requestOf(id, 'tools/list', { cursor, _meta }),
        mapMessages(observer, (message) => {
          if (!isReplyTo(id, message)) return message;
          reply = message;
          return undefined;
        }),
      ).done;
      if (failure !== undefined) return failure;
      const result = reply?.isError === false ? memberOf(reply.bytes, 'result') : undefined;
      // The list has changed meanwhile: the next call fetches it again.
      if (result === undefined || hints !== this.#hints) return undefined;
      for (const tool of itemsOf(memberOf(result, 'tools'), Number.POSITIVE_INFINITY) ?? []) {
        const [name, annotations] = membersOf(tool, ['name', 'annotations']);
        const text = textIn(name);
        if (text !== undefined) this.learn(text, hintsIn(annotations));
      }
      cursor = memberOf(result, 'nextCursor');
      if (typeof valueIn(cursor) !== 'string') return undefined;
    }
    return undefined;
  }
}

/** What a tool's `annotations` say (MCP 2025-11-25, ToolAnnotations); nothing says: destructive. */
export function hintsIn(annotations: Buffer | undefined): ToolHints {
  const [readOnly, destructive] = membersOf(annotations, ['readOnlyHint', 'destructiveHint']);
  const isReadOnly = valueIn(readOnly) === true;
  return { isReadOnly, isDestructive: !isReadOnly && valueIn(destructive) !== false };
}
