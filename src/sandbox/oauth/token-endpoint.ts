import type { SandboxRequest } from '../loopback-server.ts';
import type { Json } from '../methods.ts';
import type { Client, Clients, OAuthError } from './clients.ts';
import type { DpopChecker } from './dpop.ts';
import type { OAuthFault } from './faults.ts';
import type { Form } from './form.ts';
import type { Grant, Grants } from './grants.ts';
import { sha256 } from './jwt.ts';
import type { SignIns } from './sign-ins.ts';

interface Setting {
  clients: Clients;
  grants: Grants;
  signIns: SignIns;
  dpop: DpopChecker;
  requiresDpop: boolean;
  accessSeconds: number;
  fault: OAuthFault | undefined;
  grantable(
    form: Form,
  ): Pick<Grant, 'scopes' | 'audience'> | { error: string; description: string };
}

/** A grant that is about to be made, without what every grant has. */
type Agreed = Pick<Grant, 'scopes' | 'audience' | 'holder'>;

/**
 * The token endpoint for a client that has proved who it is: the body of the reply (RFC 6749 §5.1),
 * or the error.
 */
export function answerTokenRequest(
  request: SandboxRequest,
  form: Form,
  client: Client,
  setting: Setting,
): Json | OAuthError {
  const { grants, signIns, dpop, requiresDpop, fault } = setting;
  const type = form.get('grant_type') ?? '';
  if (!client.grantTypes.includes(type)) {
    return refused('unauthorized_client', `the client may not use the grant type ${type}`);
  }
  const wish = setting.grantable(form);
  if ('error' in wish) return refused(wish.error, wish.description);
  let jkt: string | undefined;
  if (requiresDpop || request.headers.dpop !== undefined) {
    const proof = dpop.check(request);
    if ('error' in proof) return refused(proof.error, proof.description);
    jkt = proof.jkt;
  }

  /** Makes a grant, and its first tokens. */
  function agree({ scopes, audience, holder }: Agreed): Json {
    const live = { clientId: client.id, holder, scopes, audience, jkt, isLive: true };
    if (fault === 'invalid-client') setting.clients.forget(client.id);
    return tokens(live, scopes);
  }

  function tokens(grant: Grant, scopes: readonly string[]): Json {
    const isLasting =
      grant.scopes.includes('offline_access') &&
      client.grantTypes.includes('refresh_token') &&
      fault !== 'no-refresh-token';
    return {
      access_token: grants.issueAccess(grant, scopes, setting.accessSeconds),
      token_type: grant.jkt === undefined ? 'Bearer' : 'DPoP',
      expires_in: setting.accessSeconds,
      scope: scopes.join(' '),
      ...(isLasting ? { refresh_token: grants.issueRefresh(grant) } : {}),
    };
  }

  switch (type) {
    case 'authorization_code': {
      const code = form.get('code') ?? '';
      const signIn = signIns.redeem(code);
      if (signIn === undefined) return refused('invalid_grant', 'the code is not good, or used up');
      const isRight =
        signIn.client.id === client.id &&
        signIn.redirectUri === form.get('redirect_uri') &&
        (signIn.jkt ?? jkt) === jkt &&
        sha256(form.get('code_verifier') ?? '') === signIn.challenge;
      if (!isRight) return refused('invalid_grant', 'the code belongs to another request');
      if (wish.audience !== undefined && wish.audience !== signIn.audience) {
        return refused('invalid_target', 'resource is not that of the authorization request');
      }
      return agree(signIn);
    }
    case 'refresh_token': {
      if (fault === 'revoked') return refused('invalid_grant', 'the sign-in was revoked');
      const used = grants.useRefresh(form.get('refresh_token') ?? '', client.id, jkt);
      if (used === undefined) return refused('invalid_grant', 'the refresh token is not good');
      if (used === 'reused') {
        return refused('invalid_grant', 'the refresh token was used before: all are revoked now');
      }
      const scopes = form.has('scope') ? wish.scopes : used.scopes;
      if (!scopes.every((scope) => used.scopes.includes(scope))) {
        return refused('invalid_scope', 'a refresh cannot add scopes');
      }
      return tokens(used, scopes);
    }
    case 'client_credentials':
      if (client.authMethods.includes('none')) {
        return refused('unauthorized_client', 'a public client has no credentials');
      }
      return agree({
        ...wish,
        scopes: wish.scopes.filter((scope) => scope !== 'offline_access'),
        holder: client.id,
      });
    default: {
      const signIn = signIns.pollDevice(form.get('device_code') ?? '');
      if (signIn === undefined || signIn.client.id !== client.id) {
        return refused('invalid_grant', 'the device code is not known');
      }
      const { state } = signIn;
      if (signIn.expiresAt < Date.now()) return refused('expired_token', 'the code has expired');
      if (state === 'denied') return refused('access_denied', 'the user refused');
      if (state !== 'pending') return agree(state);
      const early = Date.now() - signIn.polledAt < signIn.interval * 1000;
      signIn.polledAt = Date.now();
      if (!early) return refused('authorization_pending', 'the user has not decided');
      signIn.interval += 5;
      return refused('slow_down', `poll every ${signIn.interval} seconds`);
    }
  }
}

function refused(error: string, description: string): OAuthError {
  return { status: 400, error, description };
}
