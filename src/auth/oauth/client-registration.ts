import { cleanNetworkText } from '../../failures/network-text.ts';
import { authMethodFor } from './client-authentication.ts';
import { assertAvailable, type OAuthHttp } from './oauth-http.ts';
import type { OAuthSettings } from './oauth-settings.ts';
import type { ServerMetadata } from './server-metadata.ts';
import { type ClientRegistration, SignInError, type StoredSignIn } from './stored-sign-in.ts';

type Method = ClientRegistration['authMethod'];

/** The first that a server offers: this program cannot keep a secret from its user. */
const METHODS: readonly Method[] = ['none', 'client_secret_basic', 'client_secret_post'];

/** What the client's identity is chosen from. */
export interface IdentitySources {
  readonly server: ServerMetadata;
  readonly settings: OAuthSettings;
  /** Of `--client-secret-env` or `--client-secret-file`. */
  readonly clientSecret?: string | undefined;
  /** What is stored for the same gateway, whatever the server. */
  readonly stored?: StoredSignIn | undefined;
}

/**
 * The identity that needs no registration, in the order of MCP 2026-07-28, Client Registration: set
 * by the user, a Client ID Metadata Document, or registered before at the same server. Undefined
 * where a registration is needed.
 */
export function knownIdentity(sources: IdentitySources): ClientRegistration | undefined {
  const { server, settings, clientSecret, stored } = sources;
  const { clientId, clientMetadataUrl, clientKeyFile } = settings;
  const has = { secret: clientSecret !== undefined, key: clientKeyFile !== undefined };
  const supported = server.token_endpoint_auth_methods_supported;
  const before = stored?.server.issuer === server.issuer ? stored.registration : undefined;
  if (clientId !== undefined) {
    // `login` has stored its secret.
    const isSame = before?.kind === 'by-hand' && before.clientId === clientId;
    if (isSame && !has.secret && !has.key) return before;
    return {
      kind: 'by-hand',
      clientId,
      ...(clientSecret === undefined ? {} : { clientSecret }),
      authMethod: authMethodFor(supported, has),
      redirectUris: [],
      ...(settings.callbackPort === undefined ? {} : { callbackPort: settings.callbackPort }),
    };
  }
  if (clientMetadataUrl !== undefined && server.client_id_metadata_document_supported === true) {
    const authMethod = authMethodFor(supported, { secret: false, key: has.key });
    return { kind: 'metadata-document', clientId: clientMetadataUrl, authMethod, redirectUris: [] };
  }
  if (before === undefined || isExpired(before)) return undefined;
  return before;
}

function isExpired({ clientSecretExpiresAt }: ClientRegistration): boolean {
  return clientSecretExpiresAt !== undefined && clientSecretExpiresAt <= Date.now();
}

/**
 * Registers a client (RFC 7591 §3). Takes the answers of real servers: 200 as well as 201, without
 * `client_secret_expires_at` or the method. Rejects with SignInError.
 */
export async function registerClient(
  server: ServerMetadata,
  redirectUris: readonly string[],
  callbackPort: number | undefined,
  grantTypes: readonly string[],
  http: OAuthHttp,
): Promise<ClientRegistration> {
  const { host } = new URL(server.issuer);
  const endpoint = server.registration_endpoint;
  if (endpoint === undefined) {
    throw new SignInError(
      `${host} does not register clients. Ask its operator for a client ID and set --client-id.`,
    );
  }
  const supported = server.token_endpoint_auth_methods_supported;
  const wanted = METHODS.find((method) => supported?.includes(method)) ?? 'none';
  const { status, json } = await http.postJson(endpoint, {
    client_name: 'mcp-latchkey',
    redirect_uris: redirectUris,
    grant_types: grantTypes,
    response_types: redirectUris.length === 0 ? [] : ['code'],
    token_endpoint_auth_method: wanted,
    application_type: 'native',
  });
  assertAvailable(endpoint, status);
  const clientId = json?.client_id;
  if ((status !== 200 && status !== 201) || typeof clientId !== 'string' || clientId === '') {
    throw new RegistrationRefused(host, status, json);
  }
  const secret = json?.client_secret;
  const clientSecret = typeof secret === 'string' && secret !== '' ? secret : undefined;
  const expiresAt = json?.client_secret_expires_at;
  const expires = typeof expiresAt === 'number' && expiresAt > 0 && clientSecret !== undefined;
  return {
    kind: 'dynamic',
    clientId,
    ...(clientSecret === undefined ? {} : { clientSecret }),
    ...(expires ? { clientSecretExpiresAt: expiresAt * 1000 } : {}),
    authMethod:
      METHODS.find((method) => method === json?.token_endpoint_auth_method) ??
      // Without a list the server takes Basic (RFC 8414 §2), for what it gave a secret to.
      (supported === undefined && clientSecret !== undefined ? 'client_secret_basic' : wanted),
    redirectUris,
    ...(callbackPort === undefined ? {} : { callbackPort }),
  };
}

/** The server takes no registration of this client. */
export class RegistrationRefused extends SignInError {
  constructor(host: string, status: number, json: Readonly<Record<string, unknown>> | undefined) {
    const said = [json?.error, json?.error_description]
      .filter((part) => typeof part === 'string')
      .map((part) => cleanNetworkText(String(part), 200))
      .join(': ');
    super(
      `${host} refused registration: HTTP ${status}${said && `, ${said}`}. Ask its operator for a client ID and set --client-id.`,
    );
  }
}
