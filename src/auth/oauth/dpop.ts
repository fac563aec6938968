import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
} from 'node:crypto';
import { nowInSeconds, signJwt } from './jwt.ts';

/** A new key for DPoP, ES256 (RFC 9449 §5). */
export function newDpopKey(): JsonWebKey {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
}

/** Makes the proofs of one key (RFC 9449 §4), and keeps the newest nonce of each origin (§8.2). */
export class DpopProver {
  readonly #key: KeyObject;
  readonly #publicKey: JsonWebKey;
  readonly #nonces = new Map<string, string>();

  constructor(key: JsonWebKey) {
    this.#key = createPrivateKey({ key, format: 'jwk' });
    this.#publicKey = createPublicKey(this.#key).export({ format: 'jwk' });
  }

  /** The value of the header `DPoP` for one request; `accessToken` where it is sent along. */
  proof(method: string, target: string, accessToken?: string): string {
    const { origin, pathname } = new URL(target);
    const claims = {
      jti: randomUUID(),
      htm: method,
      htu: origin + pathname,
      iat: nowInSeconds(),
      nonce: this.#nonces.get(origin),
      ath:
        accessToken &&
        createHash('sha256').update(accessToken, 'ascii').digest().toString('base64url'),
    };
    return signJwt({ typ: 'dpop+jwt', jwk: this.#publicKey }, claims, this.#key);
  }

  /** Takes over the header `DPoP-Nonce`. Whether it is a new one. */
  learnNonce(target: string, nonce: unknown): boolean {
    // NQCHAR (RFC 9449 §8.1).
    if (typeof nonce !== 'string' || !/^[\x21\x23-\x5b\x5d-\x7e]{1,512}$/.test(nonce)) return false;
    const { origin } = new URL(target);
    if (this.#nonces.get(origin) === nonce) return false;
    this.#nonces.set(origin, nonce);
    return true;
  }
}
