import type { Failure } from '../../failures/failure.ts';
import type { Secrets } from '../../failures/secrets.ts';
import type { Log } from '../../log.ts';
import { type BearerChallenge, bearerChallenge, parseChallenges } from '../challenge.ts';
import type { Credential, CredentialProvider, NoToken, Rejection, Token } from '../credential.ts';
import type { KeyOrigin } from '../key.ts';
import { DpopProver } from './dpop.ts';
import type { OAuthClient, SignInNeed } from './oauth-client.ts';
import type { RefreshOutcome } from './refresh-sign-in.ts';
import { includesScopes } from './scopes.ts';
import type { SignInContext } from './sign-in-context.ts';
import { OAuthRefusal, signInErrorFrom } from './sign-in-words.ts';
import {
  isOfSignIn,
  type SignInEntry,
  SignInError,
  type SignInOutcome,
  type SignInStore,
  type StoredSignIn,
} from './stored-sign-in.ts';

/** A refresh comes this long before the token expires, or a tenth of its lifetime. */
const EARLY_MS = 60_000;
/** After a refresh that brought nothing, none is tried for as long. */
const REFRESH_PAUSE_MS = 10_000;
/** After a grant without a user was refused, none is tried for as long. */
const REFUSED_PAUSE_MS = 30_000;
/** How long it counts that the gateway offers no sign-in. */
const NOT_OFFERED_MS = 60_000;
/** After a look for the authorization server that failed, none is made for as long. */
const UNKNOWN_SERVER_MS = 5_000;
const MOST_STEP_UPS = 2;

/** What the tokens of one entry need from outside. */
export interface SignInDesk {
  readonly entry: SignInEntry;
  /** The origin of the MCP endpoint. */
  readonly endpoint: string;
  readonly store: SignInStore;
  readonly client: Pick<OAuthClient, 'contextFor' | 'grant'>;
  /** Refreshes it, and stores what comes of that. Never rejects with anything but SignInError. */
  refresh(signIn: StoredSignIn): Promise<RefreshOutcome>;
  /** Runs `act` while no other process of this user does so for the same entry. */
  exclusively<Value>(act: () => Promise<Value>): Promise<Value>;
  /** Has the user sign in; undefined where no browser may be opened. */
  askUser(
    context: SignInContext,
    replaces: StoredSignIn | undefined,
  ): Promise<AskedUser | undefined>;
  /** Makes every process of this user wait before it asks the user by itself again. */
  pauseAsking(): void;
  /** How long a request waits for the user, in milliseconds. */
  readonly waitMs: number;
  /** The grant, where no user signs in. */
  readonly machineGrant: string | undefined;
  readonly origin: KeyOrigin;
  readonly secrets: Secrets;
  readonly log: Log;
}

/** A sign-in that is under way. */
export interface AskedUser {
  readonly outcome: Promise<SignInOutcome>;
  /** A link that opens it again in this computer's browser. */
  readonly link: () => string | undefined;
}

/** Access tokens for one gateway: kept, refreshed in time, and asked for when the gateway needs one. */
export class SignInCredentials implements CredentialProvider {
  readonly #desk: SignInDesk;
  #signIn: StoredSignIn | undefined;
  #token: Token | undefined;
  #prover: DpopProver | undefined;
  #reading: Promise<void> | undefined;
  #refreshing: Promise<void> | undefined;
  #granting: Promise<Credential> | undefined;
  /** Of the newest grant without a user. */
  #machineContext: SignInContext | undefined;
  #asked: Promise<AskedUser | undefined> | undefined;
  /** When a token is to be refreshed, as `Date.now()` has it. */
  #dueAt = Number.POSITIVE_INFINITY;
  #notOfferedUntil = 0;
  /** The newest look for the server, for all that need the same, and until when a failure counts. */
  #looked: { need: string; context: Promise<SignInContext | undefined>; until: number } | undefined;
  #refused: { readonly credential: NoToken; readonly until: number } | undefined;

  constructor(desk: SignInDesk) {
    this.#desk = desk;
  }

  async current(): Promise<Credential> {
    this.#reading ??= this.#read();
    await this.#reading;
    if (Date.now() >= this.#dueAt) await this.#renewEarly();
    return this.#token ?? this.#none();
  }

  async renew(rejected: Credential, rejection: Rejection): Promise<Credential | undefined> {
    const { status, headers, renewals } = rejection;
    const challenges = parseChallenges([headers['www-authenticate'] ?? []].flat());
    const challenge = bearerChallenge(challenges);
    const isNewNonce = this.#prover?.learnNonce(this.#desk.endpoint, headers['dpop-nonce']);
    if (isNewNonce && challenge?.error === 'use_dpop_nonce') return this.#token;
    // Another process or request may have been sooner.
    await this.#read();
    if (this.#token !== undefined && !isSameToken(this.#token, rejected)) return this.#token;
    const isStepUp = status === 403;
    if (isStepUp && !this.#mayStepUp(challenge, renewals)) return undefined;
    if (!isStepUp) {
      // One refresh and one sign-in have to do for a message.
      const isNew = (this.#signIn?.tokens?.receivedAt ?? 0) >= rejection.since;
      if (isNew && isOfSignIn(this.#signIn)) {
        if (this.#desk.machineGrant === undefined) this.#desk.pauseAsking();
        return undefined;
      }
      if (!isNew && (await this.#refresh(true))) return this.#token;
    }
    const needsDpop = challenges.some(({ scheme }) => scheme === 'dpop');
    return this.#signInFor(challenge, { isStepUp, needsDpop }, rejection);
  }

  #mayStepUp(challenge: BearerChallenge | undefined, renewals: number): boolean {
    const { error, scope } = challenge ?? {};
    if (error !== 'insufficient_scope' || scope === undefined) return false;
    // What was asked for and not granted would not be granted the next time either.
    return renewals < MOST_STEP_UPS && !includesScopes(this.#signIn?.requestedScopes, scope);
  }

  async #signInFor(
    challenge: BearerChallenge | undefined,
    need: SignInNeed,
    rejection: Rejection,
  ): Promise<Credential | undefined> {
    const now = Date.now();
    if (now < this.#notOfferedUntil) return undefined;
    let context: SignInContext | undefined;
    try {
      context = await this.#contextOnce(challenge, need);
    } catch (error) {
      return this.#failure(wordsOf(error));
    }
    if (context === undefined) {
      this.#notOfferedUntil = now + NOT_OFFERED_MS;
      return undefined;
    }
    if (this.#desk.machineGrant === undefined) return this.#askUser(context, rejection);
    this.#machineContext = context;
    return this.#grantOnce(context);
  }

  #contextOnce(
    challenge: BearerChallenge | undefined,
    need: SignInNeed,
  ): Promise<SignInContext | undefined> {
    const key = JSON.stringify([challenge, need]);
    if (this.#looked?.need === key && Date.now() < this.#looked.until) return this.#looked.context;
    const context = this.#desk.client.contextFor(challenge, need);
    const looked = { need: key, context, until: Number.POSITIVE_INFINITY };
    this.#looked = looked;
    context.then(
      () => {
        looked.until = 0;
      },
      () => {
        looked.until = Date.now() + UNKNOWN_SERVER_MS;
      },
    );
    return context;
  }

  #grantOnce(context: SignInContext): Promise<Credential> {
    this.#granting ??= this.#grant(context).finally(() => {
      this.#granting = undefined;
    });
    return this.#granting;
  }

  async #grant(context: SignInContext): Promise<Credential> {
    const now = Date.now();
    if (this.#refused !== undefined && now < this.#refused.until) return this.#refused.credential;
    try {
      this.#adopt(await this.#desk.client.grant(context, this.#signIn));
      return this.#token as Token;
    } catch (error) {
      const credential = this.#failure(wordsOf(error));
      // What a server has refused it would refuse again.
      if (error instanceof OAuthRefusal) {
        this.#refused = { credential, until: now + REFUSED_PAUSE_MS };
      }
      return credential;
    }
  }

  async #askUser(context: SignInContext, { isAwaited, since }: Rejection): Promise<Credential> {
    const server = new URL(context.discovered.server.issuer).host;
    const scope = context.isStepUp ? context.challengedScope : undefined;
    const facts = { server, ...(scope === undefined ? {} : { scope }) };
    if (!isAwaited) return this.#required(facts);
    this.#asked ??= this.#ask(context);
    const asked = await this.#asked;
    if (asked === undefined) return this.#required(facts);
    const { outcome, link } = asked;
    const { waitMs } = this.#desk;
    const leftMs = Math.min(waitMs, since + waitMs - Date.now());
    const came = await within(leftMs, outcome);
    if (came === undefined) {
      const open = link();
      return this.#required(open === undefined ? facts : { ...facts, link: open });
    }
    if (came.kind === 'failed') return this.#required(facts, came.words);
    if (came.kind === 'paused') return this.#required(facts);
    await this.#take(came.signIn);
    return this.#token ?? this.#required(facts);
  }

  /** Asks the user once for all requests that wait. */
  async #ask(context: SignInContext): Promise<AskedUser | undefined> {
    const end = () => {
      this.#asked = undefined;
    };
    try {
      const asked = await this.#desk.askUser(context, this.#signIn);
      if (asked === undefined) end();
      else void asked.outcome.then(end, end);
      return asked;
    } catch (bug) {
      end();
      throw bug;
    }
  }

  /** Takes over what a helper has stored; with `signIn`, what it could not: that is kept in memory. */
  async #take(signIn: StoredSignIn | undefined): Promise<void> {
    if (signIn === undefined) return this.#read();
    await this.#desk.store.write(this.#desk.entry, signIn);
    this.#adopt(signIn);
  }

  /** Takes over what is stored, where it is not what is known. */
  async #read(): Promise<void> {
    const { entry, store, log } = this.#desk;
    if (this.#desk.machineGrant !== undefined) return;
    const found = await store.read(entry);
    if (found.kind === 'found') this.#adopt(found.signIn);
    else if (found.kind === 'unreadable') log.warn(`the sign-in cannot be read: ${found.words}`);
    else if (this.#signIn !== undefined) this.#forget();
  }

  #adopt(signIn: StoredSignIn): void {
    const { secrets, origin } = this.#desk;
    const { tokens, dpopKey } = signIn;
    this.#signIn = signIn;
    if (tokens?.accessToken === this.#token?.token && tokens !== undefined) return;
    if (dpopKey !== undefined) this.#prover = new DpopProver(dpopKey);
    if (tokens === undefined) {
      this.#token = undefined;
      this.#dueAt = Number.POSITIVE_INFINITY;
      return;
    }
    const { accessToken, refreshToken, tokenType } = tokens;
    secrets.add(accessToken);
    if (refreshToken !== undefined) secrets.add(refreshToken);
    const prover = tokenType === 'DPoP' ? this.#prover : undefined;
    const authorization = `${tokenType} ${accessToken}`;
    const bearer = ['authorization', authorization];
    this.#token = {
      kind: 'token',
      token: accessToken,
      origin,
      headersFor: (method, url) =>
        prover === undefined ? bearer : [...bearer, 'dpop', prover.proof(method, url, accessToken)],
    };
    this.#dueAt = dueAt(signIn);
  }

  #forget(): void {
    this.#signIn = undefined;
    this.#token = undefined;
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  async #renewEarly(): Promise<void> {
    if (this.#machineContext === undefined) {
      await this.#refresh(false);
      return;
    }
    this.#dueAt = Date.now() + REFRESH_PAUSE_MS;
    await this.#grantOnce(this.#machineContext);
  }

  /** Whether there is another token after it. `isRejected`: the gateway did not take the one there is. */
  async #refresh(isRejected: boolean): Promise<boolean> {
    const before = this.#token;
    if (this.#signIn?.tokens?.refreshToken === undefined) {
      if (!isRejected) this.#dueAt = Number.POSITIVE_INFINITY;
      return false;
    }
    this.#refreshing ??= this.#refreshAlone(this.#signIn).finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
    return this.#token !== undefined && this.#token.token !== before?.token;
  }

  async #refreshAlone(old: StoredSignIn): Promise<void> {
    const desk = this.#desk;
    const { entry, store, log } = desk;
    try {
      await desk.exclusively(async () => {
        const found = await store.read(entry);
        const signIn = found.kind === 'found' ? found.signIn : old;
        if (signIn.tokens?.accessToken !== old.tokens?.accessToken) {
          this.#adopt(signIn);
          return;
        }
        const outcome = await desk.refresh(signIn);
        if (outcome.kind === 'failed') throw new SignInError(outcome.words);
        if (outcome.kind === 'refused') return this.#onRefusedRefresh(outcome, signIn);
        await this.#take(outcome.signIn);
        log.info('the access token was refreshed');
      });
    } catch (error) {
      const words = wordsOf(error);
      log.warn(`the access token could not be refreshed: ${words}`);
      this.#dueAt = Date.now() + REFRESH_PAUSE_MS;
    }
  }

  async #onRefusedRefresh(
    { code, words }: Extract<RefreshOutcome, { kind: 'refused' }>,
    signIn: StoredSignIn,
  ): Promise<void> {
    const { entry, store, log } = this.#desk;
    log.warn(`the sign-in has ended: ${words}`);
    const { tokens: _, ...rest } = signIn;
    // The server has forgotten the client: the next sign-in registers another one.
    if (code === 'invalid_client' || code === 'unauthorized_client') {
      if (signIn.registration.kind === 'dynamic') await store.remove(entry);
      else await store.write(entry, rest);
    } else await store.write(entry, rest);
    this.#forget();
    this.#signIn = rest;
  }

  #none(): Credential {
    return { kind: 'none', origin: this.#desk.origin };
  }

  #required(signIn: NonNullable<Failure['signIn']>, words?: string): NoToken {
    const detail = words?.replace(/\.$/, '');
    const { origin } = this.#desk;
    return {
      kind: 'unusable',
      reason: 'sign_in_required',
      ...(detail === undefined ? {} : { detail }),
      origin,
      signIn,
    };
  }

  /** `words`: a sentence. */
  #failure(words: string): NoToken {
    const { machineGrant, origin } = this.#desk;
    const detail = words.replace(/\.$/, '');
    if (machineGrant === undefined) return this.#required({}, detail);
    return {
      kind: 'unusable',
      reason: 'unauthorized',
      detail,
      origin,
      signIn: { grant: machineGrant },
    };
  }
}

/** When a token is to be refreshed: early, but not in the first half of its life. */
function dueAt({ tokens }: StoredSignIn): number {
  const { expiresAt, receivedAt } = tokens ?? {};
  if (expiresAt === undefined || receivedAt === undefined) return Number.POSITIVE_INFINITY;
  const lifetime = expiresAt - receivedAt;
  return expiresAt - Math.min(Math.max(EARLY_MS, lifetime / 10), lifetime / 2);
}

function isSameToken(token: Token, rejected: Credential): boolean {
  return rejected.kind === 'token' && rejected.token === token.token;
}

/** Throws what is not a SignInError: a bug of this program. */
function wordsOf(error: unknown): string {
  if (error instanceof SignInError) return error.message;
  return signInErrorFrom(error, '').message;
}

/** Undefined when `promise` has not settled after `limitMs`. */
function within<Value>(limitMs: number, promise: Promise<Value>): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, limitMs, undefined);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
