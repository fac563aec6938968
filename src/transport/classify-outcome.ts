import type { Credential } from '../auth/credential.ts';
import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { isBadHttp } from '../http/bad-http.ts';
import { classifyNetworkError } from '../http/classify-network-error.ts';
import type { Headers } from '../http/request.ts';
import { retryAfterSeconds } from '../http/retry-after.ts';
import type { Request, Response } from '../jsonrpc/message.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';

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
}

/** Why there is no key to send. */
export function failureOfCredential(
  gateway: string,
  credential: Extract<Credential, { kind: 'unusable' }>,
): Failure {
  const { reason, detail, origin } = credential;
  return {
    reason,
    gateway,
    key: origin,
    ...(detail === undefined ? {} : { detail }),
    ...('signIn' in credential ? { signIn: credential.signIn } : {}),
  };
}

/**
 * A reply that came with another status than success is the gateway's own answer; undefined without
 * one. With 401, 403 and 429 the status says more. A result counts too, since the request has run;
 * only a handshake is not made with an error status.
 */
export function replyInErrorResponse(
  { method }: Request,
  end: ExchangeOutcome,
): Response | undefined {
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
    case 'not-mcp':
      return { ...base, reason: 'invalid_response', status: end.status, detail: end.what };
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
  { status, headers, body, reply }: Extract<ExchangeOutcome, { kind: 'http-error' }>,
  { gateway, credential, isInSession }: Circumstances,
): Judgement {
  const isResult = reply?.isError === false;
  const detail = isResult ? RESULT_WITH_ERROR_STATUS : whatTheBodySays(body, headers);
  const said = detail === undefined || isEcho(detail, status) ? {} : { detail };
  const seconds = retryAfterSeconds(headers);
  const wait = seconds === undefined ? {} : { retryAfterSeconds: seconds };
  if (status >= 300 && status < 400) return { status, ...redirect(headers, gateway) };
  if (status >= 500) return { reason: 'gateway_error', status, ...said, ...wait };
  switch (status) {
    case 401:
      if (credential.kind === 'none') return { reason: 'no_api_key', status };
      return { reason: 'unauthorized', status, ...said };
    case 403:
      return { reason: 'forbidden', status, ...said };
    case 404:
    case 405:
      if (isResult) return { reason: 'http_error', status, ...said };
      if (isInSession !== true || status === 405) return { reason: 'wrong_path', status };
      return { reason: 'gateway_error', status, detail: FORGETS_SESSIONS, ...said };
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

const RESULT_WITH_ERROR_STATUS = 'it sent a result, but with a status that means an error';
const FORGETS_SESSIONS = 'it forgets its sessions as soon as they are begun';

function ofError(
  { error, sent, status }: Extract<ExchangeOutcome, { kind: 'transport-error' }>,
  circumstances: Circumstances,
): Judgement {
  if (isBadHttp(error)) {
    const words = error.message.replace(/^Parse Error: /, '');
    const detail = `it is no proper HTTP (${cleanNetworkText(words, 100)})`;
    return { reason: 'invalid_response', detail };
  }
  const answered = status === undefined ? {} : { status };
  const { networkCause, detail } = classifyNetworkError(error, circumstances);
  const said = detail === undefined ? {} : { detail };
  if (sent && !circumstances.mayRepeat()) {
    return { reason: 'interrupted', ...answered, networkCause, ...said };
  }
  if (status === undefined) return { reason: 'unreachable', networkCause, ...said };
  return { reason: 'invalid_response', status, detail: detail ?? 'the answer broke off' };
}

function redirect(headers: Headers, gateway: string): Judgement {
  const location = single(headers.location);
  if (location === undefined || !URL.canParse(location, gateway)) return { reason: 'http_error' };
  return { reason: 'redirected', location: cleanNetworkText(new URL(location, gateway).href) };
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

/** The code of a JSON-RPC error to no request, or to another. */
function rpcCodeIn(body: Buffer): { rpcCode?: number } {
  try {
    const code: unknown = JSON.parse(body.toString('utf8')).error.code;
    return typeof code === 'number' ? { rpcCode: code } : {};
  } catch {
    return {};
  }
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
