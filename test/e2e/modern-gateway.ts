import type { ServerResponse } from 'node:http';
import { expect, onTestFinished } from 'vitest';
import { type LoopbackGateway, type Received, startGateway } from './loopback-gateway.ts';
import type { Json } from './running-proxy.ts';

export const MODERN = '2026-07-28';

/** A member of `_meta` that MCP reserves. */
export const reserved = (name: string) => `io.modelcontextprotocol/${name}`;

const LEVELS = 'debug info notice warning error critical alert emergency'.split(' ');
const LISTS = ['tools', 'prompts', 'resources'] as const;

/** What the gateway refuses a request with. */
class Refusal extends Error {
  readonly status: number;
  readonly code: number;
  readonly data: Json | undefined;

  constructor(status: number, code: number, message: string, data?: Json) {
    super(message);
    this.status = status;
    this.code = code;
    this.data = data;
  }
}

export interface ModernTool {
  name: string;
  inputSchema: Json;
}

export interface ModernGatewaySettings {
  /** Revisions other than {@link MODERN} that it says it speaks instead. */
  supported?: string[];
  capabilities?: Json;
  /** Whether it says its name and version, which it SHOULD. */
  anonymous?: boolean;
  /**
   * How it refuses `initialize`. Without it, like any request that lacks what this revision requires:
   * 400 and -32020 (basic/versioning, "Compatibility Matrix").
   */
  refuseInitialize?: { status: number; code: number; data?: Json };
  /** What the acknowledgment of a subscription waits for. */
  beforeAcknowledging?: (filter: Json) => Promise<void> | undefined;
  /** Finds every tools/call at odds with its headers. */
  alwaysMismatched?: boolean;
}

export interface ModernGateway extends LoopbackGateway {
  /** What tools/list says, and what the headers of tools/call are held against. */
  tools: ModernTool[];
  /** Code and message of every refusal, those of `initialize` left out. */
  refusals: [number, string][];
  /** The requests of this method, in the order they came. */
  requests(method: string): Received[];
  /** The filters of the subscriptions/listen streams that are open. */
  subscriptions(): Json[];
  /** Resolves once one is open whose filter fits. */
  listening(fits: (filter: Json) => boolean): Promise<void>;
  /** Resolves once there is but one. */
  listeningOnce(): Promise<void>;
  /** Sends notifications/resources/updated to every stream that asked for it. */
  resourceUpdated(uri: string): void;
  /** Sends the list's list_changed to every stream that asked for it. */
  listChanged(list: (typeof LISTS)[number]): void;
  /** Breaks the connections of all open listen streams. */
  dropSubscriptions(): void;
  /** Resolves once the client closed the stream of a request that fits before its answer. */
  closedByClient(fits: (received: Received) => boolean): Promise<void>;
  /** Lets all calls of `slow` end, those to come too. */
  release(): void;
}

const text = { type: 'string' };

/** The tools at first; `echo` and `query` are ordinary, the others see {@link callTool}. */
const TOOLS: ModernTool[] = [
  { name: 'echo', inputSchema: { type: 'object', properties: { text } } },
  {
    name: 'query',
    inputSchema: {
      type: 'object',
      properties: {
        region: { ...text, 'x-mcp-header': 'Region' },
        limit: { type: 'integer', 'x-mcp-header': 'Limit' },
        dryRun: { type: 'boolean', 'x-mcp-header': 'Dry-Run' },
        options: {
          type: 'object',
          properties: { tenant: { ...text, 'x-mcp-header': 'Tenant' } },
        },
        statement: text,
      },
    },
  },
  ...['ask-all', 'ask-once', 'ask-twice', 'ask-url', 'ask-forever', 'slow'].map((name) => ({
    name,
    inputSchema: { type: 'object', properties: { label: text } },
  })),
];

/** A requestState that nothing but the string itself stands for. */
const stateFor = (label: unknown) => ` {"for":"${label}", "n":1.0,\u2028"é🗝️":"\\u00e9"}\r\n`;

const ask: Record<string, Json> = {
  elicit: {
    method: 'elicitation/create',
    params: {
      message: 'Who?',
      requestedSchema: { type: 'object', properties: { name: { type: 'string' } } },
    },
  },
  sample: {
    method: 'sampling/createMessage',
    params: {
      messages: [{ role: 'user', content: { type: 'text', text: 'Say yes' } }],
      maxTokens: 17,
    },
  },
  roots: { method: 'roots/list' },
  url: {
    method: 'elicitation/create',
    params: { mode: 'url', message: 'Consent', url: 'https://example.com/consent?a=1&b=2' },
  },
};

/**
 * A gateway that speaks 2026-07-28 and nothing else, on loopback, and holds every request to it. Who
 * sends it anything that this revision does not know over HTTP — GET, DELETE, notifications,
 * responses — fails the test.
 */
export async function startModernGateway({
  supported = [MODERN],
  capabilities = {
    completions: {},
    logging: {},
    prompts: { listChanged: true },
    resources: { listChanged: true, subscribe: true },
    tools: { listChanged: true },
  },
  anonymous = false,
  refuseInitialize,
  beforeAcknowledging = () => undefined,
  alwaysMismatched = false,
}: ModernGatewaySettings = {}): Promise<ModernGateway> {
  const refusals: [number, string][] = [];
  const strays: string[] = [];
  const streams = new Map<ServerResponse, { id: unknown; filter: Json }>();
  const closed: Received[] = [];
  const held = new Set<() => void>();
  const waiting = new Set<() => void>();
  let released = false;

  const wake = () => {
    for (const resolve of waiting) resolve();
    waiting.clear();
  };
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise<void>((resolve) => waiting.add(resolve));
  };

  const identity = anonymous
    ? {}
    : { _meta: { [reserved('serverInfo')]: { name: 'modern', version: '3.2.1' } } };
  const complete = (result: Json) => ({ resultType: 'complete', ...identity, ...result });
  const cacheable = (result: Json) => complete({ ...result, ttlMs: 60_000, cacheScope: 'private' });

  function answer(received: Received, response: ServerResponse): void {
    const { method, params = {} } = received.message as { method: string; params?: Json };
    const send = (result: Json) => reply(response, received.message.id, 200, { result });
    switch (method) {
      case 'server/discover':
        send(cacheable({ supportedVersions: supported, capabilities, instructions: 'Mind it.' }));
        break;
      case 'tools/list':
        // Two pages.
        send(
          params.cursor === 'rest'
            ? cacheable({ tools: gateway.tools.slice(1) })
            : cacheable({ tools: gateway.tools.slice(0, 1), nextCursor: 'rest' }),
        );
        break;
      case 'tools/call': {
        const result = callTool(received, response);
        if (result) send(result);
        break;
      }
      case 'resources/list':
        send(cacheable({ resources: [{ name: 'memo', uri: 'memo://one' }] }));
        break;
      case 'resources/templates/list':
        send(cacheable({ resourceTemplates: [{ name: 'any', uriTemplate: 'memo://{name}' }] }));
        break;
      case 'resources/read':
        if (params.uri === 'memo://ask' && !params.inputResponses) {
          requireCapabilities(params, 'elicitation');
          send(inputRequired({ who: ask.elicit }));
        } else {
          const body = JSON.stringify(params.inputResponses ?? 'memo');
          send(cacheable({ contents: [{ uri: params.uri, text: body }] }));
        }
        break;
      case 'prompts/list':
        send(cacheable({ prompts: [{ name: 'greet' }] }));
        break;
      case 'prompts/get':
        if (!params.inputResponses) {
          requireCapabilities(params, 'elicitation');
          send(inputRequired({ who: ask.elicit }));
        } else {
          const content = { type: 'text', text: JSON.stringify(params.inputResponses) };
          send(complete({ messages: [{ role: 'user', content }] }));
        }
        break;
      case 'completion/complete':
        send(complete({ completion: { values: ['one'] } }));
        break;
      case 'subscriptions/listen':
        listen(received, response, params.notifications as Json);
        break;
      default:
        throw new Refusal(404, -32601, `Method not found: ${method}`);
    }
  }

  /** The call's result; undefined when it is under way on a stream. */
  function callTool(received: Received, response: ServerResponse): Json | undefined {
    const params = received.message.params as Json;
    const { inputResponses, requestState } = params as {
      inputResponses?: Json;
      requestState?: string;
    };
    const args = (params.arguments ?? {}) as Json;
    const state = stateFor(args.label);
    const expectState = (expected: string | undefined) => {
      if (requestState === expected) return;
      throw new Refusal(400, -32602, `requestState ${requestState} for ${args.label}`);
    };
    const done = (value: unknown) =>
      complete({ content: [{ type: 'text', text: JSON.stringify(value) }] });

    switch (params.name) {
      case 'ask-all':
        requireCapabilities(params, 'elicitation', 'sampling', 'roots');
        if (!inputResponses) {
          expectState(undefined);
          const all = { who: ask.elicit, what: ask.sample, where: ask.roots };
          return inputRequired(all, state);
        }
        expectState(state);
        return done({ label: args.label, ...inputResponses });
      case 'ask-once':
      case 'ask-url':
        requireCapabilities(params, 'elicitation');
        expectState(undefined);
        if (!inputResponses) {
          return inputRequired({ who: params.name === 'ask-url' ? ask.url : ask.elicit });
        }
        return done(inputResponses);
      // Asks, then only asks to be called again, then asks again.
      case 'ask-twice':
        if (requestState === undefined) return inputRequired({ first: ask.elicit }, `1${state}`);
        if (requestState === `1${state}`) {
          if (!inputResponses?.first) throw new Refusal(400, -32602, 'no first');
          return inputRequired(undefined, `2${state}`);
        }
        if (requestState === `2${state}`) {
          if (inputResponses) throw new Refusal(400, -32602, 'inputResponses to nothing asked');
          return inputRequired({ second: ask.elicit }, `3${state}`);
        }
        expectState(`3${state}`);
        return done(inputResponses);
      case 'ask-forever':
        return inputRequired(undefined, state);
      case 'slow':
        slow(received, response);
        return undefined;
      default:
        if (!gateway.tools.some(({ name }) => name === params.name)) {
          throw new Refusal(200, -32602, `Unknown tool: ${params.name}`);
        }
        return done(args);
    }
  }

  /** Reports progress and logs where it is asked to, and answers once it is released. */
  async function slow({ message }: Received, response: ServerResponse): Promise<void> {
    const { _meta } = message.params as { _meta: Json };
    open(response);
    const { progressToken, [reserved('logLevel')]: level } = _meta;
    if (progressToken !== undefined) {
      event(response, 'notifications/progress', { progressToken, progress: 1, total: 2 });
    }
    for (const own of level === undefined ? [] : ['info', 'error']) {
      if (LEVELS.indexOf(own) < LEVELS.indexOf(level as string)) continue;
      event(response, 'notifications/message', { level: own, data: `logged ${own}` });
    }
    if (!released) await new Promise<void>((resolve) => held.add(resolve));
    const result = complete({ content: [{ type: 'text', text: 'slow' }] });
    response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id: message.id, result })}\n\n`);
  }

  async function listen(
    { message }: Received,
    response: ServerResponse,
    filter: Json,
  ): Promise<void> {
    const { id } = message;
    open(response);
    streams.set(response, { id, filter });
    response.once('close', () => {
      streams.delete(response);
      wake();
    });
    wake();
    await beforeAcknowledging(filter);
    tell('notifications/subscriptions/acknowledged', { notifications: filter }, (stream) => {
      return stream === response;
    });
  }

  function tell(
    method: string,
    params: Json,
    to: (response: ServerResponse, filter: Json) => boolean,
  ): void {
    for (const [response, { id, filter }] of streams) {
      const _meta = { [reserved('subscriptionId')]: id };
      if (to(response, filter)) event(response, method, { ...params, _meta });
    }
  }

  const respond = (received: Received, response: ServerResponse): void => {
    const { message, method, target } = received;
    if (target !== '/v1/mcp') {
      response.writeHead(404).end();
      return;
    }
    response.once('close', () => {
      if (!response.writableEnded) closed.push(received);
      wake();
    });
    if (method !== 'POST' || message.method === undefined || message.id === undefined) {
      strays.push(`${method} ${received.body}`);
      response.writeHead(method === 'POST' ? 400 : 405, { allow: 'POST' }).end();
      return;
    }
    try {
      if (message.method === 'initialize') {
        // It names what it supports whatever the error (basic/versioning, "Backward Compatibility").
        const { status, code, data } = refuseInitialize ?? { status: 400, code: -32020 };
        throw new Refusal(status, code, `No initialize here, only ${supported}`, data);
      }
      requireMetadata(received, supported);
      if (message.method === 'tools/call') {
        const mismatch = alwaysMismatched || parameterMismatch(received, gateway.tools);
        if (mismatch) throw new Refusal(400, -32020, `Header mismatch: ${mismatch}`);
      }
      answer(received, response);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { status, code, data } = error;
      if (message.method !== 'initialize') refusals.push([code, error.message]);
      const body = { code, message: error.message, ...(data && { data }) };
      reply(response, message.id, status, { error: body });
    }
  };

  const loopback = await startGateway(respond);
  const gateway: ModernGateway = {
    ...loopback,
    tools: structuredClone(TOOLS),
    refusals,
    requests: (method) => loopback.received.filter(({ message }) => message.method === method),
    subscriptions: () => [...streams.values()].map(({ filter }) => filter),
    listening: (fits) => until(() => gateway.subscriptions().some(fits)),
    listeningOnce: () => until(() => streams.size === 1),
    resourceUpdated: (uri) =>
      tell('notifications/resources/updated', { uri }, (_, { resourceSubscriptions }) => {
        return Array.isArray(resourceSubscriptions) && resourceSubscriptions.includes(uri);
      }),
    listChanged: (list) =>
      tell(`notifications/${list}/list_changed`, {}, (_, filter) => {
        return filter[`${list}ListChanged`] === true;
      }),
    dropSubscriptions: () => {
      for (const response of streams.keys()) response.destroy();
    },
    closedByClient: (fits) => until(() => closed.some(fits)),
    release: () => {
      released = true;
      for (const resolve of held) resolve();
      held.clear();
    },
  };
  onTestFinished(() => expect(strays).toEqual([]));
  return gateway;
}

function inputRequired(inputRequests?: Json, requestState?: string): Json {
  return {
    resultType: 'input_required',
    ...(inputRequests && { inputRequests }),
    ...(requestState !== undefined && { requestState }),
  };
}

function reply(response: ServerResponse, id: unknown, status: number, body: Json): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id, ...body }));
}

function open(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
  response.write(': open\n\n');
}

function event(response: ServerResponse, method: string, params: Json): void {
  response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', method, params })}\n\n`);
}

/** Basic/index, "_meta"; basic/transports/streamable-http, "Request Metadata". */
function requireMetadata({ headers, message }: Received, supported: string[]): void {
  const { method, params = {} } = message as { method: string; params?: Json };
  const mismatch = (what: string) => new Refusal(400, -32020, `Header mismatch: ${what}`);
  const invalid = (what: string) => new Refusal(400, -32602, `Invalid params: ${what}`);

  for (const type of ['application/json', 'text/event-stream']) {
    if (!headers.accept?.includes(type)) throw new Refusal(406, -32600, `Accept lacks ${type}`);
  }
  const version = headers['mcp-protocol-version'];
  if (version === undefined) throw mismatch('no MCP-Protocol-Version');
  const meta = (params._meta ?? {}) as Json;
  const requested = meta[reserved('protocolVersion')];
  if (typeof requested !== 'string') throw invalid('no protocolVersion');
  if (!isObject(meta[reserved('clientCapabilities')])) throw invalid('no clientCapabilities');
  const info = meta[reserved('clientInfo')];
  if (info !== undefined && !(isObject(info) && info.name && info.version)) {
    throw invalid('clientInfo');
  }
  const level = meta[reserved('logLevel')];
  if (level !== undefined && !LEVELS.includes(level as string)) throw invalid('logLevel');
  if (version !== requested) throw mismatch(`version ${version}, not ${requested}`);
  if (!supported.includes(requested)) {
    throw new Refusal(400, -32022, 'Unsupported protocol version', { supported, requested });
  }
  if (headers['mcp-method'] !== method) throw mismatch(`Mcp-Method ${headers['mcp-method']}`);
  if (['tools/call', 'prompts/get', 'resources/read'].includes(method)) {
    const name = decoded(headers['mcp-name']);
    const expected = method === 'resources/read' ? params.uri : params.name;
    if (name !== expected) throw mismatch(`Mcp-Name ${name}, not ${expected}`);
  }
}

/**
 * What of the call's Mcp-Param headers is at odds with its arguments, by the tool's annotations
 * (basic/transports/streamable-http, "Custom Headers from Tool Parameters").
 */
function parameterMismatch(
  { headers, message }: Received,
  tools: ModernTool[],
): string | undefined {
  const { name, arguments: args } = message.params as Json;
  const tool = tools.find((tool) => tool.name === name);
  for (const [header, value] of annotated(tool?.inputSchema, args)) {
    const sent = decoded(headers[`mcp-param-${header.toLowerCase()}`]);
    const expected = value === undefined || value === null ? undefined : String(value);
    if (sent !== expected) return `Mcp-Param-${header} ${sent}, not ${expected}`;
  }
  return undefined;
}

/** Each x-mcp-header below `schema`, with the value at its place. */
function* annotated(schema: Json | undefined, value: unknown): Generator<[string, unknown]> {
  for (const [name, property] of Object.entries((schema?.properties ?? {}) as Json)) {
    const own = isObject(value) ? value[name] : undefined;
    const { 'x-mcp-header': header } = property as Json;
    if (typeof header === 'string') yield [header, own];
    yield* annotated(property as Json, own);
  }
}

/** The value of a header that may be in the Base64 sentinel ("Value Encoding"). */
function decoded(value: string | string[] | undefined): string | undefined {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(String(value))?.[1];
  if (encoded !== undefined) return Buffer.from(encoded, 'base64').toString();
  return value === undefined ? undefined : String(value);
}

function requireCapabilities(params: Json, ...needed: string[]): void {
  const declared = (params._meta as Json)[reserved('clientCapabilities')] as Json;
  const missing = needed.filter((capability) => !isObject(declared[capability]));
  if (missing.length === 0) return;
  const requiredCapabilities = Object.fromEntries(missing.map((capability) => [capability, {}]));
  throw new Refusal(400, -32021, `Missing ${missing}`, { requiredCapabilities });
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
