import { memberOf, textIn, valueIn, withMembers } from '../../jsonrpc/json-members.ts';
import type { Request, Response } from '../../jsonrpc/message.ts';
import type { Transport } from '../../transport/transport.ts';
import { metaOf, proxyId, requestOf, resultFor } from '../messages.ts';
import { LIST_KINDS } from '../revisions.ts';
import { onReplyTo } from '../send-sequence.ts';
import { type CachedGateway, type CachedResult, LIST_MEMBERS } from './cache-file.ts';
import { cursorOf } from './cache-writer.ts';

/** What the client gets from the cache, and what it has got so far. */
export class CachedReplies {
  readonly #cached: CachedGateway | undefined;
  readonly #openingMethod: string;
  /** Methods of lists that the client has from the cache. */
  readonly #served = new Set<string>();
  /** Methods of lists that it has asked for in vain. */
  readonly #missed = new Set<string>();

  constructor(cached: CachedGateway | undefined, openingMethod: string) {
    this.#cached = cached;
    this.#openingMethod = openingMethod;
  }

  /** The result of the handshake, as JSON. */
  get handshake(): Buffer | undefined {
    return this.#cached?.handshake?.result;
  }

  /** Whether there is anything that the gateway has sent. */
  get isAny(): boolean {
    return this.#cached !== undefined;
  }

  /** When the handshake came, or the first list without one, in ms since 1970. */
  get at(): number {
    const [first] = [...(this.#cached?.lists.values() ?? [])].flat();
    return (this.#cached?.handshake ?? first)?.at ?? 0;
  }

  /** Whether there is a reply to the request. */
  has(request: Request): boolean {
    return this.#find(request) !== undefined;
  }

  /** The reply to a request; undefined where there is none. */
  replyTo(request: Request): Response | undefined {
    const { id, method } = request;
    const found = this.#find(request);
    if (method in LIST_MEMBERS) (found === undefined ? this.#missed : this.#served).add(method);
    return found && resultFor(id, withTimeLeft(found));
  }

  /**
   * The kinds of lists that the client does not have as the gateway has them now: it asks for those
   * that came from the cache. `capabilities`: what the gateway says that it has, as JSON. `_meta`: what
   * the requests take along.
   */
  async changedKinds(
    gateway: Transport,
    capabilities: Buffer | undefined,
    _meta: Buffer | undefined,
  ): Promise<string[]> {
    const changed: string[] = [];
    for (const kind of LIST_KINDS) {
      const methods = Object.keys(LIST_MEMBERS).filter((method) => method.startsWith(`${kind}/`));
      const served = methods.filter((method) => this.#served.has(method));
      const isGone = served.length > 0 && memberOf(capabilities, kind) === undefined;
      let isChanged = isGone || methods.some((method) => this.#missed.has(method));
      for (const method of served) isChanged ||= await this.#isChanged(gateway, method, _meta);
      if (isChanged) changed.push(kind);
    }
    return changed;
  }

  /** False where the gateway does not say. */
  async #isChanged(gateway: Transport, method: string, _meta: Buffer | undefined) {
    for (const [index, page] of (this.#cached?.lists.get(method) ?? []).entries()) {
      const cursor = page.cursor === undefined ? undefined : JSON.stringify(page.cursor);
      const request = requestOf(proxyId(`${method}:${index}`), method, { cursor, _meta });
      let now: Buffer | undefined;
      const observer = onReplyTo(request.id, ({ bytes }) => {
        now = memberOf(bytes, 'result');
      });
      await gateway.send(request, observer).done;
      if (now === undefined) return false;
      for (const name of [LIST_MEMBERS[method] as string, 'nextCursor']) {
        const before = memberOf(page.result, name);
        if (before?.toString() !== memberOf(now, name)?.toString()) return true;
      }
    }
    return false;
  }

  #find(request: Request): CachedResult | undefined {
    if (request.method === this.#openingMethod) return this.#cached?.handshake;
    const asked = cursorOf(request);
    const pages = this.#cached?.lists.get(request.method);
    return asked && pages?.find(({ cursor }) => cursor === asked.cursor);
  }
}

/** The result, with the part of its `ttlMs` that is left (MCP 2026-07-28, Caching §Freshness Calculation). */
function withTimeLeft({ at, result }: CachedResult): Buffer {
  const ttlMs = valueIn(memberOf(result, 'ttlMs'));
  if (typeof ttlMs !== 'number') return result;
  const leftMs = Math.max(0, Math.floor(at + ttlMs - Date.now()));
  return withMembers(result, { ttlMs: String(leftMs) });
}

/** The revision that the result of `initialize` names. */
export function protocolVersionIn(result: Buffer | undefined): string | undefined {
  return textIn(memberOf(result, 'protocolVersion'));
}

/** A `server/discover` by the client of this request, which sends `_meta` with each. */
export function discoverAs(request: Request): Request {
  const _meta = withMembers(metaOf(request), { progressToken: undefined });
  return requestOf(proxyId('discover'), 'server/discover', { _meta });
}
