import { type Account, disabledIntegrations, revokedIntegrations } from './accounts.ts';
import { invalidArguments, type Tool } from './tools.ts';

export type Json = Record<string, unknown>;
type RequestId = string | number;

export interface RpcRequest {
  jsonrpc: '2.0';
  id: RequestId;
  method: string;
  params?: Json;
}

interface RpcError {
  code: number;
  message: string;
  data?: unknown;
}

/** What one request meets: who asks, through which filter, and against which data. */
export interface Exchange {
  account: Account;
  /** Integration IDs asked for; undefined when there is no filter. */
  filter: ReadonlySet<string> | undefined;
  tools: ReadonlyMap<string, Tool>;
  /** Picks the protocol revision to answer `initialize` with. */
  negotiate(requested: string): string;
  /** Origin of the page named in the hint of credentials_unavailable. */
  frontend: string;
  signal: AbortSignal;
  /** Sends a message ahead of the reply; does nothing when the reply is not a stream. */
  send(message: Json): void;
}

const prompts = [
  {
    name: 'linear_triage',
    description: 'Sort the open Linear issues of one assignee by urgency.',
    arguments: [{ name: 'assignee', description: 'Whose issues', required: true }],
  },
];

/**
 * Answers one JSON-RPC request as the gateway would: `{result}` or `{error}`.
 * Rejects only when `exchange.signal` is aborted.
 */
export async function answer(
  request: RpcRequest,
  exchange: Exchange,
): Promise<{ result: Json } | { error: RpcError }> {
  const params = request.params ?? {};
  switch (request.method) {
    case 'initialize': {
      const { protocolVersion } = params;
      if (typeof protocolVersion !== 'string') {
        return invalidParams('protocolVersion must be a string');
      }
      return {
        result: {
          protocolVersion: exchange.negotiate(protocolVersion),
          capabilities: { tools: {}, prompts: {} },
          serverInfo: { name: 'mcp-latchkey sandbox', version: '1.0.0' },
        },
      };
    }
    case 'ping':
      return { result: {} };
    case 'tools/list':
      return {
        result: {
          tools: visibleTools(exchange).map(({ name, description, inputSchema, annotations }) => ({
            name,
            description,
            inputSchema,
            annotations,
          })),
        },
      };
    case 'tools/call':
      return callTool(params, exchange);
    case 'prompts/list':
      return { result: { prompts } };
    case 'prompts/get':
      return getPrompt(params);
    default:
      return { error: { code: -32601, message: 'Method not found' } };
  }
}

function visibleTools({ tools, account, filter }: Exchange): Tool[] {
  return [...tools.values()].filter(
    ({ integration }) =>
      account.integrations.includes(integration) && (filter?.has(integration) ?? true),
  );
}

async function callTool(
  params: Json,
  exchange: Exchange,
): Promise<{ result: Json } | { error: RpcError }> {
  const { name, arguments: args = {}, _meta: meta } = params;
  if (typeof name !== 'string') return invalidParams('name must be a string');
  if (!isObject(args)) return invalidParams('arguments must be an object');
  const tool = exchange.tools.get(name);
  if (!tool) return invalidParams(`Tool not found: ${name}`);
  const { integration } = tool;
  if (disabledIntegrations.has(integration)) {
    return { error: { code: -32601, message: `Integration ${integration} is disabled` } };
  }
  if (exchange.filter && !exchange.filter.has(integration)) {
    return invalidParams(`Tool not found: ${name}`);
  }
  if (!exchange.account.integrations.includes(integration)) {
    return invalidParams(`Not authorized to call tool: ${name}`);
  }
  if (revokedIntegrations.has(integration)) {
    return {
      error: {
        code: -32000,
        message: `Credentials unavailable for integration ${integration}`,
        data: {
          reason: 'credentials_unavailable',
          integrationId: integration,
          hint: `Reconnect at ${exchange.frontend}/settings/integrations`,
        },
      },
    };
  }
  const problem = invalidArguments(tool.inputSchema, args);
  if (problem) return invalidParams(`Invalid arguments for tool ${name}: ${problem}`);
  const { progressToken } = isObject(meta) ? meta : {};
  const result = await tool.call(args, {
    account: exchange.account,
    signal: exchange.signal,
    progress(done, total) {
      if (progressToken === undefined) return;
      exchange.send({
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken, progress: done, total },
      });
    },
  });
  return { result: { ...result } };
}

function getPrompt(params: Json): { result: Json } | { error: RpcError } {
  const { name, arguments: args } = params;
  const prompt = prompts.find((candidate) => candidate.name === name);
  if (!prompt) return invalidParams(`Prompt not found: ${name}`);
  const { assignee } = isObject(args) ? args : {};
  if (typeof assignee !== 'string') return invalidParams('assignee is required');
  const text = `List the open Linear issues of ${assignee} and sort them by urgency.`;
  return {
    result: {
      description: prompt.description,
      messages: [{ role: 'user', content: { type: 'text', text } }],
    },
  };
}

function invalidParams(message: string): { error: RpcError } {
  return { error: { code: -32602, message } };
}

/** A JSON-RPC request, notification or response, with an ID that MCP allows (not null). */
export function isMessage(value: unknown): value is Json {
  if (!isObject(value)) return false;
  const { jsonrpc, id, method, params } = value;
  const hasId = typeof id === 'string' || typeof id === 'number';
  if (jsonrpc !== '2.0') return false;
  if (typeof method === 'string') {
    return (id === undefined || hasId) && (params === undefined || isObject(params));
  }
  return method === undefined && hasId && ('result' in value || 'error' in value);
}

export function isRequest(message: unknown): message is Json & RpcRequest {
  return isMessage(message) && 'method' in message && 'id' in message;
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
