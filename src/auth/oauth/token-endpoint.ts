import type { KeyObject } from 'node:crypto';
import {
  allowInsecureRequests,
  authorizationCodeGrantRequest,
  customFetch,
  type DeviceAuthorizationResponse,
  deviceAuthorizationRequest,
  genericTokenEndpointRequest,
  processDeviceAuthorizationResponse,
  processGenericTokenEndpointResponse,
  ResponseBodyError,
  revocationRequest,
} from 'oauth4webapi';
import { cleanNetworkText } from '../../failures/network-text.ts';
import type { Secrets } from '../../failures/secrets.ts';
import { clientAuthentication } from './client-authentication.ts';
import type { DpopProver } from './dpop.ts';
import { claimsOf } from './jwt.ts';
import { assertAvailable, type JsonAnswer, type OAuthHttp } from './oauth-http.ts';
import { signInErrorFrom } from './sign-in-words.ts';
import {
  type AuthorizationServer,
  type ClientRegistration,
  SignInError,
  type SignInTokens,
} from './stored-sign-in.ts';

/** What the token endpoint gave, and who signed in where it says so. */
export interface Granted {
  readonly tokens: SignInTokens;
  readonly subject?: string;
}

export interface TokenEndpointOptions {
  readonly server: AuthorizationServer;
  readonly registration: ClientRegistration;
  readonly http: OAuthHttp;
  /** For `private_key_jwt`. */
  readonly clientKey?: KeyObject | undefined;
  /** Where tokens must be bound to a key. */
  readonly dpop?: DpopProver | undefined;
  /** Learns what is received and sent. */
  readonly secrets?: Secrets | undefined;
}

/** What a header can carry of an access token, which is ASCII (RFC 6749 §A.12) and has no spaces (RFC 6750 §2.1). */
const SENDABLE = /^[\x21-\x7e]+$/;

/** The requests of one client to one server's token and revocation endpoint (RFC 6749 §3.2, RFC 7009). */
export class TokenEndpoint {
  readonly #options: TokenEndpointOptions;
  readonly #server;
  readonly #client;
  /** Of the newest answer: the library would check it, which only a client that uses it has to. */
  #idToken: unknown;

  constructor(options: TokenEndpointOptions) {
    const { issuer, tokenEndpoint, revocationEndpoint } = options.server;
    this.#options = options;
    this.#server = {
      issuer,
      token_endpoint: tokenEndpoint,
      ...(revocationEndpoint === undefined ? {} : { revocation_endpoint: revocationEndpoint }),
    };
    this.#client = { client_id: options.registration.clientId };
  }

  /** Redeems a code; `callback` is what `validateAuthResponse` returned. Rejects with SignInError. */
  redeem(
    callback: URLSearchParams,
    redirectUri: string,
    codeVerifier: string,
    parameters: Readonly<Record<string, string>>,
  ): Promise<Granted> {
    return this.#grant((authentication) =>
      authorizationCodeGrantRequest(
        this.#server,
        this.#client,
        authentication,
        callback,
        redirectUri,
        codeVerifier,
        { ...this.#requestOptions('token_endpoint'), additionalParameters: parameters },
      ),
    );
  }

  /** Any other grant. Rejects with SignInError. */
  grant(type: string, parameters: Readonly<Record<string, string>>): Promise<Granted> {
    return this.#grant((authentication) =>
      genericTokenEndpointRequest(
        this.#server,
        this.#client,
        authentication,
        type,
        new URLSearchParams(parameters),
        this.#requestOptions('token_endpoint'),
      ),
    );
  }

  /** Begins a sign-in on another device (RFC 8628 §3.1). Rejects with SignInError. */
  async authorizeDevice(
    endpoint: string,
    parameters: Readonly<Record<string, string>>,
  ): Promise<DeviceAuthorizationResponse> {
    const server = { ...this.#server, device_authorization_endpoint: endpoint };
    try {
      const response = await deviceAuthorizationRequest(
        server,
        this.#client,
        this.#authentication(),
        parameters,
        this.#requestOptions('other'),
      );
      return await processDeviceAuthorizationResponse(server, this.#client, response);
    } catch (error) {
      throw signInErrorFrom(error, new URL(server.issuer).host);
    }
  }

  /** Whether the server says that it has revoked the token. Never rejects. */
  async revoke(token: string, hint: 'refresh_token' | 'access_token'): Promise<boolean> {
    try {
      const response = await revocationRequest(
        this.#server,
        this.#client,
        this.#authentication(),
        token,
        {
          ...this.#requestOptions('other'),
          additionalParameters: { token_type_hint: hint },
        },
      );
      return response.status === 200;
    } catch {
      return false;
    }
  }

  async #grant(
    request: (authentication: ReturnType<typeof clientAuthentication>) => Promise<Response>,
  ): Promise<Granted> {
    const { secrets } = this.#options;
    try {
      const response = await this.#process(request).catch((error) => {
        // The server's first nonce comes with a refusal (RFC 9449 §8).
        if (!(error instanceof ResponseBodyError) || error.error !== 'use_dpop_nonce') throw error;
        return this.#process(request);
      });
      const { access_token, refresh_token, token_type, expires_in, scope } = response;
      if (!SENDABLE.test(access_token)) {
        const { host } = new URL(this.#options.server.issuer);
        throw new SignInError(`${host} sent an invalid access token.`);
      }
      const receivedAt = Date.now();
      for (const token of [access_token, refresh_token]) if (token) secrets?.add(token);
      const subject = subjectIn(this.#idToken);
      return {
        tokens: {
          accessToken: access_token,
          tokenType: token_type === 'dpop' ? 'DPoP' : 'Bearer',
          ...(refresh_token === undefined ? {} : { refreshToken: refresh_token }),
          ...(expires_in === undefined ? {} : { expiresAt: receivedAt + expires_in * 1000 }),
          receivedAt,
          ...(scope === undefined ? {} : { scope }),
        },
        ...(subject === undefined ? {} : { subject }),
      };
    } catch (error) {
      throw signInErrorFrom(error, new URL(this.#options.server.issuer).host);
    }
  }

  async #process(
    request: (authentication: ReturnType<typeof clientAuthentication>) => Promise<Response>,
  ) {
    const response = await request(this.#authentication());
    const recognizedTokenTypes = { n_a: () => {} };
    return processGenericTokenEndpointResponse(this.#server, this.#client, response, {
      recognizedTokenTypes,
    });
  }

  #authentication() {
    const { registration, clientKey } = this.#options;
    return clientAuthentication(registration, clientKey);
  }

  /** Only requests for tokens prove that the key is there (RFC 9449 §5). */
  #requestOptions(endpoint: 'token_endpoint' | 'other') {
    const { dpop, http, server } = this.#options;
    const headers: Record<string, string> =
      dpop === undefined || endpoint === 'other'
        ? {}
        : { dpop: dpop.proof('POST', server.tokenEndpoint) };
    const send = async (
      target: string,
      init: { body: URLSearchParams; headers: Record<string, string> },
    ): Promise<Response> => {
      const answer = await http.postForm(target, init.body.toString(), init.headers);
      dpop?.learnNonce(target, answer.headers['dpop-nonce']);
      assertAvailable(target, answer.status);
      return this.#response(answer);
    };
    // The endpoints have been checked: they are https, or on this computer.
    return { headers, [customFetch]: send, [allowInsecureRequests]: true };
  }

  /** What the library is to read: without what it would take for a challenge, and ID tokens. */
  #response({ status, json }: JsonAnswer): Response {
    const { id_token, ...rest } = json ?? {};
    this.#idToken = id_token;
    const body = json === undefined ? null : JSON.stringify({ token_type: 'bearer', ...rest });
    const headers = { 'content-type': 'application/json' };
    // The only statuses that a Response may have; others say nothing here.
    return new Response(body, { status: status >= 200 && status <= 599 ? status : 500, headers });
  }
}

function subjectIn(idToken: unknown): string | undefined {
  if (typeof idToken !== 'string') return undefined;
  const { email, preferred_username, name, sub } = claimsOf(idToken);
  const claim = [email, preferred_username, name, sub].find((own) => typeof own === 'string');
  return cleanNetworkText(claim ?? '', 100) || undefined;
}
