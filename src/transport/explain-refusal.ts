import type { Credential } from '../auth/credential.ts';
import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Headers } from '../http/request.ts';
import { whatTheBodySays } from './classify-outcome.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { mediaType, whatItIs } from './response-parts.ts';

type Refusal = Extract<ExchangeOutcome, { kind: 'http-error' }>;

/** How the request went out that was refused. */
export interface RefusedRequest {
  readonly url: URL;
  /** Whether an HTTP proxy forwarded it, which reads and writes the HTTP of plain http. */
  readonly isForwarded: boolean;
  readonly credential: Credential;
  /** Whether the same message twice would do no more than once. */
  mayRepeat(): boolean;
}

/**
 * The failure that `refusal` was taken for, with what its head and body show besides its status: that
 * an HTTP proxy made it, or a firewall, or that the server accepts HTTP/2 only; and whether it is
 * about the key. Loaded when a request was refused.
 */
export function explainRefusal(
  refusal: Refusal,
  failure: Failure,
  request: RefusedRequest,
): Failure {
  if (request.isForwarded && isProxysOwn(refusal)) return ofProxy(refusal, failure, request);
  if (isHttp2Only(refusal)) {
    return { ...failure, networkCause: 'http2-only', detail: 'HTTP/2 only' };
  }
  switch (refusal.status) {
    case 401:
      return { ...failure, ...(pageOf(refusal, request.credential) ?? ruleOf(refusal)) };
    case 403:
      if (isMissingKeyAccess(refusal, request)) return { ...failure, lacksKeyAccess: true };
      return {
        ...failure,
        ...(pageOf(refusal, request.credential) ?? withServer(refusal, failure)),
      };
    case 511:
      return { ...failure, ...pageOf(refusal, request.credential) };
    default:
      return failure;
  }
}

/** A header's value, or the first of several, fit to show. */
function field(headers: Headers, name: string): string {
  return cleanNetworkText([headers[name]].flat()[0] ?? '', 60);
}

/** All of a header's values. */
function fields(headers: Headers, name: string): string {
  return [headers[name] ?? []].flat().join(', ');
}

function startOf(body: Buffer): string {
  return body.toString('utf8', 0, 4096).trim();
}

/** Made by Cloudflare before the request reaches the server behind it. */
const CLOUDFLARE_CODE = /^error code: 1\d{3}$/;

/** The answer as that of a firewall or sign-in page; undefined where it may be the gateway's own. */
function pageOf(
  { status, headers, body }: Refusal,
  credential: Credential,
): Partial<Failure> | undefined {
  const challenge = fields(headers, 'www-authenticate');
  if (/\bbearer\b/i.test(challenge)) return undefined;
  const mitigated = field(headers, 'cf-mitigated');
  const text = startOf(body);
  const type = mediaType(headers) ?? '';
  const isPage = /html/.test(type) || text.startsWith('<');
  const isSignIn = /^(?:negotiate|ntlm|kerberos)\b/i.test(challenge);
  if (!isPage && !isSignIn && mitigated === '' && !CLOUDFLARE_CODE.test(text)) return undefined;
  const what = isPage
    ? whatItIs(/^<(?:!doctype )?html/i.test(text) ? 'text/html' : type, body)
    : isSignIn
      ? `a "${cleanNetworkText(challenge, 40)}" sign-in`
      : cleanNetworkText(text, 100) || 'no body';
  const detail = what + signature(headers);
  // A web server's own page may be about the key, unless it asks for something else.
  const isPlain = status === 401 && mitigated === '' && /"(?:401|unauthori[sz]ed)/i.test(what);
  const isForKey =
    isPlain && (credential.kind === 'in-header' || !/^(?:basic|digest)/i.test(challenge));
  return isForKey ? { detail } : { detail, isIntermediary: true };
}

const ABOUT_THE_KEY = /key|token|credential|bearer|auth|password|expired|revoked|log ?in|sign.?in/i;
const ABOUT_THE_NETWORK =
  /\b(?:ip|address(?:es)?|hosts?|origin|network|vpn|firewall|countr(?:y|ies)|region|blocked|captcha|device)\b/i;

/** A 401 for a rule about hosts, addresses or networks, in its words. */
function ruleOf({ headers, body }: Refusal): Partial<Failure> {
  const said = whatTheBodySays(body, headers) ?? '';
  if (headers['www-authenticate'] !== undefined) return {};
  if (!ABOUT_THE_NETWORK.test(said) || ABOUT_THE_KEY.test(said)) return {};
  return { detail: `"${said}"${signature(headers)}`, isIntermediary: true };
}

/** Who answered, as the head shows: `. Server: cloudflare, cf-mitigated: challenge`. */
function signature(headers: Headers): string {
  const parts = [
    ['Server', field(headers, 'server')],
    ['cf-mitigated', field(headers, 'cf-mitigated')],
  ].flatMap(([name, value]) => (value === '' ? [] : [`${name}: ${value}`]));
  return parts.length === 0 ? '' : `. ${parts.join(', ')}`;
}

function withServer({ headers }: Refusal, { detail: said }: Failure): Partial<Failure> {
  const by = signature(headers);
  return by === '' ? {} : { detail: `${said ?? 'no reason given'}${by}` };
}

/**
 * Whether the gateway is one that has Personal API Key Access, and says that the owner of the key
 * lacks it: no challenge, and JSON with nothing in it but `{ "error": "Forbidden" }` (Kindo, MCP API
 * errors).
 */
function isMissingKeyAccess(
  { headers, body }: Refusal,
  { url, credential }: RefusedRequest,
): boolean {
  const isKey = credential.kind === 'found' || credential.kind === 'in-header';
  if (!isKey || !/\/v1\/mcp\/?$/.test(url.pathname)) return false;
  if (headers['www-authenticate'] !== undefined || mediaType(headers) !== 'application/json') {
    return false;
  }
  let said: unknown;
  try {
    said = JSON.parse(body.toString('utf8'));
  } catch {
    return false;
  }
  if (typeof said !== 'object' || said === null || Array.isArray(said)) return false;
  return Object.entries(said).every(
    ([name, value]) => name === 'error' && /^forbidden$|API key access/i.test(String(value)),
  );
}

// Node.js says so to a client that does not offer HTTP/2.
const NODE_HTTP2 = /\bALPN\b[^.]*\bh2\b/;

function isHttp2Only({ status, headers, body }: Refusal): boolean {
  if (status === 505) return true;
  if (status === 426) return /\bh2c?\b|HTTP\/2/i.test(field(headers, 'upgrade'));
  return status === 403 && NODE_HTTP2.test(startOf(body));
}

const PROXY_PRODUCT =
  /squid|blue ?coat|proxysg|zscaler|privoxy|mcafee|ironport|forcepoint|websense|proxy/i;

/** Whether the HTTP proxy itself made the answer, and not the gateway behind it. */
function isProxysOwn({ status, headers, body, reply }: Refusal): boolean {
  if (reply !== undefined || status < 400) return false;
  // RFC 9110 §11.7.1; Squid's own; `error` in RFC 9209 §2.1.1.
  if (headers['proxy-authenticate'] !== undefined) return true;
  if (headers['x-squid-error'] !== undefined) return true;
  if (/;\s*error\s*=/i.test(fields(headers, 'proxy-status'))) return true;
  if (status !== 403 && status !== 502 && status !== 503 && status !== 504) return false;
  // These come with what a proxy has forwarded, too: then the answer is in the words of a gateway,
  // or names the server that made it.
  const traces = ['via', 'x-cache', 'x-cache-lookup', 'proxy-connection', 'proxy-status'];
  const trace = traces.map((name) => fields(headers, name)).join(' ');
  if (trace.trim() === '' || /^[[{]/.test(startOf(body))) return false;
  const [product = ''] = field(headers, 'server').toLowerCase().split(/[/ ]/);
  return product === '' || PROXY_PRODUCT.test(product) || trace.toLowerCase().includes(product);
}

// What has kept the proxy from the gateway, so that nothing has run (RFC 9209 §2.3; Squid).
const NOT_REACHED =
  /\b(?:dns_(?:timeout|error)|destination_\w+|connection_(?:refused|timeout|limit_reached)|tls_\w+|ERR_(?:DNS|CONNECT|CANNOT_FORWARD|ACCESS|UNSUP|INVALID|SECURE)\w*)/i;

function ofProxy({ status, headers }: Refusal, failure: Failure, request: RefusedRequest): Failure {
  const why = `${fields(headers, 'x-squid-error')} ${fields(headers, 'proxy-status')}`;
  const [code] = /\bERR_\w{1,60}|(?<=;\s{0,9}error\s{0,9}=\s{0,9})\w{1,60}/i.exec(why) ?? [];
  const detail = `the HTTP proxy answered ${status}${code === undefined ? '' : `, ${code}`}`;
  const { status: _ofTheProxy, ...rest } = failure;
  if (status === 407 || headers['proxy-authenticate'] !== undefined) {
    return { ...rest, reason: 'unreachable', networkCause: 'proxy-wants-credentials' };
  }
  const mayHaveRun = status >= 500 && !NOT_REACHED.test(why) && !request.mayRepeat();
  const reason = mayHaveRun ? 'interrupted' : 'unreachable';
  const networkCause = status >= 500 ? 'proxy-failed' : 'proxy-refused';
  return { ...rest, reason, networkCause, detail };
}
