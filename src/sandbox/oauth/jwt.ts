import { constants, createHash, createPublicKey, type JsonWebKey, verify } from 'node:crypto';
import { isObject, type Json } from '../methods.ts';

/** A JWT whose signature has been verified. */
export interface VerifiedJwt {
  header: Json;
  claims: Json;
}

/** The signature algorithms accepted in client assertions and DPoP proofs (RFC 7518 §3.1, RFC 8037). */
export const signingAlgorithms = ['ES256', 'RS256', 'PS256', 'EdDSA'];

/** Which keys an algorithm takes, so that no signature is verified with a key of another kind. */
const keyTypes: Record<string, (key: JsonWebKey) => boolean> = {
  ES256: ({ kty, crv }) => kty === 'EC' && crv === 'P-256',
  RS256: ({ kty }) => kty === 'RSA',
  PS256: ({ kty }) => kty === 'RSA',
  EdDSA: ({ kty, crv }) => kty === 'OKP' && crv === 'Ed25519',
};

/**
 * Verifies a compact JWS (RFC 7515 §7.1) with the first key of `keysFor` that fits. Undefined when
 * the text is not a JWT, its algorithm is not accepted, or no key verifies it. Looks at no claim.
 */
export function verifyJwt(
  text: string,
  keysFor: (header: Json) => readonly JsonWebKey[],
): VerifiedJwt | undefined {
  const [head = '', body = '', signature = '', ...rest] = text.split('.');
  const header = decode(head);
  const claims = decode(body);
  if (header === undefined || claims === undefined || rest.length > 0) return undefined;
  const { alg } = header;
  if (typeof alg !== 'string' || !signingAlgorithms.includes(alg)) return undefined;
  const signed = Buffer.from(`${head}.${body}`);
  const isGood = keysFor(header).some(
    (key) =>
      keyTypes[alg]?.(key) && verifies(alg, signed, key, Buffer.from(signature, 'base64url')),
  );
  return isGood ? { header, claims } : undefined;
}

function verifies(alg: string, signed: Buffer, jwk: JsonWebKey, signature: Buffer): boolean {
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return verify(
      alg === 'EdDSA' ? null : 'sha256',
      signed,
      alg === 'PS256'
        ? { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
        : { key, dsaEncoding: 'ieee-p1363' },
      signature,
    );
  } catch {
    // The key is not one.
    return false;
  }
}

/** The thumbprint of a public key (RFC 7638 §3), base64url. */
export function thumbprint({ kty, crv, x, y, e, n }: JsonWebKey): string {
  // The required members in lexicographic order; JSON.stringify leaves out those of other types.
  return sha256(JSON.stringify(kty === 'RSA' ? { e, kty, n } : { crv, kty, x, y }));
}

/** SHA-256 as base64url without padding, as PKCE, DPoP and thumbprints have it. */
export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}

function decode(part: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
