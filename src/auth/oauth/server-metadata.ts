import type { AuthorizationServer } from 'oauth4webapi';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { assertAvailable, type OAuthHttp } from './oauth-http.ts';
import { SignInError } from './stored-sign-in.ts';

/** An authorization server's metadata (RFC 8414 §2): its endpoints may be requested. */
export type ServerMetadata = AuthorizationServer & { readonly token_endpoint: string };

const ENDPOINTS = [
  'authorization_endpoint',
  'token_endpoint',
  'registration_endpoint',
  'revocation_endpoint',
  'device_authorization_endpoint',
] as const;

/** Those of its lists that something depends on. */
const LISTS = [
  'code_challenge_methods_supported',
  'scopes_supported',
  'token_endpoint_auth_methods_supported',
] as const;

/**
 * Where the metadata of the server at `location` may be, in MCP's order (MCP 2026-07-28,
 * Authorization Server Discovery): RFC 8414 §3.1, OpenID Connect as RFC 8414 §5 has it, and as OpenID
 * Connect Discovery §4 does.
 */
export function metadataLocations(location: string): string[] {
  const { origin, pathname } = new URL(location);
  const path = pathname.replace(/\/$/, '');
  const urls = [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}/.well-known/openid-configuration${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ];
  return [...new Set(urls)];
}

/**
 * The metadata of the server at `location`, which must name one of `issuers`, byte by byte (RFC 8414
 * §3.3). Undefined when there is none. Rejects with SignInError for another issuer's, for one that
 * cannot be used, and where there is no answer.
 */
export async function fetchServerMetadata(
  location: string,
  issuers: readonly string[],
  http: OAuthHttp,
): Promise<ServerMetadata | undefined> {
  return (await lookFor(location, issuers, http)).metadata;
}

/** As `fetchServerMetadata`, for a server that must have it: rejects with SignInError when there is none. */
export async function requireServerMetadata(
  location: string,
  issuers: readonly string[],
  http: OAuthHttp,
): Promise<ServerMetadata> {
  const { metadata, status } = await lookFor(location, issuers, http);
  if (metadata !== undefined) return metadata;
  assertAvailable(location, status);
  throw new SignInError(`${new URL(location).host} does not publish metadata.`);
}

/** `status`: the highest one that was received. */
async function lookFor(
  location: string,
  issuers: readonly string[],
  http: OAuthHttp,
): Promise<{ readonly metadata?: ServerMetadata; readonly status: number }> {
  let highest = 0;
  for (const url of metadataLocations(location)) {
    const { status, json } = await http.getJson(url);
    highest = Math.max(highest, status);
    if (status !== 200 || typeof json?.issuer !== 'string') continue;
    const named = json as Readonly<Record<string, unknown>> & { issuer: string };
    return { metadata: checkedMetadata(named, issuers, http), status };
  }
  return { status: highest };
}

function checkedMetadata(
  json: Readonly<Record<string, unknown>> & { readonly issuer: string },
  issuers: readonly string[],
  http: OAuthHttp,
): ServerMetadata {
  const { issuer } = json;
  if (!issuers.includes(issuer)) {
    const [expected = ''] = issuers;
    throw new SignInError(
      `The issuer is ${cleanNetworkText(issuer, 200)}, not ${cleanNetworkText(expected, 200)}. If you trust the first, set it as --issuer.`,
    );
  }
  for (const name of ENDPOINTS) {
    const endpoint = json[name];
    if (endpoint === undefined || http.isAllowed(endpoint)) continue;
    throw new SignInError(
      `The ${name} cannot be used. It must use https and not be on a private network.`,
    );
  }
  for (const name of LISTS) {
    const list = json[name];
    if (list === undefined || isStrings(list)) continue;
    throw new SignInError(`The server metadata is invalid: ${name} is not a list.`);
  }
  if (json.token_endpoint === undefined) {
    throw new SignInError('The server metadata has no token endpoint.');
  }
  return json as ServerMetadata;
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string');
}

/** Where a server of MCP 2025-03-26 without metadata has its endpoints (its Authorization §2.3.3). */
export function assumedMetadata(origin: string): ServerMetadata {
  return {
    issuer: origin,
    authorization_endpoint: `${origin}/authorize`,
    token_endpoint: `${origin}/token`,
    registration_endpoint: `${origin}/register`,
    code_challenge_methods_supported: ['S256'],
  };
}
