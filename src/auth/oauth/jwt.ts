import { createPrivateKey, type KeyObject, sign } from 'node:crypto';

/** Claims or header parameters of a JWT; `undefined` leaves one out. */
type Members = Readonly<Record<string, unknown>>;

const ECDSA: Readonly<Record<string, string>> = { prime256v1: 'ES256', secp384r1: 'ES384' };

/** The JWS algorithm that a private key signs with (RFC 7518 §3.1, RFC 8037 §3.1). Throws for others. */
export function algorithmOf(key: KeyObject): 'ES256' | 'ES384' | 'RS256' | 'EdDSA' {
  const { namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  const algorithm =
    key.asymmetricKeyType === 'ec'
      ? ECDSA[namedCurve]
      : { rsa: 'RS256', ed25519: 'EdDSA' }[key.asymmetricKeyType as 'rsa' | 'ed25519'];
  if (algorithm === undefined) throw new Error('neither ES256, ES384, RS256 nor EdDSA');
  return algorithm as ReturnType<typeof algorithmOf>;
}

/** A private key from PEM. Throws where it is none, or one that cannot sign a JWT. */
export function privateKeyFrom(pem: string | Buffer): KeyObject {
  const key = createPrivateKey(pem);
  algorithmOf(key);
  return key;
}

/** A signed JWT in compact form (RFC 7515 §3.1). */
export function signJwt(header: Members, claims: Members, key: KeyObject): string {
  const algorithm = algorithmOf(key);
  const input = `${base64url({ alg: algorithm, ...header })}.${base64url(claims)}`;
  const hash = { ES256: 'sha256', ES384: 'sha384', RS256: 'sha256', EdDSA: null }[algorithm];
  const signature = sign(hash, Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

function base64url(members: Members): string {
  return Buffer.from(JSON.stringify(members)).toString('base64url');
}

/** Seconds since 1970, as JWTs have them. */
export const nowInSeconds = () => Math.floor(Date.now() / 1000);

/** The claims of a JWT, not verified: only to show, or where TLS vouches for the sender. */
export function claimsOf(jwt: string): Members {
  try {
    const claims: unknown = JSON.parse(
      Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString(),
    );
    return typeof claims === 'object' && claims !== null ? (claims as Members) : {};
  } catch {
    return {};
  }
}
