import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type CachedGateway,
  type CacheKey,
  cacheKey,
  listCaches,
  MOST_BYTES,
  parseCache,
  readCache,
  removeCaches,
  writeCacheFile,
} from '../../../src/bridge/gateway-cache/cache-file.ts';
import { type Request, readMessages } from '../../../src/jsonrpc/message.ts';
import { createLog } from '../../../src/log.ts';
import { toSettings } from '../../../src/settings/settings.ts';
import { rounds } from '../../property-rounds.ts';

const URL_OF_NONE = 'https://gateway.example/v1/mcp';
const settings = (url = URL_OF_NONE, given = {}) => toSettings(url, given, {});

const requestOf = (method: string, params: object) =>
  readMessages(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })))
    .messages[0] as Request;
const initialize = requestOf('initialize', { protocolVersion: '2025-11-25' });

const page = (result: object, cursor?: string) => ({
  at: 1_700_000_000_000,
  cursor,
  result: Buffer.from(JSON.stringify(result)),
});

const content: CachedGateway = {
  handshake: page({ protocolVersion: '2025-11-25', capabilities: {} }),
  lists: new Map([
    [
      'tools/list',
      [page({ tools: [{ name: 'é' }, {}], nextCursor: '"2"' }), page({ tools: [{}] }, '"2"')],
    ],
    ['prompts/list', [page({ prompts: [] })]],
  ]),
};

let folder: string;
let key: CacheKey;
let lines: string;
const log = createLog('debug', (line) => {
  lines += line;
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'latchkey-cache-file-'));
  key = cacheKey(folder, settings(), initialize);
  lines = '';
});
afterEach(() => rmSync(folder, { recursive: true }));

const read = () => readCache(folder, settings(), initialize, log);

describe('the file of a gateway', () => {
  it('gives back what was written, byte for byte', async () => {
    await writeCacheFile(key, content);
    expect(read()).toEqual(content);
    expect(lines).toBe('');
  });

  it('has the mode 0600 in a folder of mode 0700, and nothing beside it', async () => {
    const before = process.umask(0);
    await writeCacheFile(key, content);
    process.umask(before);
    expect(statSync(key.file).mode & 0o777).toBe(0o600);
    expect(statSync(dirname(key.file)).mode & 0o777).toBe(0o700);
    expect(readdirSync(dirname(key.file))).toHaveLength(1);
  });

  it('is replaced as a whole', async () => {
    await writeCacheFile(key, content);
    const { ino } = statSync(key.file);
    await writeCacheFile(key, { ...content, lists: new Map() });
    expect(statSync(key.file).ino).not.toBe(ino);
    expect(read()?.lists.size).toBe(0);
  });

  it('is not written where it would be too large', async () => {
    const lists = new Map([['tools/list', [page({ tools: ['x'.repeat(MOST_BYTES)] })]]]);
    await expect(writeCacheFile(key, { ...content, lists })).rejects.toThrow('bytes');
    expect(read()).toBeUndefined();
  });

  it('does not follow a link that is in its place', async () => {
    mkdirSync(dirname(key.file), { mode: 0o700 });
    const target = join(folder, 'target');
    writeFileSync(target, 'precious');
    symlinkSync(target, key.file);
    await writeCacheFile(key, content);
    expect(readFileSync(target, 'utf8')).toBe('precious');
    expect(read()).toEqual(content);
  });

  it('is another for another URL, query, account, credential, revision and era', () => {
    const modern = { _meta: { 'io.modelcontextprotocol/protocolVersion': '2025-11-25' } };
    const files = [
      cacheKey(folder, settings(), initialize),
      cacheKey(folder, settings(`${URL_OF_NONE}/`), initialize),
      cacheKey(folder, settings(`${URL_OF_NONE}?team=a`), initialize),
      cacheKey(folder, settings(URL_OF_NONE, { integrations: 'linear' }), initialize),
      cacheKey(folder, settings(URL_OF_NONE, { account: 'a' }), initialize),
      cacheKey(folder, settings(URL_OF_NONE, { 'key-command': 'a' }), initialize),
      cacheKey(folder, settings(URL_OF_NONE, { 'key-command': 'b' }), initialize),
      cacheKey(folder, settings(URL_OF_NONE, { 'key-file': '/a' }), initialize),
      cacheKey(folder, settings(URL_OF_NONE, { auth: 'oauth' }), initialize),
      cacheKey(folder, settings(URL_OF_NONE, { 'client-id': 'a' }), initialize),
      cacheKey(folder, settings(), requestOf('initialize', { protocolVersion: '2025-06-18' })),
      cacheKey(folder, settings(), requestOf('server/discover', modern)),
    ].map(({ file }) => file);
    expect(new Set(files).size).toBe(files.length);
  });

  it('does not show what may be secret in the URL', async () => {
    const token = 'q7Zx81LmPv03TtRw66';
    const own = settings(`https://gateway.example/${token}/mcp?key=${token}`);
    const secretKey = cacheKey(folder, own, initialize);
    await writeCacheFile(secretKey, content);
    expect(readFileSync(secretKey.file, 'utf8') + secretKey.file).not.toContain(token);
  });
});

describe('a file that cannot be trusted is not used', () => {
  it.skipIf(process.getuid?.() !== 0)('since it belongs to another user', async () => {
    await writeCacheFile(key, content);
    chownSync(key.file, 12345, 12345);
    expect(read()).toBeUndefined();
    expect(lines).toMatch(/debug: the cache is not used: .*another user/);
  });

  it('since others can write to it', async () => {
    await writeCacheFile(key, content);
    chmodSync(key.file, 0o666);
    expect(read()).toBeUndefined();
  });

  it('since others can write to its folder', async () => {
    await writeCacheFile(key, content);
    chmodSync(dirname(key.file), 0o777);
    expect(read()).toBeUndefined();
    await expect(writeCacheFile(key, content)).rejects.toThrow('other users can write');
  });

  it('since it is too large', async () => {
    await writeCacheFile(key, content);
    writeFileSync(key.file, Buffer.concat([readFileSync(key.file), Buffer.alloc(MOST_BYTES, ' ')]));
    expect(read()).toBeUndefined();
    expect(lines).toContain('too large');
  });

  it('since it is a folder', async () => {
    mkdirSync(key.file, { recursive: true, mode: 0o700 });
    expect(read()).toBeUndefined();
    await expect(writeCacheFile(key, content)).rejects.toThrow();
    expect(readdirSync(dirname(key.file))).toHaveLength(1);
  });

  it('since it is of another format or era', async () => {
    await writeCacheFile(key, content);
    const text = readFileSync(key.file, 'utf8');
    for (const [before, after] of [
      ['"format":1', '"format":2'],
      ['"initialize"', '"server/discover"'],
      ['"account":"default"', '"account":7'],
    ] as const) {
      writeFileSync(key.file, text.replace(before, after));
      expect(read(), after).toBeUndefined();
    }
  });
});

describe('what is damaged in a file is not used', () => {
  beforeEach(() => writeCacheFile(key, content));
  const valid = () => readFileSync(key.file);

  it('whatever it contains, reading it does not throw', () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes)),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record({
          format: fc.constant(1),
          gateway: fc.string(),
          account: fc.string(),
          revision: fc.string(),
          method: fc.constantFrom('initialize', 'server/discover'),
          handshake: fc.jsonValue(),
          lists: fc.oneof(
            fc.jsonValue(),
            fc.record({ 'tools/list': fc.array(fc.jsonValue()), 'prompts/list': fc.jsonValue() }),
          ),
        })
        .map((value) => Buffer.from(JSON.stringify(value))),
    );
    fc.assert(
      fc.property(anything, (bytes) => {
        const parsed = parseCache(bytes);
        for (const pages of parsed?.content.lists.values() ?? []) {
          for (const { result } of pages)
            expect(JSON.parse(result.toString())).toBeTypeOf('object');
        }
      }),
    );
  });

  it('when it is cut anywhere, or a byte of it is changed, what is read is on one line', () => {
    const bytes = valid();
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.boolean(), (at, byte, isCut) => {
        const damaged = isCut ? bytes.subarray(0, at) : Buffer.from(bytes);
        if (!isCut) damaged[at] = byte;
        const parsed = parseCache(Buffer.from(damaged));
        if (isCut) expect(parsed).toBeUndefined();
        const { handshake, lists = new Map() } = parsed?.content ?? {};
        for (const own of [handshake, ...[...lists.values()].flat()]) {
          if (own === undefined) continue;
          expect(own.result.includes('\n')).toBe(false);
          expect(() => JSON.parse(own.result.toString())).not.toThrow();
        }
      }),
      { numRuns: rounds(1_000) },
    );
  });

  it('when it was printed over several lines, it is read as one', () => {
    const pretty = JSON.stringify(JSON.parse(valid().toString()), undefined, 2);
    writeFileSync(key.file, pretty);
    expect(read()?.handshake?.result.includes('\n')).toBe(false);
    expect(read()?.lists.size).toBe(2);
  });

  it.each([
    ['a page is missing', '"cursor":"\\"2\\""', '"cursor":"3"'],
    ['the last page has another after it', '"prompts":[]', '"prompts":[],"nextCursor":"x"'],
    ['a result is not an object', '"result":{"prompts":[]}', '"result":[]'],
  ])('a list, when %s', (_, before, after) => {
    const text = valid().toString();
    expect(text).toContain(before);
    writeFileSync(key.file, text.replace(before, after));
    expect(read()?.handshake).toBeDefined();
    expect(read()?.lists.size).toBe(1);
  });

  it('a handshake without a revision', () => {
    writeFileSync(key.file, valid().toString().replace('"protocolVersion"', '"x"'));
    expect(read()?.handshake).toBeUndefined();
  });

  it('a time that has not come', async () => {
    const inFuture = { ...content, handshake: { ...page({ protocolVersion: 'x' }), at: 9e15 } };
    await writeCacheFile(key, inFuture);
    expect(read()?.handshake?.at).toBe(0);
  });
});

describe('the files of all gateways', () => {
  it('are listed and removed by gateway and account', async () => {
    const other = cacheKey(folder, settings(URL_OF_NONE, { account: 'other' }), initialize);
    const filtered = cacheKey(folder, settings(`${URL_OF_NONE}?team=a`), initialize);
    const elsewhere = cacheKey(folder, settings('https://elsewhere.example/mcp'), initialize);
    for (const own of [key, other, filtered, elsewhere]) await writeCacheFile(own, content);
    writeFileSync(join(dirname(key.file), 'notes.txt'), 'x');
    writeFileSync(join(dirname(key.file), `${'0'.repeat(32)}.json`), 'damaged');
    expect(listCaches(folder)).toHaveLength(4);
    expect(listCaches(folder, new URL(URL_OF_NONE))).toHaveLength(3);
    expect(listCaches(folder)[0]?.items).toEqual({ 'tools/list': 3, 'prompts/list': 0 });
    expect(removeCaches(folder, new URL(URL_OF_NONE), 'default')).toBe(2);
    expect(
      listCaches(folder)
        .map(({ account }) => account)
        .sort(),
    ).toEqual(['default', 'other']);
    expect(listCaches(join(folder, 'nowhere'))).toEqual([]);
  });
});
