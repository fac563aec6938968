import type { Secrets } from '../../failures/secrets.ts';
import type { Log } from '../../log.ts';
import type { Credential, CredentialProvider, Rejection, Token } from '../credential.ts';
import { type CredentialSources, signInEntry, userDataFolder } from '../credential-sources.ts';
import { dueAt, tokenOf } from './access-token.ts';
import { DpopProver } from './dpop.ts';
import { signInOrigin } from './login-words.ts';
import { isMachineGrant } from './oauth-settings.ts';
import { SignInReader } from './sign-in-reader.ts';
import { StoreKey } from './store-key.ts';
import { storeKeySources } from './store-key-sources.ts';

/**
 * The access tokens for the gateway of `sources`: the stored one for as long as it is good, which is
 * all that a start needs. What can refresh it and sign in is loaded with the first need for that.
 */
export class StoredToken implements CredentialProvider {
  readonly #read: () => Promise<void>;
  readonly #open: () => Promise<CredentialProvider>;
  readonly #none: Credential;
  #reading: Promise<void> | undefined;
  #token: Token | undefined;
  /** When it is to be refreshed, in ms since 1970. */
  #dueAt = Number.POSITIVE_INFINITY;
  /** What does all else. From then on it is asked for everything. */
  #full: Promise<CredentialProvider> | undefined;

  /** `secrets` learns each token. */
  constructor(sources: CredentialSources, env: NodeJS.ProcessEnv, log: Log, secrets: Secrets) {
    const origin = signInOrigin(sources);
    const key = new StoreKey(storeKeySources(sources.oauth, env), log);
    this.#none = { kind: 'none', origin };
    this.#open = async () => {
      const { openSignIn } = await import('./user-sign-in.ts');
      return openSignIn(sources, env, log, secrets, key);
    };
    this.#read = async () => {
      if (isMachineGrant(sources.oauth.grant)) {
        this.#dueAt = Number.NEGATIVE_INFINITY;
        return;
      }
      const reader = new SignInReader(userDataFolder(env), key, log);
      const found = await reader.read(signInEntry(sources));
      if (found.kind === 'unreadable') log.warn(`the sign-in cannot be read: ${found.words}`);
      if (found.kind !== 'found' || found.signIn.tokens === undefined) return;
      const { tokens, dpopKey } = found.signIn;
      secrets.add(tokens.accessToken);
      if (tokens.refreshToken !== undefined) secrets.add(tokens.refreshToken);
      const prover = dpopKey === undefined ? undefined : new DpopProver(dpopKey);
      this.#token = tokenOf(tokens, origin, prover);
      this.#dueAt = dueAt(found.signIn);
    };
  }

  async current(): Promise<Credential> {
    if (this.#full === undefined) {
      this.#reading ??= this.#read();
      await this.#reading;
      if (Date.now() < this.#dueAt) return this.#token ?? this.#none;
    }
    return (await this.#all()).current();
  }

  async renew(rejected: Credential, rejection: Rejection): Promise<Credential | undefined> {
    return (await this.#all()).renew(rejected, rejection);
  }

  #all(): Promise<CredentialProvider> {
    this.#full ??= this.#open();
    return this.#full;
  }
}
