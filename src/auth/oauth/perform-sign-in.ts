import {
  calculatePKCECodeChallenge,
  generateRandomCodeVerifier,
  generateRandomState,
  validateAuthResponse,
} from 'oauth4webapi';
import { knownIdentity, registerClient } from './client-registration.ts';
import { DpopProver, newDpopKey } from './dpop.ts';
import { privateKeyFrom } from './jwt.ts';
import type { OAuthHttp } from './oauth-http.ts';
import { scopesToRequest } from './scopes.ts';
import type { ServerMetadata } from './server-metadata.ts';
import type { SignInContext } from './sign-in-context.ts';
import { factsOf, httpFor } from './sign-in-facts.ts';
import { OAuthRefusal, signInErrorFrom } from './sign-in-words.ts';
import {
  type CallbackServer,
  type ClientRegistration,
  type PerformSignIn,
  SignInError,
  type SignInTools,
  type StoredSignIn,
} from './stored-sign-in.ts';
import { TokenEndpoint } from './token-endpoint.ts';

const CODE_GRANTS = ['authorization_code', 'refresh_token'];

/**
 * Signs the user in by the authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636, RFC 8252). A
 * registration that the server has forgotten is replaced, once.
 */
export const performSignIn: PerformSignIn = async (request, tools) => {
  const context = request.context as SignInContext;
  const { discovered, settings, clientSecret } = context;
  const { server } = discovered;
  const endpoint = authorizationEndpoint(server);
  const http = httpFor(context, tools.signal);
  const found = await tools.store.read(request.entry);
  const stored = found.kind === 'found' ? found.signIn : context.before;
  const known = knownIdentity({ server, settings, clientSecret, stored });
  const callback = await tools.listen({
    port: settings.callbackPort ?? known?.callbackPort,
    isFixed: settings.callbackPort !== undefined,
    gatewayHost: new URL(context.url).host,
  });
  try {
    const redirectUri = `http://${settings.callbackHost}:${callback.port}/callback`;
    const register = () => registerClient(server, [redirectUri], callback.port, CODE_GRANTS, http);
    // A server may compare redirect URIs with the port (RFC 8252 §7.3 asks it not to).
    const fits = known?.kind !== 'dynamic' || known.redirectUris.includes(redirectUri);
    const registration = known !== undefined && fits ? known : await register();
    const sign = (own: ClientRegistration) =>
      authorize({ context, stored, tools, callback, endpoint, redirectUri, http }, own);
    try {
      return await sign(registration);
    } catch (error) {
      const isForgotten = error instanceof OAuthRefusal && FORGOTTEN.has(error.code);
      if (!isForgotten || registration.kind !== 'dynamic' || registration !== known) throw error;
      return await sign(await register());
    }
  } finally {
    await callback.close();
  }
};

/** What a server says of a client that it does not know any more. */
const FORGOTTEN: ReadonlySet<string> = new Set(['invalid_client', 'unauthorized_client']);

/** Throws SignInError where the server cannot be asked to show the user anything, or not with PKCE. */
function authorizationEndpoint(server: ServerMetadata): URL {
  const { issuer, authorization_endpoint: endpoint } = server;
  const { host } = new URL(issuer);
  if (endpoint === undefined) {
    throw new SignInError(`${host} has no sign-in page. Set --grant.`);
  }
  // MCP 2025-11-25, Authorization §Authorization Code Protection: else the client must not go on.
  if (server.code_challenge_methods_supported?.includes('S256') !== true) {
    throw new SignInError(`${host} does not support PKCE S256. Ask its operator to enable it.`);
  }
  return new URL(endpoint);
}

interface Authorization {
  readonly context: SignInContext;
  readonly stored: StoredSignIn | undefined;
  readonly tools: SignInTools;
  readonly callback: CallbackServer;
  readonly endpoint: URL;
  readonly redirectUri: string;
  readonly http: OAuthHttp;
}

async function authorize(
  { context, stored, tools, callback, endpoint, redirectUri, http }: Authorization,
  registration: ClientRegistration,
): Promise<StoredSignIn> {
  const { discovered, settings } = context;
  const { server, resource } = discovered;
  const isSameServer = stored?.server.issuer === server.issuer;
  const scope = scopesToRequest({
    given: settings.scope,
    challenged: context.challengedScope,
    isStepUp: context.isStepUp,
    ofResource: discovered.scopesSupported,
    ofServer: server.scopes_supported,
    before: isSameServer ? stored?.requestedScopes : undefined,
  });
  const verifier = generateRandomCodeVerifier();
  const state = generateRandomState();
  const url = new URL(endpoint);
  const asResource: Record<string, string> = settings.sendsResource ? { resource } : {};
  const parameters = {
    ...(scope === undefined ? {} : { scope }),
    // Without it no refresh token is given for offline_access (OpenID Connect Core §11).
    ...(scope?.split(' ').includes('offline_access') ? { prompt: 'consent' } : {}),
    ...asResource,
    ...Object.fromEntries(settings.authorizeParameters),
    response_type: 'code',
    client_id: registration.clientId,
    redirect_uri: redirectUri,
    code_challenge: await calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  // Listens before anyone can be sent back.
  const arrival = callback.callback(state, tools.signal);
  tools.show(url, callback);
  const received = await arrival.catch((error: unknown) => {
    if (tools.signal.aborted) throw new SignInError('You did not finish the sign-in in time.');
    throw error;
  });
  try {
    const client = { client_id: registration.clientId };
    const answer = validateAuthResponse(server, client, received.parameters, state);
    const dpopKey = context.needsDpop ? (stored?.dpopKey ?? newDpopKey()) : undefined;
    const facts = factsOf(server);
    const { tokens, subject } = await new TokenEndpoint({
      server: facts,
      registration,
      http,
      clientKey: context.clientKey === undefined ? undefined : privateKeyFrom(context.clientKey),
      dpop: dpopKey === undefined ? undefined : new DpopProver(dpopKey),
    }).redeem(answer, redirectUri, verifier, asResource);
    await received.succeed();
    return {
      server: facts,
      registration,
      tokens,
      ...(scope === undefined ? {} : { requestedScopes: scope }),
      ...asResource,
      ...(dpopKey === undefined ? {} : { dpopKey }),
      ...(subject === undefined ? {} : { subject }),
      signedInAt: Date.now(),
    };
  } catch (error) {
    const failure = signInErrorFrom(error, new URL(server.issuer).host);
    await received.fail(failure.message);
    throw failure;
  }
}
