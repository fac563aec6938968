// The reading half of the store: all that a start with a sign-in needs. No lock: a file is replaced in
// one step, so that it is always whole.
import { createDecipheriv } from 'node:crypto';
import { closeSync, readFileSync } from 'node:fs';
import type { Log } from '../../log.ts';
import { openPrivate, ReplacedFile, UnusableFile } from '../../private-path.ts';
import { signInFile } from './sign-in-file.ts';
import type { StoreKey } from './store-key.ts';
import type { FoundSignIn, SignInEntry, StoredSignIn } from './stored-sign-in.ts';

export const FORMAT = 1;
export const CIPHER = 'aes-256-gcm';
/** The nonce of AES-GCM, of 12 bytes (NIST SP 800-38D §5.2.1.1), and its tag. */
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
/** No sign-in is as large. */
const MAX_FILE_BYTES = 1024 * 1024;
/** How often a file is opened that another process replaces at the same time. */
const OPEN_TRIES = 20;

/** What a file contains. All but `sealed` can be read without the key, and not be changed. */
export interface SealedSignIn extends SignInEntry {
  readonly version: number;
  readonly issuer: string;
  /** Base64. */
  readonly nonce: string;
  /** The sign-in as JSON, encrypted, and the tag; base64. */
  readonly sealed: string;
}

/** Reads the sign-ins in the user's data folder. */
export class SignInReader {
  readonly #data: string;
  readonly #key: StoreKey;
  readonly #log: Log;

  constructor(data: string, key: StoreKey, log: Log) {
    this.#data = data;
    this.#key = key;
    this.#log = log;
  }

  /** What is stored for an entry. Waits at most 10 s for the key. Never rejects. */
  async read(entry: SignInEntry): Promise<FoundSignIn> {
    const path = signInFile(this.#data, entry);
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

/** Why the file could not be `what`, such as `read`, in words that follow a colon. */
export function wordsOf(error: unknown, path: string, what: string): string {
  if (error instanceof UnusableFile) return error.message;
  const { code, message } = error as NodeJS.ErrnoException;
  return `the file ${path} cannot be ${what} (${code ?? message})`;
}

/** What the tag vouches for beside the sign-in itself. */
export const associatedData = (
  version: number,
  { gateway, account }: SignInEntry,
  issuer: string,
) => Buffer.from(JSON.stringify([version, gateway, account, issuer]));

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
export function readSealed(path: string, warn: (words: string) => void): SealedSignIn | undefined {
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
