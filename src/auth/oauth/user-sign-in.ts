// All of sign-in, in one bundle: what the proxy loads when it has or needs a token, what the commands login,
// logout, status and doctor do, and the process that has the user sign in for a proxy.
import type { Secrets } from '../../failures/secrets.ts';
import type { Headers } from '../../http/request.ts';
import type { Log } from '../../log.ts';
import { bearerChallenge, parseChallenges } from '../challenge.ts';
import { type CredentialSources, signInEntry, userDataFolder } from '../credential-sources.ts';
import { openCallbackServer } from './callback-server.ts';
import { type DeviceCode, signInByDevice } from './device-grant.ts';
import { findOrMakeStoreKey } from './make-store-key.ts';
import { OAuthClient } from './oauth-client.ts';
import type { OAuthSettings } from './oauth-settings.ts';
import { findBrowser, openBrowser } from './open-browser.ts';
import { openStore, secretVariables } from './open-sign-in.ts';
import { withPastedCallback } from './pasted-callback.ts';
import { performSignIn } from './perform-sign-in.ts';
import type { SignInContext } from './sign-in-context.ts';
import { lockFolder } from './sign-in-file.ts';
import { StoreKey } from './store-key.ts';
import { storeKeySources } from './store-key-sources.ts';
import {
  type FoundSignIn,
  type ListedSignIn,
  SignInError,
  type StoredSignIn,
} from './stored-sign-in.ts';

export { examineSignIn, openSignIn, openStore } from './open-sign-in.ts';
export { performSignIn } from './perform-sign-in.ts';
export { runSignInHelper } from './sign-in-helper.ts';

/** What a command works with. */
export interface SignInSurroundings {
  readonly sources: CredentialSources;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  readonly secrets: Secrets;
}

/** What the user is shown, and says. */
export interface SignInTerminal {
  /**
   * `link` opens the sign-in: in any browser, with `isAnywhere`, else in one of this computer. `opens`:
   * why no browser opens by itself, in words that follow a colon; undefined when one does. `scopes`:
   * those that are asked for, separated by spaces.
   */
  showLink(shown: {
    link: string;
    isAnywhere: boolean;
    notOpened: string | undefined;
    scopes: string | undefined;
  }): void;
  showCode(code: DeviceCode): void;
  /** What the user pastes, by lines. */
  readonly lines: AsyncIterable<string>;
  /** A pasted line was not the address of this sign-in. */
  onOtherLine(): void;
  /** Ends the sign-in. */
  readonly signal: AbortSignal;
}

const DEADLINE_MS = 5 * 60_000;
const REVOCATION_LIMIT_MS = 5_000;

/** Why something could not be done, in a sentence. Not thrown: this file is a bundle of its own. */
export interface Refused {
  readonly words: string;
}

/** How the gateway that answered 401 with `headers` is signed in to; undefined where it is not. */
export async function findSignIn(
  { sources, env, log, secrets }: SignInSurroundings,
  headers: Headers,
): Promise<SignInContext | Refused | undefined> {
  const challenges = parseChallenges([headers['www-authenticate'] ?? []].flat());
  const needsDpop = challenges.some(({ scheme }) => scheme === 'dpop');
  const client = new OAuthClient(sources, env, log, secrets);
  const need = { isStepUp: false, needsDpop };
  return orRefused(client.contextFor(bearerChallenge(challenges), need));
}

/** Why a sign-in could not be stored, in words that follow a colon; undefined when it can. Never rejects. */
export async function whyNotStored({
  sources,
  env,
  log,
}: SignInSurroundings): Promise<string | undefined> {
  const key = new StoreKey(storeKeySources(sources.oauth, env), log);
  const found = await findOrMakeStoreKey(key, lockFolder(userDataFolder(env)));
  return 'words' in found ? found.words : undefined;
}

/**
 * Has the user sign in, in a browser or by the device grant with a code, and stores the sign-in. Takes
 * 5 minutes at most, the device grant 30. Ends when the terminal's signal aborts.
 */
export function signIn(
  surroundings: SignInSurroundings,
  context: SignInContext,
  terminal: SignInTerminal,
): Promise<StoredSignIn | Refused> {
  return orRefused(signInAndStore(surroundings, context, terminal));
}

async function orRefused<Value>(made: Promise<Value>): Promise<Value | Refused> {
  try {
    return await made;
  } catch (error) {
    if (error instanceof SignInError) return { words: error.message };
    throw error;
  }
}

async function signInAndStore(
  { sources, env, log, secrets }: SignInSurroundings,
  context: SignInContext,
  terminal: SignInTerminal,
): Promise<StoredSignIn> {
  const { oauth } = sources;
  const entry = signInEntry(sources);
  const store = openStore(sources, env, log);
  const signal = AbortSignal.any([terminal.signal, deadline()]);
  const request = { entry, context };
  const made =
    oauth.grant === 'device-code'
      ? await signInByDevice(request, {
          store,
          signal: terminal.signal,
          show: (code) => terminal.showCode(code),
        })
      : await byBrowser();
  for (const secret of secretsOf(made)) secrets.add(secret);
  const stored = await store.write(entry, made);
  if (!stored.isLasting) throw new SignInError(`You are signed in, but ${stored.words}.`);
  return made;

  async function byBrowser(): Promise<StoredSignIn> {
    const browser = oauth.opensBrowser
      ? await findBrowser(process.platform, env)
      : { words: '--no-browser is set' };
    return performSignIn(request, {
      store,
      signal,
      listen: async (options) =>
        withPastedCallback(await openCallbackServer(options), terminal.lines, () =>
          terminal.onOtherLine(),
        ),
      show: (url, server) => {
        const scopes = url.searchParams.get('scope') ?? undefined;
        const showUrl = (notOpened: string) =>
          terminal.showLink({ link: url.href, isAnywhere: true, notOpened, scopes });
        if ('words' in browser) {
          showUrl(browser.words);
          return;
        }
        const link = server.linkTo(url, false);
        terminal.showLink({ link, isAnywhere: false, notOpened: undefined, scopes });
        void openBrowser(server.linkTo(url), browser, secretVariables(sources)).then((words) => {
          if (words !== undefined) showUrl(words);
        });
      },
    });
  }
}

function deadline(): AbortSignal {
  const ended = new AbortController();
  setTimeout(
    () => ended.abort(new SignInError('You did not finish the sign-in within 5 minutes.')),
    DEADLINE_MS,
  ).unref();
  return ended.signal;
}

function secretsOf({ tokens, registration }: StoredSignIn): string[] {
  const { accessToken, refreshToken } = tokens ?? {};
  return [accessToken, refreshToken, registration.clientSecret].filter((own) => own !== undefined);
}

/** What came of a sign-out. */
export interface SignedOut {
  /** What was stored. */
  readonly found: FoundSignIn;
  readonly isRemoved: boolean;
  /** Whether the authorization server says that the tokens are good no longer. */
  readonly isRevoked: boolean;
}

/** Removes the sign-in and revokes its tokens (RFC 7009), which takes 5 s at most. Never rejects. */
export async function signOut({
  sources,
  env,
  log,
  secrets,
}: SignInSurroundings): Promise<SignedOut> {
  const entry = signInEntry(sources);
  const store = openStore(sources, env, log);
  const found = await store.read(entry);
  const isRemoved = await store.remove(entry);
  if (found.kind !== 'found') return { found, isRemoved, isRevoked: false };
  for (const secret of secretsOf(found.signIn)) secrets.add(secret);
  const client = new OAuthClient(sources, env, log, secrets);
  const tooLate = new Promise<false>((resolve) => {
    setTimeout(resolve, REVOCATION_LIMIT_MS, false).unref();
  });
  const isRevoked = await Promise.race([client.revoke(found.signIn), tooLate]);
  return { found, isRemoved, isRevoked };
}

/** All of this user's sign-ins, by gateway and account. Never rejects. */
export function listSignIns(
  oauth: OAuthSettings,
  env: NodeJS.ProcessEnv,
  log: Log,
): Promise<readonly ListedSignIn[]> {
  return openStore({ oauth }, env, log).list();
}
