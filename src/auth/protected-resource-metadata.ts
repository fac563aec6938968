import { cleanNetworkText } from '../failures/network-text.ts';
import { mayLeadTo } from '../http/address-policy.ts';
import { isLoopbackHost } from '../http/loopback.ts';
import { monotonicMs } from '../monotonic-clock.ts';

/** What a protected resource says about itself (RFC 9728 §2), validated and fit to show. */
export interface ResourceMetadata {
  /** The gateway's URL or a parent of it, as it was published: what RFC 8707 §2 asks for. */
  readonly resource: string;
  readonly resourceName?: string;
  readonly resourceDocumentation?: string;
  /** As they were published: issuers are compared byte by byte (RFC 8414 §3.3). */
  readonly authorizationServers?: readonly string[];
  /** `[]` says that no method is supported; absent says nothing. */
  readonly bearerMethodsSupported?: readonly string[];
  readonly scopesSupported?: readonly string[];
  /** Whether access tokens must be bound to a key by DPoP (RFC 9728 §2, RFC 9449). */
  readonly requiresDpop?: true;
}

/** An answer to a GET without any key and without following redirects. */
interface MetadataAnswer {
  readonly status: number;
  readonly contentType?: string;
  readonly body: Uint8Array;
}

/**
 * Sends one GET without a key, without following redirects. Stops reading after `maxBytes` of body
 * and gives up after `timeoutMs` or when `signal` aborts, by rejecting.
 */
export type MetadataGet = (
  url: URL,
  limits: {
    readonly maxBytes: number;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
  },
) => Promise<MetadataAnswer>;

/** The fields read from the document (RFC 9728 §2). */
interface MetadataDocument {
  readonly resource?: unknown;
  readonly resource_name?: unknown;
  readonly resource_documentation?: unknown;
  readonly authorization_servers?: unknown;
  readonly bearer_methods_supported?: unknown;
  readonly scopes_supported?: unknown;
  readonly dpop_bound_access_tokens_required?: unknown;
}

const WELL_KNOWN_PATH = '/.well-known/oauth-protected-resource';
const MAX_BODY_BYTES = 64 * 1024;
const MAX_TOTAL_MS = 5000;
const MAX_URL_CHARACTERS = 2048;
const MAX_NAME_CHARACTERS = 100;
const MAX_LIST_ENTRIES = 100;

/**
 * Where to look for the metadata of the resource at `endpoint`, in order: the challenge's
 * `resource_metadata` (RFC 9728 §5.1), the well-known path with the endpoint's path and query
 * behind it (§3.1), the well-known path of the origin. Each once, without user name, password and
 * fragment.
 *
 * Only https, or http on a loopback host; and hosts on this computer or a private network only where
 * the gateway, reached at `gatewayAddress`, is there too: no gateway elsewhere can have services there
 * called. What is not is left out: the list may be empty.
 */
export function metadataUrls(
  endpoint: URL,
  challengeUrl?: string,
  gatewayAddress = endpoint.hostname,
): URL[] {
  const path = endpoint.pathname === '/' ? '' : endpoint.pathname;
  const wellKnown = `${endpoint.protocol}//${endpoint.host}${WELL_KNOWN_PATH}`;
  const candidates = [challengeUrl ?? '', `${wellKnown}${path}${endpoint.search}`, wellKnown];
  const urls = new Map<string, URL>();
  for (const candidate of candidates) {
    const url = safeUrl(candidate, gatewayAddress);
    if (url === undefined) continue;
    url.hash = '';
    urls.set(url.href, urls.get(url.href) ?? url);
  }
  return [...urls.values()];
}

/**
 * Checks a metadata document (RFC 9728 §3.3) and takes over what can be trusted to be what it says.
 *
 * `resource` must be the endpoint's URL or a parent of it: same scheme, host and port, and a path
 * that is the endpoint's or ends at one of its segments. §3.3 requires identity; gateways that name
 * their origin are common and the parent of a URL can speak for it. Compared as the URL parser
 * normalises them, but for a slash at the end; percent-encoding counts as written. A query in
 * `resource` must be the endpoint's, on the endpoint's own path.
 *
 * Any other field of the wrong type, too long, or with characters that should not be shown is left
 * out, as are single list entries. Never throws. `why` is fit for a log line.
 */
export function validateMetadata(
  json: unknown,
  endpoint: URL,
  gatewayAddress = endpoint.hostname,
): { ok: true; metadata: ResourceMetadata } | { ok: false; why: string } {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return { ok: false, why: 'the document is no JSON object' };
  }
  const document: MetadataDocument = json;
  const resource = document.resource;
  if (typeof resource !== 'string') {
    return { ok: false, why: 'the document names no resource' };
  }
  if (!isSameOrParent(resource, endpoint)) {
    return {
      ok: false,
      why: `the document is about ${cleanNetworkText(resource, 200) || 'something unreadable'}, ${NOT_THIS_GATEWAY}`,
    };
  }
  const resourceName = shownText(document.resource_name);
  const resourceDocumentation = safeUrl(document.resource_documentation, gatewayAddress)?.href;
  const authorizationServers = list(document.authorization_servers, (entry) =>
    safeUrl(entry, gatewayAddress) === undefined ? undefined : String(entry),
  );
  const methods = document.bearer_methods_supported;
  const bearerMethods = list(methods, scopeToken);
  // An incomplete list would say of a method left out that it is not supported.
  const bearerMethodsSupported =
    bearerMethods?.length === (methods as unknown[] | undefined)?.length
      ? bearerMethods
      : undefined;
  const scopesSupported = list(document.scopes_supported, scopeToken);
  return {
    ok: true,
    metadata: {
      resource,
      ...(resourceName === undefined ? {} : { resourceName }),
      ...(resourceDocumentation === undefined ? {} : { resourceDocumentation }),
      ...(authorizationServers === undefined ? {} : { authorizationServers }),
      ...(bearerMethodsSupported === undefined ? {} : { bearerMethodsSupported }),
      ...(scopesSupported === undefined ? {} : { scopesSupported }),
      ...(document.dpop_bound_access_tokens_required === true ? { requiresDpop: true } : {}),
    },
  };
}

/** Why there is no metadata. `isForeign`: some was there, about another resource. */
export interface NoMetadata {
  readonly why: string;
  readonly isForeign?: true;
}

const NOT_THIS_GATEWAY = 'which is not this gateway';

interface FetchOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** As in `metadataUrls`. */
  readonly gatewayAddress?: string;
}

/**
 * Fetches and validates the metadata, trying the `urls` (from `metadataUrls`) in order until one
 * has a valid document. Takes at most 64 KiB of each and 5,000 ms for all of them together, or
 * until `signal` aborts, also when `get` does not keep to its limits. Redirects and everything but
 * status 200 (§3.2) count as failure.
 *
 * Never rejects. `why` tells what failed at each URL, fit for a log line.
 */
export async function fetchMetadata(
  urls: readonly URL[],
  endpoint: URL,
  get: MetadataGet,
  { signal, timeoutMs = MAX_TOTAL_MS, gatewayAddress = endpoint.hostname }: FetchOptions = {},
): Promise<ResourceMetadata | NoMetadata> {
  const deadline = monotonicMs() + timeoutMs;
  // AbortSignal.any over AbortSignal.timeout may be garbage-collected before it fires
  // (nodejs/node#57736).
  const stop = new AbortController();
  let halt: (why: string) => void = () => {};
  const halted = new Promise<string>((resolve) => {
    halt = (why) => {
      resolve(why);
      stop.abort();
    };
  });
  const timer = setTimeout(() => halt('no answer in time'), timeoutMs);
  const onAbort = () => halt('stopped');
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  const tryUrl = async (url: URL): Promise<ResourceMetadata | string> => {
    const left = Math.max(1, Math.ceil(deadline - monotonicMs()));
    const limits = { maxBytes: MAX_BODY_BYTES, timeoutMs: left, signal: stop.signal };
    try {
      return readAnswer(await get(url, limits), endpoint, gatewayAddress);
    } catch (error) {
      return inWords(error);
    }
  };
  const whys: string[] = [];
  try {
    for (const url of urls) {
      if (stop.signal.aborted) break;
      const outcome = await Promise.race([halted, tryUrl(url)]);
      if (typeof outcome !== 'string') return outcome;
      // Without the query: an endpoint's may hold what should not be logged.
      whys.push(`${cleanNetworkText(url.origin + url.pathname, 200)}: ${outcome}`);
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
  if (urls.length === 0) {
    return { why: 'there is no https address to fetch it from' };
  }
  const isForeign = whys.some((why) => why.endsWith(NOT_THIS_GATEWAY));
  return { why: whys.join('; ') || 'stopped', ...(isForeign ? { isForeign } : {}) };
}

function readAnswer(
  { status, contentType, body }: MetadataAnswer,
  endpoint: URL,
  gatewayAddress: string,
): ResourceMetadata | string {
  if (status >= 300 && status < 400) return `HTTP ${status}, and redirects are not followed`;
  if (status !== 200) return `HTTP ${status}`;
  if (body.length > MAX_BODY_BYTES) return `more than ${MAX_BODY_BYTES} bytes`;
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    return `no JSON (${cleanNetworkText(contentType ?? '', 100) || 'no content type'})`;
  }
  const validated = validateMetadata(json, endpoint, gatewayAddress);
  return validated.ok ? validated.metadata : validated.why;
}

function inWords(error: unknown): string {
  const { message, code } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  return cleanNetworkText(message || code || 'the request failed', 200);
}

function isSameOrParent(resource: string, endpoint: URL): boolean {
  if (!isPlainUrlText(resource) || resource.includes('#')) return false;
  const url = new URL(resource);
  // Not `origin`, which a blob: URL borrows from the URL inside it.
  if (url.protocol !== endpoint.protocol || url.host !== endpoint.host) return false;
  if (url.username !== '' || url.password !== '') return false;
  const path = withSlash(url.pathname);
  const endpointPath = withSlash(endpoint.pathname);
  return url.search === ''
    ? endpointPath.startsWith(path)
    : url.search === endpoint.search && endpointPath === path;
}

const withSlash = (path: string) => (path.endsWith('/') ? path : `${path}/`);

/** A URL that may be fetched or shown: see `metadataUrls`. */
function safeUrl(text: unknown, gatewayAddress: string): URL | undefined {
  if (!isPlainUrlText(text)) return undefined;
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return undefined;
  if (!mayLeadTo(url.hostname, gatewayAddress)) return undefined;
  return url.protocol === 'https:' || isLoopbackHost(url.hostname) ? url : undefined;
}

/**
 * Whether this is an absolute http(s) URL in visible ASCII. The URL parser alone takes much more:
 * white space, backslashes, missing slashes, look-alike letters.
 */
function isPlainUrlText(text: unknown): text is string {
  return (
    typeof text === 'string' &&
    text.length <= MAX_URL_CHARACTERS &&
    /^https?:\/\/(?![/?#])[\x21-\x7e]+$/i.test(text) &&
    !text.includes('\\') &&
    URL.canParse(text)
  );
}

function shownText(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === '' || value.length > MAX_NAME_CHARACTERS) {
    return undefined;
  }
  return cleanNetworkText(value) === value ? value : undefined;
}

/** A scope-token (RFC 6749 §3.3); the names of bearer methods fit it too. */
function scopeToken(value: unknown): string | undefined {
  return typeof value === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/.test(value)
    ? value
    : undefined;
}

/** The entries that `read` accepts; `undefined` when it is not a list, or has no valid entry. */
function list(value: unknown, read: (entry: unknown) => string | undefined): string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const entries = value
    .slice(0, MAX_LIST_ENTRIES)
    .map(read)
    .filter((entry) => entry !== undefined);
  return entries.length === 0 && value.length > 0 ? undefined : entries;
}
