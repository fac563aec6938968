import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { cacheKey, readCache } from '../../../src/bridge/gateway-cache/cache-file.ts';
import { CacheWriter } from '../../../src/bridge/gateway-cache/cache-writer.ts';
import type { Exchange } from '../../../src/bridge/gateway-cache/opening.ts';
import { SecretMatcher } from '../../../src/failures/secret-matcher.ts';
import { Secrets } from '../../../src/failures/secrets.ts';
import { type Request, type Response, readMessages } from '../../../src/jsonrpc/message.ts';
import { createLog } from '../../../src/log.ts';
import { toSettings } from '../../../src/settings/settings.ts';

const KEY = 'sk-0123456789-abcdefghij';
const settings = toSettings('https://gateway.example/v1/mcp', {}, {});
const log = createLog('error', () => {});
const secrets = new Secrets((keys) => new SecretMatcher(keys));
secrets.add(KEY);

const message = (own: object) =>
  readMessages(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, ...own }))).messages[0];
const exchange = (method: string, params: object, result: object): Exchange => ({
  request: message({ method, params }) as Request,
  response: message({ result }) as Response,
  at: 1,
});
const hello = exchange(
  'initialize',
  { protocolVersion: '2025-11-25' },
  { protocolVersion: '2025-11-25' },
);
const tools = (cursor: string | undefined, nextCursor: string | undefined, name = 'x') =>
  exchange('tools/list', { cursor }, { tools: [{ name }], nextCursor });

let folder: string;
let writer: CacheWriter;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'latchkey-cache-writer-'));
  writer = new CacheWriter({ folder, settings, secrets, log });
});
afterEach(() => rmSync(folder, { recursive: true }));

const save = (...exchanges: Exchange[]) => writer.save(exchanges, hello.request);
const read = () => readCache(folder, settings, hello.request, log);
const names = () =>
  read()
    ?.lists.get('tools/list')
    ?.map(({ result }) => JSON.parse(result.toString()).tools[0].name);

it('keeps a list that is whole, whenever its pages come', async () => {
  await save(hello, tools(undefined, 'a', '1'));
  expect(names()).toBeUndefined();
  await save(tools('a', 'b', '2'));
  await save(tools('b', undefined, '3'));
  expect(names()).toEqual(['1', '2', '3']);
});

it('keeps the list it has until another is whole', async () => {
  await save(hello, tools(undefined, undefined, 'old'));
  await save(tools(undefined, 'a', 'new'));
  expect(names()).toEqual(['old']);
  await save(tools('other', undefined, 'stray'));
  expect(names()).toEqual(['old']);
  await save(tools('a', undefined, 'newer'));
  expect(names()).toEqual(['new', 'newer']);
});

it('keeps what another session has written of other lists', async () => {
  await save(hello, tools(undefined, undefined));
  const second = new CacheWriter({ folder, settings, secrets, log });
  await second.save([exchange('prompts/list', {}, { prompts: [] })], hello.request);
  expect([...(read()?.lists.keys() ?? [])]).toEqual(['tools/list', 'prompts/list']);
});

it.each([
  ['as it is', KEY],
  ['in base64', Buffer.from(`user:${KEY}`).toString('base64')],
  ['percent-encoded', KEY.replaceAll('-', '%2D')],
  ['behind much else', `${'x'.repeat(8 * 1024 - 20)}${KEY}${'x'.repeat(100_000)}`],
])('leaves out a reply with a key in it, %s', async (_, text) => {
  await save(
    hello,
    tools(undefined, undefined, text),
    exchange('prompts/list', {}, { prompts: [] }),
  );
  expect(names()).toBeUndefined();
  expect(read()?.lists.has('prompts/list')).toBe(true);
});

it('leaves out a list with one page with a key in it', async () => {
  await save(hello, tools(undefined, 'a'), tools('a', 'b', KEY), tools('b', undefined));
  expect(names()).toBeUndefined();
});

it('searches a list that comes several times in a row only once', async () => {
  const search = vi.spyOn(secrets, 'mayFind');
  const again = () => tools(undefined, undefined, 'same');
  await save(hello, again(), again(), again());
  // The handshake and the list.
  expect(search).toHaveBeenCalledTimes(2);
  await save(hello, again(), tools(undefined, undefined, KEY), again());
  expect(search).toHaveBeenCalledTimes(3);
  expect(names()).toEqual(['same']);
});

it('leaves out what was asked for with other parameters, and what is not a list yet', async () => {
  await save(
    hello,
    exchange('tools/list', { filter: 'mine' }, { tools: [] }),
    exchange('prompts/list', { cursor: null }, { prompts: [] }),
    exchange('resources/list', {}, { resultType: 'input_required', resources: [] }),
  );
  expect(read()?.lists.size).toBe(0);
});

it('writes nothing of a client that has not shaken hands and names no revision', async () => {
  await writer.save([tools(undefined, undefined)], undefined);
  expect(read()).toBeUndefined();
});

it('writes to the file of the client’s revision', async () => {
  const other = message({ method: 'initialize', params: { protocolVersion: 'x' } }) as Request;
  await writer.save([hello], other);
  expect(read()).toBeUndefined();
  expect(cacheKey(folder, settings, other).revision).toBe('x');
  expect(readCache(folder, settings, other, log)?.handshake).toBeDefined();
});
