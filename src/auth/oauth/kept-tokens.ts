import type { Headers } from '../../http/request.ts';
import type { Credential, Token } from '../credential.ts';
import { dueAt, tokenOf } from './access-token.ts';
import { DpopProver } from './dpop.ts';
import type { RefreshOutcome } from './refresh-sign-in.ts';
import type { SignInDesk } from './sign-in-desk.ts';
import { wordsOf } from './sign-in-words.ts';
import { SignInError, type StoredSignIn } from './stored-sign-in.ts';

/** After a refresh that brought nothing, none is tried for as long. */
const REFRESH_PAUSE_MS = 10_000;

/** The sign-in of one entry as this process knows it, and its token: read, adopted and refreshed. */
export class KeptTokens {
  readonly #desk: SignInDesk;
  #signIn: StoredSignIn | undefined;
  #token: Token | undefined;
  #prover: DpopProver | undefined;
  #refreshing: Promise<void> | undefined;
  /** When the token is to be refreshed, as `Date.now()` has it. */
  #dueAt = Number.POSITIVE_INFINITY;
  #failed: { readonly words: string; readonly until: number } | undefined;

  constructor(desk: SignInDesk) {
    this.#desk = desk;
  }

  get signIn(): StoredSignIn | undefined {
    return this.#signIn;
  }

  get token(): Token | undefined {
    return this.#token;
  }

  /** Whether the token is about to expire. */
  get isDue(): boolean {
    return Date.now() >= this.#dueAt;
  }

  /** Why the newest refresh brought neither a token nor a refusal, a sentence; for a while. */
  get refreshFailure(): string | undefined {
    return this.#failed !== undefined && Date.now() < this.#failed.until
      ? this.#failed.words
      : undefined;
  }

  /** The token counts as good for a while, whatever its lifetime. */
  postpone(): void {
    this.#dueAt = Date.now() + REFRESH_PAUSE_MS;
  }

  /** Whether the headers bring another nonce for DPoP. */
  learnNonce(endpoint: string, headers: Headers): boolean | undefined {
    return this.#prover?.learnNonce(endpoint, headers['dpop-nonce']);
  }

  /** Takes over what is stored, where it is not what is known. */
  async read(): Promise<void> {
    const { entry, store, log } = this.#desk;
    if (this.#desk.machineGrant !== undefined) return;
    const found = await store.read(entry);
    if (found.kind === 'found') this.adopt(found.signIn);
    else if (found.kind === 'unreadable') log.warn(`the sign-in cannot be read: ${found.words}`);
    else if (this.#signIn !== undefined) this.#forget(undefined);
  }

  /** Takes over what a helper has stored; with `signIn`, what it could not: that is kept in memory. */
  async take(signIn: StoredSignIn | undefined): Promise<void> {
    if (signIn === undefined) return this.read();
    await this.#desk.store.write(this.#desk.entry, signIn);
    this.adopt(signIn);
  }

  adopt(signIn: StoredSignIn): void {
    const { secrets, origin } = this.#desk;
    const { tokens, dpopKey } = signIn;
    this.#signIn = signIn;
    if (tokens?.accessToken === this.#token?.token && tokens !== undefined) return;
    this.#failed = undefined;
    if (dpopKey !== undefined) this.#prover = new DpopProver(dpopKey);
    if (tokens === undefined) {
      this.#forget(signIn);
      return;
    }
    const { accessToken, refreshToken } = tokens;
    secrets.add(accessToken);
    if (refreshToken !== undefined) secrets.add(refreshToken);
    this.#token = tokenOf(tokens, origin, this.#prover);
    this.#dueAt = dueAt(signIn);
  }

  /** `signIn`: what is left of it without tokens. */
  #forget(signIn: StoredSignIn | undefined): void {
    this.#signIn = signIn;
    this.#token = undefined;
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  /**
   * Whether there is another token after it. `isRejected`: the gateway did not take the one there is.
   * None is tried for a while after one that failed.
   */
  async refresh(isRejected: boolean): Promise<boolean> {
    const before = this.#token;
    if (this.#signIn?.tokens?.refreshToken === undefined) {
      if (!isRejected) this.#dueAt = Number.POSITIVE_INFINITY;
      return false;
    }
    if (this.refreshFailure !== undefined) return false;
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
          this.adopt(signIn);
          return;
        }
        const outcome = await desk.refresh(signIn);
        if (outcome.kind === 'failed') throw new SignInError(outcome.words);
        if (outcome.kind === 'refused') return this.#onRefusedRefresh(outcome, signIn);
        await this.take(outcome.signIn);
        log.info('the access token was refreshed');
      });
    } catch (error) {
      const words = wordsOf(error);
      log.warn(`the access token could not be refreshed: ${words}`);
      this.postpone();
      this.#failed = { words, until: Date.now() + REFRESH_PAUSE_MS };
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
    const isForgotten = code === 'invalid_client' || code === 'unauthorized_client';
    if (isForgotten && signIn.registration.kind === 'dynamic') await store.remove(entry);
    else await store.write(entry, rest);
    this.#forget(rest);
  }
}

/** Whether `rejected` is this token. */
export function isSameToken(token: Token, rejected: Credential): boolean {
  return rejected.kind === 'token' && rejected.token === token.token;
}
