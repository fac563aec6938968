import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CredentialSources } from '../../auth/credential-sources.ts';
import { chosenOrigin, DEFAULT_ACCOUNT } from '../../auth/key.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import {
  itemsOf,
  memberAt,
  memberOf,
  membersOf,
  stringOf,
  textIn,
  valueIn,
  withMembers,
} from '../../jsonrpc/json-members.ts';
import { OPEN_BRACE } from '../../jsonrpc/json-scanner.ts';
import { type Request, validJson } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import { openPrivate, readPrivate, UnusableFile } from '../../private-path.ts';
import { renameOnto } from '../../rename-onto.ts';
import { revisionOf } from '../revisions.ts';

/** How large a file may be. */
export const MOST_BYTES = 16 * 1024 * 1024;
const MOST_PAGES = 1_000;
const FORMAT = '1';

/** The lists that are kept, and the member of their results that has the items. */
export const LIST_MEMBERS: Readonly<Record<string, string>> = {
  'tools/list': 'tools',
  'prompts/list': 'prompts',
  'resources/list': 'resources',
  'resources/templates/list': 'resourceTemplates',
};

/** A result as the gateway sent it. */
export interface CachedResult {
  /** When it came, in ms since 1970. */
  readonly at: number;
  /** What it was asked for with; undefined for the first page of a list, and for a handshake. */
  readonly cursor?: string | undefined;
  /** A JSON object, on one line. */
  readonly result: Buffer;
}

/** What a gateway sent last. */
export interface CachedGateway {
  /** The result of `initialize` or `server/discover`. */
  readonly handshake?: CachedResult | undefined;
  /** By method, all pages of each list, in their order. */
  readonly lists: ReadonlyMap<string, readonly CachedResult[]>;
}

/** Whose replies a file contains. */
export interface CacheKey {
  readonly gateway: string;
  readonly account: string;
  /** The one that the client asks for. */
  readonly revision: string;
  /** `initialize`, or `server/discover` for a client of revision 2026-07-28. */
  readonly method: string;
  /** Path of the file. */
  readonly file: string;
}

/**
 * The file for a gateway with its query, the account and place of the key, the way of signing in,
 * and the client's era and revision. No key is in its name or can be found from it.
 */
export function cacheKey(folder: string, sources: CredentialSources, opening: Request): CacheKey {
  const { url, account = DEFAULT_ACCOUNT, keyCommand = '', oauth } = sources;
  const modern = revisionOf(opening);
  const method = modern === undefined ? 'initialize' : 'server/discover';
  const params = memberOf(opening.bytes, 'params');
  const revision = modern ?? stringOf(params, 'protocolVersion') ?? '';
  const { origin } = chosenOrigin(sources, process.env);
  const { auth, grant, clientId = '', assertionCommand = '' } = oauth;
  const signIn = [auth, grant, clientId, assertionCommand];
  const identity = JSON.stringify([
    ...[url.href, account, origin, keyCommand],
    ...signIn,
    ...[method, revision],
  ]);
  const name = createHash('sha256').update(identity).digest('hex').slice(0, 32);
  return {
    gateway: displayUrl(url),
    account,
    revision,
    method,
    file: join(cachesIn(folder), `${name}.json`),
  };
}

/**
 * What is in the cache for a client that opens in this way; undefined when there is nothing that can
 * be used. Never throws: why a file is not used goes to the log.
 */
export function readCache(
  folder: string,
  sources: CredentialSources,
  opening: Request,
  log: Log,
): CachedGateway | undefined {
  return readCacheFile(cacheKey(folder, sources, opening), log)?.content;
}

/** As `readCache`, by the key. */
export function readCacheFile(
  { file, method }: Pick<CacheKey, 'file' | 'method'>,
  log: Log,
): CacheFile | undefined {
  try {
    const bytes = readPrivate(file, 'trusted', (words) => log.debug(words), MOST_BYTES);
    const read = parseCache(bytes);
    if (read?.key.method === method) return read;
    log.debug(`the cache is not used: ${file} is not a file of this version`);
  } catch (error) {
    const { message, cause } = error as UnusableFile;
    if (!isMissing(cause)) log.debug(`the cache is not used: ${message}`);
  }
  return undefined;
}

/** Replaces the file in one step. Rejects with UnusableFile, or the file system's error. */
export async function writeCacheFile(key: CacheKey, content: CachedGateway): Promise<void> {
  const bytes = formatCache(key, content);
  if (bytes.length > MOST_BYTES) throw new UnusableFile(`it would be ${bytes.length} bytes`);
  mkdirSync(dirname(key.file), { recursive: true, mode: 0o700 });
  const temporary = `${key.file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const { fd } = openPrivate(temporary, 'output');
    try {
      writeFileSync(fd, bytes);
    } finally {
      closeSync(fd);
    }
    await renameOnto(key.file, temporary);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** A file of the cache, for people. */
export interface CacheSummary {
  readonly gateway: string;
  readonly account: string;
  readonly revision: string;
  /** When the newest reply in it came, as an ISO date. */
  readonly savedAt: string;
  readonly bytes: number;
  /** By method, how many items the list has. */
  readonly items: Readonly<Record<string, number>>;
  readonly file: string;
}

/** Every file of the cache that can be read, of one gateway where `gateway` names it. Never throws. */
export function listCaches(folder: string, gateway?: URL): CacheSummary[] {
  const display = gateway && displayUrl(gateway);
  return filesIn(folder).flatMap((file) => {
    const read = readable(file);
    if (read === undefined || (display ?? read.key.gateway) !== read.key.gateway) return [];
    const { key, content, bytes } = read;
    const results = [content.handshake, ...[...content.lists.values()].flat()];
    const newest = Math.max(0, ...results.map((own) => own?.at ?? 0));
    const items = [...content.lists].map(([method, pages]) => {
      const counts = pages.map(
        ({ result }) => itemsOf(memberOf(result, LIST_MEMBERS[method] as string))?.length ?? 0,
      );
      return [method, counts.reduce((sum, count) => sum + count, 0)];
    });
    const { account, revision } = key;
    return [
      {
        gateway: key.gateway,
        account,
        revision: cleanNetworkText(revision, 40),
        savedAt: new Date(newest).toISOString(),
        bytes,
        items: Object.fromEntries(items),
        file,
      },
    ];
  });
}

/** Removes the files for a gateway and account. Returns how many there were. Never throws. */
export function removeCaches(folder: string, gateway: URL, account: string): number {
  const own = listCaches(folder, gateway).filter((summary) => summary.account === account);
  return own.filter(({ file }) => {
    try {
      rmSync(file);
      return true;
    } catch {
      return false;
    }
  }).length;
}

interface CacheFile {
  readonly key: Omit<CacheKey, 'file'>;
  readonly content: CachedGateway;
  readonly bytes: number;
}

const cachesIn = (folder: string) => join(folder, 'gateways');

function filesIn(folder: string): string[] {
  try {
    const names = readdirSync(cachesIn(folder)).filter((name) => /^[\da-f]{32}\.json$/.test(name));
    return names.sort().map((name) => join(cachesIn(folder), name));
  } catch {
    return [];
  }
}

function readable(file: string): CacheFile | undefined {
  try {
    return parseCache(readPrivate(file, 'trusted', () => {}, MOST_BYTES));
  } catch {
    return undefined;
  }
}

function formatCache({ gateway, account, revision, method }: CacheKey, content: CachedGateway) {
  const { handshake, lists } = content;
  const allPages = [...lists].map(([name, pages]) => [name, pages.map(formatResult)]);
  return withMembers(undefined, {
    format: FORMAT,
    gateway: JSON.stringify(gateway),
    account: JSON.stringify(account),
    revision: JSON.stringify(revision),
    method: JSON.stringify(method),
    handshake: handshake && formatResult(handshake),
    lists: Object.fromEntries(allPages),
  });
}

function formatResult({ at, cursor, result }: CachedResult): Buffer {
  return withMembers(undefined, {
    at: String(at),
    cursor: cursor === undefined ? undefined : JSON.stringify(cursor),
    result,
  });
}

/** What a file contains; undefined where that is not what was written there. */
export function parseCache(file: Buffer): CacheFile | undefined {
  const json = validJson(file);
  const names = ['format', 'gateway', 'account', 'revision', 'method'];
  const [format, ...words] = membersOf(json, names).map(valueIn);
  if (String(format) !== FORMAT || !words.every((word) => typeof word === 'string')) {
    return undefined;
  }
  const [gateway, account, revision, method] = words as [string, string, string, string];
  const [first, all] = membersOf(json, ['handshake', 'lists']);
  const handshake = parseResult(first);
  const isWhole = method !== 'initialize' || isHandshake(handshake);
  const lists = new Map<string, readonly CachedResult[]>();
  for (const name of Object.keys(LIST_MEMBERS)) {
    const pages = (itemsOf(memberOf(all, name), MOST_PAGES) ?? []).map(parseResult);
    if (pages.length > 0 && isChain(pages)) lists.set(name, pages);
  }
  return {
    key: { gateway, account, revision, method },
    content: { handshake: isWhole ? handshake : undefined, lists },
    bytes: file.length,
  };
}

function parseResult(json: Buffer | undefined): CachedResult | undefined {
  const [at, cursor, result] = membersOf(json, ['at', 'cursor', 'result']);
  const time = valueIn(at);
  if (result?.[0] !== OPEN_BRACE || typeof time !== 'number') return undefined;
  const isInTime = time >= 0 && time <= Date.now();
  return { at: isInTime ? time : 0, cursor: textIn(cursor), result };
}

const isHandshake = (handshake: CachedResult | undefined) =>
  stringOf(handshake?.result, 'protocolVersion') !== undefined;

/** Whether these are all pages of a list, from the first to the last. */
function isChain(pages: readonly (CachedResult | undefined)[]): pages is readonly CachedResult[] {
  return pages.every((page, index) => {
    if (page === undefined) return false;
    const next = pages[index + 1];
    const isFirst = index === 0;
    if (isFirst && page.cursor !== undefined) return false;
    const nextCursor = nextCursorOf(page.result);
    return next === undefined ? nextCursor === undefined : nextCursor === next.cursor;
  });
}

/** The cursor of the page after this one; undefined after the last. */
export function nextCursorOf(result: Buffer): string | undefined {
  return textIn(memberAt(result, 'nextCursor'));
}

function isMissing(cause: unknown): boolean {
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}
