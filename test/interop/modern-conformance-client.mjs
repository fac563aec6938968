// The client that the official conformance suite runs at 2026-07-28. The suite appends the server's
// URL, and names the scenario and what it needs in the environment. CLIENT_ERA says which client
// this is: `modern`, the SDK's client that speaks 2026-07-28, whose module MODERN_CLIENT names, or
// `legacy`, the SDK's client of 2025-11-25 with its handshake. PROXY_COMMAND, a JSON array, is the
// proxy's command line up to the URL; without it the modern client connects to the server itself.
import { Client as LegacyClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as LegacyStdioTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';

const url = process.argv.at(-1);
const { CLIENT_ERA, MCP_CONFORMANCE_SCENARIO: scenario, PROXY_COMMAND } = process.env;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const [command, ...args] = JSON.parse(PROXY_COMMAND ?? '[]');

/** What the client does when it is asked for input. A scenario may put something else here. */
let confirm = async () => {};
const answers = {
  elicit: async () => {
    await confirm();
    return { action: 'accept', content: { confirmed: true } };
  },
  sample: () => ({ role: 'assistant', model: 'm', content: { type: 'text', text: 'yes' } }),
  roots: () => ({ roots: [] }),
};

const scenarios = {
  tools_call: async (client) => {
    await client.listTools();
    const result = await client.callTool({ name: 'add_numbers', arguments: { a: 5, b: 3 } });
    expectText(result, 'The sum of 5 and 3 is 8');
  },

  // The server offers nothing, so a client that heeds its capabilities would not list.
  'request-metadata': async (client) => {
    await client.callTool({ name: 'any', arguments: {} });
    await client.callTool({ name: 'any', arguments: {} });
  },

  'sep-2322-client-request-state': async (client) => {
    await client.listTools();
    // Another call while the first waits for its input.
    confirm = async () => {
      confirm = async () => {};
      expectText(await client.callTool({ name: 'test_mrtr_unrelated' }), 'unrelated-ok');
    };
    expectText(await client.callTool({ name: 'test_mrtr_echo_state' }), 'echo-state-ok');
    expectText(await client.callTool({ name: 'test_mrtr_no_state' }), 'no-state-ok');
    // The modern client refuses a result of this revision without resultType, which is its right: it
    // is only from a server of an earlier revision that none must be read as `complete`.
    const untyped = await client
      .callTool({ name: 'test_mrtr_no_result_type' })
      .catch(async (error) => {
        if (CLIENT_ERA !== 'modern' || !/missing required resultType/.test(error.message))
          throw error;
      });
    if (untyped) expectText(untyped, 'no-result-type-test-ok');
  },

  'http-standard-headers': async (client) => {
    const { tools } = await client.listTools();
    for (const { name } of tools) await client.callTool({ name, arguments: {} });
    const { resources } = await client.listResources();
    for (const { uri } of resources) await client.readResource({ uri });
    const { prompts } = await client.listPrompts();
    for (const { name } of prompts) await client.getPrompt({ name });
  },

  'http-custom-headers': async (client) => {
    await client.listTools();
    for (const call of context.toolCalls) await client.callTool(call);
  },

  // Calls all that it is shown, as a model might: what must not be called must not be shown.
  'http-invalid-tool-headers': async (client) => {
    const { tools } = await client.listTools();
    for (const { name } of tools) await client.callTool({ name, arguments: { region: 'eu' } });
  },

  'json-schema-ref-no-deref': async (client) => {
    await client.listTools();
  },

  'json-schema-2020-12-preservation': async (client) => {
    const { tools } = await client.listTools();
    const { inputSchema } = tools.find(({ name }) => name !== 'json_schema_echo');
    await client.callTool({ name: 'json_schema_echo', arguments: { schema: inputSchema } });
  },
};

function expectText({ content }, expected) {
  if (content[0]?.text !== expected) throw new Error(`tools/call: ${JSON.stringify(content)}`);
}

async function connectLegacy(capabilities) {
  const client = new LegacyClient(
    { name: 'conformance-client', version: '1.0.0' },
    { capabilities },
  );
  client.setRequestHandler(ElicitRequestSchema, answers.elicit);
  client.setRequestHandler(CreateMessageRequestSchema, answers.sample);
  client.setRequestHandler(ListRootsRequestSchema, answers.roots);
  await client.connect(new LegacyStdioTransport({ command, args: [...args, url] }));
  return client;
}

async function connectModern(capabilities) {
  const module = process.env.MODERN_CLIENT;
  const { Client, StreamableHTTPClientTransport } = await import(module);
  const { StdioClientTransport } = await import(new URL('stdio.mjs', module).href);
  // The SDK would ask a second process, that it starts for nothing else, which era this is: but not
  // of a subclass of its transport.
  class SingleProcessTransport extends StdioClientTransport {}

  const client = new Client(
    { name: 'conformance-client', version: '1.0.0' },
    { capabilities, versionNegotiation: { mode: { pin: '2026-07-28' } } },
  );
  client.setRequestHandler('elicitation/create', answers.elicit);
  client.setRequestHandler('sampling/createMessage', answers.sample);
  client.setRequestHandler('roots/list', answers.roots);
  await client.connect(
    command === undefined
      ? new StreamableHTTPClientTransport(new URL(url))
      : new SingleProcessTransport({ command, args: [...args, url] }),
  );
  return client;
}

const run = scenarios[scenario];
if (!run) throw new Error(`This client does not know the scenario ${scenario}.`);

const connect = CLIENT_ERA === 'modern' ? connectModern : connectLegacy;
const client = await connect({ elicitation: {}, sampling: {}, roots: {} });
await run(client);
await client.close();
