// The client that the official conformance suite runs for its scenarios of authorization. The suite
// appends the server's URL, and names the scenario and what it needs in the environment. CLIENT_ERA
// says which client this is: `modern`, the SDK's client that speaks 2026-07-28, whose module
// MODERN_CLIENT names, or `legacy`, the SDK's client of 2025-11-25. PROXY_COMMAND, a JSON array, is
// the proxy's command line up to the URL. What the scenario hands over is given to the proxy by its
// options, as a user would.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client as LegacyClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as LegacyStdioTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

const url = process.argv.at(-1);
const { CLIENT_ERA, MCP_CONFORMANCE_SCENARIO: scenario, PROXY_COMMAND, SCRATCH } = process.env;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const [command, ...args] = JSON.parse(PROXY_COMMAND);

const file = (name, content) => {
  const path = join(SCRATCH, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
};
const secretOptions = () => [
  ...['--client-id', context.client_id],
  ...['--client-secret-file', file('client-secret', context.client_secret)],
];
const assertionOptions = (assertion) => [
  ...['--assertion-command', `cat '${file('assertion', assertion)}'`],
];

const optionsOf = {
  'auth/basic-cimd': () => [
    '--client-metadata-url',
    'https://conformance-test.local/client-metadata.json',
  ],
  'auth/pre-registration': secretOptions,
  'auth/client-credentials-basic': () => ['--grant', 'client-credentials', ...secretOptions()],
  'auth/client-credentials-jwt': () => [
    ...['--grant', 'client-credentials', '--client-id', context.client_id],
    ...['--client-key', file('client-key.pem', context.private_key_pem)],
  ],
  'auth/enterprise-managed-authorization': () => [
    ...['--grant', 'enterprise', ...secretOptions(), ...assertionOptions(context.idp_id_token)],
    ...['--idp-issuer', context.idp_issuer, '--idp-client-id', context.idp_client_id],
  ],
  'auth/wif-jwt-bearer': () => [
    ...['--grant', 'jwt-bearer', '--client-id', context.client_id],
    ...assertionOptions(context.valid_jwt),
  ],
};

const transport = () => ({
  command,
  args: [...args, url, ...(optionsOf[scenario]?.() ?? [])],
  env: process.env,
});

async function connectLegacy() {
  const client = new LegacyClient({ name: 'conformance-client', version: '1.0.0' });
  await client.connect(new LegacyStdioTransport(transport()));
  return client;
}

async function connectModern() {
  const module = process.env.MODERN_CLIENT;
  const { Client } = await import(module);
  const { StdioClientTransport } = await import(new URL('stdio.mjs', module).href);
  // The SDK would ask a second process, that it starts for nothing else, which era this is: but not
  // of a subclass of its transport.
  class SingleProcessTransport extends StdioClientTransport {}
  const client = new Client(
    { name: 'conformance-client', version: '1.0.0' },
    { versionNegotiation: { mode: { pin: '2026-07-28' } } },
  );
  await client.connect(new SingleProcessTransport(transport()));
  return client;
}

const client = await (CLIENT_ERA === 'modern' ? connectModern() : connectLegacy());
await client.listTools();
await client.callTool({ name: 'test-tool', arguments: {} });
// Signed in at the first server, and again at the one that the gateway names by then.
if (scenario === 'auth/authorization-server-migration') await client.listTools();
await client.close();
