import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { type TestContext, vi } from 'vitest';
import { pathOf } from './installed-peers.ts';

type Json = Record<string, unknown>;

export interface ModernServerSettings {
  /** Whether it serves clients of 2025-11-25 too, without sessions. */
  legacy?: 'reject' | 'stateless';
  /** `auto`: an event stream only for what has more to say than its result. */
  responseMode?: 'auto' | 'sse';
  /** Announces no changes, of lists or of resources. */
  isSilent?: boolean;
  /** Between comments on its event streams; 0: never. */
  keepAliveMs?: number;
}

/** A request as it reached the server, and the status that it was answered with. */
export interface ServedRequest {
  httpMethod: string;
  headers: IncomingHttpHeaders;
  /** Undefined for what has no body. */
  message: { method?: string; params?: Json } | undefined;
  status?: number;
}

export interface ModernServer {
  /** Its Streamable HTTP endpoint on 127.0.0.1. */
  url: string;
  /** In the order they came. */
  requests: ServedRequest[];
  notify: {
    toolsChanged(): void;
    promptsChanged(): void;
    resourcesChanged(): void;
    resourceUpdated(uri: string): void;
  };
  /** Resolves once that many `subscriptions/listen` streams are open. Rejects after 5 s. */
  listening(streams: number): Promise<void>;
  /** Lets every call of the tool `hold` with this label go on, those to come too. */
  release(label: string): void;
  /** Labels of the calls of `hold` whose AbortSignal fired, in the order they did. */
  aborted: string[];
  /** What `hold` has begun. */
  held: string[];
}

/** The part of the context of the SDK's handlers that is used here. */
interface HandlerContext {
  mcpReq: {
    signal: AbortSignal;
    _meta?: { progressToken?: string | number };
    envelope?: Json;
    inputResponses?: Json;
    requestState(): unknown;
    log(level: string, data: unknown): Promise<void>;
    notify(notification: { method: string; params: Json }): Promise<void>;
  };
}

type Handler = (args: Json, context: HandlerContext) => unknown;

/** What is used of the SDK, which is installed apart from what the types are checked with. */
interface ModernSdk {
  McpServer: new (
    serverInfo: Json,
    options: Json,
  ) => {
    registerTool(name: string, config: Json, handler: Handler): unknown;
    registerPrompt(name: string, config: Json, handler: Handler): unknown;
    registerResource(name: string, uri: unknown, config: Json, read: unknown): unknown;
  };
  ResourceTemplate: new (uri: string, callbacks: Json) => unknown;
  completable<Schema>(
    schema: Schema,
    complete: (value: string, context?: Json) => string[],
  ): Schema;
  createMcpHandler(
    factory: () => unknown,
    options: Json,
  ): {
    fetch(request: Request): Promise<Response>;
    close(): Promise<void>;
    notify: ModernServer['notify'];
    bus: { listenerCount: number };
  };
  createRequestStateCodec(options: { key: Uint8Array }): {
    mint(payload: unknown): Promise<string>;
    verify: unknown;
  };
  fromJsonSchema(schema: Json): unknown;
  inputRequired: {
    (spec: { inputRequests?: Json; requestState?: string }): unknown;
    elicit(params: Json): unknown;
    elicitUrl(params: Json): unknown;
    createMessage(params: Json): unknown;
    listRoots(): unknown;
  };
}

/**
 * Starts a server made with the SDK of 2026-07-28, on loopback and in this process. Ends with the
 * test.
 */
export async function startModernServer(
  test: TestContext,
  {
    legacy = 'reject',
    responseMode = 'auto',
    isSilent = false,
    keepAliveMs = 0,
  }: ModernServerSettings = {},
): Promise<ModernServer> {
  const entry = pathOf('modernServer');
  const sdk: ModernSdk = await import(pathToFileURL(entry).href);
  const { z } = createRequire(entry)('zod');
  const requests: ServedRequest[] = [];
  const aborted: string[] = [];
  const held: string[] = [];
  const released = new Set<string>();
  const waiting = new Map<string, () => void>();
  // Only the state that this server made is taken, to the byte.
  const states = sdk.createRequestStateCodec({ key: Buffer.alloc(32, 7) });

  async function hold({ label }: Json, { mcpReq }: HandlerContext): Promise<CallToolResult> {
    const name = String(label);
    held.push(name);
    await new Promise<void>((resolve) => {
      if (released.has(name)) resolve();
      waiting.set(name, resolve);
      mcpReq.signal.addEventListener('abort', () => resolve());
    });
    // The SDK lets it fire after the answer too.
    if (mcpReq.signal.aborted) aborted.push(name);
    return text(`held ${name}`);
  }

  function factory() {
    const server = new sdk.McpServer(
      { name: 'modern', title: 'Modern', version: '3.2.1' },
      {
        instructions: 'Mind the 🗝️.',
        capabilities: {
          logging: {},
          tools: { listChanged: !isSilent },
          prompts: { listChanged: !isSilent },
          resources: { listChanged: !isSilent, subscribe: !isSilent },
        },
        requestState: { verify: states.verify },
        cacheHints: { 'tools/list': { ttlMs: 60_000, cacheScope: 'public' } },
      },
    );
    const { inputRequired } = sdk;
    const tool = (name: string, properties: Json, handler: Handler, config: Json = {}) =>
      server.registerTool(
        name,
        { ...config, inputSchema: sdk.fromJsonSchema({ type: 'object', properties }) },
        handler,
      );

    tool('echo', { message: STRING }, ({ message }) => text(String(message)));
    tool(
      'numbers',
      { numbers: { type: 'array', items: { type: 'number' } } },
      ({ numbers }) => ({ ...text('numbers'), structuredContent: { numbers } }),
      {
        title: 'Numbers',
        annotations: { readOnlyHint: true },
        outputSchema: sdk.fromJsonSchema({
          type: 'object',
          properties: { numbers: { type: 'array', items: { type: 'number' } } },
          required: ['numbers'],
        }),
      },
    );
    tool('fail', {}, () => {
      throw new Error('the tool is out of order');
    });
    tool('hold', { label: STRING }, hold);
    tool('steps', {}, async (_, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (const progress of [1, 2, 3]) {
        if (progressToken !== undefined) {
          const params = { progressToken, progress, total: 3, message: `step ${progress}` };
          await mcpReq.notify({ method: 'notifications/progress', params });
        }
      }
      return text('three steps');
    });
    tool('log', {}, async (_, { mcpReq }) => {
      for (const level of ['debug', 'info', 'error']) await mcpReq.log(level, `at ${level}`);
      return text('logged');
    });
    tool('metadata', {}, (_, { mcpReq }) => text(JSON.stringify(mcpReq.envelope)));
    const mirrored = (type: string, header: string) => ({ type, 'x-mcp-header': header });
    tool(
      'query',
      {
        region: mirrored('string', 'Region'),
        limit: mirrored('integer', 'Limit'),
        dryRun: mirrored('boolean', 'Dry-Run'),
        options: { type: 'object', properties: { tenant: mirrored('string', 'Tenant') } },
      },
      (args) => text(JSON.stringify(args)),
    );

    const questions: Record<string, unknown> = {
      form: inputRequired.elicit({
        message: 'Who?',
        requestedSchema: {
          type: 'object',
          properties: { name: { type: 'string', title: 'Name' }, age: { type: 'integer' } },
          required: ['name'],
        },
      }),
      url: inputRequired.elicitUrl({
        message: 'Consent',
        url: 'https://example.com/consent?a=1&b=2',
      }),
      sampling: inputRequired.createMessage({
        messages: [{ role: 'user', content: { type: 'text', text: 'Say yes 🗝️' } }],
        maxTokens: 17,
      }),
      roots: inputRequired.listRoots(),
    };
    // Asks for one after the other where `inTurn`, else for all at once; then says what it was told.
    tool(
      'ask',
      { kinds: { type: 'array', items: STRING }, label: STRING, inTurn: { type: 'boolean' } },
      async ({ kinds, label, inTurn }, { mcpReq }) => {
        const wanted = kinds as string[];
        const state = mcpReq.requestState() as { label: unknown; answers: Json } | undefined;
        if (state !== undefined && state.label !== label) {
          throw new Error(`the state of ${state.label} came with the call of ${label}`);
        }
        const answers = { ...state?.answers, ...mcpReq.inputResponses };
        const open = wanted.filter((kind) => !(kind in answers)).slice(0, inTurn ? 1 : undefined);
        if (open.length === 0) return text(JSON.stringify({ label, answers }));
        return inputRequired({
          inputRequests: Object.fromEntries(open.map((kind) => [kind, questions[kind]])),
          requestState: await states.mint({ label, answers }),
        });
      },
    );
    // Wants but to be called again.
    tool('again', { times: { type: 'integer' } }, async ({ times }, { mcpReq }) => {
      const done = Number(mcpReq.requestState() ?? 0);
      if (done === times) return text(`again ${done}`);
      return inputRequired({ requestState: await states.mint(done + 1) });
    });

    server.registerPrompt(
      'greet',
      {
        argsSchema: z.object({
          city: sdk.completable(z.string(), (value) => startingWith(value, 'Zug', 'Zürich')),
          street: sdk.completable(z.string(), (value, context) => {
            const { city } = (context?.arguments ?? {}) as Json;
            return startingWith(value, `Main street of ${city}`);
          }),
        }),
      },
      ({ city, street }) => prompt(`Hello ${city}, ${street}!`),
    );
    server.registerPrompt('interview', { argsSchema: z.object({}) }, (_, { mcpReq }) => {
      const { form } = mcpReq.inputResponses ?? {};
      return form === undefined
        ? inputRequired({ inputRequests: { form: questions.form } })
        : prompt(JSON.stringify(form));
    });

    server.registerResource('memo', 'memo://text', { mimeType: 'text/plain' }, (uri: URL) => ({
      contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'Grüße 🗝️' }],
    }));
    server.registerResource('bytes', 'memo://bytes', {}, (uri: URL) => ({
      contents: [{ uri: uri.href, blob: Buffer.from('Grüße').toString('base64') }],
    }));
    server.registerResource(
      'secret',
      'memo://secret',
      {},
      (uri: URL, { mcpReq }: HandlerContext) => {
        const { form } = mcpReq.inputResponses ?? {};
        return form === undefined
          ? inputRequired({ inputRequests: { form: questions.form } })
          : { contents: [{ uri: uri.href, text: JSON.stringify(form) }] };
      },
    );
    server.registerResource(
      'any',
      new sdk.ResourceTemplate('memo://any/{name}', {
        list: undefined,
        complete: { name: (value: string) => startingWith(value, 'one', 'other', 'two') },
      }),
      {},
      (uri: URL, { name }: { name: string }) => ({
        contents: [{ uri: uri.href, text: `memo of ${name}` }],
      }),
    );
    return server;
  }

  const handler = sdk.createMcpHandler(factory, { legacy, responseMode, keepAliveMs });
  const http = createServer(async (incoming, response) => {
    const { method: httpMethod = '', headers } = incoming;
    const body = await buffer(incoming);
    const message = body.length > 0 ? JSON.parse(body.toString('utf8')) : undefined;
    const served: ServedRequest = { httpMethod, headers, message };
    requests.push(served);
    const answer = await handler.fetch(requestOf(url, served, body, response));
    served.status = answer.status;
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body === null) response.end();
    // Rejects when the client closes the stream.
    else await pipeline(Readable.fromWeb(answer.body as never), response).catch(() => {});
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`;
  test.onTestFinished(async () => {
    await handler.close();
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
  });
  return {
    url,
    requests,
    notify: handler.notify,
    listening: (streams) =>
      vi.waitFor(
        () => {
          const open = handler.bus.listenerCount;
          if (open !== streams) throw new Error(`${open} streams are open, not ${streams}`);
        },
        { timeout: 5000, interval: 10 },
      ),
    release: (label) => {
      released.add(label);
      waiting.get(label)?.();
    },
    aborted,
    held,
  };
}

const STRING = { type: 'string' };

/** The same in the shape of fetch; its signal fires when the client goes before its answer. */
function requestOf(
  url: string,
  { httpMethod, headers }: ServedRequest,
  body: Buffer,
  response: ServerResponse,
): Request {
  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  return new Request(url, {
    method: httpMethod,
    headers: Object.entries(headers).map(([name, value]): [string, string] => [
      name,
      String(value),
    ]),
    body: body.length > 0 ? new Uint8Array(body) : null,
    signal: gone.signal,
  });
}

function text(said: string): CallToolResult {
  return { content: [{ type: 'text', text: said }] };
}

function prompt(said: string): Json {
  return { messages: [{ role: 'user', content: { type: 'text', text: said } }] };
}

function startingWith(beginning: string, ...words: string[]): string[] {
  return words.filter((word) => word.startsWith(beginning));
}
