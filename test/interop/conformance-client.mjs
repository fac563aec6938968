// The client that the official conformance suite runs: it does what the scenario asks for with the
// SDK's client, through the proxy. The suite appends the server's URL and names the scenario in the
// environment. PROXY_COMMAND, a JSON array, is the proxy's command line up to that URL. With
// CLIENT_MISTAKE=1 it does it wrong, so that the tests can see the suite notice.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const url = process.argv.at(-1);
const [command, ...args] = JSON.parse(process.env.PROXY_COMMAND);
const mistaken = process.env.CLIENT_MISTAKE === '1';

const scenarios = {
  initialize: async (client) => {
    await client.listTools();
  },

  tools_call: async (client) => {
    await client.listTools();
    const numbers = mistaken ? { a: '5' } : { a: 5, b: 3 };
    const result = await client.callTool({ name: 'add_numbers', arguments: numbers });
    const text = result.content[0].text;
    if (!mistaken && text !== 'The sum of 5 and 3 is 8') throw new Error(`tools/call: ${text}`);
  },

  'elicitation-sep1034-client-defaults': async (client) => {
    await client.listTools();
    await client.callTool({ name: 'test_client_elicitation_defaults', arguments: {} });
  },

  // The reply comes on the stream that the proxy opens again after the server has closed the first.
  'sse-retry': async (client) => {
    await client.listTools();
    // Who cancels before the server asks it to come back has nothing to come back for.
    const options = mistaken ? { signal: AbortSignal.timeout(200) } : {};
    const call = client.callTool({ name: 'test_reconnection', arguments: {} }, undefined, options);
    await (mistaken ? call.catch(() => {}) : call);
  },

  'json-schema-2020-12-preservation': async (client) => {
    const { tools } = await client.listTools();
    const schema = { ...tools.find(({ name }) => name !== 'json_schema_echo').inputSchema };
    if (mistaken) delete schema.$defs;
    await client.callTool({ name: 'json_schema_echo', arguments: { schema } });
  },
};

const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const run = scenarios[scenario];
if (!run) throw new Error(`This client does not know the scenario ${scenario}.`);

const client = new Client(
  mistaken
    ? { name: 'conformance-client', version: '' }
    : { name: 'conformance-client', version: '1.0.0' },
  { capabilities: { elicitation: { form: { applyDefaults: !mistaken } } } },
);
client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: {} }));
await client.connect(new StdioClientTransport({ command, args: [...args, url] }));
await run(client);
await client.close();
