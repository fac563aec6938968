import type { NetworkCause } from './network-causes.ts';

/** Why the gateway does not answer a request: `data.reason` of the error. */
export type Reason =
  | 'no_api_key'
  | 'malformed_api_key'
  | 'unauthorized'
  | 'forbidden'
  | 'wrong_path'
  | 'not_acceptable'
  | 'request_too_large'
  | 'rate_limited'
  | 'gateway_error'
  | 'unreachable'
  | 'invalid_response'
  | 'interrupted'
  | 'redirected'
  | 'http_error'
  | 'misconfigured'
  | 'internal_error'
  | 'tool_not_allowed'
  | 'audit_failed'
  | 'sign_in_required';

/** Where the API key came from; `none` when no source had one. */
export type KeySourceName =
  | 'header'
  | 'header-file'
  | 'key-command'
  | 'key-file'
  | 'key-env'
  | 'keychain'
  | 'sign-in'
  | 'none';

/**
 * Why a message could not be answered by the gateway. A value: made where it happens, worded in
 * `catalogue.ts`. Everything in it that came from the network is already clean and short.
 */
export interface Failure {
  readonly reason: Reason;
  /** The gateway's URL without user name, password, query and what looks like a token in its path. */
  readonly gateway: string;
  readonly key?: {
    readonly source: KeySourceName;
    /** The source in words: `the environment variable MCP_LATCHKEY_API_KEY`. */
    readonly origin: string;
    /** The key's last four characters, only when it is at least 16 long. */
    readonly tail?: string;
    /** With `none`: why the keychain could not be read, in words that fit after a colon. */
    readonly keychainError?: string;
    /** With `none`: which other key the keychain has, in words that fit after a colon. */
    readonly nearMiss?: string;
    /** What `login` needs after the URL to store the key where it is looked for, with a space before. */
    readonly loginOptions?: string;
  };
  /** With `tool_not_allowed`: what blocks it, as it is written, and whether a policy has set that. */
  readonly rule?: { readonly words: string; readonly isManaged: boolean };
  /** Whom to ask about the organization's policy. */
  readonly contact?: string;
  /** HTTP status code. */
  readonly status?: number;
  /** The code of the JSON-RPC error in the body of a refusal. */
  readonly rpcCode?: number;
  /** With `malformed_api_key`: whether it is what a client should have replaced by the key. */
  readonly isPlaceholder?: true;
  /** What went wrong with the connection, where something did. */
  readonly networkCause?: NetworkCause;
  /** What exactly happened, in words that fit after a colon; may quote the gateway. */
  readonly detail?: string;
  /** What the gateway's protected resource metadata (RFC 9728) says of use here. */
  readonly resource?: ResourceFacts;
  /** With a credential of OAuth: what is known about the sign-in. */
  readonly signIn?: {
    /** Host of the authorization server. */
    readonly server?: string;
    /** A page in this computer's browser waits for the user; this link opens it again. */
    readonly link?: string;
    /** With `link`: resolves once the sign-in has ended, in whatever way. */
    readonly ended?: Promise<void>;
    /** The grant, where no user signs in: names of `--grant`. */
    readonly grant?: string;
    /** The scopes that are missing, separated by spaces. */
    readonly scope?: string;
  };
  /** Bytes, from a 413's body. */
  readonly limitBytes?: number;
  /** Seconds, from a Retry-After. */
  readonly retryAfterSeconds?: number;
  /** How many times it was tried. */
  readonly attempts?: number;
  /** Where a redirect points to; with `isDowngrade`, the https address of the same path. */
  readonly location?: string;
  /** Whether it may pass by itself, so that the same message may get through later. */
  readonly isTransient?: boolean;
  /** When the gateway sent the handshake that the client was given from the cache, in ms since 1970. */
  readonly cachedAt?: number;
  /** Whether a redirect goes from https to http. */
  readonly isDowngrade?: true;
  /** The URL that was asked, where it is not `gateway` itself: without its query. */
  readonly target?: string;
  /** Whether an event stream of the gateway, and not the user, has named `target`. */
  readonly isNamedByGateway?: true;
  /** Whether it is known that a key was accepted, but that its owner may not use keys. */
  readonly lacksKeyAccess?: true;
  /** Whether `detail` is about what is in front of the gateway, such as a firewall. */
  readonly isIntermediary?: true;
  /** Whether the gateway answers over HTTP+SSE at the same URL. */
  readonly offersHttpSse?: true;
}

/** Clean and fit to show. */
export interface ResourceFacts {
  readonly name?: string;
  /** A URL. */
  readonly documentation?: string;
  /** Issuer URLs of the OAuth authorization servers it offers. */
  readonly authorizationServers?: readonly string[];
  /** False where it says that it does not take a Bearer token in the Authorization header. */
  readonly takesHeader: boolean;
}
