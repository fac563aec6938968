import { type JsonWebKey, randomBytes } from 'node:crypto';
import type { SandboxRequest } from '../loopback-server.ts';
import { isObject } from '../methods.ts';
import { sha256, thumbprint, verifyJwt } from './jwt.ts';

/** Seconds that the time in a proof may be off. */
const CLOCK_TOLERANCE_S = 60;

/** Why a proof was not accepted (RFC 9449 §5, §8). */
interface ProofError {
  error: 'invalid_dpop_proof' | 'use_dpop_nonce';
  description: string;
}

/**
 * Checks DPoP proofs for one server (RFC 9449 §4.3), which requires a nonce of its own in each
 * (§8, §9) and accepts no proof twice.
 */
export class DpopChecker {
  #nonce = newNonce();
  readonly #origin: () => string;
  readonly #seen = new Set<string>();

  /** `origin`: of the server, as it is in the proofs' `htu`. */
  constructor(origin: () => string) {
    this.#origin = origin;
  }

  /** What the next proof must have in it; goes out in the header `DPoP-Nonce`. */
  get nonce(): string {
    return this.#nonce;
  }

  /** From now on proofs need another nonce. */
  rotateNonce(): void {
    this.#nonce = newNonce();
  }

  /** The thumbprint of the key that the request's proof was signed with; `accessToken`: sent with it. */
  check(
    { method, url, headers }: SandboxRequest,
    accessToken?: string,
  ): { jkt: string } | ProofError {
    const { dpop } = headers;
    if (typeof dpop !== 'string') return invalid('one DPoP header is required');
    let jwk: JsonWebKey = {};
    const proof = verifyJwt(dpop, ({ jwk: key }) => {
      if (!isObject(key) || 'd' in key) return [];
      jwk = key;
      return [jwk];
    });
    if (proof?.header.typ !== 'dpop+jwt') return invalid('the proof is not a signed dpop+jwt');
    const { htm, htu, iat, jti, nonce, ath } = proof.claims;
    const [path = ''] = url.split(/[?#]/);
    if (htm !== method) return invalid('htm is not the method of the request');
    if (htu !== this.#origin() + path) return invalid('htu is not the URL of the request');
    if (typeof iat !== 'number' || Math.abs(Date.now() / 1000 - iat) > CLOCK_TOLERANCE_S) {
      return invalid('iat is not the time of now');
    }
    if (accessToken !== undefined && ath !== sha256(accessToken)) {
      return invalid('ath is not the hash of the access token');
    }
    if (nonce !== this.#nonce) {
      return { error: 'use_dpop_nonce', description: 'the proof needs the nonce of DPoP-Nonce' };
    }
    if (typeof jti !== 'string' || this.#seen.has(jti)) return invalid('jti was used before');
    this.#seen.add(jti);
    return { jkt: thumbprint(jwk) };
  }
}

function invalid(description: string): ProofError {
  return { error: 'invalid_dpop_proof', description };
}

function newNonce(): string {
  return randomBytes(16).toString('base64url');
}
