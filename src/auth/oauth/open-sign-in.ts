import type { Secrets } from '../../failures/secrets.ts';
import type { Log } from '../../log.ts';
import type { CredentialProvider } from '../credential.ts';
import { type CredentialSources, signInEntry, userDataFolder } from '../credential-sources.ts';
import { markAttempt } from './ask-for-sign-in.ts';
import { askUser } from './ask-user.ts';
import { signInOrigin } from './login-words.ts';
import { OAuthClient } from './oauth-client.ts';
import { isMachineGrant } from './oauth-settings.ts';
import { LockTimeout, withLock } from './process-lock.ts';
import { refreshApart } from './refresh-sign-in.ts';
import { SignInCredentials } from './sign-in-credentials.ts';
import { lockFolder } from './sign-in-file.ts';
import { openSignInStore } from './sign-in-store.ts';
import type { StoreKey } from './store-key.ts';
import { storeKeySources } from './store-key-sources.ts';
import { SignInError, type SignInStore } from './stored-sign-in.ts';

export { examineSignIn } from './examine-sign-in.ts';

/** Longer than a refresh may take. */
const REFRESH_LIMIT_MS = 45_000;

/** This user's stored sign-ins. */
export function openStore(
  sources: Pick<CredentialSources, 'oauth'>,
  env: NodeJS.ProcessEnv,
  log: Log,
  key?: StoreKey,
): SignInStore {
  return openSignInStore(userDataFolder(env), storeKeySources(sources.oauth, env), log, key);
}

/** The environment variables that contain a secret: no browser needs them. */
export function secretVariables({ keyEnv, passphraseEnv, oauth }: CredentialSources): string[] {
  return [keyEnv, passphraseEnv, oauth.clientSecretEnv].filter((name) => name !== undefined);
}

/**
 * The access tokens for the gateway of `sources`. Nothing is read or asked for yet. `key`: the one that
 * sign-ins are encrypted with, where it may be known already.
 */
export function openSignIn(
  sources: CredentialSources,
  env: NodeJS.ProcessEnv,
  log: Log,
  secrets: Secrets,
  key?: StoreKey,
): CredentialProvider {
  const { oauth, url } = sources;
  const entry = signInEntry(sources);
  const client = new OAuthClient(sources, env, log, secrets);
  const data = userDataFolder(env);
  const locks = lockFolder(data);
  const keySources = storeKeySources(oauth, env);
  const helperOptions = {
    env,
    secretVariables: secretVariables(sources),
    passphraseEnv: sources.passphraseEnv,
  };
  const store = openStore(sources, env, log, key);
  return new SignInCredentials({
    entry,
    origin: signInOrigin(sources),
    endpoint: url.origin,
    store,
    client,
    refresh: async (signIn) => {
      const request = {
        ...{ entry, refreshes: signIn, data, keySources },
        server: client.refreshContext(signIn),
      };
      return refreshApart(request, store, helperOptions);
    },
    exclusively: async (act) => {
      try {
        return await withLock(
          locks,
          `refresh ${entry.gateway}#${entry.account}`,
          { limitMs: REFRESH_LIMIT_MS },
          act,
        );
      } catch (error) {
        if (!(error instanceof LockTimeout)) throw error;
        throw new SignInError('Another mcp-latchkey process does not finish its refresh.');
      }
    },
    askUser: async (context, replaces) => {
      if (oauth.signIn === 'error' || oauth.grant !== 'authorization-code') return undefined;
      const request = {
        entry,
        ...(replaces === undefined ? {} : { replaces: replaces.signedInAt }),
        context: replaces === undefined ? context : { ...context, before: replaces },
      };
      return askUser(request, {
        ...helperOptions,
        ...{ data, store, keySources },
        opensBrowser: oauth.opensBrowser,
      });
    },
    pauseAsking: () => markAttempt(data, entry),
    waitMs: oauth.signInWaitMs,
    machineGrant: isMachineGrant(oauth.grant) ? oauth.grant : undefined,
    secrets,
    log,
  });
}
