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
  const asked: { link?: string } = {};
  const onLink = (link: string) => {
    asked.link = link;
  };
  const outcome = askForSignIn(request, { ...options, onLink });
  return { outcome, link: () => asked.link };
}
