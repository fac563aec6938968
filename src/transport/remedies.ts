import type { KeyResult } from '../auth/key.ts';
import type { KeyProvider } from '../auth/key-provider.ts';
import type { Failure } from '../failures/failure.ts';
import type { Message } from '../jsonrpc/message.ts';
import type { Endpoint } from './endpoint.ts';
import type { ExchangeOutcome } from './exchange.ts';
import { belongsToSession, isLostSession } from './lost-session.ts';
import { redirectWithin } from './redirect.ts';
import type { Session } from './session.ts';

/** Where the changes are made. */
export interface RemedyOptions {
  readonly keys: KeyProvider;
  readonly endpoint: Endpoint;
  /** Of the gateway; no redirect leaves it. */
  readonly origin: string;
  /** Begins a new session in the place of a lost one. Resolves with why that failed. */
  readonly renewSession: (lost: Session) => Promise<Failure | undefined>;
}

/** What a message was sent with. */
interface Sent {
  readonly message: Message;
  readonly key: KeyResult;
  readonly session: Session | undefined;
  /** Whether it is part of the handshake of a new session itself. */
  readonly isRenewal: boolean;
}

/**
 * `again` where something was changed, so that the message is worth sending again; `over` where the
 * message is settled, with the failure or without one.
 */
type Remedy = 'again' | { readonly over: Failure | undefined };

const MOST_REDIRECTS = 3;

/**
 * What is changed on account of one message when the gateway refuses it: the key, the session, the
 * address, what is trusted. Each once, the address three times. Only for a message that may be sent
 * again (not-run.ts).
 */
export class Remedies {
  /** Path and query to send to. */
  target: string;
  readonly #options: RemedyOptions;
  #redirects = 0;
  #hasNewKey = false;
  #hasNewSession = false;
  #hasNewTrust = false;

  /** `target`: where the message was sent first. */
  constructor(options: RemedyOptions, target: string) {
    this.#options = options;
    this.target = target;
  }

  /** Undefined where nothing can be changed, and how the exchange ended is the answer. */
  async after(end: ExchangeOutcome, sent: Sent): Promise<Remedy | undefined> {
    const { message, key, session, isRenewal } = sent;
    const { keys, endpoint, origin, renewSession } = this.#options;
    if (end.kind === 'http-error' && end.status === 401 && !this.#hasNewKey) {
      this.#hasNewKey = (await keys.renew(key)) !== undefined;
      if (this.#hasNewKey) return 'again';
    }
    const isRenewable = session?.id !== undefined && !isRenewal && !this.#hasNewSession;
    if (isRenewable && isLostSession(end)) {
      this.#hasNewSession = true;
      const failure = await renewSession(session);
      return failure !== undefined || belongsToSession(message) ? { over: failure } : 'again';
    }
    const redirected = redirectWithin(origin, this.target, end);
    if (redirected !== undefined && this.#redirects < MOST_REDIRECTS) {
      this.#redirects++;
      this.target = redirected;
      // 308 is for good (RFC 9110 §15.4.9).
      if (end.kind === 'http-error' && end.status === 308) endpoint.target = redirected;
      return 'again';
    }
    if (this.#hasNewTrust) return undefined;
    this.#hasNewTrust = endpoint.trustSystemAfter(end);
    return this.#hasNewTrust ? 'again' : undefined;
  }
}
