import type { Secrets } from '../../failures/secrets.ts';
import type { Log } from '../../log.ts';
import type { KeyOrigin } from '../key.ts';
import type { OAuthClient } from './oauth-client.ts';
import type { RefreshOutcome } from './refresh-sign-in.ts';
import type { SignInContext } from './sign-in-context.ts';
import type { SignInEntry, SignInOutcome, SignInStore, StoredSignIn } from './stored-sign-in.ts';

/** What the tokens of one entry need from outside. */
export interface SignInDesk {
  readonly entry: SignInEntry;
  /** The origin of the MCP endpoint. */
  readonly endpoint: string;
  readonly store: SignInStore;
  readonly client: Pick<OAuthClient, 'contextFor' | 'grant'>;
  /** Refreshes it, and stores what comes of that. Never rejects with anything but SignInError. */
  refresh(signIn: StoredSignIn): Promise<RefreshOutcome>;
  /** Runs `act` while no other process of this user does so for the same entry. */
  exclusively<Value>(act: () => Promise<Value>): Promise<Value>;
  /** Has the user sign in; undefined where no browser may be opened. */
  askUser(
    context: SignInContext,
    replaces: StoredSignIn | undefined,
  ): Promise<AskedUser | undefined>;
  /** Makes every process of this user wait before it asks the user by itself again. */
  pauseAsking(): void;
  /** How long a request waits for the user, in milliseconds. */
  readonly waitMs: number;
  /** The grant, where no user signs in. */
  readonly machineGrant: string | undefined;
  readonly origin: KeyOrigin;
  readonly secrets: Secrets;
  readonly log: Log;
}

/** A sign-in that is under way. */
export interface AskedUser {
  readonly outcome: Promise<SignInOutcome>;
  /** Resolves once there is a link. */
  readonly shown: Promise<undefined>;
  /** A link that opens it again in this computer's browser. */
  readonly link: () => string | undefined;
}
