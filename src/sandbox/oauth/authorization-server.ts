import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { listenOnLoopback, parseTarget, type SandboxRequest } from '../loopback-server.ts';
import type { Json } from '../methods.ts';
import { notFound, type Reply, write } from '../replies.ts';
import { Clients, grantTypes, type OAuthError, tokenAuthMethods } from './clients.ts';
import { DpopChecker } from './dpop.ts';
import type { OAuthFault } from './faults.ts';
import { type Form, readForm } from './form.ts';
import { type AccessToken, Grants } from './grants.ts';
import { signingAlgorithms } from './jwt.ts';
import { DEVICE_LIMIT_S, OTHER_ISSUER, SignIns } from './sign-ins.ts';
import { answerTokenRequest } from './token-endpoint.ts';

export interface OAuthOptions {
  /** Port on 127.0.0.1; 0, the default, takes a free one. */
  port?: number;
  /** How long an access token is good, in seconds. Default 300. */
  accessSeconds?: number;
  /** Issue no token without a DPoP proof (RFC 9449). */
  requiresDpop?: boolean;
  fault?: OAuthFault;
}

interface Surroundings {
  /** The gateway's URL: the one resource that tokens are for. */
  resource: string;
  /** Who can sign in. */
  holders: readonly string[];
  onServed: ((request: SandboxRequest) => void) | undefined;
}

/** The authorization server beside a sandbox, for tests to look into and to disturb. */
export interface AuthorizationServer {
  /** `http://127.0.0.1:PORT`. */
  readonly issuer: string;
  readonly requiresDpop: boolean;
  /** Every request received, oldest first. Set `length = 0` to forget them. */
  readonly requests: SandboxRequest[];
  /** Every code, token and client secret that it has given out. */
  readonly secrets: ReadonlySet<string>;
  /** What an access token is good for; undefined when it is not good now. */
  findAccess(token: string): AccessToken | undefined;
  /** Has the gateway reject every access token that there is; they can be refreshed. */
  expireAccess(): void;
  /** Ends every sign-in: no token of it works again. */
  revokeAll(): void;
  /** Forgets every client that registered itself. */
  forgetClients(): void;
  /** From now on DPoP proofs need another nonce. */
  rotateNonce(): void;
  close(): Promise<void>;
}

/** What can be asked for. `mcp:write` is for the tools that change something. */
const scopesSupported = ['mcp:read', 'mcp:write', 'offline_access'];

const BODY_LIMIT_BYTES = 65_536;
const SHORT_LIFE_S = 5;
const SLOW_MS = 10_000;
const metadataPaths = [
  '/.well-known/oauth-authorization-server',
  '/.well-known/openid-configuration',
];

/**
 * Starts an OAuth 2.1 authorization server on loopback for one gateway. Rejects with the error of
 * `listen`, such as EADDRINUSE.
 */
export async function startAuthorizationServer(
  { port = 0, accessSeconds = 300, requiresDpop = false, fault }: OAuthOptions,
  { resource, holders, onServed }: Surroundings,
): Promise<AuthorizationServer> {
  const requests: SandboxRequest[] = [];
  const closing = new AbortController();
  const grants = new Grants();
  const clients = new Clients(grants);
  const server = await listenOnLoopback({
    port,
    bodyLimit: BODY_LIMIT_BYTES,
    requests,
    onServed,
    closing,
    serve,
  });
  const issuer = server.origin;
  const dpop = new DpopChecker(() => issuer);
  const signIns = new SignIns({ issuer, clients, grants, fault, holders, grantable });
  const isShort = fault === 'expired' || fault === 'revoked' || fault === 'invalid-client';
  const tokenSetting = {
    clients,
    grants,
    signIns,
    dpop,
    requiresDpop,
    accessSeconds: isShort ? SHORT_LIFE_S : accessSeconds,
    fault,
    grantable,
  };

  async function serve(res: ServerResponse, request: SandboxRequest, isTooLarge: boolean) {
    if (fault === 'slow') await sleep(SLOW_MS, undefined, { signal: closing.signal });
    const reply = isTooLarge ? { status: 413 } : await answer(request);
    const headers = { 'Cache-Control': 'no-store', ...reply.headers };
    write(res, { ...reply, headers });
  }

  async function answer(request: SandboxRequest): Promise<Reply> {
    const target = parseTarget(request.url);
    const path = target?.pathname ?? '';
    const query = readForm(target?.search.slice(1) ?? '');
    if (request.method === 'GET') {
      if (metadataPaths.includes(path)) return { status: 200, body: metadata() };
      if (path === '/authorize') return signIns.authorize(query);
      if (path === '/device') return signIns.devicePage(query?.get('user_code') ?? '');
      if (path === '/jwks') return { status: 200, body: { keys: [] } };
      if (path === '/client.json') return { status: 200, body: exampleClient() };
    }
    if (request.method !== 'POST') return notFound;
    if (path === '/consent') return signIns.decide(readForm(request.text));
    if (path === '/register' && fault !== 'no-registration') {
      const registered = clients.register(request.body);
      return isError(registered) ? errorReply(registered) : { status: 201, body: registered };
    }
    const endpoint = endpoints[path];
    if (endpoint === undefined) return notFound;
    const form = readForm(request.text);
    if (form === undefined) return errorReply(invalidRequest('a parameter comes twice'));
    const outcome = await endpoint(request, form);
    return isError(outcome) ? errorReply(outcome) : { status: 200, body: outcome };
  }

  /** What only a client may ask for: a body, or what is wrong. */
  const endpoints: Record<
    string,
    (request: SandboxRequest, form: Form) => Promise<Json | OAuthError>
  > = {
    async '/token'(request, form) {
      const client = await clients.authenticate(request.headers, form, issuer);
      return isError(client) ? client : answerTokenRequest(request, form, client, tokenSetting);
    },
    async '/device_authorization'(request, form) {
      const client = await clients.authenticate(request.headers, form, issuer);
      if (isError(client)) return client;
      const wish = grantable(form);
      if ('error' in wish) return { status: 400, ...wish };
      const { deviceCode, signIn } = signIns.startDevice({ ...wish, client });
      const page = `${issuer}/device`;
      return {
        device_code: deviceCode,
        user_code: signIn.userCode,
        verification_uri: page,
        verification_uri_complete: `${page}?user_code=${signIn.userCode}`,
        expires_in: DEVICE_LIMIT_S,
        interval: signIn.interval,
      };
    },
    async '/revoke'(request, form) {
      const client = await clients.authenticate(request.headers, form, issuer);
      if (isError(client)) return client;
      const token = form.get('token');
      if (token === undefined) return invalidRequest('token is required');
      grants.revoke(token, client.id);
      return {};
    },
  };

  /** The scopes and the resource (RFC 8707) of a request, where they can be granted. */
  function grantable(form: Form) {
    const wished = (form.get('scope') ?? 'mcp:read').split(' ');
    const unknown = wished.find((scope) => !scopesSupported.includes(scope));
    if (unknown !== undefined) return { error: 'invalid_scope', description: 'no such scope' };
    const scopes =
      fault === 'insufficient-scope'
        ? ['mcp:read', ...wished.filter((scope) => scope === 'offline_access')]
        : wished;
    const target = form.get('resource');
    if (fault === 'no-resource') {
      if (target === undefined) return { scopes, audience: resource };
      const description =
        "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes.";
      return { error: 'invalid_target', description };
    }
    if (target === undefined || target === resource) return { scopes, audience: target };
    return { error: 'invalid_target', description: `the one resource is ${resource}` };
  }

  function metadata(): Json {
    const canRegister = fault !== 'no-registration';
    return {
      issuer: fault === 'wrong-issuer' ? OTHER_ISSUER : issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      device_authorization_endpoint: `${issuer}/device_authorization`,
      revocation_endpoint: `${issuer}/revoke`,
      ...(canRegister ? { registration_endpoint: `${issuer}/register` } : {}),
      client_id_metadata_document_supported: canRegister,
      scopes_supported: scopesSupported,
      response_types_supported: ['code'],
      grant_types_supported: grantTypes,
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: tokenAuthMethods,
      token_endpoint_auth_signing_alg_values_supported: signingAlgorithms,
      authorization_response_iss_parameter_supported: true,
      dpop_signing_alg_values_supported: signingAlgorithms,
      // Required by OpenID Connect Discovery 1.0 §3. No ID tokens are issued.
      jwks_uri: `${issuer}/jwks`,
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    };
  }

  /** A Client ID Metadata Document to try one with. */
  function exampleClient(): Json {
    return {
      client_id: `${issuer}/client.json`,
      client_name: 'A client with a metadata document',
      redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/callback'],
      grant_types: grantTypes.filter((type) => type !== 'client_credentials'),
      token_endpoint_auth_method: 'none',
    };
  }

  function errorReply({ status, error, description }: OAuthError): Reply {
    return {
      status,
      headers: {
        ...(status === 401 ? { 'WWW-Authenticate': 'Basic realm="sandbox"' } : {}),
        ...(error === 'use_dpop_nonce' ? { 'DPoP-Nonce': dpop.nonce } : {}),
      },
      body: { error, error_description: description },
    };
  }

  return {
    issuer,
    requiresDpop,
    requests,
    secrets: grants.secrets,
    findAccess: (token) => grants.findAccess(token),
    expireAccess: () => grants.expireAccess(),
    revokeAll: () => grants.revokeAll(),
    forgetClients: () => clients.forget(),
    rotateNonce: () => dpop.rotateNonce(),
    close: server.close,
  };
}

function isError(value: object): value is OAuthError {
  return 'error' in value;
}

function invalidRequest(description: string): OAuthError {
  return { status: 400, error: 'invalid_request', description };
}
