// What is stored of a sign-in, and what the parts that make one, keep it and show it offer each other.
import type { JsonWebKey } from 'node:crypto';

/** Which sign-in: there is one for each gateway and account. */
export interface SignInEntry {
  /** Origin and path of the endpoint, as in the keychain's items. */
  readonly gateway: string;
  readonly account: string;
}

/** This program as the authorization server knows it. */
export interface ClientRegistration {
  /** By hand, by a Client ID Metadata Document, or dynamically (RFC 7591). */
  readonly kind: 'by-hand' | 'metadata-document' | 'dynamic';
  readonly clientId: string;
  readonly clientSecret?: string;
  /** When the secret expires, in ms since 1970; absent when it does not. */
  readonly clientSecretExpiresAt?: number;
  /** How the token endpoint is told who asks: `token_endpoint_auth_method` (RFC 7591 §2). */
  readonly authMethod: 'none' | 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt';
  readonly redirectUris: readonly string[];
  /** The loopback port of the redirect URIs; absent where any will do. */
  readonly callbackPort?: number;
}

/** What the token endpoint answered (RFC 6749 §5.1). */
export interface SignInTokens {
  readonly accessToken: string;
  readonly tokenType: 'Bearer' | 'DPoP';
  readonly refreshToken?: string;
  /** In ms since 1970; absent when the server did not say. */
  readonly expiresAt?: number;
  /** When the access token was received, in ms since 1970. */
  readonly receivedAt: number;
  /** The scopes that were granted, separated by spaces. */
  readonly scope?: string;
}

/** Enough for a refresh and a revocation without asking the server for its metadata. */
export interface AuthorizationServer {
  readonly issuer: string;
  readonly authorizationEndpoint?: string;
  readonly tokenEndpoint: string;
  readonly revocationEndpoint?: string;
}

/** All that is kept of a sign-in. JSON, without `undefined`. */
export interface StoredSignIn {
  readonly server: AuthorizationServer;
  readonly registration: ClientRegistration;
  /** Absent when they were refused: the registration is good for the next sign-in. */
  readonly tokens?: SignInTokens;
  /** The scopes that were asked for, separated by spaces: a step-up asks for these and more. */
  readonly requestedScopes?: string;
  /** As the metadata publishes it; absent where the server refuses the parameter (RFC 8707). */
  readonly resource?: string;
  /** The private key that the tokens are bound to (RFC 9449). */
  readonly dpopKey?: JsonWebKey;
  /** Who signed in, where the server says so. */
  readonly subject?: string;
  /** When the user signed in, in ms since 1970. A refresh does not change it. */
  readonly signedInAt: number;
}

/** Whether its token is the one that the sign-in brought, and not one of a refresh. */
export function isOfSignIn(signIn: StoredSignIn | undefined): boolean {
  const { signedInAt = 0, tokens } = signIn ?? {};
  return tokens !== undefined && tokens.receivedAt <= signedInAt;
}

/** What the store has for an entry. */
export type FoundSignIn =
  | { readonly kind: 'found'; readonly signIn: StoredSignIn }
  | { readonly kind: 'none' }
  /** It counts as not signed in. `words`: why it cannot be read, to follow a colon. */
  | { readonly kind: 'unreadable'; readonly words: string };

/** Whether it outlives this process; else why not, in words that follow a colon. */
export type Stored =
  | { readonly isLasting: true }
  | { readonly isLasting: false; readonly words: string };

/** Where sign-ins are kept: `sign-in-store.ts`. */
export interface SignInStore {
  /** Never rejects. */
  read(entry: SignInEntry): Promise<FoundSignIn>;
  /** Replaces what is there, in one step. What cannot be stored is kept in memory. Never rejects. */
  write(entry: SignInEntry, signIn: StoredSignIn): Promise<Stored>;
  /** Whether there was one. Never rejects. */
  remove(entry: SignInEntry): Promise<boolean>;
  /** All of this user's, by gateway and account. Never rejects. */
  list(): Promise<readonly ListedSignIn[]>;
}

export interface ListedSignIn {
  readonly entry: SignInEntry;
  readonly found: FoundSignIn;
}

/** A request to the callback that had the right `state`. The browser waits for one of the two pages. */
export interface ReceivedCallback {
  /** Each name once. */
  readonly parameters: URLSearchParams;
  /** Resolve once the page is sent. */
  succeed(): Promise<void>;
  /** `words`: a sentence for the user; text from the network in it is cleaned. */
  fail(words: string): Promise<void>;
}

/** A listener on loopback for one redirect: `callback-server.ts`. */
export interface CallbackServer {
  readonly port: number;
  /**
   * A loopback link that leads to the authorization URL. A program that opens it shows only the link
   * in its arguments, and not the `state`; `isOnce`: others who see it there come too late. Throws
   * SignInError when that URL is neither https nor on loopback.
   */
  linkTo(authorizationUrl: URL, isOnce?: boolean): string;
  /**
   * The one request with this `state`; then no other is taken. To be called before the user is shown
   * the URL. Rejects when `signal` aborts.
   */
  callback(state: string, signal: AbortSignal): Promise<ReceivedCallback>;
  close(): Promise<void>;
}

export interface CallbackOptions {
  /** Tried first: the one that was registered, or that the user has set. */
  readonly port?: number | undefined;
  /** Reject with PortTaken rather than take another port. */
  readonly isFixed?: boolean;
  /** What the pages call the gateway: its host. */
  readonly gatewayHost: string;
}

/** What a sign-in needs of whoever runs it: the helper process, or the command `login`. */
export interface SignInTools {
  readonly store: SignInStore;
  listen(options: CallbackOptions): Promise<CallbackServer>;
  /** Shows the user where to sign in. Called once the callback is listened for. */
  show(authorizationUrl: URL, server: CallbackServer): void;
  /** Aborts at the deadline. */
  readonly signal: AbortSignal;
}

/** What is handed to the helper process, over a pipe. JSON. */
export interface SignInRequest {
  readonly entry: SignInEntry;
  /** `signedInAt` of the sign-in that is to be replaced; a newer one in the store is used instead. */
  readonly replaces?: number;
  /** What `PerformSignIn` needs beside: settings and the challenge. JSON; may hold secrets. */
  readonly context: unknown;
}

/**
 * Signs the user in, from discovery to tokens, and says so on the browser's page. Does not store.
 * Rejects with SignInError when the user, the server or the deadline ended it.
 */
export type PerformSignIn = (request: SignInRequest, tools: SignInTools) => Promise<StoredSignIn>;

/** What came of a sign-in that was asked for: `ask-for-sign-in.ts`. */
export type SignInOutcome =
  /** `signIn` is there where the store could not keep it for others. */
  | { readonly kind: 'done'; readonly signIn?: StoredSignIn }
  /** `words`: why, a sentence. */
  | { readonly kind: 'failed'; readonly words: string }
  /** The last one failed; until `until` (ms since 1970) none is started without the user. */
  | { readonly kind: 'paused'; readonly until: number };

/** `message`: why the sign-in ended, a sentence for the user. No secret, text from the network cleaned. */
export class SignInError extends Error {}
