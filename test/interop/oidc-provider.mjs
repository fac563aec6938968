// Runs oidc-provider as an OAuth server on a free port of 127.0.0.1, which a test talks to.
// Argument: its settings as JSON, see oidc-provider.ts. Writes JSON lines: {issuer} first, then what
// happens. Installed under peers/.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const [script, argument] = process.argv.slice(2);
const { clients, accessSeconds, refreshSeconds, requiresDpop } = JSON.parse(argument);
const { default: Provider } = await import(pathToFileURL(script).href);

const server = createServer();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
// Its warnings about a development configuration must not come between the lines.
console.info = console.warn;
const report = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const provider = new Provider(issuer, {
  clients,
  cookies: { keys: [randomBytes(16).toString('hex')] },
  scopes: ['offline_access', 'mcp:read', 'mcp:write'],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  clientDefaults: { dpop_bound_access_tokens: requiresDpop },
  enabledJWA: { dPoPSigningAlgValues: ['ES256', 'EdDSA'] },
  ttl: { RefreshToken: refreshSeconds, Session: 600, Grant: 600, Interaction: 600, DeviceCode: 60 },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => requiresDpop },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        scope: 'mcp:read mcp:write',
        audience: resource,
        accessTokenFormat: 'opaque',
        accessTokenTTL: accessSeconds,
      }),
    },
  },
});
provider.on('registration_create.success', ({ body }) => {
  report({ event: 'registration', secrets: [body.client_secret, body.registration_access_token] });
});
provider.on('grant.success', ({ body, oidc: { params } }) => {
  const { code, code_verifier, refresh_token, device_code, client_assertion } = params;
  const sent = [code, code_verifier, refresh_token, device_code, client_assertion];
  const secrets = [...sent, body.access_token, body.refresh_token].filter(Boolean);
  report({ event: params.grant_type, secrets });
});
provider.on('grant.error', ({ oidc }, error) => {
  report({
    event: 'error',
    grant: oidc.params?.grant_type,
    error: error.error,
    detail: error.error_detail,
  });
});
provider.on('access_token.destroyed', () => report({ event: 'access token revoked' }));
provider.on('grant.revoked', () => report({ event: 'revoked' }));
provider.on('authorization.error', (_context, error) => {
  report({ event: 'error', error: error.error, detail: error.error_description });
});
provider.on('server_error', (_context, error) =>
  report({ event: 'bug', error: String(error.stack) }),
);
server.on('request', provider.callback());
report({ issuer });
// Ends with the test, whatever becomes of it.
process.stdin.on('end', () => process.exit()).resume();
