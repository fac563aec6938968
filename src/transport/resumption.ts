import { type Credential, type CredentialProvider, isUsable } from '../auth/credential.ts';
import { monotonicMs } from '../monotonic-clock.ts';
import type { DeliveryState } from './delivery-state.ts';
import type { Exchange } from './exchange.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { isTimeout, mayPass } from './retry-policy.ts';

const DEFAULT_WAIT_MS = 1_000;
const MOST_FAILURES = 3;
const SETTLED: ReadonlySet<ExchangeOutcome['kind']> = new Set([
  ...(['replied', 'refused', 'aborted', 'bug'] as const),
]);

export interface ResumptionOptions {
  readonly credentials: CredentialProvider;
  readonly state: DeliveryState;
  /** Longest silence while the reply is due, in milliseconds; 0 for no limit. */
  readonly timeoutMs: number;
  /** Sends the GET; `lastEventId` goes into `Last-Event-ID`. */
  open(credential: Credential, lastEventId: string): Exchange;
}

/**
 * Goes on with an event stream that broke off, from its last event (MCP 2025-11-25, Transports
 * §Resumability and Redelivery; 2026-07-28 has none), after the time it asked for or what is left of
 * the timeout. Resolves with how that ended; with `broken` when it cannot be.
 */
export async function resume(
  first: Exchange,
  broken: ExchangeOutcome,
  { credentials, state, timeoutMs, open }: ResumptionOptions,
): Promise<ExchangeOutcome> {
  let { lastEventId, retryMs = DEFAULT_WAIT_MS } = first;
  let heardAt = monotonicMs();
  let hasNewCredential = false;
  state.hadAttempt = true;
  for (let failures = 0; lastEventId !== undefined && failures < MOST_FAILURES; ) {
    const leftMs = heardAt + (timeoutMs || Number.POSITIVE_INFINITY) - monotonicMs();
    if (leftMs <= 0) return broken;
    if (!hasNewCredential) await state.pause(Math.min(retryMs, leftMs));
    const credential = await credentials.current();
    if (state.isOver) return { kind: 'aborted' };
    const exchange = open(credential, lastEventId);
    state.attempt = exchange;
    const end = await exchange.ended;
    if (SETTLED.has(end.kind)) return end;
    if (isTimeout(end)) return end;
    if (end.kind === 'http-error' && end.status === 401 && !hasNewCredential) {
      const { status, headers } = end;
      const rejection = { status, headers, renewals: 0, since: Date.now(), isAwaited: true };
      hasNewCredential = isUsable(await credentials.renew(credential, rejection));
      if (hasNewCredential) continue;
    }
    if (!mayPass(end)) return broken;
    hasNewCredential = false;
    // Closing without the reply is how a gateway lets its clients poll (MCP 2025-11-25,
    // Transports §Sending Messages to the Server, 6): no failure.
    const wasOpen = end.kind === 'transport-error' && end.status !== undefined;
    failures = wasOpen ? 0 : failures + 1;
    if (wasOpen) heardAt = monotonicMs();
    lastEventId = exchange.lastEventId;
    retryMs = exchange.retryMs ?? retryMs;
  }
  return broken;
}
