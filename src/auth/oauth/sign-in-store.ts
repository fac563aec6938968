// Sign-ins at rest: a file for each entry, encrypted with one key that is in the OS keychain. A
// keychain's item may be too small for a token (Windows: 2,560 bytes), and to write to it may ask the
// user. The key is written there once, and a file is replaced in one step.
import { createCipheriv, randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Log } from '../../log.ts';
import { makePrivateFolder, UnusableFile } from '../../private-path.ts';
import { renameOnto } from '../../rename-onto.ts';
import { findOrMakeStoreKey } from './make-store-key.ts';
import { attemptFile, entryOfFile, lockFolder, signInFile, signInFolder } from './sign-in-file.ts';
import {
  associatedData,
  CIPHER,
  FORMAT,
  NONCE_BYTES,
  readSealed,
  type SealedSignIn,
  SignInReader,
  TAG_BYTES,
  wordsOf,
} from './sign-in-reader.ts';
import { StoreKey } from './store-key.ts';
import type { StoreKeySources } from './store-key-sources.ts';
import {
  type FoundSignIn,
  isOfSignIn,
  type ListedSignIn,
  type SignInEntry,
  type SignInStore,
  type Stored,
  type StoredSignIn,
} from './stored-sign-in.ts';

/** A temporary file as old as this was left by a process that was killed. */
const LEFT_BEHIND_MS = 60_000;
/**
 * The sign-ins in the user's data folder `data`, of which nothing is read yet. The key is looked for
 * when it is first needed, and kept in memory.
 */
export function openSignInStore(
  data: string,
  sources: StoreKeySources,
  log: Log,
  key = new StoreKey(sources, log),
): SignInStore {
  return new FileStore(data, key, log);
}

class FileStore implements SignInStore {
  readonly #data: string;
  readonly #key: StoreKey;
  readonly #reader: SignInReader;
  readonly #log: Log;
  /** Those that could not be stored, by the path of their file. */
  readonly #unstored = new Map<string, { entry: SignInEntry; signIn: StoredSignIn }>();

  constructor(data: string, key: StoreKey, log: Log) {
    this.#data = data;
    this.#key = key;
    this.#reader = new SignInReader(data, key, log);
    this.#log = log;
  }

  async read(entry: SignInEntry): Promise<FoundSignIn> {
    const path = signInFile(this.#data, entry);
    const stored = await this.#reader.read(entry);
    const unstored = this.#unstored.get(path);
    if (unstored === undefined) return stored;
    // Another process may have signed in since.
    if (stored.kind === 'found' && age(stored.signIn) > age(unstored.signIn)) return stored;
    return { kind: 'found', signIn: unstored.signIn };
  }

  async write(entry: SignInEntry, signIn: StoredSignIn): Promise<Stored> {
    const path = signInFile(this.#data, entry);
    try {
      const found = await findOrMakeStoreKey(this.#key, lockFolder(this.#data));
      if ('words' in found) throw new UnusableFile(found.words);
      makePrivateFolder(signInFolder(this.#data));
      await replaceFile(path, JSON.stringify(sealed(entry, signIn, found.key)));
      this.#unstored.delete(path);
      await this.#endAttempt(entry, signIn);
      return { isLasting: true };
    } catch (error) {
      this.#unstored.set(path, { entry, signIn });
      await this.#endAttempt(entry, signIn).catch(() => {});
      return { isLasting: false, words: wordsOf(error, path, 'written') };
    }
  }

  /** The user may be asked again at once, where the last sign-in came to tokens. */
  async #endAttempt(entry: SignInEntry, signIn: StoredSignIn): Promise<void> {
    if (isOfSignIn(signIn)) await rm(attemptFile(this.#data, entry), { force: true });
  }

  async remove(entry: SignInEntry): Promise<boolean> {
    const path = signInFile(this.#data, entry);
    const wasThere = this.#unstored.delete(path);
    const isThere = statSync(path, { throwIfNoEntry: false }) !== undefined;
    if (!isThere) return wasThere;
    try {
      await rm(path, { recursive: true, force: true });
      return true;
    } catch (error) {
      this.#log.warn(`the sign-in could not be removed: ${wordsOf(error, path, 'removed')}`);
      return wasThere;
    }
  }

  async list(): Promise<readonly ListedSignIn[]> {
    const folder = signInFolder(this.#data);
    const entries = new Map([...this.#unstored].map(([path, { entry }]) => [path, entry] as const));
    for (const name of namesIn(folder)) {
      const path = join(folder, name);
      const inFile = entryIn(path);
      const isItsFile = inFile !== undefined && signInFile(this.#data, inFile) === path;
      const entry = isItsFile ? inFile : entryOfFile(name);
      if (entry !== undefined) entries.set(path, entry);
    }
    const order = ({ gateway, account }: SignInEntry) => `${gateway}#${account}`;
    const listed: ListedSignIn[] = [];
    for (const entry of [...entries.values()].sort((a, b) => (order(a) < order(b) ? -1 : 1))) {
      listed.push({ entry, found: await this.read(entry) });
    }
    return listed;
  }
}

/** When it was last changed, in ms since 1970. */
const age = ({ signedInAt, tokens }: StoredSignIn) => Math.max(signedInAt, tokens?.receivedAt ?? 0);

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => entryOfFile(name) !== undefined);
  } catch {
    return [];
  }
}

function sealed(
  { gateway, account }: SignInEntry,
  signIn: StoredSignIn,
  key: Buffer,
): SealedSignIn {
  const { issuer } = signIn.server;
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(associatedData(FORMAT, { gateway, account }, issuer));
  const parts = [cipher.update(JSON.stringify(signIn)), cipher.final(), cipher.getAuthTag()];
  return {
    ...{ version: FORMAT, gateway, account, issuer },
    nonce: nonce.toString('base64'),
    sealed: Buffer.concat(parts).toString('base64'),
  };
}

function entryIn(path: string): SignInEntry | undefined {
  try {
    const { gateway = '', account = '' } = readSealed(path, () => {}) ?? {};
    return { gateway, account };
  } catch {
    return undefined;
  }
}

/** In one step: a process that is killed, or a power cut, leaves the old file or the new one. */
async function replaceFile(path: string, text: string): Promise<void> {
  removeLeftovers(path);
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await renameOnto(path, temporary);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncFolder(dirname(path));
}

/** Windows cannot, and some file systems need not. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // The file is there all the same.
  }
}

function removeLeftovers(path: string): void {
  const start = `${basename(path)}.`;
  for (const name of readdirSync(dirname(path))) {
    if (!name.startsWith(start) || !name.endsWith('.tmp')) continue;
    const file = join(dirname(path), name);
    const { mtimeMs } = statSync(file, { throwIfNoEntry: false }) ?? {};
    if (mtimeMs !== undefined && Date.now() - mtimeMs > LEFT_BEHIND_MS)
      void rm(file, { force: true });
  }
}
