import type { Credential, CredentialProvider } from '../auth/credential.ts';
import type { Failure } from '../failures/failure.ts';
import type { Message } from '../jsonrpc/message.ts';
import type { Endpoint } from './endpoint.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { belongsToSession } from './lost-session.ts';
import { waitBeforeRetry } from './retry-policy.ts';

/** What to do after an attempt that failed: send again, now or later, or end with this failure. */
export type Decision =
  | 'send-again'
  | { readonly waitMs: number }
  | { readonly settled: Failure | undefined };

/**
 * Decides what an attempt that failed calls for; undefined where it has no opinion. It is asked only
 * about messages that may be sent again (not-run.ts). One policy serves one message, since each
 * counts what it has tried.
 */
export type Policy<Failed> = (
  failed: Failed,
) => Decision | undefined | Promise<Decision | undefined>;

/** What the policies are told of an attempt. */
export interface FailedAttempt {
  readonly outcome: ExchangeOutcome;
  readonly message: Message;
  /** The one that it was sent with. */
  readonly credential: Credential;
  /** 1 for the first; sending again at once counts as the same one. */
  readonly attempts: number;
  /** When the first one began, as `Date.now()` has it. */
  readonly startedAt: number;
  /** Whether the same message twice does no more than once. */
  mayRepeat(): boolean;
}

const MOST_REDIRECTS = 3;
/** A refresh, a sign-in, two steps up, and a nonce after each. */
const MOST_RENEWALS = 8;

/** The first opinion that one of the policies has. */
export async function decide<Failed>(
  policies: readonly Policy<Failed>[],
  failed: Failed,
): Promise<Decision | undefined> {
  for (const policy of policies) {
    const decision = await policy(failed);
    if (decision !== undefined) return decision;
  }
  return undefined;
}

/**
 * Credential: after a 401 or 403 (RFC 9110 §15.5.2, §15.5.4; RFC 6750 §3.1), sends another one, as
 * often as `credentials` have one. `failureOf` says why nothing can be sent with one that is not
 * usable.
 */
export function renewCredential(
  credentials: CredentialProvider,
  failureOf: (credential: Credential) => Failure | undefined,
): Policy<Pick<FailedAttempt, 'outcome' | 'credential' | 'message' | 'startedAt'>> {
  let renewals = 0;
  return async ({ outcome, credential, message, startedAt: since }) => {
    if (outcome.kind !== 'http-error' || renewals === MOST_RENEWALS) return undefined;
    const { status, headers } = outcome;
    if (status !== 401 && status !== 403) return undefined;
    const isAwaited = message.kind === 'request';
    const rejection = { status, headers, renewals, since, isAwaited };
    const renewed = await credentials.renew(credential, rejection);
    if (renewed === undefined) return undefined;
    renewals++;
    const failure = failureOf(renewed);
    return failure === undefined ? 'send-again' : { settled: { ...failure, status } };
  };
}

/**
 * Session: where the gateway no longer knows it, begins another, once (MCP 2025-11-25, Transports
 * §Session Management, 4). `isLost` says so of an attempt; `renew` resolves with why another one
 * cannot be had.
 */
export function renewLostSession<Failed extends Pick<FailedAttempt, 'outcome' | 'message'>>(
  isLost: (failed: Failed) => boolean,
  renew: (failed: Failed) => Promise<Failure | undefined>,
): Policy<Failed> {
  let hasNewSession = false;
  return async (failed) => {
    if (hasNewSession || !isLost(failed)) return undefined;
    hasNewSession = true;
    const failure = await renew(failed);
    if (failure !== undefined || belongsToSession(failed.message)) return { settled: failure };
    return 'send-again';
  };
}

/**
 * Redirect: three times. `follow` says whether the outcome is one that may be followed; then it sends
 * what comes next there.
 */
export function followRedirect<Failed>(follow: (failed: Failed) => boolean): Policy<Failed> {
  let redirects = 0;
  return (failed) => {
    if (redirects >= MOST_REDIRECTS || !follow(failed)) return undefined;
    redirects++;
    return 'send-again';
  };
}

/** Trust: after a certificate of an unknown issuer, trusts the system's store too, once. */
export function trustSystemStore(
  endpoint: Pick<Endpoint, 'trustSystemAfter'>,
): Policy<Pick<FailedAttempt, 'outcome'>> {
  let hasNewTrust = false;
  return ({ outcome }) => {
    if (hasNewTrust) return undefined;
    hasNewTrust = endpoint.trustSystemAfter(outcome);
    return hasNewTrust ? 'send-again' : undefined;
  };
}

/** Retry: what may pass by itself is tried again after a while, as long as `limitMs` allows. */
export function retry(
  limitMs: number,
): Policy<Pick<FailedAttempt, 'outcome' | 'attempts' | 'startedAt' | 'mayRepeat'>> {
  return ({ outcome, attempts, startedAt, mayRepeat }) => {
    const elapsedMs = Date.now() - startedAt;
    const failed = { end: outcome, attempt: attempts, elapsedMs, limitMs, mayRepeat };
    const waitMs = waitBeforeRetry(failed);
    return waitMs === undefined ? undefined : { waitMs };
  };
}
