import type { Secrets } from '../../failures/secrets.ts';
import type { Log } from '../../log.ts';
import type { BearerChallenge } from '../challenge.ts';
import { type CredentialSources, signInEntry } from '../credential-sources.ts';
import { knownIdentity } from './client-registration.ts';
import { OAuthClient } from './oauth-client.ts';
import {
  type ClientRegistration,
  type FoundSignIn,
  SignInError,
  type SignInStore,
} from './stored-sign-in.ts';

/** How a gateway is signed in to, as far as it can be found out without the user. */
export type SignInFacts =
  /** The gateway offers none. */
  | { readonly kind: 'none' }
  /** `words`: why not, a sentence. */
  | { readonly kind: 'unusable'; readonly words: string }
  | {
      readonly kind: 'offered';
      readonly issuer: string;
      /** How this program would be known there; undefined where it would register. */
      readonly identity: ClientRegistration | undefined;
      readonly canRegister: boolean;
      readonly stored: FoundSignIn;
      /** The port that the redirect must come to; undefined where any will do. */
      readonly callbackPort: number | undefined;
    };

/**
 * Looks for the authorization server of a gateway, and for what is stored of a sign-in. Registers
 * nothing and asks for no token. Never rejects.
 */
export async function examineSignIn(
  sources: CredentialSources,
  store: SignInStore,
  challenge: BearerChallenge | undefined,
  { env, log, secrets }: { env: NodeJS.ProcessEnv; log: Log; secrets: Secrets },
): Promise<SignInFacts> {
  try {
    const client = new OAuthClient(sources, env, log, secrets);
    const need = { isStepUp: false, needsDpop: false };
    const context = await client.contextFor(challenge, need);
    if (context === undefined) return { kind: 'none' };
    const { settings, clientSecret, discovered } = context;
    const { server } = discovered;
    const found = await store.read(signInEntry(sources));
    const stored = found.kind === 'found' ? found.signIn : undefined;
    const identity = knownIdentity({ server, settings, clientSecret, stored });
    return {
      kind: 'offered',
      issuer: server.issuer,
      identity,
      canRegister: server.registration_endpoint !== undefined,
      stored: found,
      callbackPort: settings.callbackPort ?? identity?.callbackPort,
    };
  } catch (error) {
    if (error instanceof SignInError) return { kind: 'unusable', words: error.message };
    throw error;
  }
}
