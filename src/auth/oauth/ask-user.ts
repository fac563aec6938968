import { openCallbackServer } from './callback-server.ts';
import { findBrowser, openBrowser } from './open-browser.ts';
import { performSignIn } from './perform-sign-in.ts';
import type { AskedUser } from './sign-in-credentials.ts';
import {
  SignInError,
  type SignInOutcome,
  type SignInRequest,
  type SignInStore,
} from './stored-sign-in.ts';

/** How long the user may take. */
const DEADLINE_MS = 5 * 60_000;

/**
 * Opens a browser for the user to sign in, and stores what comes of it. Undefined where no browser
 * can be opened. Never rejects.
 */
export async function askUser(
  request: SignInRequest,
  store: SignInStore,
): Promise<AskedUser | undefined> {
  const browser = await findBrowser(process.platform, process.env);
  if ('words' in browser || !request.opensBrowser) return undefined;
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const run = async (): Promise<SignInOutcome> => {
    try {
      const signIn = await performSignIn(request, {
        store,
        signal,
        listen: openCallbackServer,
        show: (url, server) => {
          void openBrowser(server.linkTo(url), browser, request.secretVariables);
        },
      });
      const stored = await store.write(request.entry, signIn);
      return stored.isLasting ? { kind: 'done' } : { kind: 'done', signIn };
    } catch (error) {
      if (!(error instanceof SignInError)) throw error;
      return { kind: 'failed', words: error.message };
    }
  };
  return { outcome: run() };
}
