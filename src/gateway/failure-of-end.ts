import type { KeyFinding, KeyOrigin } from '../auth/key.ts';
import type { Failure, UnreachableCause } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Message } from '../protocol/message.ts';
import { mayRepeat } from '../protocol/methods.ts';
import type { ExchangeEnd, Headers } from './exchange.ts';

interface Circumstances {
  /** The endpoint without its query. */
  readonly gateway: string;
  readonly key: KeyOrigin;
  readonly message?: Message;
  /** Whether the request named a session. */
  readonly inSession?: boolean;
}

/** Why there is no key to send. */
export function failureOfKey(
  gateway: string,
  { reason, detail, origin }: Extract<KeyFinding, { kind: 'unusable' }>,
): Failure {
  return { reason, gateway, key: origin, ...(detail === undefined ? {} : { detail }) };
}

/** Judges an exchange that brought no reply. */
export function failureOfEnd(end: ExchangeEnd, circumstances: Circumstances): Failure {
  const { gateway, key } = circumstances;
  const base = { gateway, key };
  switch (end.kind) {
    case 'refused':
      return { ...base, ...ofStatus(end.status, end.headers, end.body, circumstances) };
    case 'not-mcp':
      return { ...base, reason: 'invalid_response', status: end.status, detail: end.what };
    case 'broken':
      return { ...base, ...ofError(end, circumstances.message) };
    default:
      return { ...base, reason: 'invalid_response', detail: 'no reply' };
  }
}

type Judgement = Omit<Failure, 'gateway' | 'key'>;

function ofStatus(
  status: number,
  headers: Headers,
  body: Buffer,
  { gateway, key, inSession }: Circumstances,
): Judgement {
  const detail = whatTheBodySays(body, headers);
  const said = detail === undefined ? {} : { detail };
  if (status >= 300 && status < 400) return { status, ...redirect(headers, gateway) };
  if (status >= 500) return { reason: 'gateway_error', status, attempts: 1, ...said };
  switch (status) {
    case 401:
      if (key.source === 'none') return { reason: 'no_api_key', status };
      return { reason: 'unauthorized', status, ...withoutEcho(said, 'Unauthorized') };
    case 403:
      return { reason: 'forbidden', status, ...withoutEcho(said, 'Forbidden') };
    case 404:
    case 405:
      if (inSession) {
        return { reason: 'http_error', status, detail: 'it no longer knows this session' };
      }
      return { reason: 'wrong_path', status };
    case 406:
      return { reason: 'not_acceptable', status, ...said };
    case 413:
      return { reason: 'request_too_large', status, ...limitIn(detail) };
    case 429:
      return { reason: 'rate_limited', status, ...said, ...retryAfter(headers) };
    default:
      return { reason: 'http_error', status, ...said };
  }
}

function ofError(
  { error, sent, status }: Extract<ExchangeEnd, { kind: 'broken' }>,
  message: Message | undefined,
): Judgement {
  const { cause, detail } = causeOf(error);
  if (status !== undefined) {
    return { reason: 'interrupted', status, detail };
  }
  if (sent && message?.kind === 'request' && !mayRepeat(message.method)) {
    return { reason: 'interrupted', cause, detail };
  }
  return { reason: 'unreachable', cause, detail };
}

const CAUSES: Readonly<Record<string, UnreachableCause>> = {
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  EAI_FAIL: 'dns',
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'refused',
  ENETUNREACH: 'refused',
  EADDRNOTAVAIL: 'refused',
  EACCES: 'refused',
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'tls',
  SELF_SIGNED_CERT_IN_CHAIN: 'tls',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'tls',
  UNABLE_TO_GET_ISSUER_CERT: 'tls',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'tls',
  HOSTNAME_MISMATCH: 'tls',
  EPROTO: 'tls',
};

function causeOf(error: Error): { cause: UnreachableCause; detail: string } {
  // Happy eyeballs (RFC 8305) collects one error an address.
  const first = error instanceof AggregateError ? error.errors[0] : error;
  const code = (first as NodeJS.ErrnoException).code ?? '';
  const isTls = /^(?:ERR_TLS|ERR_SSL|CERT)_/.test(code);
  const cause = CAUSES[code] ?? (isTls ? 'tls' : 'reset');
  return { cause, detail: cleanNetworkText(first.message || code) };
}

function redirect(headers: Headers, gateway: string): Judgement {
  const location = single(headers.location);
  if (location === undefined || !URL.canParse(location, gateway)) return { reason: 'http_error' };
  return { reason: 'redirected', location: cleanNetworkText(new URL(location, gateway).href) };
}

function retryAfter(headers: Headers): Partial<Judgement> {
  const value = single(headers['retry-after']);
  if (value === undefined) return {};
  // Seconds or an HTTP date (RFC 9110 §10.2.3).
  const seconds = /^\d{1,9}$/.test(value)
    ? Number(value)
    : Math.ceil((Date.parse(value) - Date.now()) / 1000);
  return Number.isFinite(seconds) ? { retryAfterSeconds: Math.max(0, seconds) } : {};
}

const UNITS: Readonly<Record<string, number>> = {
  kb: 1024,
  kib: 1024,
  mb: 1024 ** 2,
  mib: 1024 ** 2,
  gb: 1024 ** 3,
  gib: 1024 ** 3,
};

function limitIn(detail: string | undefined): Partial<Judgement> {
  const [, amount, unit] = /(\d+(?:\.\d+)?)\s*([kmg]i?b)\b/i.exec(detail ?? '') ?? [];
  if (amount === undefined || unit === undefined) return {};
  return { limitBytes: Number(amount) * (UNITS[unit.toLowerCase()] as number) };
}

/** The one sentence in an error body, wherever the usual formats put it. HTML says nothing. */
function whatTheBodySays(body: Buffer, headers: Headers): string | undefined {
  const type = single(headers['content-type']) ?? '';
  const text = body.toString('utf8').trim();
  if (text === '' || /html/i.test(type) || text.startsWith('<')) return undefined;
  const said = text.startsWith('{') ? sentenceIn(text) : text;
  const clean = cleanNetworkText(said ?? '').replace(/[.\s]+$/, '');
  return clean === '' ? undefined : clean;
}

function sentenceIn(json: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  for (const name of ['message', 'error_description', 'detail', 'title', 'error']) {
    const member = (value as Record<string, unknown>)[name];
    if (typeof member === 'string' && member !== '') return member;
    if (typeof member === 'object' && member !== null) {
      const nested = (member as Record<string, unknown>).message;
      if (typeof nested === 'string' && nested !== '') return nested;
    }
  }
  return undefined;
}

function withoutEcho(said: { detail?: string }, word: string): { detail?: string } {
  return said.detail?.toLowerCase() === word.toLowerCase() ? {} : said;
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
