import type { Secrets } from '../../failures/secrets.ts';
import type { Log } from '../../log.ts';
import type { CredentialProvider } from '../credential.ts';
import { type CredentialSources, signInEntry, userDataFolder } from '../credential-sources.ts';
import { loginOptions } from '../key.ts';
import { markAttempt } from './ask-for-sign-in.ts';
import { askUser } from './ask-user.ts';
import { loginWords } from './login-words.ts';
import { OAuthClient } from './oauth-client.ts';
import { LockTimeout, withLock } from './process-lock.ts';
import { refreshApart } from './refresh-sign-in.ts';
import { SignInCredentials } from './sign-in-credentials.ts';
import { lockFolder } from './sign-in-file.ts';
import { openSignInStore } from './sign-in-store.ts';
import type { StoreKeySources } from './store-key.ts';
import { SignInError, type SignInStore } from './stored-sign-in.ts';

export { examineSignIn } from './examine-sign-in.ts';

const MACHINE_GRANTS: ReadonlySet<string> = new Set([
  'client-credentials',
  'jwt-bearer',
  'enterprise',
]);
/** Longer than a refresh may take. */
const REFRESH_LIMIT_MS = 45_000;

/** This user's stored sign-ins. */
export function openStore(
  sources: Pick<CredentialSources, 'oauth'>,
  env: NodeJS.ProcessEnv,
  log: Log,
): SignInStore {
  return openSignInStore(userDataFolder(env), storeKeySources(sources, env), log);
}

/** Where the key to the stored sign-ins is. */
export function storeKeySources(
  { oauth }: Pick<CredentialSources, 'oauth'>,
  env: NodeJS.ProcessEnv,
): StoreKeySources {
  return {
    command: oauth.storeKeyCommand,
    file: oauth.storeKeyFile,
    value: env.MCP_LATCHKEY_STORE_KEY,
  };
}

/** The environment variables that contain a secret: no browser needs them. */
export function secretVariables({ keyEnv, passphraseEnv, oauth }: CredentialSources): string[] {
  return [keyEnv, passphraseEnv, oauth.clientSecretEnv].filter((name) => name !== undefined);
}

/** The access tokens for the gateway of `sources`. Nothing is read or asked for yet. */
export function openSignIn(
  sources: CredentialSources,
  env: NodeJS.ProcessEnv,
  log: Log,
  secrets: Secrets,
): CredentialProvider {
  const { oauth, url } = sources;
  const entry = signInEntry(sources);
  const client = new OAuthClient(sources, env, log, secrets);
  const data = userDataFolder(env);
  const locks = lockFolder(data);
  const keySources = storeKeySources(sources, env);
  const helperOptions = {
    env,
    secretVariables: secretVariables(sources),
    passphraseEnv: sources.passphraseEnv,
  };
  const store = openStore(sources, env, log);
  return new SignInCredentials({
    entry,
    origin: {
      source: 'sign-in',
      origin: 'the sign-in',
      loginOptions: loginOptions(sources) + loginWords(oauth),
    },
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
    machineGrant: MACHINE_GRANTS.has(oauth.grant) ? oauth.grant : undefined,
    secrets,
    log,
  });
}
