import { randomBytes } from 'node:crypto';

/** What a user, or a client for itself, has agreed to. All tokens of a grant end with it. */
export interface Grant {
  readonly clientId: string;
  /** Who uses the gateway: a holder of `accounts`, or the client itself. */
  readonly holder: string;
  readonly scopes: readonly string[];
  /** The resource that was asked for (RFC 8707); without one, the tokens are good nowhere. */
  readonly audience: string | undefined;
  /** Thumbprint of the DPoP key that the tokens are bound to. */
  readonly jkt: string | undefined;
  isLive: boolean;
}

export interface AccessToken {
  readonly grant: Grant;
  readonly scopes: readonly string[];
  /** Milliseconds since 1970. */
  expiresAt: number;
}

interface RefreshToken {
  readonly grant: Grant;
  isUsed: boolean;
}

/** Access and refresh tokens, opaque and in memory. */
export class Grants {
  /** Every code, token and secret that was given out. */
  readonly secrets = new Set<string>();
  readonly #access = new Map<string, AccessToken>();
  readonly #refresh = new Map<string, RefreshToken>();

  /** A value that cannot be guessed, marked as the sandbox's. */
  secret(kind: string): string {
    const value = `sandbox-${kind}-${randomBytes(24).toString('base64url')}`;
    this.secrets.add(value);
    return value;
  }

  issueAccess(grant: Grant, scopes: readonly string[], seconds: number): string {
    const token = this.secret('access-token');
    this.#access.set(token, { grant, scopes, expiresAt: Date.now() + seconds * 1000 });
    return token;
  }

  issueRefresh(grant: Grant): string {
    const token = this.secret('refresh-token');
    this.#refresh.set(token, { grant, isUsed: false });
    return token;
  }

  /** An access token that is good now. */
  findAccess(token: string): AccessToken | undefined {
    const found = this.#access.get(token);
    return found?.grant.isLive && found.expiresAt > Date.now() ? found : undefined;
  }

  /**
   * The grant of a refresh token, which is used up by this. One that comes a second time ends the
   * whole grant: two have it, and one of them may have stolen it (RFC 9700 §4.14.2).
   */
  useRefresh(token: string, clientId: string, jkt?: string): Grant | 'reused' | undefined {
    const found = this.#refresh.get(token);
    if (!found?.grant.isLive || found.grant.clientId !== clientId) return undefined;
    if (found.grant.jkt !== undefined && found.grant.jkt !== jkt) return undefined;
    const { grant, isUsed } = found;
    if (isUsed) grant.isLive = false;
    found.isUsed = true;
    return isUsed ? 'reused' : grant;
  }

  /** Ends one access token, or with a refresh token its whole grant (RFC 7009 §2.1). */
  revoke(token: string, clientId: string): void {
    const refresh = this.#refresh.get(token);
    if (refresh?.grant.clientId === clientId) refresh.grant.isLive = false;
    if (this.#access.get(token)?.grant.clientId === clientId) this.#access.delete(token);
  }

  /** Ends every grant, as an administrator does who signs a user out everywhere. */
  revokeAll(): void {
    for (const { grant } of [...this.#access.values(), ...this.#refresh.values()]) {
      grant.isLive = false;
    }
  }

  /** Ends every access token, before its time as its holder sees it. */
  expireAccess(): void {
    for (const token of this.#access.values()) token.expiresAt = 0;
  }
}
