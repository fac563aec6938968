import type { KeyObject } from 'node:crypto';
import { authMethodFor } from './client-authentication.ts';
import { knownIdentity } from './client-registration.ts';
import type { DpopProver } from './dpop.ts';
import type { OAuthHttp } from './oauth-http.ts';
import { scopesToRequest } from './scopes.ts';
import { requireServerMetadata } from './server-metadata.ts';
import type { SignInContext } from './sign-in-context.ts';
import { factsOf } from './sign-in-facts.ts';
import { SignInError, type StoredSignIn } from './stored-sign-in.ts';
import { TokenEndpoint } from './token-endpoint.ts';

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token';
/** An identity assertion (Identity Assertion JWT Authorization Grant §4.3). */
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag';

export interface MachineTools {
  readonly http: OAuthHttp;
  /** To the identity provider, which the user has named. */
  readonly idpHttp: OAuthHttp;
  readonly clientKey: KeyObject | undefined;
  readonly dpop: DpopProver | undefined;
  /** Prints the workload's JWT or the user's ID token. Rejects with SignInError. */
  assertion(): Promise<string>;
}

/**
 * An access token without a user at a browser: client credentials (RFC 6749 §4.4), a workload's JWT
 * (RFC 7523 §2.1), or the enterprise's identity provider (MCP extension Enterprise-Managed
 * Authorization). Rejects with SignInError.
 */
export async function grantByMachine(
  context: SignInContext,
  { http, idpHttp, clientKey, dpop, assertion }: MachineTools,
): Promise<StoredSignIn> {
  const { discovered, settings, clientSecret } = context;
  const { server, resource } = discovered;
  const registration = knownIdentity({ server, settings, clientSecret });
  if (registration === undefined) {
    throw new SignInError(`--grant ${settings.grant} needs --client-id.`);
  }
  const scope = scopesToRequest({
    given: settings.scope,
    challenged: context.challengedScope,
    isStepUp: context.isStepUp,
    ofResource: discovered.scopesSupported,
  });
  const parameters = {
    ...(scope === undefined ? {} : { scope }),
    ...(settings.sendsResource ? { resource } : {}),
  };
  const facts = factsOf(server);
  const endpoint = new TokenEndpoint({ server: facts, registration, http, clientKey, dpop });
  const token = async () => {
    if (settings.grant === 'client-credentials') return { type: 'client_credentials', more: {} };
    const printed = await assertion();
    const jwt =
      settings.grant === 'enterprise' ? await exchange(context, printed, scope, idpHttp) : printed;
    return { type: JWT_BEARER, more: { assertion: jwt } };
  };
  const { type, more } = await token();
  const { tokens } = await endpoint.grant(type, { ...parameters, ...more });
  return {
    server: facts,
    registration,
    tokens,
    ...(scope === undefined ? {} : { requestedScopes: scope }),
    ...(settings.sendsResource ? { resource } : {}),
    signedInAt: Date.now(),
  };
}

/** The identity assertion for the gateway's server, from the user's ID token (RFC 8693 §2.1). */
async function exchange(
  { discovered, settings }: SignInContext,
  idToken: string,
  scope: string | undefined,
  http: OAuthHttp,
): Promise<string> {
  const { idpIssuer, idpClientId } = settings;
  if (idpIssuer === undefined || idpClientId === undefined) {
    throw new SignInError('--grant enterprise needs --idp-issuer and --idp-client-id.');
  }
  const server = await requireServerMetadata(idpIssuer, [idpIssuer], http);
  const registration = {
    kind: 'by-hand',
    clientId: idpClientId,
    authMethod: authMethodFor(undefined, { secret: false, key: false }),
    redirectUris: [],
  } as const;
  const { tokens } = await new TokenEndpoint({ server: factsOf(server), registration, http }).grant(
    TOKEN_EXCHANGE,
    {
      requested_token_type: ID_JAG,
      audience: discovered.server.issuer,
      resource: discovered.resource,
      subject_token: idToken,
      subject_token_type: ID_TOKEN,
      ...(scope === undefined ? {} : { scope }),
    },
  );
  return tokens.accessToken;
}
