import type { Token } from '../credential.ts';
import type { KeyOrigin } from '../key.ts';
import type { DpopProver } from './dpop.ts';
import type { SignInTokens, StoredSignIn } from './stored-sign-in.ts';

/** A refresh comes this long before the token expires, or a tenth of its lifetime. */
const EARLY_MS = 60_000;

/** What requests are sent with. `prover`: of the key that DPoP tokens are bound to (RFC 9449). */
export function tokenOf(
  { accessToken, tokenType }: SignInTokens,
  origin: KeyOrigin,
  prover: DpopProver | undefined,
): Token {
  const bearer = ['authorization', `${tokenType} ${accessToken}`];
  const ofToken = tokenType === 'DPoP' ? prover : undefined;
  return {
    kind: 'token',
    token: accessToken,
    origin,
    headersFor: (method, url) =>
      ofToken === undefined ? bearer : [...bearer, 'dpop', ofToken.proof(method, url, accessToken)],
  };
}

/** When a token is to be refreshed, in ms since 1970: early, but not in the first half of its life. */
export function dueAt({ tokens }: StoredSignIn): number {
  const { expiresAt, receivedAt } = tokens ?? {};
  if (expiresAt === undefined || receivedAt === undefined) return Number.POSITIVE_INFINITY;
  const lifetime = expiresAt - receivedAt;
  return expiresAt - Math.min(Math.max(EARLY_MS, lifetime / 10), lifetime / 2);
}
