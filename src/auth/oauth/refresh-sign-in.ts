import { existsSync } from 'node:fs';
import { createLog } from '../../log.ts';
import { DpopProver } from './dpop.ts';
import { type HelperOptions, helperFile, runHelperProcess } from './helper-process.ts';
import { privateKeyFrom } from './jwt.ts';
import { withLock } from './process-lock.ts';
import type { SignInContext } from './sign-in-context.ts';
import { httpFor } from './sign-in-facts.ts';
import { lockFolder } from './sign-in-file.ts';
import { openSignInStore } from './sign-in-store.ts';
import { OAuthRefusal } from './sign-in-words.ts';
import type { StoreKeySources } from './store-key-sources.ts';
import {
  type SignInEntry,
  SignInError,
  type SignInStore,
  type StoredSignIn,
} from './stored-sign-in.ts';
import { TokenEndpoint } from './token-endpoint.ts';

/** What a refresh needs. Plain data, so that a helper process can be handed it. */
export interface RefreshRequest {
  readonly entry: SignInEntry;
  /** The sign-in to refresh, as the one who asks knows it. */
  readonly refreshes: StoredSignIn;
  /** The user's data folder. */
  readonly data: string;
  readonly keySources: StoreKeySources;
  readonly server: Pick<SignInContext, 'routes' | 'gatewayAddress' | 'clientKey'>;
}

export type RefreshOutcome =
  /** `signIn` is there where the store could not keep it for others. */
  | { readonly kind: 'done'; readonly signIn?: StoredSignIn }
  /** The server's error code, to compare, and a sentence. */
  | { readonly kind: 'refused'; readonly code: string; readonly words: string }
  | { readonly kind: 'failed'; readonly words: string };

/** Longer than a token endpoint may take. */
const LIMIT_MS = 30_000;
const TRIES = 2;
/** Codes of the authorization endpoint (RFC 6749 §4.1.2.1) that some send here too: they refuse nothing. */
const PASSING: ReadonlySet<string> = new Set(['server_error', 'temporarily_unavailable']);

/**
 * Refreshes a sign-in in a process of its own and stores it: a client that kills the proxy meanwhile
 * must not make it lose the only refresh token that is still good. Never rejects.
 */
export async function refreshApart(
  request: RefreshRequest,
  store: SignInStore,
  options: HelperOptions,
): Promise<RefreshOutcome> {
  // Where the package was removed meanwhile, or its host starts no Node.js.
  const canStart = existsSync(options.helper ?? helperFile()) && !process.versions.electron;
  if (!canStart) return refreshSignIn(request, store);
  let outcome: RefreshOutcome | undefined;
  try {
    // Again where the process was killed: its request may not have been sent.
    for (let left = TRIES; left > 0 && outcome === undefined; left--) {
      await runHelperProcess<RefreshOutcome>(request, options, (message) => {
        outcome = message;
      });
    }
    return outcome ?? { kind: 'failed', words: 'The refresh was interrupted.' };
  } catch {
    return refreshSignIn(request, store);
  }
}

/** The helper's side. Never rejects. */
export async function refreshInHelper(request: RefreshRequest): Promise<RefreshOutcome> {
  const { data, keySources } = request;
  return refreshSignIn(
    request,
    openSignInStore(
      data,
      keySources,
      createLog('error', () => {}),
    ),
  );
}

async function refreshSignIn(request: RefreshRequest, store: SignInStore): Promise<RefreshOutcome> {
  const { entry, refreshes, data } = request;
  const { gateway, account } = entry;
  try {
    // A helper may still be at it whose proxy was killed, and has lost its lock.
    const name = `refresh request ${gateway}#${account}`;
    return await withLock(lockFolder(data), name, { limitMs: LIMIT_MS }, async () => {
      const found = await store.read(entry);
      const signIn = found.kind === 'found' ? found.signIn : refreshes;
      if (signIn.tokens?.accessToken !== refreshes.tokens?.accessToken) return { kind: 'done' };
      const renewed = await refreshed(signIn, request.server);
      // Before anyone can use it: the old refresh token may not be good any more.
      const stored = await store.write(entry, renewed);
      return stored.isLasting ? { kind: 'done' } : { kind: 'done', signIn: renewed };
    });
  } catch (error) {
    if (error instanceof OAuthRefusal && !PASSING.has(error.code)) {
      return { kind: 'refused', code: error.code, words: error.message };
    }
    if (error instanceof SignInError) return { kind: 'failed', words: error.message };
    // Its message may quote anything.
    const { name, code = name } = error as NodeJS.ErrnoException;
    return { kind: 'failed', words: `The refresh failed because of an internal error: ${code}.` };
  }
}

/** The sign-in with a new access token (RFC 6749 §6). Rejects with SignInError. */
async function refreshed(
  signIn: StoredSignIn,
  { routes, gatewayAddress, clientKey }: RefreshRequest['server'],
): Promise<StoredSignIn> {
  const { tokens, resource, server, registration, dpopKey } = signIn;
  const { refreshToken = '' } = tokens ?? {};
  const endpoint = new TokenEndpoint({
    server,
    registration,
    http: httpFor({ routes, ...(gatewayAddress === undefined ? {} : { gatewayAddress }) }),
    clientKey: clientKey === undefined ? undefined : privateKeyFrom(clientKey),
    dpop: dpopKey === undefined ? undefined : new DpopProver(dpopKey),
  });
  const granted = await endpoint.grant('refresh_token', {
    refresh_token: refreshToken,
    ...(resource === undefined ? {} : { resource }),
  });
  // Without a new one, the old one stays good; without scopes, they are as before.
  const scope = tokens?.scope === undefined ? {} : { scope: tokens.scope };
  return { ...signIn, tokens: { refreshToken, ...scope, ...granted.tokens } };
}
