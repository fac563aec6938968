import type { Failure } from '../failures/failure.ts';
import type { Headers } from '../http/request.ts';
import type { KeyOrigin, KeyResult } from './key.ts';

/** What a request is sent with: an API key, an access token, or why there is neither. */
export type Credential = KeyResult | Token | NoToken;

/** There is no access token, and what the user can do about it. */
export interface NoToken {
  readonly kind: 'unusable';
  readonly reason: 'sign_in_required' | 'unauthorized';
  /** In words that fit after a colon. */
  readonly detail?: string;
  readonly origin: KeyOrigin;
  readonly signIn: NonNullable<Failure['signIn']>;
  /** The authorization server cannot answer now; what it has granted may be as good as before. */
  readonly isTransient?: true;
}

/** An access token (RFC 6749 §1.4). */
export interface Token {
  readonly kind: 'token';
  readonly origin: KeyOrigin;
  /** Another token has another one. */
  readonly token: string;
  /** The headers of one request, as names and values by turns; with DPoP, other ones each time. */
  headersFor(method: string, url: string): readonly string[];
}

/** How the gateway rejected a credential, and what waits for another one. */
export interface Rejection {
  readonly status: number;
  readonly headers: Headers;
  /** How many other credentials the message has had since its first. */
  readonly renewals: number;
  /** When the message was first sent, as `Date.now()` has it. */
  readonly since: number;
  /** Whether a client waits for the reply: only then may the user be asked to do something. */
  readonly isAwaited: boolean;
}

/** Where credentials come from. The transport does not know of which kind they are. */
export interface CredentialProvider {
  /** What to send with the next request. Never waits for the user, and never rejects. */
  current(): Promise<Credential>;
  /**
   * What to send instead of what the gateway rejected: it may be the same one, where that is fit to
   * be sent again. `unusable` where the user must do something first. Undefined when there is
   * nothing else to send. Never rejects.
   */
  renew(rejected: Credential, rejection: Rejection): Promise<Credential | undefined>;
}

const BEARER_HEADER = 'authorization';

/** The headers that carry a credential, as names and values by turns; `[]` when there are none to add. */
export function headersOf(credential: Credential, method: string, url: string): readonly string[] {
  switch (credential.kind) {
    case 'found': {
      const { key, keyHeader } = credential;
      return keyHeader === undefined ? [BEARER_HEADER, `Bearer ${key}`] : [keyHeader, key];
    }
    case 'token':
      return credential.headersFor(method, url);
    default:
      return NO_HEADERS;
  }
}

const NO_HEADERS: readonly string[] = [];

/** Whether the two send different credentials, or one of them none. */
export function isOtherCredential(one: Credential, other: Credential): boolean {
  if (one.kind === 'found' && other.kind === 'found') return one.key !== other.key;
  if (one.kind === 'token' && other.kind === 'token') return one.token !== other.token;
  return one.kind !== other.kind;
}

/** Whether there is a credential that can be sent. */
export function isUsable(credential: Credential | undefined): boolean {
  return credential !== undefined && credential.kind !== 'unusable';
}
