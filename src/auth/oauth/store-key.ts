import type { Log } from '../../log.ts';
import { isPipe, readPrivate, UnusableFile } from '../../private-path.ts';
import { isInKeychain, type StoreKeySources } from './store-key-sources.ts';

/** The key, or why there is none, in words that follow a colon. */
export type StoreKeyResult =
  | { readonly key: Buffer }
  /** `isMissing`: the keychain works and does not have it. */
  | { readonly words: string; readonly isMissing?: true };

/** AES-256. */
export const KEY_BYTES = 32;
const MAX_FILE_BYTES = 64 * 1024;
const COMMAND_LIMIT_MS = 10_000;

/** The key that sign-ins are encrypted with. It is kept in memory once it was found. */
export class StoreKey {
  readonly #sources: StoreKeySources;
  readonly #log: Log;
  #kept: Buffer | undefined;
  #finding: Promise<StoreKeyResult> | undefined;

  constructor(sources: StoreKeySources, log: Log) {
    this.#sources = sources;
    this.#log = log;
  }

  /** Waits at most 10 s. Never rejects. */
  async find(): Promise<StoreKeyResult> {
    if (this.#kept !== undefined) return { key: this.#kept };
    this.#finding ??= this.#look().finally(() => {
      this.#finding = undefined;
    });
    return this.#finding;
  }

  /** As `find`, and looks for it again. */
  findAgain(): Promise<StoreKeyResult> {
    this.#kept = undefined;
    return this.find();
  }

  /** Takes over `text`, what the keychain has by now. */
  adopt(text: string): StoreKeyResult {
    return this.#keep(keyIn(text, IN_KEYCHAIN));
  }

  #keep(found: StoreKeyResult): StoreKeyResult {
    if ('key' in found) this.#kept = found.key;
    return found;
  }

  async #look(): Promise<StoreKeyResult> {
    try {
      return this.#keep(await this.#lookAt());
    } catch (error) {
      return { words: (error as Error).message };
    }
  }

  async #lookAt(): Promise<StoreKeyResult> {
    const { command, file, value = '' } = this.#sources;
    if (isInKeychain(this.#sources)) return this.#fromKeychain();
    if (command !== undefined) {
      const { runKeyCommand } = await import('../key-command.ts');
      const option = '--store-key-command';
      const printed = await runKeyCommand(command, this.#log, COMMAND_LIMIT_MS, option);
      if ('error' in printed) return { words: printed.error };
      return keyIn(printed.text, `what the command of ${option} printed`);
    }
    if (file !== undefined) return keyIn(await this.#readFile(file), `the file ${file}`);
    return keyIn(value, 'the value of MCP_LATCHKEY_STORE_KEY');
  }

  /** A pipe would give it once, and it may be needed again. Throws UnusableFile. */
  async #readFile(file: string): Promise<string> {
    if (isPipe(file, 'secret')) throw new UnusableFile(`${file} is not a file`);
    const warn = (words: string) => this.#log.warn(`--store-key-file: ${words}`);
    return readPrivate(file, 'secret', warn, MAX_FILE_BYTES).toString();
  }

  async #fromKeychain(): Promise<StoreKeyResult> {
    const { keychainClause, readStoreKey } = await import('../keychain.ts');
    const found = await readStoreKey();
    if ('error' in found) return { words: keychainClause(found.error) };
    if (found.value !== null) return keyIn(found.value, IN_KEYCHAIN);
    return { words: 'the keychain does not have the key to it any longer', isMissing: true };
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
