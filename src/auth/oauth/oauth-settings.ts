/** How a client gets its access token: names of the grants as `--grant` has them. */
export const GRANTS = [
  'authorization-code',
  'device-code',
  'client-credentials',
  'jwt-bearer',
  'enterprise',
] as const;

export type Grant = (typeof GRANTS)[number];

/** Whether it needs no user. Its tokens are never stored. */
export function isMachineGrant(grant: Grant): boolean {
  return grant !== 'authorization-code' && grant !== 'device-code';
}

/** What the user has set about OAuth. Plain data, and nothing in it is secret. */
export interface OAuthSettings {
  /** `auto`: where no source has a key and the gateway's 401 leads to an authorization server. */
  readonly auth: 'auto' | 'key' | 'oauth';
  readonly grant: Grant;
  readonly clientId?: string;
  /** The environment variable or the file that contains the client's secret. */
  readonly clientSecretEnv?: string;
  readonly clientSecretFile?: string;
  /** A file with the private key of `private_key_jwt`, in PEM. */
  readonly clientKeyFile?: string;
  /** URL of a Client ID Metadata Document. */
  readonly clientMetadataUrl?: string;
  /** Asked for in place of what the gateway says. */
  readonly scope?: string;
  readonly callbackPort?: number;
  readonly callbackHost: '127.0.0.1' | 'localhost';
  /** How long a request waits for the user, in milliseconds. */
  readonly signInWaitMs: number;
  readonly opensBrowser: boolean;
  /** What to do when the user is needed: open a browser, or answer with an error. */
  readonly signIn: 'auto' | 'error';
  /** The issuer that the authorization server's metadata must name. */
  readonly issuer?: string;
  /** Whether the `resource` parameter is sent (RFC 8707). */
  readonly sendsResource: boolean;
  /** More parameters of the authorization request. */
  readonly authorizeParameters: readonly (readonly [name: string, value: string])[];
  /** A command that prints the assertion of `jwt-bearer`, or the ID token of `enterprise`. */
  readonly assertionCommand?: string;
  /** The identity provider of `enterprise`. */
  readonly idpIssuer?: string;
  readonly idpClientId?: string;
  /** Where the key to the stored sign-ins is, if not in the keychain. */
  readonly storeKeyCommand?: string;
  readonly storeKeyFile?: string;
}
