import type { Secrets } from '../failures/secrets.ts';
import type { Log } from '../log.ts';
import {
  type Credential,
  type CredentialProvider,
  isUsable,
  type Rejection,
} from './credential.ts';
import { type CredentialSources, signInEntry, userDataFolder } from './credential-sources.ts';
import { chosenOrigin, DEFAULT_ACCOUNT } from './key.ts';
import { CachedKeyProvider } from './key-ring.ts';
import { isMachineGrant } from './oauth/oauth-settings.ts';
import { hasSignIn } from './oauth/sign-in-file.ts';
import { isInKeychain, storeKeySources } from './oauth/store-key-sources.ts';

/**
 * API keys, and access tokens where no source has a key: then a sign-in that is stored is used from
 * the start, and what OAuth needs is loaded when there is one or the gateway asks for it.
 */
export class Credentials implements CredentialProvider {
  readonly #sources: CredentialSources;
  readonly #keys: CachedKeyProvider;
  readonly #open: () => Promise<CredentialProvider>;
  readonly #env: NodeJS.ProcessEnv;
  #signIns: Promise<CredentialProvider> | undefined;
  /** The one that is asked. Undefined before the first request. */
  #provider: CredentialProvider | undefined;
  #choosing: Promise<CredentialProvider> | undefined;

  /** `secrets` learns each key and token that is found. */
  constructor(
    sources: CredentialSources,
    env: NodeJS.ProcessEnv,
    log: Log,
    secrets: Secrets,
    keys = new CachedKeyProvider(sources, env, log, secrets),
  ) {
    this.#sources = sources;
    this.#env = env;
    this.#keys = keys;
    this.#open = async () => {
      const { StoredToken } = await import('./oauth/stored-token.ts');
      return new StoredToken(sources, env, log, secrets);
    };
  }

  current(): Promise<Credential> {
    return this.#provider === undefined ? this.#first() : this.#provider.current();
  }

  async renew(rejected: Credential, rejection: Rejection): Promise<Credential | undefined> {
    const { auth } = this.#sources.oauth;
    const isToken = rejected.kind === 'token';
    const isKey = rejected.kind === 'found' || rejected.kind === 'in-header';
    if (auth === 'key' || (auth === 'auto' && (isKey || !this.#isSignedIn()))) {
      const key = await this.#keys.renew(isToken ? NONE : rejected, rejection);
      if (key !== undefined) {
        this.#provider = this.#keys;
        return key;
      }
    }
    const mayHaveToken = rejected.kind === 'none' || rejected.kind === 'token';
    if (auth === 'key' || !mayHaveToken) return undefined;
    if (rejected.kind === 'none' && rejection.status !== 401) return undefined;
    this.#signIns ??= this.#open();
    const signIns = await this.#signIns;
    const token = await signIns.renew(rejected, rejection);
    if (isUsable(token)) this.#provider = signIns;
    return token;
  }

  async #first(): Promise<Credential> {
    this.#choosing ??= this.#choose();
    this.#provider ??= await this.#choosing;
    return this.#provider.current();
  }

  async #choose(): Promise<CredentialProvider> {
    const { url, account = DEFAULT_ACCOUNT, oauth } = this.#sources;
    const { auth, grant } = oauth;
    const isKeySet = chosenOrigin(this.#sources, this.#env).source !== 'keychain';
    const isMachine = isMachineGrant(grant);
    if (auth === 'key' || (auth === 'auto' && isKeySet)) return this.#keys;
    if (auth === 'auto' && !isMachine && !this.#isSignedIn()) return this.#keys;
    const asksBoth = auth === 'auto' && !isMachine;
    if (asksBoth && isInKeychain(storeKeySources(oauth, this.#env))) {
      // Before anything else is loaded: the process that asks the keychain takes longest.
      const { beginReadingBoth } = await import('./keychain.ts');
      beginReadingBoth(url, account);
    }
    this.#signIns ??= this.#open();
    const signIns = await this.#signIns;
    if (!asksBoth) return signIns;
    const [key, token] = await Promise.all([this.#keys.current(), signIns.current()]);
    const isKeyUsed = key.kind !== 'none' && (key.kind !== 'unusable' || token.kind !== 'token');
    return isKeyUsed ? this.#keys : signIns;
  }

  /** One stat. */
  #isSignedIn(): boolean {
    try {
      return hasSignIn(userDataFolder(this.#env), signInEntry(this.#sources));
    } catch {
      return false;
    }
  }
}

const NONE: Credential = { kind: 'none', origin: { source: 'none', origin: 'no source' } };
