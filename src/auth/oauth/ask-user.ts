import { type AskOptions, askForSignIn } from './ask-for-sign-in.ts';
import { findBrowser } from './open-browser.ts';
import type { AskedUser } from './sign-in-desk.ts';
import type { SignInRequest } from './stored-sign-in.ts';

/**
 * Has the user sign in, in a browser tab that all proxies of this user share. Undefined where no
 * browser can be opened. Never rejects.
 */
export async function askUser(
  request: SignInRequest,
  options: AskOptions,
): Promise<AskedUser | undefined> {
  const browser = await findBrowser(process.platform, options.env);
  if ('words' in browser || !options.opensBrowser) return undefined;
  let link: string | undefined;
  let onShown!: () => void;
  const shown = new Promise<undefined>((resolve) => {
    onShown = () => resolve(undefined);
  });
  const onLink = (newest: string) => {
    link = newest;
    onShown();
  };
  const outcome = askForSignIn(request, { ...options, onLink });
  return { outcome, shown, link: () => link };
}
