import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import {
  ClientCredentialsProvider,
  PrivateKeyJwtProvider,
} from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type {
  OAuthClientInformationMixed,
  OAuthTokens,
} from '@modelcontextprotocol/sdk/shared/auth.js';
import { expect, it, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { UserAgent } from '../e2e/user-agent.ts';

// The SDK's own OAuth client against the sandbox, without the proxy: what the sandbox says is what
// other clients understand.

async function start(oauth: SandboxOptions['oauth'] = {}) {
  const sandbox = await startSandbox({ sessions: true, oauth });
  onTestFinished(() => sandbox.close());
  return sandbox as Sandbox & { oauth: AuthorizationServer };
}

/** Grants of the token requests so far. */
const grants = ({ oauth }: { oauth: AuthorizationServer }) =>
  oauth.requests
    .filter(({ url }) => url === '/token')
    .map(({ text }) => new URLSearchParams(text).get('grant_type'));

/** Keeps all that the SDK has it keep, and signs in as a user would. */
class Provider implements OAuthClientProvider {
  readonly redirectUrl = 'http://127.0.0.1:1/callback';
  readonly clientMetadata = {
    client_name: 'the SDK',
    redirect_uris: [this.redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
  };
  code = '';
  readonly #isLasting: boolean;
  #client: OAuthClientInformationMixed | undefined;
  #tokens: OAuthTokens | undefined;
  #verifier = '';

  /** `isLasting`: whether to ask for a refresh token. */
  constructor(isLasting: boolean) {
    this.#isLasting = isLasting;
  }

  clientInformation = () => this.#client;
  saveClientInformation(client: OAuthClientInformationMixed) {
    this.#client = client;
  }
  tokens = () => this.#tokens;
  saveTokens(tokens: OAuthTokens) {
    this.#tokens = tokens;
  }
  saveCodeVerifier(verifier: string) {
    this.#verifier = verifier;
  }
  codeVerifier = () => this.#verifier;

  async redirectToAuthorization(url: URL) {
    const scope = url.searchParams.get('scope');
    // The SDK asks for what the challenge names.
    if (this.#isLasting) url.searchParams.set('scope', `${scope} offline_access`);
    const agent = new UserAgent();
    const consent = await agent.open(url.href);
    // Nothing listens there.
    await expect(agent.submit(consent, { button: 'Allow' })).rejects.toThrow('fetch failed');
    const { searchParams } = new URL(agent.visited.at(-1) ?? '');
    this.code = searchParams.get('code') ?? '';
  }
}

/** Signs in, and connects. */
async function connect(sandbox: Sandbox, provider: Provider) {
  const transport = () =>
    new StreamableHTTPClientTransport(new URL(sandbox.url), { authProvider: provider });
  const client = new Client({ name: 'sdk', version: '1' });
  onTestFinished(() => client.close());
  const first = transport();
  await expect(client.connect(first as Parameters<Client['connect']>[0])).rejects.toThrow(
    'Unauthorized',
  );
  await first.finishAuth(provider.code);
  await client.connect(transport() as Parameters<Client['connect']>[0]);
  return client;
}

it("signs the SDK's client in, and refreshes its tokens", async () => {
  const sandbox = await start();
  const client = await connect(sandbox, new Provider(true));
  const whoami = { name: 'platform_whoami' };
  expect(JSON.stringify(await client.callTool(whoami))).toContain('Ada Example');
  sandbox.oauth.expireAccess();
  expect(JSON.stringify(await client.callTool(whoami))).toContain('Ada Example');
  expect(grants(sandbox)).toEqual(['authorization_code', 'refresh_token']);
});

it("leads the SDK's client to a sign-in with more scopes", async () => {
  const sandbox = await start();
  const client = await connect(sandbox, new Provider(false));
  const write = { name: 'linear_add_comment', arguments: { id: 'ENG-41', text: 'seen' } };
  await expect(client.callTool(write)).rejects.toThrow('Unauthorized');
  expect(sandbox.oauth.requests.some(({ url }) => /authorize.*mcp%3Awrite/.test(url))).toBe(true);
});

it.each<
  [string, (sandbox: Sandbox & { oauth: AuthorizationServer }) => Promise<OAuthClientProvider>]
>([
  [
    'a secret',
    async ({ oauth }) =>
      new ClientCredentialsProvider({
        expectedIssuer: oauth.issuer,
        clientId: 'sandbox-service',
        clientSecret: 'sandbox-service-secret-0001',
      }),
  ],
  [
    'a signed assertion',
    async ({ oauth }) => {
      const { publicKey, privateKey } = await crypto.subtle.generateKey(
        { name: 'ECDSA', namedCurve: 'P-256' },
        true,
        ['sign', 'verify'],
      );
      const registration = await fetch(`${oauth.issuer}/register`, {
        method: 'POST',
        body: JSON.stringify({
          grant_types: ['client_credentials'],
          token_endpoint_auth_method: 'private_key_jwt',
          jwks: { keys: [await crypto.subtle.exportKey('jwk', publicKey)] },
        }),
      });
      const { client_id } = (await registration.json()) as { client_id: string };
      return new PrivateKeyJwtProvider({
        expectedIssuer: oauth.issuer,
        clientId: client_id,
        privateKey: { ...(await crypto.subtle.exportKey('jwk', privateKey)) },
        algorithm: 'ES256',
      });
    },
  ],
])("lets the SDK's client in by %s, without a user", async (_, providerFor) => {
  const sandbox = await start();
  const transport = new StreamableHTTPClientTransport(new URL(sandbox.url), {
    authProvider: await providerFor(sandbox),
  });
  const client = new Client({ name: 'sdk', version: '1' });
  onTestFinished(() => client.close());
  await client.connect(transport as Parameters<Client['connect']>[0]);
  expect((await client.listTools()).tools.length).toBeGreaterThan(5);
  expect(grants(sandbox)).toEqual(['client_credentials']);
});
