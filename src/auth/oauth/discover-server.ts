import type { BearerChallenge } from '../challenge.ts';
import { fetchMetadata, metadataUrls } from '../protected-resource-metadata.ts';
import type { OAuthHttp } from './oauth-http.ts';
import type { OAuthSettings } from './oauth-settings.ts';
import {
  assumedMetadata,
  fetchServerMetadata,
  requireServerMetadata,
  type ServerMetadata,
} from './server-metadata.ts';
import { SignInError } from './stored-sign-in.ts';

/** Where to sign in for a gateway, and what it says about tokens. Plain data. */
export interface DiscoveredServer {
  readonly server: ServerMetadata;
  /** The value of the `resource` parameter (RFC 8707 §2). */
  readonly resource: string;
  readonly scopesSupported?: readonly string[];
  readonly requiresDpop: boolean;
  /** There is no metadata at all: whether there is a server is not known yet. */
  readonly isAssumed: boolean;
}

/**
 * Finds the authorization server of the gateway at `url`: by its protected resource metadata (RFC
 * 9728), else at the gateway's own origin as in MCP 2025-03-26. Undefined where the gateway's
 * metadata names none. Rejects with SignInError for one that cannot be used.
 */
export async function discoverServer(
  url: URL,
  challenge: BearerChallenge | undefined,
  settings: Pick<OAuthSettings, 'issuer'>,
  http: OAuthHttp,
  gatewayAddress: string,
): Promise<DiscoveredServer | undefined> {
  const urls = metadataUrls(url, challenge?.resourceMetadata, gatewayAddress);
  const metadata = await fetchMetadata(urls, url, (from, limits) => http.get(from, limits), {
    gatewayAddress,
  });
  const pinned = settings.issuer === undefined ? [] : [settings.issuer];
  if ('why' in metadata) {
    // Nothing else may stand in for metadata about another resource (RFC 9728 §3.3).
    if (metadata.isForeign !== true) return withoutResource(url, pinned, http);
    throw new SignInError(`The gateway's metadata is invalid: ${metadata.why}.`);
  }
  const [location = pinned[0]] = metadata.authorizationServers ?? [];
  if (location === undefined) return undefined;
  const issuers = pinned.length > 0 ? pinned : [location];
  const server = await requireServerMetadata(location, issuers, http);
  return {
    server,
    resource: metadata.resource,
    ...(metadata.scopesSupported === undefined
      ? {}
      : { scopesSupported: metadata.scopesSupported }),
    requiresDpop: metadata.requiresDpop === true,
    isAssumed: false,
  };
}

async function withoutResource(
  url: URL,
  pinned: readonly string[],
  http: OAuthHttp,
): Promise<DiscoveredServer> {
  const [location = url.origin] = pinned;
  const issuers = pinned.length > 0 ? pinned : [url.origin, `${url.origin}/`];
  const server = await fetchServerMetadata(location, issuers, http);
  return {
    server: server ?? assumedMetadata(url.origin),
    resource: canonicalResource(url),
    requiresDpop: false,
    isAssumed: server === undefined,
  };
}

/**
 * Whether there is a server where MCP 2025-03-26 assumes one: it answers an empty registration as RFC
 * 7591 §3.2 has it. Never rejects.
 */
export async function offersRegistration(
  server: ServerMetadata,
  http: OAuthHttp,
): Promise<boolean> {
  try {
    const { status, json } = await http.postJson(server.registration_endpoint ?? '', {});
    if (status === 200 || status === 201) return typeof json?.client_id === 'string';
    return status === 400 && typeof json?.error === 'string';
  } catch {
    return false;
  }
}

/** The gateway's URL without query and a slash at its end (MCP 2025-11-25, Authorization §Canonical Server URI). */
function canonicalResource({ origin, pathname }: URL): string {
  return origin + pathname.replace(/\/$/, '');
}
