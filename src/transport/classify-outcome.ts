import type { Credential } from '../auth/credential.ts';
import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { isBadHttp, isHttp2Frame } from '../http/bad-http.ts';
import { classifyNetworkError } from '../http/classify-network-error.ts';
import type { Headers } from '../http/request.ts';
import { retryAfterSeconds } from '../http/retry-after.ts';
import type { Request, Response } from '../jsonrpc/message.ts';
import { sentenceIn } from './error-words.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { isLostSession } from './lost-session.ts';

/** What is known of a request besides how its exchange ended. */
export interface Circumstances {
  /** The endpoint without its query. */
  readonly gateway: string;
  readonly credential: Credential;
  readonly connectTimeoutMs: number;
  readonly timeoutMs: number;
  readonly maxMessageBytes: number;
  /** Whether the same message twice would do no more than once. */
  mayRepeat(): boolean;
  readonly attempts?: number;
  /** Whether it was sent in a session that the gateway itself had begun. */
  readonly isInSession?: boolean;
  /** Whether the gateway has accepted a message at this URL before. */
  readonly hasWorked?: boolean;
}

/** Why there is no key to send. */
export function failureOfCredential(
  gateway: string,
  credential: Extract<Credential, { kind: 'unusable' }>,
): Failure {
  const { reason, detail, origin } = credential;
  return {
    ...{ reason, gateway, key: origin },
    ...(detail === undefined ? {} : { detail }),
    ...('isPlaceholder' in credential ? { isPlaceholder: true } : {}),
    ...('signIn' in credential ? { signIn: credential.signIn } : {}),
    ...('isTransient' in credential ? { isTransient: true } : {}),
  };
}

/**
 * A reply that came with another status than success, or with an error in its place, is the gateway's
 * own answer; undefined without one. With 401, 403 and 429 the status says more. A result counts too, since the request has run;
 * only a handshake is not made with an error status.
 */
export function replyInErrorResponse(
  { method }: Request,
  end: ExchangeOutcome,
): Response | undefined {
  if (end.kind === 'refused') return end.reply;
  if (end.kind !== 'http-error' || end.reply === undefined || end.status < 400) return undefined;
  if (end.status === 401 || end.status === 403 || end.status === 429) return undefined;
  if (method === 'initialize' && !end.reply.isError) return undefined;
  return { ...end.reply, refusedWith: end.status };
}

/** Judges an exchange that brought no reply. */
export function classifyOutcome(end: ExchangeOutcome, circumstances: Circumstances): Failure {
  const { gateway, credential, attempts } = circumstances;
  const base = { gateway, key: credential.origin, ...(attempts === undefined ? {} : { attempts }) };
  switch (end.kind) {
    case 'http-error':
      return { ...base, ...ofStatus(end, circumstances), ...rpcCodeIn(end.body) };
    case 'refused': {
      const detail = cleanSentence(end.body) ?? 'no reply, only an error';
      return { ...base, reason: 'gateway_error', status: end.status, detail };
    }
    case 'not-mcp':
      return {
        ...base,
        reason: 'invalid_response',
        ...{ status: end.status, detail: end.what },
        ...(end.isHttpSse === true ? { offersHttpSse: true } : {}),
      };
    case 'too-large':
      return {
        ...base,
        reason: 'invalid_response',
        status: end.status,
        limitBytes: circumstances.maxMessageBytes,
      };
    case 'transport-error':
      return { ...base, ...ofError(end, circumstances) };
    case 'bug':
      return { ...base, reason: 'internal_error' };
    default:
      return { ...base, reason: 'invalid_response', detail: 'no reply' };
  }
}

type Judgement = Omit<Failure, 'gateway' | 'key'>;

function ofStatus(
  end: Extract<ExchangeOutcome, { kind: 'http-error' }>,
  { gateway, credential, isInSession, hasWorked }: Circumstances,
): Judgement {
  const { status, headers, body, reply } = end;
  const isResult = reply?.isError === false;
  const detail = isResult ? RESULT_WITH_ERROR_STATUS : whatTheBodySays(body, headers);
  const said = detail === undefined || isEcho(detail, status) ? {} : { detail };
  const seconds = retryAfterSeconds(headers);
  const wait = seconds === undefined ? {} : { retryAfterSeconds: seconds };
  if (status >= 300 && status < 400) return { status, ...redirect(headers, gateway) };
  if (status >= 500) return { reason: 'gateway_error', status, ...said, ...wait };
  // It accepted the key when the session was begun.
  const isAboutKey = status === 401 || status === 403;
  if (isAboutKey && isInSession === true && isLostSession(end)) {
    return { reason: 'gateway_error', status, detail: FORGETS_SESSIONS, ...said };
  }
  switch (status) {
    case 401:
      if (credential.kind === 'none') return { reason: 'no_api_key', status };
      return { reason: 'unauthorized', status, ...said };
    case 403:
      return { reason: 'forbidden', status, ...said };
    case 404:
    case 405:
      if (isResult) return { reason: 'http_error', status, ...said };
      if (isInSession === true && status === 404) {
        return { reason: 'gateway_error', status, detail: FORGETS_SESSIONS, ...said };
      }
      if (hasWorked === true) return { reason: 'gateway_error', status, detail: IS_GONE, ...said };
      return { reason: 'wrong_path', status };
    case 406:
      return { reason: 'not_acceptable', status, ...said };
    case 407:
      // Of a proxy that plain http goes through (RFC 9110 §15.5.8).
      return { reason: 'unreachable', networkCause: 'proxy-wants-credentials' };
    case 413:
      return { reason: 'request_too_large', status, ...said, ...limitIn(detail) };
    case 429:
      return { reason: 'rate_limited', status, ...said, ...wait };
    default:
      return { reason: 'http_error', status, ...said };
  }
}

const RESULT_WITH_ERROR_STATUS = 'it also sent a result';
const IS_GONE = 'the endpoint is gone';
const FORGETS_SESSIONS = 'it loses its sessions';

function ofError(
  { error, sent, status }: Extract<ExchangeOutcome, { kind: 'transport-error' }>,
  circumstances: Circumstances,
): Judgement {
  if (isHttp2Frame(error)) {
    const detail = 'an HTTP/2 frame';
    return { reason: 'invalid_response', networkCause: 'http2-only', detail };
  }
  if (isBadHttp(error)) {
    const words = error.message.replace(/^Parse Error: /, '');
    const detail = `invalid HTTP. Reason: ${cleanNetworkText(words, 100)}`;
    return { reason: 'invalid_response', detail };
  }
  const answered = status === undefined ? {} : { status };
  const { networkCause, detail } = classifyNetworkError(error, circumstances);
  const said = detail === undefined ? {} : { detail };
  if (sent && !circumstances.mayRepeat()) {
    return { reason: 'interrupted', ...answered, networkCause, ...said };
  }
  if (status === undefined) return { reason: 'unreachable', networkCause, ...said };
  const why = detail === undefined ? '' : `. Reason: ${detail}`;
  return { reason: 'invalid_response', status, networkCause, detail: `a truncated reply${why}` };
}

function redirect(headers: Headers, gateway: string): Judgement {
  const reference = single(headers.location);
  if (reference === undefined || !URL.canParse(reference, gateway)) return { reason: 'http_error' };
  const [from, to] = [new URL(gateway), new URL(reference, gateway)];
  const isDowngrade = from.protocol === 'https:' && to.protocol === 'http:';
  if (!isDowngrade || to.hostname !== from.hostname) {
    return { reason: 'redirected', location: cleanNetworkText(to.href) };
  }
  // Behind a proxy that ends TLS, a gateway may not know that its URL begins with https.
  const location = cleanNetworkText(from.origin + to.pathname + to.search);
  return { reason: 'redirected', location, isDowngrade };
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
export function whatTheBodySays(body: Buffer, headers: Headers): string | undefined {
  if (/html/i.test(single(headers['content-type']) ?? '')) return undefined;
  return cleanSentence(body);
}

function cleanSentence(body: Buffer): string | undefined {
  const clean = cleanNetworkText(sentenceIn(body) ?? '').replace(/[.\s]+$/, '');
  return clean === '' ? undefined : clean;
}

/** The code of a JSON-RPC error to no request, or to another. */
function rpcCodeIn(body: Buffer): { rpcCode?: number } {
  try {
    const code: unknown = JSON.parse(body.toString('utf8')).error.code;
    return typeof code === 'number' ? { rpcCode: code } : {};
  } catch {
    return {};
  }
}

/** Whether it only says the status again: "Forbidden", "service unavailable". */
function isEcho(detail: string, status: number): boolean {
  // Not imported: it would be loaded before the connection is begun.
  const { STATUS_CODES } = process.getBuiltinModule('node:http');
  const phrase = STATUS_CODES[status]?.toLowerCase();
  return detail.toLowerCase() === phrase;
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
