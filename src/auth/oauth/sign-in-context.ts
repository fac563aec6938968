import type { RouteFacts } from '../../http/routes.ts';
import type { DiscoveredServer } from './discover-server.ts';
import type { OAuthSettings } from './oauth-settings.ts';
import type { StoredSignIn } from './stored-sign-in.ts';

/** What a sign-in needs beside its entry. Plain data, so that a helper process can be handed it. */
export interface SignInContext {
  /** The MCP endpoint. */
  readonly url: string;
  /** Where the gateway was reached; absent where the user has named the authorization server. */
  readonly gatewayAddress?: string;
  readonly routes: RouteFacts;
  readonly settings: OAuthSettings;
  readonly clientSecret?: string;
  /** The client's private key, in PEM. */
  readonly clientKey?: string;
  readonly discovered: DiscoveredServer;
  /** `scope` of the challenge, and whether it says that a token was not enough. */
  readonly challengedScope?: string;
  readonly isStepUp: boolean;
  /** Whether the tokens must be bound to a key (RFC 9449). */
  readonly needsDpop: boolean;
  /** The sign-in so far, for where the store cannot keep it. */
  readonly before?: StoredSignIn;
}
