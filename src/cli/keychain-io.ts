import type { KeychainAnswer, KeychainError } from '../auth/keychain.ts';
import { asSentence } from '../terminal/printer.ts';

const NOTICE_MS = 3_000;

/** Waits for the keychain, and says on stderr what it may be waiting for when that takes long. */
export async function withSlowNotice<Value>(
  answer: Promise<KeychainAnswer<Value>>,
): Promise<KeychainAnswer<Value>> {
  const timer = setTimeout(() => {
    process.stderr.write(
      'Waiting for the keychain. It may be asking for its password in another window.\n',
    );
  }, NOTICE_MS);
  const done = await answer;
  clearTimeout(timer);
  return done;
}

/** Why the keychain cannot be used, and what to do, in sentences. */
export function keychainError({ words, advice }: KeychainError): string {
  return `${asSentence(words)} ${advice}`;
}
