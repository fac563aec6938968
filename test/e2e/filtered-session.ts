import type { ServerResponse } from 'node:http';
import {
  answer,
  type LoopbackGateway,
  type Received,
  sendEvents,
  startGateway,
} from './loopback-gateway.ts';
import { type ModernTool, startModernGateway } from './modern-gateway.ts';
import { modern } from './modern-messages.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

type Era = 'legacy' | 'modern';

/** The client's era, the gateway's, and how the gateway replies. */
export const SESSIONS: readonly (readonly [client: Era, gateway: Era, replies: 'json' | 'sse'])[] =
  [
    ['legacy', 'legacy', 'json'],
    ['legacy', 'legacy', 'sse'],
    ['legacy', 'modern', 'json'],
    ['modern', 'legacy', 'json'],
    ['modern', 'legacy', 'sse'],
    ['modern', 'modern', 'json'],
  ];

export interface Tool {
  name: string;
  annotations?: Json;
}

/** One of each kind: without annotations, read-only, additive, destructive, with both hints. */
export const TOOLS: readonly Tool[] = [
  { name: 'plain' },
  { name: 'get_issue', annotations: { readOnlyHint: true } },
  { name: 'add_issue', annotations: { readOnlyHint: false, destructiveHint: false } },
  { name: 'delete_issue', annotations: { destructiveHint: true } },
  { name: 'get_all', annotations: { readOnlyHint: true, destructiveHint: true } },
  { name: 'odd', annotations: { readOnlyHint: 'true', destructiveHint: 'false' } },
];

export interface FilteredSession {
  readonly proxy: RunningProxy;
  readonly gateway: LoopbackGateway;
  /** What the gateway offers from now on. */
  tools: Tool[];
  /** Sends a request, as the client's era writes it, and resolves with the reply. */
  ask(method: string, params?: Json): Promise<Json>;
  /** The names of the tools on all pages, as the client gets them. */
  listed(): Promise<string[]>;
  /** The requests of this method that reached the gateway. */
  requests(method: string): Received[];
}

/** A client and a gateway of these eras, and the built program between them. */
export async function filteredSession(
  [clientEra, gatewayEra, replies]: (typeof SESSIONS)[number],
  args: string[],
  env: Record<string, string> = {},
): Promise<FilteredSession> {
  const gateway =
    gatewayEra === 'modern' ? await startModernGateway() : await startLegacyGateway(replies);
  gateway.tools = TOOLS.map((tool) => ({ ...tool, inputSchema: { type: 'object' } }));
  const proxy = startProxy(gateway.url, { args, env });
  if (clientEra === 'legacy') await proxy.initialize('2025-11-25');
  let count = 0;
  const session: FilteredSession = {
    proxy,
    gateway,
    get tools() {
      return gateway.tools as Tool[];
    },
    set tools(tools) {
      gateway.tools = tools.map((tool) => ({ inputSchema: { type: 'object' }, ...tool }));
    },
    ask: (method, params = {}) =>
      proxy.request(++count, method, clientEra === 'modern' ? modern(params) : params),
    listed: async () => {
      const names: string[] = [];
      let cursor: string | undefined;
      do {
        const { result } = (await session.ask('tools/list', cursor ? { cursor } : {})) as {
          result: { tools: Tool[]; nextCursor?: string };
        };
        names.push(...result.tools.map(({ name }) => name));
        cursor = result.nextCursor;
      } while (cursor !== undefined);
      return names;
    },
    requests: (method) => gateway.received.filter(({ message }) => message.method === method),
  };
  return session;
}

/** Two tools a page. */
async function startLegacyGateway(replies: 'json' | 'sse') {
  const gateway: LoopbackGateway & { tools: ModernTool[] } = {
    tools: [],
    ...(await startGateway((received, response) => {
      const { message } = received;
      const result = resultFor(message, gateway.tools);
      const isRequest = message.id !== undefined && message.method !== undefined;
      if (replies === 'json' || !isRequest || result === undefined)
        answer(received, response, result);
      else sendSse(response, { jsonrpc: '2.0', id: message.id, result });
    })),
  };
  return gateway;
}

function sendSse(response: ServerResponse, message: Json): void {
  sendEvents(response, message);
  response.end();
}

function resultFor({ method, params = {} }: Json, tools: readonly ModernTool[]): unknown {
  const { cursor = '0', name, uri } = params as { cursor?: string; name?: string; uri?: string };
  switch (method) {
    case 'tools/list': {
      const end = Number(cursor) + 2;
      const page = tools.slice(Number(cursor), end);
      return { tools: page, ...(end < tools.length ? { nextCursor: String(end) } : {}) };
    }
    case 'tools/call':
      return { content: [{ type: 'text', text: name }] };
    case 'prompts/list':
      return { prompts: [{ name: 'greet' }, { name: 'secret_plan' }] };
    case 'prompts/get':
      return { messages: [] };
    case 'resources/list':
      return {
        resources: ['file:///safe/a', 'file:///etc/shadow'].map((uri) => ({ uri, name: uri })),
      };
    case 'resources/templates/list':
      return { resourceTemplates: [{ uriTemplate: 'file:///etc/{name}', name: 'etc' }] };
    case 'resources/read':
      return { contents: [{ uri, text: 'x' }] };
    case 'completion/complete':
      return { completion: { values: [] } };
    default:
      return undefined;
  }
}
