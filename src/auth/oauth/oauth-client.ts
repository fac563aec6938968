import type { KeyObject } from 'node:crypto';
import type { Secrets } from '../../failures/secrets.ts';
import type { Log } from '../../log.ts';
import type { BearerChallenge } from '../challenge.ts';
import type { CredentialSources } from '../credential-sources.ts';
import { clientSecrets } from './client-secrets.ts';
import { discoverServer, offersRegistration } from './discover-server.ts';
import { DpopProver, newDpopKey } from './dpop.ts';
import { privateKeyFrom } from './jwt.ts';
import { grantByMachine } from './machine-grants.ts';
import { OAuthHttp } from './oauth-http.ts';
import type { RefreshRequest } from './refresh-sign-in.ts';
import type { SignInContext } from './sign-in-context.ts';
import { SignInError, type StoredSignIn } from './stored-sign-in.ts';
import { TokenEndpoint } from './token-endpoint.ts';

/** Why a sign-in is needed, as far as the gateway's challenge says. */
export interface SignInNeed {
  /** Whether a token was not enough (RFC 6750 §3.1, `insufficient_scope`). */
  readonly isStepUp: boolean;
  /** Whether the challenge asks for DPoP (RFC 9449 §7.1). */
  readonly needsDpop: boolean;
}

/** This program as an OAuth client of one gateway: what it asks authorization servers for. */
export class OAuthClient {
  readonly #sources: CredentialSources;
  readonly #env: NodeJS.ProcessEnv;
  readonly #log: Log;
  readonly #secrets: Secrets;

  /** `secrets` learns what is read and received. */
  constructor(sources: CredentialSources, env: NodeJS.ProcessEnv, log: Log, secrets: Secrets) {
    this.#sources = sources;
    this.#env = env;
    this.#log = log;
    this.#secrets = secrets;
  }

  /**
   * Asks the gateway and its authorization server how to sign in. Undefined where the gateway offers
   * none. Rejects with SignInError.
   */
  async contextFor(
    challenge: BearerChallenge | undefined,
    { isStepUp, needsDpop }: SignInNeed,
  ): Promise<SignInContext | undefined> {
    const { url, routes, oauth } = this.#sources;
    const gatewayAddress = routes.addressOf(url);
    const http = this.#http();
    const discovered = await discoverServer(url, challenge, oauth, http, gatewayAddress);
    if (discovered === undefined) return undefined;
    const isCertain = !discovered.isAssumed || oauth.clientId !== undefined;
    if (!isCertain && !(await offersRegistration(discovered.server, http))) return undefined;
    const secrets = this.#ownSecrets();
    return {
      url: url.href,
      ...(oauth.issuer === undefined ? { gatewayAddress } : {}),
      routes: routes.facts,
      settings: oauth,
      ...secrets,
      discovered,
      ...(challenge?.scope === undefined ? {} : { challengedScope: challenge.scope }),
      isStepUp,
      needsDpop: needsDpop || discovered.requiresDpop,
    };
  }

  /** What a refresh needs beside the sign-in. Throws SignInError. */
  refreshContext({ registration }: StoredSignIn): RefreshRequest['server'] {
    const { url, routes, oauth } = this.#sources;
    const isSigned = registration.authMethod === 'private_key_jwt';
    const { clientKey } = isSigned ? this.#ownSecrets() : {};
    return {
      routes: routes.facts,
      ...(oauth.issuer === undefined ? { gatewayAddress: routes.addressOf(url) } : {}),
      ...(clientKey === undefined ? {} : { clientKey }),
    };
  }

  /** An access token without a user. Rejects with SignInError. */
  async grant(context: SignInContext, before: StoredSignIn | undefined): Promise<StoredSignIn> {
    const dpopKey = context.needsDpop ? (before?.dpopKey ?? newDpopKey()) : undefined;
    const signIn = await grantByMachine(context, {
      http: this.#http(),
      idpHttp: new OAuthHttp(this.#sources.routes, undefined),
      clientKey: keyOf(context.clientKey),
      dpop: dpopKey === undefined ? undefined : new DpopProver(dpopKey),
      assertion: () => this.#assertion(),
    });
    return dpopKey === undefined ? signIn : { ...signIn, dpopKey };
  }

  /** Revokes the tokens (RFC 7009). False where the server did not say that it has. Never rejects. */
  async revoke(signIn: StoredSignIn): Promise<boolean> {
    const { tokens, server, dpopKey } = signIn;
    if (tokens === undefined || server.revocationEndpoint === undefined) return false;
    const dpop = dpopKey === undefined ? undefined : new DpopProver(dpopKey);
    const endpoint = this.#endpoint(signIn, dpop);
    const { accessToken, refreshToken } = tokens;
    const isGone =
      refreshToken === undefined || (await endpoint.revoke(refreshToken, 'refresh_token'));
    return (await endpoint.revoke(accessToken, 'access_token')) && isGone;
  }

  #http(): OAuthHttp {
    const { url, routes, oauth } = this.#sources;
    return new OAuthHttp(routes, oauth.issuer === undefined ? routes.addressOf(url) : undefined);
  }

  #endpoint({ server, registration }: StoredSignIn, dpop: DpopProver | undefined): TokenEndpoint {
    const isSigned = registration.authMethod === 'private_key_jwt';
    return new TokenEndpoint({
      server,
      registration,
      http: this.#http(),
      clientKey: isSigned ? keyOf(this.#ownSecrets().clientKey) : undefined,
      dpop,
      secrets: this.#secrets,
    });
  }

  #ownSecrets(): ReturnType<typeof clientSecrets> {
    const found = clientSecrets(this.#sources.oauth, this.#env, this.#log);
    if (found.clientSecret !== undefined) this.#secrets.add(found.clientSecret);
    return found;
  }

  async #assertion(): Promise<string> {
    const { assertionCommand, grant } = this.#sources.oauth;
    if (assertionCommand === undefined) {
      throw new SignInError(`--grant ${grant} needs --assertion-command.`);
    }
    const { runKeyCommand } = await import('../key-command.ts');
    const printed = await runKeyCommand(
      assertionCommand,
      this.#log,
      undefined,
      'assertion-command',
    );
    if ('error' in printed) throw new SignInError(`${sentenceStart(printed.error)}.`);
    const assertion = printed.text.trim();
    this.#secrets.add(assertion);
    return assertion;
  }
}

const keyOf = (pem: string | undefined): KeyObject | undefined =>
  pem === undefined ? undefined : privateKeyFrom(pem);

const sentenceStart = (clause: string) => clause.charAt(0).toUpperCase() + clause.slice(1);
