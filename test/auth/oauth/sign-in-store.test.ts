import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { attemptFile, hasSignIn, signInFile } from '../../../src/auth/oauth/sign-in-file.ts';
import { openSignInStore } from '../../../src/auth/oauth/sign-in-store.ts';
import type { SignInEntry, StoredSignIn } from '../../../src/auth/oauth/stored-sign-in.ts';
import { createLog } from '../../../src/log.ts';
import { bundleScript, runScript } from '../../child-script.ts';
import { commandToPrint } from '../../environment.ts';

const entry: SignInEntry = { gateway: 'https://mcp.example/v1/mcp', account: 'default' };
const SECRETS = ['access-4711', 'refresh-4712', 'client-4713', 'dpop-4714'];
const signIn: StoredSignIn = {
  server: { issuer: 'https://as.example', tokenEndpoint: 'https://as.example/token' },
  registration: {
    kind: 'dynamic',
    clientId: 'client',
    clientSecret: 'client-4713',
    authMethod: 'client_secret_basic',
    redirectUris: ['http://127.0.0.1:3456/callback'],
    callbackPort: 3456,
  },
  tokens: {
    accessToken: 'access-4711',
    tokenType: 'DPoP',
    refreshToken: 'refresh-4712',
    receivedAt: 1_000,
    expiresAt: 2_000,
    scope: 'a b',
  },
  requestedScopes: 'a b c',
  resource: 'https://mcp.example/v1/mcp',
  dpopKey: { kty: 'EC', d: 'dpop-4714' },
  signedInAt: 1_000,
};

let data: string;
beforeEach(() => {
  data = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-store-')));
  onTestFinished(() => rmSync(data, { recursive: true }));
});

const newKey = () => randomBytes(32).toString('base64');
const key = newKey();
const log = createLog('error', () => {});
const open = (value = key) => openSignInStore(data, { value }, log);
const file = () => signInFile(data, entry);

it('keeps a sign-in for other processes, with nothing secret in clear', async () => {
  expect(hasSignIn(data, entry)).toBe(false);
  expect(await open().read(entry)).toEqual({ kind: 'none' });
  expect(await open().write(entry, signIn)).toEqual({ isLasting: true });
  expect(hasSignIn(data, entry)).toBe(true);
  expect(await open().read(entry)).toEqual({ kind: 'found', signIn });
  for (const name of readdirSync(dirname(file()))) {
    const text = readFileSync(join(dirname(file()), name), 'latin1');
    for (const secret of SECRETS) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(Buffer.from(secret).toString('base64').slice(0, -4));
    }
  }
  if (process.platform === 'win32') return;
  expect(statSync(file()).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(file())).mode & 0o777).toBe(0o700);
});

it('keeps one of any size, and replaces it', async () => {
  const large = { ...signIn, subject: 'x'.repeat(500_000) };
  await open().write(entry, large);
  expect(await open().read(entry)).toEqual({ kind: 'found', signIn: large });
  await open().write(entry, signIn);
  expect(await open().read(entry)).toEqual({ kind: 'found', signIn });
  expect(readdirSync(dirname(file()))).toEqual([basename(file())]);
});

it('removes it', async () => {
  const store = open();
  expect(await store.remove(entry)).toBe(false);
  await store.write(entry, signIn);
  expect(await store.remove(entry)).toBe(true);
  expect(hasSignIn(data, entry)).toBe(false);
  expect(await store.read(entry)).toEqual({ kind: 'none' });
});

it('keeps one for each gateway and account, and lists them', async () => {
  const long = `https://mcp.example/${'long/'.repeat(100)}`;
  const entries = [
    { gateway: 'https://mcp.example/A', account: 'default' },
    { gateway: 'https://mcp.example/a', account: 'default' },
    { gateway: 'https://mcp.example/a', account: 'work' },
    { gateway: 'https://mcp.example/a', account: 'wörk #2' },
    { gateway: `${long}1`, account: 'default' },
    { gateway: `${long}2`, account: 'default' },
  ];
  const store = open();
  for (const own of entries) await store.write(own, { ...signIn, subject: JSON.stringify(own) });
  const listed = await open().list();
  expect(listed).toHaveLength(entries.length);
  for (const { entry: own, found } of listed) {
    expect(entries).toContainEqual(own);
    expect(found).toMatchObject({ kind: 'found', signIn: { subject: JSON.stringify(own) } });
  }
  const names = readdirSync(dirname(file()));
  expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(entries.length);
  for (const name of names) expect(name.length).toBeLessThan(210);
});

const tamperings: [what: string, act: () => void, words: RegExp][] = [
  ['cut off', () => truncateSync(file(), 100), /is damaged$/],
  ['emptied', () => truncateSync(file(), 0), /is damaged$/],
  ['not a sign-in', () => writeFileSync(file(), '[null]'), /is damaged$/],
  ['JSON of another kind', () => writeFileSync(file(), 'null'), /is damaged$/],
  ['without a tag', () => change({ sealed: 'AAAA' }), /another key, or was changed since$/],
  ['of another issuer', () => change({ issuer: 'https://evil.example' }), /was changed since$/],
  ['of another gateway', () => change({ gateway: 'https://evil.example/' }), /another gateway/],
  ['of another account', () => change({ account: 'work' }), /another gateway or account$/],
  ['of a newer version', () => change({ version: 2 }), /by a newer version of mcp-latchkey$/],
  ['of version 0', () => change({ version: 0 }), /is damaged$/],
  ['with another nonce', () => change({ nonce: 'AAAAAAAAAAAAAAAA' }), /was changed since$/],
  ['with a nonce that is too short', () => change({ nonce: 'AAAA' }), /was changed since$/],
  ['with one bit changed', flipBit, /was changed since$/],
  ['huge', () => truncateSync(file(), 2 ** 31), /is too large$/],
  ['a folder', () => toFolder(), /is not a file$/],
];

function change(members: object): void {
  writeFileSync(
    file(),
    JSON.stringify({ ...JSON.parse(readFileSync(file(), 'utf8')), ...members }),
  );
}

function flipBit(): void {
  const { sealed } = JSON.parse(readFileSync(file(), 'utf8'));
  const bytes = Buffer.from(sealed, 'base64');
  bytes[20] = (bytes[20] as number) ^ 1;
  change({ sealed: bytes.toString('base64') });
}

function toFolder(): void {
  rmSync(file());
  mkdirSync(file(), { mode: 0o700 });
}

describe('a file that', () => {
  it.each(tamperings)('is %s counts as not signed in, and says why', async (_, act, words) => {
    await open().write(entry, signIn);
    act();
    const found = await open().read(entry);
    expect(found).toEqual({ kind: 'unreadable', words: expect.stringMatching(words) });
    expect(await open().list()).toHaveLength(1);
    if (statSync(file()).isFile()) {
      expect(await open().write(entry, signIn)).toEqual({ isLasting: true });
      expect(await open().read(entry)).toEqual({ kind: 'found', signIn });
    }
    expect(await open().remove(entry)).toBe(true);
  });

  it('was moved to another entry’s name is refused there', async () => {
    await open().write(entry, signIn);
    const other = { ...entry, account: 'work' };
    renameSync(file(), signInFile(data, other));
    expect(await open().read(other)).toHaveProperty('kind', 'unreadable');
  });

  it('was encrypted with another key is refused, and can be replaced', async () => {
    await open(newKey()).write(entry, signIn);
    expect(await open().read(entry)).toMatchObject({ words: /with another key/ });
    await open().write(entry, signIn);
    expect(await open().read(entry)).toEqual({ kind: 'found', signIn });
  });

  it.skipIf(process.platform === 'win32')('others can read or change is refused', async () => {
    await open().write(entry, signIn);
    chmodSync(file(), 0o640);
    expect(await open().read(entry)).toMatchObject({ words: /open to other users/ });
    rmSync(file());
    symlinkSync('/dev/zero', file());
    expect(await open().read(entry)).toMatchObject({ words: /is not a file$/ });
    expect(await open().write(entry, signIn)).toEqual({ isLasting: true });
    expect(await open().read(entry)).toEqual({ kind: 'found', signIn });
    chmodSync(data, 0o777);
    expect(await open().read(entry)).toMatchObject({ words: /other users can write/ });
    expect(await open().write(entry, signIn)).toMatchObject({ words: /other users can write/ });
  });
});

it('ends the pause between sign-ins by a sign-in, and not by a refresh', async () => {
  const store = open();
  await store.write(entry, signIn);
  writeFileSync(attemptFile(data, entry), '');
  const refreshed = { ...signIn, tokens: { ...signIn.tokens, receivedAt: 2_000 } };
  await store.write(entry, refreshed as StoredSignIn);
  expect(existsSync(attemptFile(data, entry))).toBe(true);
  await store.write(entry, { ...(refreshed as StoredSignIn), signedInAt: 2_000 });
  expect(existsSync(attemptFile(data, entry))).toBe(false);
});

describe('a sign-in that cannot be stored', () => {
  it('is kept in memory, and is the one that counts there until it can', async () => {
    const store = open();
    await store.write(entry, signIn);
    // A file in the place of the folder.
    renameSync(dirname(file()), `${dirname(file())}-away`);
    writeFileSync(dirname(file()), '');
    const newer = { ...signIn, signedInAt: 3_000 };
    const stored = await store.write(entry, newer);
    expect(stored).toEqual({ isLasting: false, words: expect.stringMatching(/sign-ins/) });
    rmSync(dirname(file()));
    renameSync(`${dirname(file())}-away`, dirname(file()));
    expect(await store.read(entry)).toEqual({ kind: 'found', signIn: newer });
    expect(await open().read(entry)).toEqual({ kind: 'found', signIn });

    // Another process is the last to sign in.
    const newest = { ...signIn, signedInAt: 4_000 };
    await open().write(entry, newest);
    expect(await store.read(entry)).toEqual({ kind: 'found', signIn: newest });
  });

  it.each([
    ['too short', 'c2hvcnQ='],
    ['not Base64', '?'.repeat(44)],
    ['of 33 bytes', randomBytes(33).toString('base64')],
  ])('has a key that is %s', async (_, value) => {
    const stored = await open(value).write(entry, signIn);
    expect(stored).toMatchObject({ words: /MCP_LATCHKEY_STORE_KEY is not a key of 32 bytes/ });
    expect(existsSync(file())).toBe(false);
  });
});

describe('the key', () => {
  const bytes = randomBytes(32);
  it.each([
    ['in Base64', bytes.toString('base64')],
    ['in Base64 without padding', bytes.toString('base64url')],
    ['in hexadecimal, with white space', ` ${bytes.toString('hex').toUpperCase()}\n`],
  ])('is taken %s', async (_, value) => {
    await open(value).write(entry, signIn);
    expect(await open(bytes.toString('hex')).read(entry)).toEqual({ kind: 'found', signIn });
  });

  it('comes from a file or a command', async () => {
    const keyFile = join(data, 'key');
    writeFileSync(keyFile, key, { mode: 0o600 });
    await open().write(entry, signIn);
    const found = { kind: 'found', signIn };
    const by = (sources: object) => openSignInStore(data, sources, log).read(entry);
    expect(await by({ file: keyFile })).toEqual(found);
    expect(await by({ command: commandToPrint(keyFile), file: 'no file' })).toEqual(found);
    expect(await by({ command: 'exit 3', value: key })).toMatchObject({
      words: '--store-key-command failed with exit code 3',
    });
    if (process.platform === 'win32') return;
    chmodSync(keyFile, 0o644);
    expect(await by({ file: keyFile })).toMatchObject({ words: /open to other users/ });
  });

  it('is looked for once', async () => {
    const counter = join(data, 'counter');
    const then = process.platform === 'win32' ? '&' : ';';
    const command = `echo x>>"${counter}"${then} echo ${key}`;
    const store = openSignInStore(data, { command }, log);
    await Promise.all([store.write(entry, signIn), store.write(entry, signIn)]);
    await Promise.all([store.read(entry), store.read(entry)]);
    expect(readFileSync(counter, 'utf8')).toMatch(/^x\r?\n$/);
  });
});

it('removes what a process that was killed left behind', async () => {
  await open().write(entry, signIn);
  const left = `${file()}.0123456789ab.tmp`;
  writeFileSync(left, 'left');
  await open().write(entry, signIn);
  expect(existsSync(left)).toBe(true);
  utimesSync(left, 1, 1);
  await open().write(entry, signIn);
  await vi.waitFor(() => expect(existsSync(left)).toBe(false));
});

it('is whole for readers while other processes replace it, and after they are killed', async () => {
  const script = await bundleScript(`
    import { openSignInStore } from './src/auth/oauth/sign-in-store.ts';
    import { createLog } from './src/log.ts';
    const [, , data, value, entry, signIn] = process.argv as string[];
    void (async () => {
      const store = openSignInStore(data!, { value }, createLog('error', () => {}));
      for (let count = 1; ; count++) {
        const subject = String(count).repeat(20_000);
        await store.write(JSON.parse(entry!), { ...JSON.parse(signIn!), subject });
        if (count === 5) process.send?.('writing');
      }
    })();
  `);
  await open().write(entry, signIn);
  const args = [data, key, JSON.stringify(entry), JSON.stringify(signIn)];
  for (let round = 0; round < 4; round++) {
    const writers = [runScript(script, args), runScript(script, args)];
    await Promise.all(writers.map((writer) => once(writer, 'message')));
    for (let read = 0; read < 100; read++) {
      expect(await open().read(entry)).toHaveProperty('kind', 'found');
      await new Promise(setImmediate);
    }
    const ended = Promise.all(writers.map((writer) => once(writer, 'exit')));
    for (const writer of writers) writer.kill('SIGKILL');
    await ended;
    expect(await open().read(entry)).toHaveProperty('kind', 'found');
  }
});
