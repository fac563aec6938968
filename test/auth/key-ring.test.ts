import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { KeyResult } from '../../src/auth/key.ts';
import { CachedKeyProvider } from '../../src/auth/key-ring.ts';
import { SecretMatcher } from '../../src/failures/secret-matcher.ts';
import { Secrets } from '../../src/failures/secrets.ts';
import { createLog } from '../../src/log.ts';
import { commandToPrint } from '../environment.ts';

const REJECTION = { status: 401, headers: {}, renewals: 0, since: 0, isAwaited: true };

describe('KeyRing', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'latchkey-ring-'));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(folder, { recursive: true });
  });

  const store = (key: string) => writeFileSync(`${folder}/key`, key);
  const then = process.platform === 'win32' ? '&' : ';';
  /** How often the source was asked. */
  const looks = () => readFileSync(join(folder, 'looks'), 'utf8').split('\n').length - 1;

  function ring(): CachedKeyProvider {
    writeFileSync(`${folder}/looks`, '');
    const sources = {
      url: new URL('https://gateway.example/v1/mcp'),
      headers: new Map(),
      fileHeaders: new Set<string>(),
      keyEnv: 'NOT_SET',
      keyCommand: `echo x>>"${join(folder, 'looks')}"${then} ${commandToPrint(join(folder, 'key'))}`,
    };
    return new CachedKeyProvider(
      sources,
      {},
      createLog('error', () => {}),
      new Secrets((keys) => new SecretMatcher(keys)),
    );
  }

  function passTime(ms: number): void {
    vi.spyOn(process, 'uptime').mockReturnValue(process.uptime() + ms / 1000);
  }

  const keyOf = (finding: KeyResult | undefined) =>
    finding?.kind === 'found' ? finding.key : finding?.kind;

  it('has no other key for a 403, nor for a message that has had another one', async () => {
    store('first');
    const keys = ring();
    const first = await keys.current();
    store('second');
    expect(await keys.renew(first, { ...REJECTION, status: 403 })).toBeUndefined();
    expect(await keys.renew(first, { ...REJECTION, renewals: 1 })).toBeUndefined();
    expect(keyOf(await keys.renew(first, REJECTION))).toBe('second');
  });

  it('looks once for all that ask at first, and keeps the key', async () => {
    store('first');
    const keys = ring();
    const findings = await Promise.all([keys.current(), keys.current(), keys.current()]);
    expect(findings.map(keyOf)).toEqual(['first', 'first', 'first']);
    store('second');
    expect(keyOf(await keys.current())).toBe('first');
    expect(looks()).toBe(1);
  });

  it('looks again for a key that is unusable, each time where a look is quick', async () => {
    const keys = ring();
    passTime(0);
    expect(keyOf(await keys.current())).toBe('unusable');
    store('not one word');
    expect(await keys.current()).toMatchObject({ kind: 'unusable', reason: 'malformed_api_key' });
    store('first');
    expect(keyOf(await keys.current())).toBe('first');
    expect(looks()).toBe(3);
  });

  it('leaves a source that is slow to fail alone for 2 s', async () => {
    const keys = ring();
    const looking = keys.current();
    passTime(10_000);
    expect(keyOf(await looking)).toBe('unusable');
    store('first');
    passTime(1_999);
    expect(keyOf(await keys.current())).toBe('unusable');
    passTime(2);
    expect(keyOf(await keys.current())).toBe('first');
    expect(looks()).toBe(2);
  });

  it('renews once for all that were rejected, and for those that hear of it later', async () => {
    store('first');
    const keys = ring();
    const first = await keys.current();
    store('second');
    const renewed = await Promise.all([
      keys.renew(first, REJECTION),
      keys.renew(first, REJECTION),
      keys.renew(first, REJECTION),
    ]);
    expect(renewed.map(keyOf)).toEqual(['second', 'second', 'second']);
    expect(keyOf(await keys.renew(first, REJECTION))).toBe('second');
    expect(keyOf(await keys.current())).toBe('second');
    expect(looks()).toBe(2);
  });

  it('has no other key when the source has the rejected one still, and asks it every 2 s at most', async () => {
    store('first');
    const keys = ring();
    const first = await keys.current();
    expect(await keys.renew(first, REJECTION)).toBeUndefined();
    store('second');
    expect(await keys.renew(first, REJECTION)).toBeUndefined();
    expect(looks()).toBe(2);
    passTime(2_000);
    expect(keyOf(await keys.renew(first, REJECTION))).toBe('second');
    expect(looks()).toBe(3);
  });

  it('keeps the rejected key while the source has none that is usable', async () => {
    store('first');
    const keys = ring();
    const first = await keys.current();
    rmSync(`${folder}/key`);
    expect(await keys.renew(first, REJECTION)).toBeUndefined();
    expect(keyOf(await keys.current())).toBe('first');
  });

  it('never looks for another key than a header has', async () => {
    const sources = {
      url: new URL('https://gateway.example/v1/mcp'),
      headers: new Map([['authorization', 'Bearer abc']]),
      fileHeaders: new Set<string>(),
      keyEnv: 'NOT_SET',
    };
    const keys = new CachedKeyProvider(
      sources,
      {},
      createLog('error', () => {}),
      new Secrets((keys) => new SecretMatcher(keys)),
    );
    const finding = await keys.current();
    expect(finding.kind).toBe('in-header');
    expect(await keys.renew(finding, REJECTION)).toBeUndefined();
  });
});
