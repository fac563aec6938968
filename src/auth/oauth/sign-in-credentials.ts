import type { Failure } from '../../failures/failure.ts';
import { type BearerChallenge, bearerChallenge, parseChallenges } from '../challenge.ts';
import type { Credential, CredentialProvider, NoToken, Rejection, Token } from '../credential.ts';
import { isSameToken, KeptTokens } from './kept-tokens.ts';
import type { SignInNeed } from './oauth-client.ts';
import { UnavailableServer } from './oauth-http.ts';
import { includesScopes } from './scopes.ts';
import type { SignInContext } from './sign-in-context.ts';
import type { AskedUser, SignInDesk } from './sign-in-desk.ts';
import { OAuthRefusal, wordsOf } from './sign-in-words.ts';
import { isOfSignIn } from './stored-sign-in.ts';

/** After a grant without a user was refused, none is tried for as long. */
const REFUSED_PAUSE_MS = 30_000;
/** How long it counts that the gateway offers no sign-in. */
const NOT_OFFERED_MS = 60_000;
/** After a look for the authorization server that failed, none is made for as long. */
const UNKNOWN_SERVER_MS = 5_000;
const MOST_STEP_UPS = 2;
/** How long a sign-in that has just begun is waited for until it has a link, whatever the user set. */
const LINK_LIMIT_MS = 5_000;

/** Access tokens for one gateway: the one that is kept, and another when the gateway needs one. */
export class SignInCredentials implements CredentialProvider {
  readonly #desk: SignInDesk;
  readonly #kept: KeptTokens;
  #reading: Promise<void> | undefined;
  #granting: Promise<Credential> | undefined;
  /** Of the newest grant without a user. */
  #machineContext: SignInContext | undefined;
  #asked: Promise<AskedUser | undefined> | undefined;
  #notOfferedUntil = 0;
  /** The newest look for the server, for all that need the same, and until when a failure counts. */
  #looked: { need: string; context: Promise<SignInContext | undefined>; until: number } | undefined;
  #refused: { readonly credential: NoToken; readonly until: number } | undefined;

  constructor(desk: SignInDesk) {
    this.#desk = desk;
    this.#kept = new KeptTokens(desk);
  }

  async current(): Promise<Credential> {
    await this.#readOnce();
    if (this.#kept.isDue) await this.#renewEarly();
    return this.#kept.token ?? this.#none();
  }

  async renew(rejected: Credential, rejection: Rejection): Promise<Credential | undefined> {
    const { status, headers, renewals } = rejection;
    const kept = this.#kept;
    const isFirst = this.#reading === undefined;
    await this.#readOnce();
    const challenges = parseChallenges([headers['www-authenticate'] ?? []].flat());
    const challenge = bearerChallenge(challenges);
    const isNewNonce = kept.learnNonce(this.#desk.endpoint, headers);
    if (isNewNonce && challenge?.error === 'use_dpop_nonce') return kept.token;
    // Another process or request may have been sooner.
    if (!isFirst) await kept.read();
    if (kept.token !== undefined && !isSameToken(kept.token, rejected)) return kept.token;
    const isStepUp = status === 403;
    if (isStepUp && !this.#mayStepUp(challenge, renewals)) return undefined;
    if (!isStepUp) {
      // One refresh and one sign-in have to do for a message.
      const isNew = (kept.signIn?.tokens?.receivedAt ?? 0) >= rejection.since;
      if (isNew && isOfSignIn(kept.signIn)) {
        if (this.#desk.machineGrant === undefined) this.#desk.pauseAsking();
        return undefined;
      }
      if (!isNew && (await kept.refresh(true))) return kept.token;
      // The sign-in may be as good as before: only a refusal calls for another one.
      const words = kept.refreshFailure;
      if (words !== undefined) return { ...this.#required({}, words), isTransient: true };
    }
    const needsDpop = challenges.some(({ scheme }) => scheme === 'dpop');
    return this.#signInFor(challenge, { isStepUp, needsDpop }, rejection);
  }

  #readOnce(): Promise<void> {
    this.#reading ??= this.#kept.read();
    return this.#reading;
  }

  #mayStepUp(challenge: BearerChallenge | undefined, renewals: number): boolean {
    const { error, scope } = challenge ?? {};
    if (error !== 'insufficient_scope' || scope === undefined) return false;
    // What was asked for and not granted would not be granted the next time either.
    return renewals < MOST_STEP_UPS && !includesScopes(this.#kept.signIn?.requestedScopes, scope);
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
      return this.#failure(error);
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
      this.#kept.adopt(await this.#desk.client.grant(context, this.#kept.signIn));
      return this.#kept.token as Token;
    } catch (error) {
      const credential = this.#failure(error);
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
    const { outcome, shown, link } = asked;
    const { waitMs } = this.#desk;
    const leftMs = Math.min(waitMs, since + waitMs - Date.now());
    const came =
      (await within(leftMs, outcome)) ??
      (await within(LINK_LIMIT_MS, Promise.race([outcome, shown])));
    if (came === undefined) {
      const open = link();
      const ended = outcome.then(() => {});
      return this.#required(open === undefined ? facts : { ...facts, link: open, ended });
    }
    if (came.kind === 'failed') return this.#required(facts, came.words);
    if (came.kind === 'paused') return this.#required(facts);
    return this.#kept.token ?? this.#required(facts);
  }

  /** Asks the user once for all requests that wait. */
  async #ask(context: SignInContext): Promise<AskedUser | undefined> {
    const end = () => {
      this.#asked = undefined;
    };
    try {
      const asked = await this.#desk.askUser(context, this.#kept.signIn);
      if (asked === undefined) {
        end();
        return undefined;
      }
      // Also when no request waits any more: the only copy of it may be the one that comes now.
      const outcome = asked.outcome.then(async (came) => {
        if (came.kind === 'done') await this.#kept.take(came.signIn);
        return came;
      });
      void outcome.then(end, end);
      return { ...asked, outcome };
    } catch (bug) {
      end();
      throw bug;
    }
  }

  async #renewEarly(): Promise<void> {
    if (this.#machineContext === undefined) {
      await this.#kept.refresh(false);
      return;
    }
    this.#kept.postpone();
    await this.#grantOnce(this.#machineContext);
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

  #failure(error: unknown): NoToken {
    const { machineGrant, origin } = this.#desk;
    const words = wordsOf(error);
    if (machineGrant === undefined) return this.#required({}, words);
    return {
      kind: 'unusable',
      reason: 'unauthorized',
      detail: words.replace(/\.$/, ''),
      origin,
      signIn: { grant: machineGrant },
      ...(error instanceof UnavailableServer ? { isTransient: true } : {}),
    };
  }
}

/** Undefined when `promise` has not settled after `limitMs`. */
function within<Value>(limitMs: number, promise: Promise<Value>): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, limitMs, undefined);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
