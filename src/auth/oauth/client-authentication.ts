import { type KeyObject, randomUUID } from 'node:crypto';
import type { ClientAuth } from 'oauth4webapi';
import { nowInSeconds, signJwt } from './jwt.ts';
import { type ClientRegistration, SignInError } from './stored-sign-in.ts';

type Method = ClientRegistration['authMethod'];

/** In the order of preference, for a client with a secret. */
const WITH_SECRET: readonly Method[] = ['client_secret_basic', 'client_secret_post'];

/**
 * How a client tells the token endpoint who it is, by what it has and what the server's metadata says
 * (`token_endpoint_auth_methods_supported`; without it, Basic: RFC 8414 §2).
 */
export function authMethodFor(
  supported: unknown,
  has: { readonly secret: boolean; readonly key: boolean },
): Method {
  const methods: readonly unknown[] = Array.isArray(supported) ? supported : [];
  if (has.key) return 'private_key_jwt';
  if (!has.secret) return 'none';
  return WITH_SECRET.find((method) => methods.includes(method)) ?? 'client_secret_basic';
}

/**
 * Authenticates a client at the token endpoint (RFC 6749 §2.3, RFC 7523 §2.2), as oauth4webapi calls
 * it. Throws SignInError where the key or the secret is missing.
 */
export function clientAuthentication(
  { authMethod, clientId, clientSecret }: ClientRegistration,
  clientKey: KeyObject | undefined,
): ClientAuth {
  if (authMethod === 'none') return (_server, _client, body) => body.set('client_id', clientId);
  if (authMethod === 'private_key_jwt') {
    if (clientKey === undefined)
      throw new SignInError('The client needs its private key. Set --client-key.');
    return ({ issuer }, _client, body) => {
      const now = nowInSeconds();
      const claims = { iss: clientId, sub: clientId, aud: issuer, jti: randomUUID() };
      body.set('client_id', clientId);
      body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
      body.set(
        'client_assertion',
        signJwt({}, { ...claims, iat: now, nbf: now, exp: now + 60 }, clientKey),
      );
    };
  }
  if (clientSecret === undefined) {
    throw new SignInError(
      'The client needs its secret. Set --client-secret-env or --client-secret-file.',
    );
  }
  if (authMethod === 'client_secret_post') {
    return (_server, _client, body) => {
      body.set('client_id', clientId);
      body.set('client_secret', clientSecret);
    };
  }
  // oauth4webapi's own encodes `-`, which servers that decode nothing do not know (RFC 6749 §2.3.1).
  const pair = `${formEncoded(clientId)}:${formEncoded(clientSecret)}`;
  const value = `Basic ${Buffer.from(pair).toString('base64')}`;
  return (_server, _client, _body, headers) => headers.set('authorization', value);
}

function formEncoded(text: string): string {
  return encodeURIComponent(text).replaceAll('%20', '+');
}
