import type { ServerResponse } from 'node:http';
import { expect, onTestFinished } from 'vitest';
import { type LoopbackGateway, type Received, sendJson, startGateway } from './loopback-gateway.ts';
import type { Json } from './running-proxy.ts';

export const OLD = '2025-11-25';

export interface OldGatewaySettings {
  /** How it refuses what comes without a session. */
  refuse?: (received: Received, response: ServerResponse) => void;
  capabilities?: Json;
  /** Takes a request in a session; false to leave it to the gateway. */
  respond?: (received: Received, response: ServerResponse) => boolean;
  /** Whether a GET opens an event stream. */
  hasStream?: boolean;
  /** Whether it rejects answers to its questions. */
  refuseAnswers?: boolean;
}

export interface OldGateway extends LoopbackGateway {
  /** The requests of this method that came in a session, in the order they came. */
  requests(method: string): Received[];
  /** Writes a message to the GET stream, once there is one. */
  tell(message: Json): Promise<void>;
  /** Asks the client on the GET stream. Resolves with the response. */
  ask(method: string, params?: Json): Promise<Json>;
  /** The id of the newest question to the client. */
  lastAsked(): number;
  /** Forgets every session. */
  forget(): void;
  /** Ends the call of `hold` with this label. */
  release(label: string): void;
  /** Resolves once there is a call of `hold` with this label. */
  held(label: string): Promise<void>;
}

export const noSession = (received: Received, response: ServerResponse) => {
  const error = { code: -32000, message: 'Bad Request: No valid session ID provided' };
  response.writeHead(400, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: received.message.id ?? null, error }));
};

/** A text that numbers like these survive only when it is never parsed. */
export const EXACT = '{"n":12345678901234567890,"f":1.0,"e":1E400,"s":"\\u00e9"}';

/**
 * A gateway of 2025-11-25 with sessions, on loopback, to which 2026-07-28 means nothing. What reaches
 * a session of it with something of that revision in it fails the test.
 *
 * `tools/call` of `ask` asks the client what its argument `rounds` says, each round at once, on the
 * stream of the POST or, with `via: 'get'`, on the GET stream, and returns the label and the answers.
 */
export async function startOldGateway({
  refuse = noSession,
  capabilities = {
    logging: {},
    prompts: { listChanged: true },
    resources: { listChanged: true, subscribe: true },
    tools: { listChanged: true },
  },
  respond = () => false,
  hasStream = true,
  refuseAnswers = false,
}: OldGatewaySettings = {}): Promise<OldGateway> {
  const strays: string[] = [];
  const answers = new Map<unknown, (answer: Json) => void>();
  const waiting = new Set<() => void>();
  const holding = new Map<unknown, () => void>();
  let sessions = new Set<string>();
  let stream: ServerResponse | undefined;
  let count = 0;

  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise<void>((resolve) => waiting.add(resolve));
  };
  const wake = () => {
    for (const resolve of waiting) resolve();
    waiting.clear();
  };
  const write = (to: ServerResponse, message: Json | string) => {
    const json = typeof message === 'string' ? message : JSON.stringify(message);
    to.write(`data: ${json}\n\n`);
  };
  const ask = (to: ServerResponse, method: string, params?: Json): Promise<Json> => {
    const id = ++count;
    write(to, { jsonrpc: '2.0', id, method, ...(params && { params }) });
    return new Promise((resolve) => answers.set(id, resolve));
  };
  const open = (response: ServerResponse) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(':\n\n');
  };

  async function callTool({ message }: Received, response: ServerResponse): Promise<void> {
    const { name, arguments: args = {}, _meta } = message.params as Json & { arguments?: Json };
    const { label, rounds = [], via } = args as { label: string; rounds: string[][]; via?: string };
    const { progressToken } = (_meta ?? {}) as Json;
    const reply = (value: unknown) => {
      const result = { content: [{ type: 'text', text: JSON.stringify(value) }] };
      return { jsonrpc: '2.0', id: message.id, result };
    };
    if (name === 'exact') {
      sendJson(
        response,
        `{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":{"content":[],"exact":${EXACT}}}`,
      );
      return;
    }
    if (name === 'echo') {
      sendJson(response, reply(args));
      return;
    }
    open(response);
    if (progressToken !== undefined) {
      const params = { progressToken, progress: 1 };
      write(response, { jsonrpc: '2.0', method: 'notifications/progress', params });
    }
    for (const level of ['debug', 'error']) {
      const params = { level, data: `${label} ${level}` };
      write(response, { jsonrpc: '2.0', method: 'notifications/message', params });
    }
    const given: unknown[] = [];
    for (const round of rounds) {
      if (via === 'get') await until(() => stream !== undefined);
      const to = via === 'get' ? (stream as ServerResponse) : response;
      const asked = round.map((what) => ask(to, what, QUESTIONS[what]?.(label)));
      given.push(...(await Promise.all(asked)).map((answer) => answer.result ?? answer.error));
    }
    if (name === 'hold') {
      holding.set(label, () => {
        write(response, reply({ label, given }));
        response.end();
      });
      wake();
      return;
    }
    write(response, reply({ label, given }));
    response.end();
  }

  const loopback = await startGateway((received, response) => {
    const { method, headers, message } = received;
    const session = headers['mcp-session-id'] as string | undefined;
    if (method === 'POST' && message.method === 'initialize') {
      const id = `s-${++count}`;
      sessions.add(id);
      response.setHeader('mcp-session-id', id);
      const serverInfo = { name: 'old', version: '0.9' };
      const result = { protocolVersion: OLD, capabilities, serverInfo, instructions: 'Mind it.' };
      sendJson(response, { jsonrpc: '2.0', id: message.id, result });
      return;
    }
    if (session === undefined) {
      refuse(received, response);
      return;
    }
    if (!sessions.has(session)) {
      response.writeHead(404).end();
      return;
    }
    if (/io\.modelcontextprotocol|inputResponses|requestState/.test(received.body)) {
      strays.push(received.body);
    }
    for (const name of Object.keys(headers)) {
      if (/^mcp-(method|name|param)/.test(name)) strays.push(name);
    }
    if (headers['mcp-protocol-version'] !== OLD) strays.push('MCP-Protocol-Version');
    if (method === 'GET' && hasStream) {
      open(response);
      stream = response;
      response.once('close', () => {
        if (stream === response) stream = undefined;
      });
      wake();
    } else if (method !== 'POST') response.writeHead(method === 'DELETE' ? 200 : 405).end();
    else if (message.id === undefined) response.writeHead(202).end();
    else if (message.method === undefined) {
      response.writeHead(refuseAnswers ? 403 : 202).end();
      answers.get(message.id)?.(message);
      answers.delete(message.id);
    } else if (!respond(received, response)) {
      if (message.method === 'tools/call') void callTool(received, response);
      else sendJson(response, { jsonrpc: '2.0', id: message.id, ...resultOf(received) });
    }
  });
  onTestFinished(() => expect(strays).toEqual([]));
  return {
    ...loopback,
    requests: (method) =>
      loopback.received.filter(
        ({ headers, message }) => message.method === method && headers['mcp-session-id'],
      ),
    tell: async (message) => {
      await until(() => stream !== undefined);
      write(stream as ServerResponse, { jsonrpc: '2.0', ...message });
    },
    ask: async (method, params) => {
      await until(() => stream !== undefined);
      return ask(stream as ServerResponse, method, params);
    },
    lastAsked: () => count,
    forget: () => {
      sessions = new Set();
    },
    release: (label) => holding.get(label)?.(),
    held: (label) => until(() => holding.has(label)),
  };
}

const QUESTIONS: Readonly<Record<string, (label: unknown) => Json>> = {
  'elicitation/create': (label) => ({
    message: `Who, ${label}?`,
    requestedSchema: { type: 'object', properties: { name: { type: 'string' } } },
  }),
  'sampling/createMessage': (label) => ({
    messages: [{ role: 'user', content: { type: 'text', text: `Say ${label}` } }],
    maxTokens: 17,
  }),
};

function resultOf({ message }: Received): Json {
  const { uri } = (message.params ?? {}) as Json;
  switch (message.method) {
    case 'tools/list':
      return { result: { tools: [{ name: 'ask', inputSchema: { type: 'object' } }] } };
    case 'prompts/list':
      return { result: { prompts: [] } };
    case 'resources/list':
      return { result: { resources: [] } };
    case 'resources/templates/list':
      return { result: { resourceTemplates: [] } };
    case 'resources/read':
      return uri === 'memo://none'
        ? { error: { code: -32002, message: 'Resource not found', data: { uri } } }
        : { result: { contents: [{ uri, text: 'memo' }] } };
    case 'prompts/get':
      return { result: { messages: [] } };
    case 'completion/complete':
      return { result: { completion: { values: [] } } };
    case 'ping':
    case 'logging/setLevel':
    case 'resources/subscribe':
    case 'resources/unsubscribe':
      return { result: {} };
    default:
      return { error: { code: -32601, message: 'Method not found' } };
  }
}
