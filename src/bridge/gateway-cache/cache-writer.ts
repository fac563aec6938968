import { setImmediate as turn } from 'node:timers/promises';
import type { CredentialSources } from '../../auth/credential-sources.ts';
import type { Secrets } from '../../failures/secrets.ts';
import { entriesOf, memberOf, stringOf } from '../../jsonrpc/json-members.ts';
import type { Request } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import { resultTypeOf, revisionOf } from '../revisions.ts';
import {
  type CachedResult,
  type CacheKey,
  cacheKey,
  MOST_BYTES,
  nextCursorOf,
  readCacheFile,
  writeCacheFile,
} from './cache-file.ts';
import type { Exchange } from './opening.ts';

/** How much is searched for secrets at a time, some 3 ms, before other work has its turn. */
const PIECE_BYTES = 8 * 1024;
/** Longer than the part of a secret by which it is known, in any way to write it. */
const OVERLAP_BYTES = 1024;

export interface CacheWriterOptions {
  readonly folder: string;
  readonly settings: CredentialSources;
  readonly secrets: Secrets;
  readonly log: Log;
}

/** Writes the replies of one gateway to its file of the cache. */
export class CacheWriter {
  readonly #options: CacheWriterOptions;
  /** By method: the pages that have come, of lists whose last page has not. */
  readonly #chains = new Map<string, CachedResult[]>();

  constructor(options: CacheWriterOptions) {
    this.#options = options;
  }

  /**
   * Adds replies to the file. All pages of a list, from the first to the last, replace what it has of
   * that list. A reply with a secret in it is left out. `initialize` is the client's, where it has sent
   * one. Rejects as `writeCacheFile` does.
   */
  async save(exchanges: readonly Exchange[], initialize: Request | undefined): Promise<void> {
    const { folder, settings, log } = this.#options;
    const opening = initialize ?? exchanges[0]?.request;
    if (opening === undefined || (initialize === undefined && revisionOf(opening) === undefined)) {
      return;
    }
    const key = cacheKey(folder, settings, opening);
    const before = readCacheFile(key, log)?.content;
    let handshake = before?.handshake;
    const lists = new Map(before?.lists);
    let isChanged = false;
    const clean: Buffer[] = [];
    for (const { request, response, at } of exchanges) {
      const result = memberOf(response.bytes, 'result');
      if (result === undefined || !isComplete(resultTypeOf(response))) continue;
      const known = [before?.handshake, ...(before?.lists.get(request.method) ?? [])];
      // To search it takes long, and it was searched when it was written. Some clients ask for the same
      // list several times in a row.
      const isKnown =
        known.some((own) => own?.result.equals(result) === true) ||
        clean.some((own) => own.equals(result));
      if (!isKnown && (await this.#hasSecret(result))) {
        log.debug(`not in the cache, since a secret is in it: the reply to ${request.method}`);
        continue;
      }
      clean.push(result);
      if (request.method === key.method) {
        handshake = { at, result };
        isChanged = true;
        continue;
      }
      const pages = this.#chain(request, { at, result });
      if (pages === undefined) continue;
      lists.set(request.method, pages);
      isChanged = true;
    }
    if (isChanged) await this.#write(key, { handshake, lists });
  }

  async #write(key: CacheKey, content: Parameters<typeof writeCacheFile>[1]): Promise<void> {
    await writeCacheFile(key, content);
    this.#options.log.debug(`written to the cache: ${key.file}`);
  }

  /** Adds a page to its list. Returns the list when that was its last page. */
  #chain(request: Request, { at, result }: CachedResult): CachedResult[] | undefined {
    const { method } = request;
    const asked = cursorOf(request);
    if (asked === undefined) return undefined;
    const { cursor } = asked;
    const chain = cursor === undefined ? [] : this.#chains.get(method);
    const last = chain?.at(-1);
    if (chain === undefined || (last && nextCursorOf(last.result)) !== cursor) return undefined;
    chain.push({ at, cursor, result });
    const isLast = nextCursorOf(result) === undefined;
    const bytes = chain.reduce((sum, page) => sum + page.result.length, 0);
    if (isLast || bytes > MOST_BYTES) this.#chains.delete(method);
    else this.#chains.set(method, chain);
    return isLast ? chain : undefined;
  }

  async #hasSecret(json: Buffer): Promise<boolean> {
    const { secrets } = this.#options;
    for (let at = 0; at < json.length; at += PIECE_BYTES) {
      const piece = json.subarray(at, at + PIECE_BYTES + OVERLAP_BYTES);
      if (secrets.mayFind(piece)) {
        const text = piece.toString('utf8');
        if (secrets.mask(text) !== text) return true;
      }
      await turn();
    }
    return false;
  }
}

/** A result that asks for input is not a list (MCP 2026-07-28, Caching §Cacheable Results). */
function isComplete(resultType: unknown): boolean {
  return resultType === undefined || resultType === 'complete';
}

/**
 * What a request for a list asks for; undefined where it has parameters that are not known here, so
 * that its result is another's (MCP 2026-07-28, Caching §Cache Key).
 */
export function cursorOf({ bytes }: Request): { cursor: string | undefined } | undefined {
  const params = memberOf(bytes, 'params');
  const names = entriesOf(params).map(([name]) => name);
  if (!names.every((name) => name === 'cursor' || name === '_meta')) return undefined;
  const cursor = stringOf(params, 'cursor');
  return cursor === undefined && names.includes('cursor') ? undefined : { cursor };
}
