import { withProxyVariables } from '../../http/environment-proxy.ts';
import { Routes } from '../../http/routes.ts';
import { OAuthHttp } from './oauth-http.ts';
import type { ServerMetadata } from './server-metadata.ts';
import type { SignInContext } from './sign-in-context.ts';
import type { AuthorizationServer } from './stored-sign-in.ts';

/** Requests for a sign-in, from the process that does it. */
export function httpFor(
  { routes, gatewayAddress }: Pick<SignInContext, 'routes' | 'gatewayAddress'>,
  signal?: AbortSignal,
): OAuthHttp {
  const warnOf = () => () => {};
  const env = withProxyVariables(process.env, routes.proxyVariables);
  return new OAuthHttp(new Routes({ ...routes, env, warnOf }), gatewayAddress, signal);
}

/** What a refresh and a revocation need of the metadata. */
export function factsOf(server: ServerMetadata): AuthorizationServer {
  const { issuer, token_endpoint, authorization_endpoint, revocation_endpoint } = server;
  return {
    issuer,
    tokenEndpoint: token_endpoint,
    ...(authorization_endpoint === undefined
      ? {}
      : { authorizationEndpoint: authorization_endpoint }),
    ...(revocation_endpoint === undefined ? {} : { revocationEndpoint: revocation_endpoint }),
  };
}
