// Sign-ins at rest: a file for each entry, encrypted with one key that is in the OS keychain. A
// keychain's item may be too small for a token (Windows: 2,560 bytes), and to write to it may ask the
// user. The key is written there once, and a file is replaced in one step.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { closeSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Log } from '../../log.ts';
import { makePrivateFolder, openPrivate, ReplacedFile, UnusableFile } from '../../private-path.ts';
import { renameOnto } from '../../rename-onto.ts';
import { attemptFile, entryOfFile, lockFolder, signInFile, signInFolder } from './sign-in-file.ts';
import { StoreKey, type StoreKeySources } from './store-key.ts';
import {
  type FoundSignIn,
  isOfSignIn,
  type ListedSignIn,
  type SignInEntry,
  type SignInStore,
  type Stored,
  type StoredSignIn,
} from './stored-sign-in.ts';

const FORMAT = 1;
const CIPHER = 'aes-256-gcm';
/** The nonce of AES-GCM, of 12 bytes (NIST SP 800-38D §5.2.1.1), and its tag. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** No sign-in is as large. */
const MAX_FILE_BYTES = 1024 * 1024;
/** A temporary file as old as this was left by a process that was killed. */
const LEFT_BEHIND_MS = 60_000;
/** How often a file is opened that another process replaces at the same time. */
const OPEN_TRIES = 20;

/** What a file contains. All but `sealed` can be read without the key, and not be changed. */
interface SealedSignIn extends SignInEntry {
  readonly version: number;
  readonly issuer: string;
  /** Base64. */
  readonly nonce: string;
  /** The sign-in as JSON, encrypted, and the tag; base64. */
  readonly sealed: string;
}

/**
 * The sign-ins in the user's data folder `data`, of which nothing is read yet. The key is looked for
 * when it is first needed, and kept in memory.
 */
export function openSignInStore(data: string, sources: StoreKeySources, log: Log): SignInStore {
  return new FileStore(data, new StoreKey(sources, lockFolder(data), log), log);
}

class FileStore implements SignInStore {
  readonly #data: string;
  readonly #key: StoreKey;
  readonly #log: Log;
  /** Those that could not be stored, by the path of their file. */
  readonly #unstored = new Map<string, { entry: SignInEntry; signIn: StoredSignIn }>();

  constructor(data: string, key: StoreKey, log: Log) {
    this.#data = data;
    this.#key = key;
    this.#log = log;
  }

  async read(entry: SignInEntry): Promise<FoundSignIn> {
    const path = signInFile(this.#data, entry);
    const stored = await this.#readFile(path, entry);
    const unstored = this.#unstored.get(path);
    if (unstored === undefined) return stored;
    // Another process may have signed in since.
    if (stored.kind === 'found' && age(stored.signIn) > age(unstored.signIn)) return stored;
    return { kind: 'found', signIn: unstored.signIn };
  }

  async write(entry: SignInEntry, signIn: StoredSignIn): Promise<Stored> {
    const path = signInFile(this.#data, entry);
    try {
      const found = await this.#key.findOrMake();
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

  async #readFile(path: string, entry: SignInEntry): Promise<FoundSignIn> {
    try {
      const file = readSealed(path, (words) => this.#log.warn(`the stored sign-in: ${words}`));
      if (file === undefined) return { kind: 'none' };
      if (file.gateway !== entry.gateway || file.account !== entry.account) {
        throw new UnusableFile(`the file ${path} is the sign-in to another gateway or account`);
      }
      const found = await this.#key.find();
      if ('words' in found) return { kind: 'unreadable', words: found.words };
      const signIn = opened(file, found.key);
      if (signIn !== undefined) return { kind: 'found', signIn };
      // The key may have been removed and made again while this process had the old one.
      const newest = await this.#key.findAgain();
      const again = 'key' in newest ? opened(file, newest.key) : undefined;
      if (again !== undefined) return { kind: 'found', signIn: again };
      throw new UnusableFile(
        `the file ${path} was encrypted with another key, or was changed since`,
      );
    } catch (error) {
      return { kind: 'unreadable', words: wordsOf(error, path, 'read') };
    }
  }
}

/** When it was last changed, in ms since 1970. */
const age = ({ signedInAt, tokens }: StoredSignIn) => Math.max(signedInAt, tokens?.receivedAt ?? 0);

function wordsOf(error: unknown, path: string, what: string): string {
  if (error instanceof UnusableFile) return error.message;
  const { code, message } = error as NodeJS.ErrnoException;
  return `the file ${path} cannot be ${what} (${code ?? message})`;
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => entryOfFile(name) !== undefined);
  } catch {
    return [];
  }
}

/** What the tag vouches for beside the sign-in itself. */
const associatedData = (version: number, { gateway, account }: SignInEntry, issuer: string) =>
  Buffer.from(JSON.stringify([version, gateway, account, issuer]));

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

/** Undefined when it was encrypted with another key, or changed. */
function opened(file: SealedSignIn, key: Buffer): StoredSignIn | undefined {
  const nonce = Buffer.from(file.nonce, 'base64');
  const bytes = Buffer.from(file.sealed, 'base64');
  if (nonce.length !== NONCE_BYTES || bytes.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associatedData(file.version, file, file.issuer));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    const text = Buffer.concat([decipher.update(bytes.subarray(0, -TAG_BYTES)), decipher.final()]);
    return JSON.parse(text.toString());
  } catch {
    return undefined;
  }
}

/** Undefined when there is none. Throws UnusableFile, and the file system's error. */
function readSealed(path: string, warn: (words: string) => void): SealedSignIn | undefined {
  const text = readText(path, warn);
  if (text === undefined) return undefined;
  const damaged = new UnusableFile(`the file ${path} is damaged`);
  let file: Partial<Record<keyof SealedSignIn, unknown>> | null;
  try {
    file = JSON.parse(text);
  } catch {
    throw damaged;
  }
  if (typeof file !== 'object' || file === null) throw damaged;
  const { version, gateway, account, issuer, nonce, sealed } = file;
  if (typeof version === 'number' && version > FORMAT) {
    throw new UnusableFile(`the file ${path} was written by a newer version of mcp-latchkey`);
  }
  if (
    version !== FORMAT ||
    typeof gateway !== 'string' ||
    typeof account !== 'string' ||
    typeof issuer !== 'string' ||
    typeof nonce !== 'string' ||
    typeof sealed !== 'string'
  ) {
    throw damaged;
  }
  return { version, gateway, account, issuer, nonce, sealed };
}

/** Not by `readPrivate`, which waits for the writer of a pipe. */
function readText(path: string, warn: (words: string) => void): string | undefined {
  const file = openExisting(path);
  if (file === undefined) return undefined;
  try {
    if (!file.stats.isFile()) throw new UnusableFile(`${path} is not a file`);
    if (file.stats.size > MAX_FILE_BYTES) throw new UnusableFile(`the file ${path} is too large`);
    if (file.warning !== undefined) warn(file.warning);
    return readFileSync(file.fd, 'utf8');
  } finally {
    closeSync(file.fd);
  }
}

function openExisting(path: string): ReturnType<typeof openPrivate> | undefined {
  for (let left = OPEN_TRIES; ; left--) {
    try {
      return openPrivate(path, 'secret');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      if (!(error instanceof ReplacedFile) || left === 0) throw error;
    }
  }
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
