import { randomBytes } from 'node:crypto';
import type { Log } from '../../log.ts';
import { isPipe, readPrivate, UnusableFile } from '../../private-path.ts';
import { withLock } from './process-lock.ts';

/** Where the key that sign-ins are encrypted with comes from, in this order, and then the keychain. */
export interface StoreKeySources {
  /** `--store-key-command`: prints the key. */
  readonly command?: string | undefined;
  /** `--store-key-file` */
  readonly file?: string | undefined;
  /** The value of `MCP_LATCHKEY_STORE_KEY`. */
  readonly value?: string | undefined;
}

/** The key, or why there is none, in words that follow a colon. */
export type StoreKeyResult = { readonly key: Buffer } | { readonly words: string };

/** AES-256. */
const KEY_BYTES = 32;
const MAX_FILE_BYTES = 64 * 1024;
/** Longer than the keychain takes for a prompt. */
const LOCK_LIMIT_MS = 75_000;
const COMMAND_LIMIT_MS = 10_000;

/** The key that sign-ins are encrypted with. It is kept in memory once it was found. */
export class StoreKey {
  readonly #sources: StoreKeySources;
  readonly #locks: string;
  readonly #log: Log;
  #kept: Buffer | undefined;
  #finding: Promise<StoreKeyResult> | undefined;
  #making: Promise<StoreKeyResult> | undefined;

  /** `locks`: the folder of the locks. */
  constructor(sources: StoreKeySources, locks: string, log: Log) {
    this.#sources = sources;
    this.#locks = locks;
    this.#log = log;
  }

  /** Waits at most 10 s. Never rejects. */
  async find(): Promise<StoreKeyResult> {
    if (this.#kept !== undefined) return { key: this.#kept };
    this.#finding ??= this.#look(false).finally(() => {
      this.#finding = undefined;
    });
    return this.#finding;
  }

  /** As `find`, and looks for it again. */
  findAgain(): Promise<StoreKeyResult> {
    this.#kept = undefined;
    return this.find();
  }

  /** As `find`. Makes one in the keychain where there is none, and waits for its prompt then. */
  async findOrMake(): Promise<StoreKeyResult> {
    if (this.#kept !== undefined) return { key: this.#kept };
    this.#making ??= this.#look(true).finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  async #look(makes: boolean): Promise<StoreKeyResult> {
    try {
      const found = await this.#lookAt(makes);
      if ('key' in found) this.#kept = found.key;
      return found;
    } catch (error) {
      return { words: (error as Error).message };
    }
  }

  async #lookAt(makes: boolean): Promise<StoreKeyResult> {
    const { command, file, value } = this.#sources;
    if (command !== undefined) {
      const { runKeyCommand } = await import('../key-command.ts');
      const option = '--store-key-command';
      const printed = await runKeyCommand(command, this.#log, COMMAND_LIMIT_MS, option);
      if ('error' in printed) return { words: printed.error };
      return keyIn(printed.text, `what the command of ${option} printed`);
    }
    if (file !== undefined) return keyIn(await this.#readFile(file), `the file ${file}`);
    if (value !== undefined && value.trim() !== '')
      return keyIn(value, 'the value of MCP_LATCHKEY_STORE_KEY');
    return this.#fromKeychain(makes);
  }

  /** A pipe would give it once, and it may be needed again. Throws UnusableFile. */
  async #readFile(file: string): Promise<string> {
    if (isPipe(file, 'secret')) throw new UnusableFile(`${file} is not a file`);
    const warn = (words: string) => this.#log.warn(`--store-key-file: ${words}`);
    return readPrivate(file, 'secret', warn, MAX_FILE_BYTES).toString();
  }

  async #fromKeychain(makes: boolean): Promise<StoreKeyResult> {
    const { keepStoreKey, keychainClause, readStoreKey } = await import('../keychain.ts');
    const found = await readStoreKey();
    if ('error' in found) return { words: keychainClause(found.error) };
    if (found.value !== null) return keyIn(found.value, IN_KEYCHAIN);
    if (!makes) return { words: 'the keychain does not have the key to it any longer' };
    const made = await withLock(this.#locks, 'store-key', { limitMs: LOCK_LIMIT_MS }, () =>
      keepStoreKey(randomBytes(KEY_BYTES).toString('base64')),
    );
    if ('error' in made) return { words: keychainClause(made.error) };
    return keyIn(made.value ?? '', IN_KEYCHAIN);
  }
}

const IN_KEYCHAIN = 'the item token-store-key in the keychain';

function keyIn(text: string, where: string): StoreKeyResult {
  const word = text.trim();
  const isHex = word.length === 2 * KEY_BYTES && /^[0-9a-f]+$/i.test(word);
  const isBase64 = /^[\w+/-]{43}=?$/.test(word);
  // Node.js decodes the URL-safe alphabet as well.
  const key = isHex || isBase64 ? Buffer.from(word, isHex ? 'hex' : 'base64') : undefined;
  if (key?.length !== KEY_BYTES) {
    return { words: `${where} is not a key of 32 bytes in Base64 or hexadecimal` };
  }
  return { key };
}
