import { randomBytes } from 'node:crypto';
import { withLock } from './process-lock.ts';
import { KEY_BYTES, type StoreKey, type StoreKeyResult } from './store-key.ts';

/** Longer than the keychain takes for a prompt. */
const LOCK_LIMIT_MS = 75_000;

/**
 * As `key.find`. Makes one in the keychain where there is none, and waits for its prompt then.
 * `locks`: the folder of the locks. Never rejects.
 */
export async function findOrMakeStoreKey(key: StoreKey, locks: string): Promise<StoreKeyResult> {
  const found = await key.find();
  if (!('isMissing' in found)) return found;
  try {
    const { keepStoreKey, keychainClause } = await import('../keychain.ts');
    const made = await withLock(locks, 'store-key', { limitMs: LOCK_LIMIT_MS }, () =>
      keepStoreKey(randomBytes(KEY_BYTES).toString('base64')),
    );
    return 'error' in made ? { words: keychainClause(made.error) } : key.adopt(made.value ?? '');
  } catch (error) {
    return { words: (error as Error).message };
  }
}
