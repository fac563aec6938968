import type { Reason } from './catalogue.ts';

/** What kept an HTTP answer from coming at all. */
export type UnreachableCause = 'dns' | 'refused' | 'reset' | 'timeout' | 'tls' | 'proxy';

/** Where the API key came from; `none` when no source had one. */
export type KeySourceName = 'header' | 'key-file' | 'key-env' | 'none';

/**
 * Why a message could not be answered by the gateway. A value: made where it happens, worded in
 * `catalogue.ts`. Everything in it that came from the network is already clean and short.
 */
export interface Failure {
  readonly reason: Reason;
  /** The gateway's URL without user name, password and query. */
  readonly gateway: string;
  readonly key?: {
    readonly source: KeySourceName;
    /** The source in words: "the environment variable MCP_LATCHKEY_API_KEY". */
    readonly origin: string;
    /** The key's last four characters, only when it is at least 16 long. */
    readonly tail?: string;
  };
  /** HTTP status code. */
  readonly status?: number;
  readonly cause?: UnreachableCause;
  /** What exactly happened, in words that fit behind a colon; may quote the gateway. */
  readonly detail?: string;
  /** Bytes, from a 413's body. */
  readonly limitBytes?: number;
  /** Seconds, from a Retry-After. */
  readonly retryAfterSeconds?: number;
  /** How often it was tried. */
  readonly attempts?: number;
  /** Where a redirect points to. */
  readonly location?: string;
}
