import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import {
  type CallToolResult,
  CallToolResultSchema,
  type ClientCapabilities,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  EmptyResultSchema,
  ErrorCode,
  type JSONRPCMessage,
  ListRootsRequestSchema,
  McpError,
} from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, type TestContext, test, vi } from 'vitest';
import { missing } from './installed-peers.ts';
import {
  type ModernServer,
  type ModernServerSettings,
  type ServedRequest,
  startModernServer,
} from './modern-server.ts';
import { connectSdkClient, type SdkSession, type SdkSessionSettings } from './sdk-session.ts';

const OLD = '2025-11-25';
const MODERN = '2026-07-28';

const suite = missing('modernServer') ? describe.skip : describe.concurrent;

/**
 * The SDK's server and, through the proxy, the SDK's client of the earlier era. What the client is
 * told is checked when the test is over.
 */
async function connect(
  context: TestContext,
  {
    server: settings = {},
    ...session
  }: SdkSessionSettings & { server?: ModernServerSettings } = {},
): Promise<SdkSession & { server: ModernServer }> {
  const server = await startModernServer(context, settings);
  const connected = await connectSdkClient(context, server.url, session);
  context.onTestFinished(async () => {
    for (const message of await connected.close()) expectOld(message);
  });
  return { ...connected, server };
}

/** A client that answers whatever it is asked. */
function answering(capabilities: ClientCapabilities = EVERYTHING): SdkSessionSettings {
  return {
    capabilities,
    prepare: (client) => {
      if (capabilities.elicitation) {
        client.setRequestHandler(ElicitRequestSchema, ({ params }) =>
          params.mode === 'url'
            ? { action: params.url.endsWith('?a=1&b=2') ? 'accept' : 'cancel' }
            : { action: 'accept', content: { name: `Ada, asked ${params.message}`, age: 36 } },
        );
      }
      if (capabilities.sampling) {
        client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
          model: 'interop-model',
          role: 'assistant',
          content: { type: 'text', text: `${params.maxTokens} ${JSON.stringify(params.messages)}` },
        }));
      }
      if (capabilities.roots) client.setRequestHandler(ListRootsRequestSchema, () => ROOTS);
    },
  };
}

const EVERYTHING = { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} };
const ROOTS = { roots: [{ uri: 'file:///tmp/eins', name: 'Erß' }] };
const ANSWERS = {
  form: { action: 'accept', content: { name: 'Ada, asked Who?', age: 36 } },
  url: { action: 'accept' },
  sampling: {
    model: 'interop-model',
    role: 'assistant',
    content: {
      type: 'text',
      text: '17 [{"role":"user","content":{"type":"text","text":"Say yes 🗝️"}}]',
    },
  },
  roots: ROOTS,
};

suite('the SDK server of 2026-07-28, for a client of 2025-11-25', () => {
  describe('the handshake', () => {
    test('brings an old revision and what the server says of itself', async (context) => {
      const { client, close, server } = await connect(context);
      expect(client.getServerVersion()).toMatchObject({
        name: 'modern',
        title: 'Modern',
        version: '3.2.1',
      });
      expect(client.getInstructions()).toBe('Mind the 🗝️.');
      expect(client.getServerCapabilities()).toEqual({
        completions: {},
        logging: {},
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        tools: { listChanged: true },
      });
      await client.listTools();
      const [handshake] = await close();
      expect(handshake).toMatchObject({ result: { protocolVersion: OLD } });
      // The server refuses what this revision does not have: that is how the era is found out, once.
      const refused = server.requests.filter(({ status = 0 }) => status >= 400);
      expect(refused.map(methodOf)).toEqual(['initialize']);
      expect(server.requests.map(methodOf).slice(0, 2)).toEqual(['initialize', 'server/discover']);
      for (const { httpMethod } of server.requests) expect(httpMethod).toBe('POST');
    });

    test('tells the server who the client is and what it can do, with every request', async (context) => {
      const { client } = await connect(context, answering());
      expect(JSON.parse(textOf(await call(client, 'metadata')))).toEqual({
        'io.modelcontextprotocol/protocolVersion': MODERN,
        'io.modelcontextprotocol/clientInfo': { name: 'interop', version: '1.0.0' },
        'io.modelcontextprotocol/clientCapabilities': EVERYTHING,
      });
    });

    test('works for a client with capabilities that the revision no longer has', async (context) => {
      const { client } = await connect(context, {
        ...answering({
          ...EVERYTHING,
          roots: { listChanged: true },
          sampling: { context: {}, tools: {} },
          tasks: { list: {}, requests: { sampling: { createMessage: {} } } },
          experimental: { 'com.example/thing': { a: 1 } },
        }),
      });
      await client.sendRootsListChanged();
      const result = await call(client, 'ask', { kinds: ['roots'], label: 'one' });
      expect(told(result)).toEqual({ label: 'one', answers: { roots: ROOTS } });
    });
  });

  test('ping is answered without the server', async (context) => {
    const { client, server } = await connect(context);
    const before = server.requests.map(methodOf);
    await client.ping();
    expect(before).not.toContain('ping');
    expect(server.requests.map(methodOf)).not.toContain('ping');
  });

  // Comments between the events, as often as can be.
  describe.each<ModernServerSettings>([
    { responseMode: 'auto' },
    { responseMode: 'sse', keepAliveMs: 1 },
  ])('that answers with %o', (server) => {
    test('tools are listed with their schemas', async (context) => {
      const { client } = await connect(context, { server });
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name)).toEqual([
        ...['echo', 'numbers', 'fail', 'hold', 'steps', 'log', 'metadata', 'query', 'ask'],
        'again',
      ]);
      expect(tools.find(({ name }) => name === 'numbers')).toMatchObject({
        title: 'Numbers',
        annotations: { readOnlyHint: true },
        outputSchema: { required: ['numbers'] },
      });
    });

    test.for([
      ['plain text', 'hello'],
      [
        'text beyond ASCII, line separators and quotes',
        'Grüße 🗝️ 日本語 \u2028 \u0000 "\\" \r\n \ud83d',
      ],
      ['a megabyte', 'x'.repeat(1024 * 1024)],
    ])('tools/call carries %s both ways', async ([, message], context) => {
      const { client } = await connect(context, { server });
      const result = await call(client, 'echo', { message });
      expect(textOf(result) === message).toBe(true);
    });

    test('tools/call carries numbers and structured content, which fit their schema', async (context) => {
      const { client } = await connect(context, { server });
      // The client checks structured content against the output schema that it saw listed.
      await client.listTools();
      const numbers = [0, -0.1, 1e-7, 2 ** 53 - 1, -(2 ** 53), 123456789012345680000, 1e300];
      const result = await call(client, 'numbers', { numbers });
      expect(result.structuredContent).toEqual({ numbers });
    });

    test("a tool's own failure stays a result, and the server's errors keep their code", async (context) => {
      const { client } = await connect(context, { server });
      const failed = await call(client, 'fail');
      expect(failed.isError).toBe(true);
      expect(textOf(failed)).toContain('the tool is out of order');
      const unknownTool = client.callTool({ name: 'no-such-tool' });
      await expect(unknownTool).rejects.toMatchObject({
        code: ErrorCode.InvalidParams,
        message: expect.stringContaining('no-such-tool'),
      });
      const unknownMethod = client.request({ method: 'no/such/method' }, EmptyResultSchema);
      await expect(unknownMethod).rejects.toMatchObject({ code: ErrorCode.MethodNotFound });
      const unknownResource = client.readResource({ uri: 'memo://no-such' });
      await expect(unknownResource).rejects.toThrow('memo://no-such');
      expect(textOf(await call(client, 'echo', { message: 'still here' }))).toBe('still here');
    });

    test('progress arrives, in order and before the result', async (context) => {
      const { client, close } = await connect(context, { server });
      const onprogress = vi.fn();
      await client.callTool({ name: 'steps' }, CallToolResultSchema, { onprogress });
      // The client drops progress that it reads together with the result, so it is counted on stdout.
      const written = await close();
      const progress = written.flatMap((message) =>
        'method' in message && message.method === 'notifications/progress' ? [message.params] : [],
      );
      expect(progress).toEqual(
        [1, 2, 3].map((step) => ({
          progressToken: expect.anything(),
          progress: step,
          total: 3,
          message: `step ${step}`,
        })),
      );
      expect(written.at(-1)).toMatchObject({ result: { content: [{ text: 'three steps' }] } });
    });

    test('the log arrives from logging/setLevel on, and nothing of it before', async (context) => {
      const { client } = await connect(context, { server });
      const logged: unknown[] = [];
      client.fallbackNotificationHandler = async ({ params }) => {
        logged.push(params?.data);
      };
      await call(client, 'log');
      expect(logged).toEqual([]);
      await client.setLoggingLevel('info');
      await call(client, 'log');
      expect(logged).toEqual(['at info', 'at error']);
      await client.setLoggingLevel('error');
      await call(client, 'log');
      expect(logged.slice(2)).toEqual(['at error']);
    });

    test.for(Object.keys(ANSWERS) as (keyof typeof ANSWERS)[])(
      'the input that a tool requires is asked of the client: %s',
      async (kind, context) => {
        const { client } = await connect(context, { server, ...answering() });
        const result = await call(client, 'ask', { kinds: [kind], label: 'one' });
        expect(told(result)).toEqual({ label: 'one', answers: { [kind]: ANSWERS[kind] } });
      },
    );

    test.for([true, false])(
      'several inputs are asked for (in turn: %s)',
      async (inTurn, context) => {
        const { client, server: gateway } = await connect(context, { server, ...answering() });
        const kinds = ['form', 'url', 'sampling', 'roots'];
        const result = await call(client, 'ask', { kinds, label: 'ü', inTurn });
        expect(told(result)).toEqual({ label: 'ü', answers: ANSWERS });
        const calls = gateway.requests.filter((request) => methodOf(request) === 'tools/call');
        expect(calls).toHaveLength(inTurn ? 5 : 2);
      },
    );

    test('a cancelled call is cancelled at the server, and gets no reply', async (context) => {
      const { client, server: gateway, close } = await connect(context, { server });
      const cancelling = new AbortController();
      const cancelled = client.callTool(
        { name: 'hold', arguments: { label: 'cancelled' } },
        CallToolResultSchema,
        { signal: cancelling.signal },
      );
      const other = call(client, 'hold', { label: 'other' });
      await vi.waitFor(() => expect(gateway.held.sort()).toEqual(['cancelled', 'other']));
      cancelling.abort('enough');
      await expect(cancelled).rejects.toThrow('enough');
      await vi.waitFor(() => expect(gateway.aborted).toEqual(['cancelled']));
      gateway.release('other');
      expect(textOf(await other)).toBe('held other');
      expect(gateway.aborted).toEqual(['cancelled']);
      // initialize and the other call.
      expect((await close()).filter((message) => 'result' in message)).toHaveLength(2);
    });
  });

  describe('input that a call requires', () => {
    test('of forty calls at once does not mix', async (context) => {
      const { client } = await connect(context, {
        capabilities: EVERYTHING,
        prepare: (client) => {
          const waiting: (() => void)[] = [];
          client.setRequestHandler(ElicitRequestSchema, async () => {
            const turn = waiting.length;
            await new Promise<void>((resolve) => {
              // The first to be asked is the last to answer.
              if (waiting.unshift(resolve) === 40) for (const answer of waiting) answer();
            });
            return { action: 'accept', content: { name: `answer ${turn}` } };
          });
          client.setRequestHandler(ListRootsRequestSchema, () => ROOTS);
        },
      });
      const labels = Array.from({ length: 40 }, (_, index) => `call ${index}`);
      const results = await Promise.all(
        labels.map((label) => call(client, 'ask', { kinds: ['form', 'roots'], label })),
      );
      // The server has checked that each call came back with its own state.
      expect(results.map((result) => told(result).label)).toEqual(labels);
      const names = results.map(
        (result) => (told(result).answers as typeof ANSWERS).form.content.name,
      );
      expect(new Set(names).size).toBe(40);
    });

    test.for(['decline', 'cancel'] as const)(
      'reaches the server as %s',
      async (action, context) => {
        const { client } = await connect(context, {
          capabilities: EVERYTHING,
          prepare: (client) => client.setRequestHandler(ElicitRequestSchema, () => ({ action })),
        });
        const result = await call(client, 'ask', { kinds: ['form'], label: 'one' });
        expect(told(result)).toEqual({ label: 'one', answers: { form: { action } } });
      },
    );

    test('that the client fails to give ends the call with its error', async (context) => {
      const { client } = await connect(context, {
        capabilities: EVERYTHING,
        prepare: (client) =>
          client.setRequestHandler(CreateMessageRequestSchema, () => {
            throw new McpError(-1, 'User rejected sampling request');
          }),
      });
      await expect(call(client, 'ask', { kinds: ['sampling'], label: 'one' })).rejects.toThrow(
        'User rejected sampling request',
      );
      await client.ping();
    });

    test('and that the client cannot give is refused by the server, with its code', async (context) => {
      const { client } = await connect(context, answering({ roots: {} }));
      const refused = call(client, 'ask', { kinds: ['form'], label: 'one' });
      await expect(refused).rejects.toMatchObject({ code: -32021 });
      const result = await call(client, 'ask', { kinds: ['roots'], label: 'one' });
      expect(told(result)).toEqual({ label: 'one', answers: { roots: ROOTS } });
    });

    test('may be nothing but to be called again', async (context) => {
      const { client } = await connect(context);
      expect(textOf(await call(client, 'again', { times: 4 }))).toBe('again 4');
    });

    test('is required by prompts and resources too', async (context) => {
      const { client } = await connect(context, answering());
      const { messages } = await client.getPrompt({ name: 'interview' });
      expect(JSON.parse(textIn(messages[0]?.content))).toEqual(ANSWERS.form);
      const { contents } = await client.readResource({ uri: 'memo://secret' });
      expect(JSON.parse(textIn(contents[0]))).toEqual(ANSWERS.form);
    });

    test('is no longer asked for when the call is cancelled meanwhile', async (context) => {
      const cancelling = new AbortController();
      let asked: AbortSignal | undefined;
      const { client, server } = await connect(context, {
        capabilities: EVERYTHING,
        prepare: (client) =>
          client.setRequestHandler(ElicitRequestSchema, async (_, { signal }) => {
            asked = signal;
            await new Promise((resolve) => signal.addEventListener('abort', resolve));
            return { action: 'cancel' };
          }),
      });
      const cancelled = client.callTool(
        { name: 'ask', arguments: { kinds: ['form'], label: 'one' } },
        CallToolResultSchema,
        { signal: cancelling.signal },
      );
      await vi.waitFor(() => expect(asked?.aborted).toBe(false));
      cancelling.abort('enough');
      await expect(cancelled).rejects.toThrow('enough');
      await vi.waitFor(() => expect(asked?.aborted).toBe(true));
      expect(server.requests.filter((own) => methodOf(own) === 'tools/call')).toHaveLength(1);
    });
  });

  describe('the headers that a tool is annotated with', () => {
    const args = {
      region: ' Zürich 🗝️',
      limit: -42,
      dryRun: false,
      options: { tenant: '=?base64?eA==?=' },
    };

    test('are sent when the tools have been listed', async (context) => {
      const { client, server } = await connect(context);
      await client.listTools();
      expect(told(await call(client, 'query', args))).toEqual(args);
      const calls = server.requests.filter((request) => methodOf(request) === 'tools/call');
      expect(calls.map(({ headers }) => headers['mcp-param-limit'])).toEqual(['-42']);
    });

    test('are found out when they have not, from the HeaderMismatch of the server', async (context) => {
      const { client, server } = await connect(context);
      expect(told(await call(client, 'query', args))).toEqual(args);
      const methods = server.requests.map(methodOf).filter((own) => own.startsWith('tools/'));
      expect(methods).toEqual(['tools/call', 'tools/list', 'tools/call']);
    });

    test('are left out for what the call leaves out', async (context) => {
      const { client } = await connect(context);
      await client.listTools();
      for (const some of [{}, { limit: 0 }, { region: '' }, { options: {} }]) {
        expect(told(await call(client, 'query', some))).toEqual(some);
      }
    });
  });

  describe('prompts, resources and completion', () => {
    test('prompts are listed and got', async (context) => {
      const { client } = await connect(context);
      const { prompts } = await client.listPrompts();
      expect(prompts).toMatchObject([
        { name: 'greet', arguments: [{ name: 'city' }, { name: 'street' }] },
        { name: 'interview' },
      ]);
      const args = { city: 'Zürich', street: 'Main street' };
      const { messages } = await client.getPrompt({ name: 'greet', arguments: args });
      expect(messages).toEqual([
        { role: 'user', content: { type: 'text', text: 'Hello Zürich, Main street!' } },
      ]);
    });

    test('resources and templates are listed and read, as text and as bytes', async (context) => {
      const { client } = await connect(context);
      const { resources } = await client.listResources();
      expect(resources.map(({ uri }) => uri)).toEqual([
        'memo://text',
        'memo://bytes',
        'memo://secret',
      ]);
      const { resourceTemplates } = await client.listResourceTemplates();
      expect(resourceTemplates).toMatchObject([{ uriTemplate: 'memo://any/{name}' }]);
      const read = async (uri: string) => (await client.readResource({ uri })).contents;
      expect(await read('memo://text')).toEqual([
        { uri: 'memo://text', mimeType: 'text/plain', text: 'Grüße 🗝️' },
      ]);
      expect(await read('memo://bytes')).toMatchObject([{ blob: 'R3LDvMOfZQ==' }]);
      expect(await read('memo://any/k%C3%B6rper')).toMatchObject([
        { text: expect.stringMatching(/^memo of k/) },
      ]);
    });

    test('completion works for prompts, with context, and for templates', async (context) => {
      const { client } = await connect(context);
      const ref = { type: 'ref/prompt', name: 'greet' } as const;
      const city = await client.complete({ ref, argument: { name: 'city', value: 'Zü' } });
      expect(city.completion.values).toEqual(['Zürich']);
      const street = await client.complete({
        ref,
        argument: { name: 'street', value: 'Main' },
        context: { arguments: { city: 'Zug' } },
      });
      expect(street.completion.values).toEqual(['Main street of Zug']);
      const name = await client.complete({
        ref: { type: 'ref/resource', uri: 'memo://any/{name}' },
        argument: { name: 'name', value: 'o' },
      });
      expect(name.completion.values).toEqual(['one', 'other']);
    });
  });

  describe('what changes', () => {
    test('in the lists is told without being asked for', async (context) => {
      const { client, server } = await connect(context);
      await server.listening(1);
      const told = listen(client);
      server.notify.toolsChanged();
      server.notify.promptsChanged();
      server.notify.resourcesChanged();
      await vi.waitFor(() => expect(told).toHaveLength(3));
      expect(told).toMatchObject([
        { method: 'notifications/tools/list_changed' },
        { method: 'notifications/prompts/list_changed' },
        { method: 'notifications/resources/list_changed' },
      ]);
    });

    test('in a resource is told from resources/subscribe until resources/unsubscribe', async (context) => {
      const { client, server } = await connect(context);
      const told = listen(client);
      for (const uri of ['memo://text', 'memo://bytes', 'memo://any/one']) {
        await client.subscribeResource({ uri });
      }
      await client.unsubscribeResource({ uri: 'memo://bytes' });
      await server.listening(1);
      for (const uri of ['memo://any/one', 'memo://bytes', 'memo://secret', 'memo://text']) {
        server.notify.resourceUpdated(uri);
      }
      server.notify.toolsChanged();
      await vi.waitFor(() => expect(told.at(-1)?.method).toContain('list_changed'));
      expect(told).toMatchObject([
        { method: 'notifications/resources/updated', params: { uri: 'memo://any/one' } },
        { method: 'notifications/resources/updated', params: { uri: 'memo://text' } },
        { method: 'notifications/tools/list_changed' },
      ]);
    });

    test('is told also while one subscription takes the place of another', async (context) => {
      const { client, server } = await connect(context);
      await server.listening(1);
      const told = listen(client);
      const uris = Array.from({ length: 10 }, (_, index) => `memo://any/${index}`);
      await Promise.all(
        uris.map(async (uri) => {
          await client.subscribeResource({ uri });
          server.notify.resourceUpdated(uri);
        }),
      );
      await server.listening(1);
      server.notify.toolsChanged();
      await vi.waitFor(() => expect(told.at(-1)?.method).toContain('list_changed'));
      const updated = told.flatMap(({ params }) => params?.uri ?? []);
      expect([...new Set(updated)].sort()).toEqual(uris);
    });

    test('is refused to be told by a server that announces none', async (context) => {
      const { client, server } = await connect(context, { server: { isSilent: true } });
      await expect(client.subscribeResource({ uri: 'memo://text' })).rejects.toMatchObject({
        code: expect.any(Number),
      });
      await client.listTools();
      await server.listening(0);
    });
  });
});

suite('the SDK server that knows both eras, for a client of 2025-11-25', () => {
  const server = { legacy: 'stateless' } as const;

  test('is served in the earlier era, without a header or a word of the modern one', async (context) => {
    const { client, close, server: gateway } = await connect(context, { server });
    expect(client.getServerVersion()?.name).toBe('modern');
    await client.listTools();
    await client.ping();
    expect(textOf(await call(client, 'echo', { message: 'hello' }))).toBe('hello');
    expect(told(await call(client, 'query', { region: 'eu' }))).toEqual({ region: 'eu' });
    const { contents } = await client.readResource({ uri: 'memo://text' });
    expect(contents).toMatchObject([{ text: 'Grüße 🗝️' }]);
    const onprogress = vi.fn();
    await client.callTool({ name: 'steps' }, CallToolResultSchema, { onprogress });
    const written = await close();
    expect(written[0]).toMatchObject({ result: { protocolVersion: OLD } });
    expect(
      written.filter((own) => 'method' in own && own.method === 'notifications/progress'),
    ).toHaveLength(3);
    const methods = gateway.requests.map(methodOf);
    expect(methods).toContain('ping');
    expect(methods).not.toContain('server/discover');
    expect(methods).not.toContain('subscriptions/listen');
    for (const { headers, message } of gateway.requests) {
      expect(Object.keys(headers).filter((name) => /^mcp-(?!protocol)/.test(name))).toEqual([]);
      expect([undefined, OLD]).toContain(headers['mcp-protocol-version']);
      expect(JSON.stringify(message ?? '')).not.toContain('io.modelcontextprotocol/');
    }
  });
});

/** What no message to a client of the earlier era has. */
function expectOld(message: JSONRPCMessage): void {
  if ('result' in message) {
    for (const name of ['resultType', 'ttlMs', 'cacheScope', 'inputRequests']) {
      expect(message.result).not.toHaveProperty(name);
    }
  }
  expect(JSON.stringify(message)).not.toContain('io.modelcontextprotocol/subscriptionId');
  expect(JSON.stringify(message)).not.toContain('notifications/subscriptions');
}

/** Fills with the notifications that the client does not deal with by itself. */
function listen(client: Client): { method: string; params?: Record<string, unknown> }[] {
  const heard: { method: string; params?: Record<string, unknown> }[] = [];
  client.fallbackNotificationHandler = async ({ method, params }) => {
    heard.push({ method, ...(params && { params }) });
  };
  return heard;
}

function methodOf({ message }: ServedRequest): string {
  return message?.method ?? '';
}

async function call(
  client: Client,
  name: string,
  args: Record<string, unknown> = {},
): Promise<CallToolResult> {
  return CallToolResultSchema.parse(await client.callTool({ name, arguments: args }));
}

function textOf(result: CallToolResult): string {
  return result.content.map((part) => (part.type === 'text' ? part.text : '')).join('');
}

function textIn(content: unknown): string {
  return (content as { text: string }).text;
}

/** What a tool says in JSON. */
function told(result: CallToolResult): Record<string, unknown> {
  if (result.isError) throw new Error(textOf(result));
  return JSON.parse(textOf(result));
}
