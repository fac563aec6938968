import type { ResourceFacts } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { lookupFor } from '../http/address-policy.ts';
import { requestBounded } from '../http/bounded-request.ts';
import type { Routes } from '../http/routes.ts';
import { type BearerChallenge, bearerChallenge, parseChallenges } from './challenge.ts';
import {
  fetchMetadata,
  type MetadataGet,
  metadataUrls,
  type ResourceMetadata,
} from './protected-resource-metadata.ts';

/** The Bearer challenge in the `WWW-Authenticate` header or headers of an answer. */
export function challengeIn(header: string | string[] | undefined): BearerChallenge | undefined {
  return bearerChallenge(parseChallenges(header === undefined ? [] : [header].flat()));
}

/** What a challenge says in words, fit to show; undefined when it says nothing of use. */
export function challengeInWords(challenge: BearerChallenge | undefined): string | undefined {
  const { error, errorDescription, scope } = challenge ?? {};
  if (errorDescription !== undefined) return cleanNetworkText(errorDescription) || undefined;
  if (error === 'insufficient_scope' && scope !== undefined) {
    return `missing scope ${cleanNetworkText(scope, 200)}`;
  }
  // invalid_token is what a 401 says anyway (RFC 6750 §3.1).
  if (error === undefined || error === 'invalid_token') return undefined;
  return cleanNetworkText(error, 100) || undefined;
}

/**
 * What the gateway's protected resource metadata (RFC 9728) says of use to someone whose key was
 * rejected. Fetched without the key, in 5 s at most. Never rejects; `why` is fit for a log line.
 */
export async function discoverResource(
  endpoint: URL,
  challenge: BearerChallenge | undefined,
  routes: Routes,
): Promise<ResourceFacts | { readonly why: string }> {
  const gatewayAddress = routes.addressOf(endpoint);
  const urls = metadataUrls(endpoint, challenge?.resourceMetadata, gatewayAddress);
  const getter: MetadataGet = (url, limits) => get(url, limits, routes, gatewayAddress);
  const found = await fetchMetadata(urls, endpoint, getter, { gatewayAddress });
  return 'why' in found ? found : facts(found);
}

function facts(metadata: ResourceMetadata): ResourceFacts {
  const { resourceName, resourceDocumentation, authorizationServers } = metadata;
  return {
    ...(resourceName === undefined ? {} : { name: resourceName }),
    ...(resourceDocumentation === undefined ? {} : { documentation: resourceDocumentation }),
    ...(authorizationServers === undefined ? {} : { authorizationServers }),
    takesHeader: metadata.bearerMethodsSupported?.includes('header') ?? true,
  };
}

/**
 * One GET with no header but `Accept`; the body is read up to `maxBytes` and one more. Connects to
 * no address that the gateway, reached at `gatewayAddress`, must not lead to; where an HTTP proxy
 * looks the name up, that is up to the proxy.
 */
export async function get(
  url: URL,
  { maxBytes, timeoutMs, signal }: Parameters<MetadataGet>[1],
  routes: Routes,
  gatewayAddress: string,
): Promise<Awaited<ReturnType<MetadataGet>>> {
  const { status, headers, body } = await requestBounded(
    url,
    {
      method: 'GET',
      headers: ['accept', 'application/json'],
      maxBytes,
      timeoutMs,
      signal,
      lookup: lookupFor(gatewayAddress),
    },
    routes,
  );
  return { status, contentType: String(headers['content-type'] ?? ''), body };
}
