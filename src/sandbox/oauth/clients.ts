import { type JsonWebKey, randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isObject, type Json } from '../methods.ts';
import type { Form } from './form.ts';
import type { Grants } from './grants.ts';
import { verifyJwt } from './jwt.ts';

export interface Client {
  readonly id: string;
  /** As the client calls itself; not verified. */
  readonly name: string;
  readonly redirectUris: readonly string[];
  readonly grantTypes: readonly string[];
  /** The ways in which it may prove who it is at the token endpoint. */
  readonly authMethods: readonly string[];
  readonly secret?: string;
  /** For `private_key_jwt`. */
  readonly keys?: readonly JsonWebKey[];
}

/** An error of RFC 6749 §5.2, RFC 7591 §3.2.2 or an extension of them. */
export interface OAuthError {
  status: number;
  error: string;
  description: string;
}

/** Clients that need no registration. Their secret opens nothing but a sandbox. */
export const registeredClients = {
  user: { id: 'sandbox-client' },
  service: { id: 'sandbox-service', secret: 'sandbox-service-secret-0001' },
} as const;

export const tokenAuthMethods = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'none',
];
export const grantTypes = [
  'authorization_code',
  'refresh_token',
  'client_credentials',
  'urn:ietf:params:oauth:grant-type:device_code',
];

const LOOPBACK_URI = /^http:\/\/(127\.0\.0\.1|\[::1\]|localhost)(:\d+)?(?=[/?]|$)/;
const DOCUMENT_LIMIT_BYTES = 16_384;
const DOCUMENT_LIMIT_MS = 5_000;
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** Who may ask for a sign-in, and how each proves who it is. */
export class Clients {
  readonly #clients = new Map<string, Client>();
  readonly #usedAssertions = new Set<string>();
  readonly #grants: Grants;

  constructor(grants: Grants) {
    this.#grants = grants;
    const { user, service } = registeredClients;
    const redirectUris = ['http://127.0.0.1/callback', 'http://localhost/callback'];
    const all = { redirectUris, grantTypes };
    this.#clients.set(user.id, { ...user, ...all, name: 'Sandbox client', authMethods: ['none'] });
    this.#clients.set(service.id, {
      ...service,
      ...all,
      name: 'Sandbox service',
      authMethods: ['client_secret_basic', 'client_secret_post'],
    });
  }

  /** Forgets who registered, as a server does that was set up again. */
  forget(clientId?: string): void {
    for (const id of this.#clients.keys()) {
      if (id.startsWith('sandbox-client-') && (clientId ?? id) === id) this.#clients.delete(id);
    }
  }

  /** A client by its ID, or by the URL of its metadata document, which is fetched. */
  async find(id: string): Promise<Client | undefined> {
    return this.#clients.get(id) ?? (/^https?:/.test(id) ? fetchClient(id) : undefined);
  }

  /** Dynamic registration (RFC 7591 §3). Returns the body of the reply. */
  register(metadata: unknown): Json | OAuthError {
    const client = readClient(metadata, `sandbox-client-${randomUUID()}`);
    if ('error' in client) return client;
    const [method = ''] = client.authMethods;
    const secret = method.startsWith('client_secret_')
      ? this.#grants.secret('client-secret')
      : undefined;
    this.#clients.set(client.id, { ...client, ...(secret === undefined ? {} : { secret }) });
    return {
      client_id: client.id,
      client_id_issued_at: Math.floor(Date.now() / 1000),
      client_name: client.name,
      redirect_uris: client.redirectUris,
      grant_types: client.grantTypes,
      response_types: client.redirectUris.length > 0 ? ['code'] : [],
      token_endpoint_auth_method: method,
      ...(secret === undefined ? {} : { client_secret: secret, client_secret_expires_at: 0 }),
    };
  }

  /**
   * The client of a request to the token endpoint and its like (RFC 6749 §2.3, RFC 7523 §2.2).
   * `issuer`: what a client assertion must be for.
   */
  async authenticate(
    headers: IncomingHttpHeaders,
    form: Form,
    issuer: string,
  ): Promise<Client | OAuthError> {
    const basic = /^basic +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
    const assertion = form.get('client_assertion');
    if ([basic, form.get('client_secret'), assertion].filter((way) => way).length > 1) {
      return { status: 400, error: 'invalid_request', description: 'two client authentications' };
    }
    let [method, id, secret] = ['none', form.get('client_id'), form.get('client_secret')];
    if (basic !== undefined) {
      const [user = '', ...password] = Buffer.from(basic, 'base64').toString().split(':');
      [method, id, secret] = [
        'client_secret_basic',
        decodeForm(user),
        decodeForm(password.join(':')),
      ];
    } else if (assertion !== undefined) {
      const [, claims = ''] = assertion.split('.');
      const { sub } = parse(Buffer.from(claims, 'base64url').toString());
      [method, id] = ['private_key_jwt', typeof sub === 'string' ? sub : undefined];
    } else if (secret !== undefined) {
      method = 'client_secret_post';
    }
    const client = id === undefined ? undefined : await this.find(id);
    if (client === undefined) return invalidClient('the client is not known here');
    if (!client.authMethods.includes(method)) {
      return invalidClient(`the client must use ${client.authMethods.join(' or ')}`);
    }
    if (method === 'private_key_jwt') {
      const isType = form.get('client_assertion_type') === ASSERTION_TYPE;
      const why = isType ? this.#wrongAssertion(client, assertion ?? '', issuer) : 'its type';
      return why === undefined ? client : invalidClient(`the client assertion is wrong: ${why}`);
    }
    if (client.secret !== undefined && client.secret !== secret) {
      return invalidClient('the client secret is wrong');
    }
    return client;
  }

  #wrongAssertion(client: Client, assertion: string, issuer: string): string | undefined {
    const jwt = verifyJwt(assertion, ({ kid }) =>
      (client.keys ?? []).filter((key) => kid === undefined || (key.kid ?? kid) === kid),
    );
    if (jwt === undefined) return 'its signature';
    const { iss, sub, aud, exp, jti } = jwt.claims;
    if (iss !== client.id || sub !== client.id) return 'iss and sub must be the client ID';
    if (![aud].flat().includes(issuer)) return 'aud must be the issuer';
    if (typeof exp !== 'number' || exp * 1000 < Date.now()) return 'it has expired';
    if (typeof jti !== 'string' || this.#usedAssertions.has(jti)) return 'jti was used before';
    this.#usedAssertions.add(jti);
    return undefined;
  }
}

/**
 * Whether a redirect URI is one of the client's: the same text, but for the port of one on loopback
 * (RFC 8252 §7.3).
 */
export function allowsRedirect(client: Client, uri: string): boolean {
  const portless = (text: string) =>
    text.replace(LOOPBACK_URI, (_, host: string) => `http://${host}`);
  return client.redirectUris.some((own) => own === uri || portless(own) === portless(uri));
}

/** The client that a metadata document describes (draft-ietf-oauth-client-id-metadata-document). */
async function fetchClient(id: string): Promise<Client | undefined> {
  // https as the draft has it; http on loopback, so that one can be tried without a certificate.
  const url = URL.canParse(id) ? new URL(id) : undefined;
  const isAllowed = url?.protocol === 'https:' || LOOPBACK_URI.test(id);
  if (!url || !isAllowed || url.href !== id || url.pathname === '/' || url.hash) return undefined;
  try {
    const response = await fetch(url, {
      redirect: 'error',
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(DOCUMENT_LIMIT_MS),
    });
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of response.body ?? []) {
      size += chunk.length;
      if (size > DOCUMENT_LIMIT_BYTES) return undefined;
      chunks.push(chunk);
    }
    const metadata = parse(Buffer.concat(chunks).toString());
    if (response.status !== 200 || metadata.client_id !== id) return undefined;
    const client = readClient({ token_endpoint_auth_method: 'none', ...metadata }, id);
    // A secret cannot be shared in a public document.
    const isWrong = 'error' in client || client.authMethods.some((own) => own.includes('secret'));
    return isWrong ? undefined : client;
  } catch {
    return undefined;
  }
}

/** A client's metadata (RFC 7591 §2), with its defaults filled in. */
function readClient(metadata: unknown, id: string): Client | OAuthError {
  if (!isObject(metadata)) return wrongMetadata('the body must be a JSON object');
  const {
    client_name: name = 'a client without a name',
    redirect_uris: redirectUris = [],
    grant_types: types = ['authorization_code'],
    token_endpoint_auth_method: method = 'client_secret_basic',
    jwks,
  } = metadata;
  if (typeof name !== 'string' || name.length > 200) return wrongMetadata('client_name');
  if (!isStrings(types) || !types.every((type) => grantTypes.includes(type))) {
    return wrongMetadata(`grant_types may be ${grantTypes.join(', ')}`);
  }
  if (typeof method !== 'string' || !tokenAuthMethods.includes(method)) {
    return wrongMetadata(`token_endpoint_auth_method may be ${tokenAuthMethods.join(', ')}`);
  }
  const needsRedirect = types.includes('authorization_code');
  if (!isStrings(redirectUris) || (needsRedirect && redirectUris.length === 0)) {
    return { ...wrongMetadata('redirect_uris is required'), error: 'invalid_redirect_uri' };
  }
  const odd = redirectUris.find((uri) => !(URL.canParse(uri) && isRedirectUri(uri)));
  if (odd !== undefined) {
    const description = 'redirect_uris must be https, or http on loopback, without a fragment';
    return { ...wrongMetadata(description), error: 'invalid_redirect_uri' };
  }
  const { keys } = isObject(jwks) ? jwks : {};
  if (method === 'private_key_jwt' && !(Array.isArray(keys) && keys.every(isObject))) {
    return wrongMetadata('jwks is required for private_key_jwt');
  }
  const own = method === 'private_key_jwt' ? { keys: keys as JsonWebKey[] } : {};
  return { id, name, redirectUris, grantTypes: types, authMethods: [method], ...own };
}

function isRedirectUri(uri: string): boolean {
  return !uri.includes('#') && (uri.startsWith('https://') || LOOPBACK_URI.test(uri));
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string');
}

function wrongMetadata(description: string): OAuthError {
  return { status: 400, error: 'invalid_client_metadata', description };
}

function invalidClient(description: string): OAuthError {
  return { status: 401, error: 'invalid_client', description };
}

/** RFC 6749 §2.3.1 has ID and secret form-encoded in Basic; some clients send them as they are. */
function decodeForm(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

function parse(text: string): Json {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}
