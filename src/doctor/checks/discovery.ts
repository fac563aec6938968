import { challengeIn, get } from '../../auth/discovery.ts';
import {
  fetchMetadata,
  type MetadataGet,
  metadataUrls,
  type ResourceMetadata,
} from '../../auth/protected-resource-metadata.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { type Answer, type DoctorRun, hasConnected } from '../doctor-run.ts';
import type { Finding } from '../finding.ts';
import type { TracedRequest } from '../http-trace.ts';

/** What the gateway says to someone without a key, and what its metadata adds. */
export async function checkDiscovery(run: DoctorRun): Promise<Finding[]> {
  const contact = await run.contact();
  const posted = contact.requests.findLast(({ method }) => method === 'POST');
  if (!hasConnected(contact) || posted?.status === undefined) {
    const line = 'no response';
    return [{ check: 'discovery', name: 'challenge', status: 'skipped', line }];
  }
  const challenge = challengeIn(posted.headers['www-authenticate']);
  const metadata = await metadataFinding(run, challenge?.resourceMetadata);
  return [challengeFinding(contact, posted, challenge !== undefined), metadata];
}

function challengeFinding(
  { failure }: Answer,
  { status = 0, startMs, headMs }: TracedRequest,
  isBearer: boolean,
): Finding {
  const base = {
    check: 'discovery',
    name: 'challenge',
    ...(headMs === undefined ? {} : { ms: headMs - startMs }),
    details: { status, bearer: isBearer },
  } as const;
  if (status === 401) {
    const line = isBearer
      ? 'requires a Bearer token (HTTP 401)'
      : 'requires a key (HTTP 401), but sends no Bearer challenge';
    return { ...base, status: isBearer ? 'ok' : 'warn', line };
  }
  if (failure === undefined) return { ...base, status: 'ok', line: 'no key required' };
  return { ...base, status: 'warn', line: `HTTP ${status} without a key` };
}

async function metadataFinding(
  { settings, trace, displayUrl }: DoctorRun,
  challengeUrl: string | undefined,
): Promise<Finding> {
  const base = { check: 'discovery', name: 'metadata' } as const;
  const { url, routes } = settings;
  const resources: string[] = [];
  const gatewayAddress = routes.addressOf(url);
  const urls = metadataUrls(url, challengeUrl, gatewayAddress);
  const getter: MetadataGet = async (from, limits) => {
    const answer = await get(from, limits, routes, gatewayAddress);
    if (answer.status === 200) resources.push(...resourceIn(answer.body));
    return answer;
  };
  const start = performance.now();
  const { value: found } = await trace.watch('metadata', () =>
    fetchMetadata(urls, url, getter, { gatewayAddress }),
  );
  const ms = performance.now() - start;
  if (!('why' in found)) return { ...base, ...aboutThis(found, url.origin + url.pathname), ms };
  // One at the same origin is the most likely.
  const isNear = (own: string) => URL.canParse(own) && new URL(own).origin === url.origin;
  const other = resources.find(isNear) ?? resources[0];
  if (other === undefined) {
    const details = { why: found.why };
    return {
      ...base,
      status: 'skipped',
      line: 'none provided',
      ms,
      details,
    };
  }
  return {
    ...base,
    status: 'warn',
    line: `describes a different endpoint: ${other}`,
    ms,
    details: { resource: other, why: found.why },
    problem: {
      sentence: `${url.host} says that its MCP endpoint is ${other} and not ${displayUrl}`,
      remedy:
        "If you trust that address, use it as the URL. Otherwise contact the gateway's operator.",
    },
  };
}

function aboutThis(
  { resource, resourceName, bearerMethodsSupported }: ResourceMetadata,
  endpoint: string,
): Pick<Finding, 'status' | 'line' | 'details'> {
  const takesHeader = bearerMethodsSupported?.includes('header') ?? true;
  const about =
    resource === endpoint ? 'matches this URL' : `matches ${resource}, which includes this URL`;
  const name = resourceName === undefined ? '' : ` (${resourceName})`;
  return {
    status: takesHeader ? 'ok' : 'warn',
    line: takesHeader ? `${about}${name}` : `${about}, but does not accept keys in a header`,
    details: { resource, ...(resourceName === undefined ? {} : { name: resourceName }) },
  };
}

/** The resource that a document names, fit to show: for one that was not accepted. */
function resourceIn(body: Uint8Array): string[] {
  try {
    const { resource } = JSON.parse(new TextDecoder().decode(body)) as { resource?: unknown };
    const clean = typeof resource === 'string' ? cleanNetworkText(resource, 200) : '';
    return clean === '' ? [] : [clean];
  } catch {
    return [];
  }
}
