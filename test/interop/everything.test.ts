import { gunzipSync } from 'node:zlib';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTaskStore } from '@modelcontextprotocol/sdk/experimental/tasks/index.js';
import {
  type CallToolResult,
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  EmptyResultSchema,
  ErrorCode,
  ListRootsRequestSchema,
  McpError,
  UrlElicitationRequiredError,
} from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest';
import { missing } from './installed-peers.ts';
import { connectSdkClient, type SdkSession, type SdkSessionSettings } from './sdk-session.ts';
import { type ServerEverything, startServerEverything } from './server-everything.ts';

const suite = missing('serverEverything') ? describe.skip : describe.concurrent;

suite('server-everything through the proxy', () => {
  let everything: ServerEverything;
  let lastConnection: Promise<unknown> = Promise.resolve();

  beforeAll(async () => {
    everything = await startServerEverything();
  });

  afterAll(async () => {
    await everything?.close();
  });

  /** A session whose GET stream is open, so that nothing the server sends on its own is lost. */
  async function connect(
    context: TestContext,
    settings: SdkSessionSettings = {},
  ): Promise<SdkSession> {
    // One after the other, so that the stream in the log is the one of this session.
    const session = lastConnection.then(async () => {
      const mark = everything.mark();
      const session = await connectSdkClient(context, everything.url, settings);
      await everything.logged(/Establishing new SSE stream for session/, mark);
      return session;
    });
    lastConnection = session.catch(() => {});
    return session;
  }

  describe('tasks (experimental in 2025-11-25)', () => {
    test('a task is created, polled and fetched, and asks back through tasks/result', async (context) => {
      const { client } = await connect(context, {
        capabilities: { elicitation: { form: {} } },
        prepare: (client) =>
          client.setRequestHandler(ElicitRequestSchema, () => ({
            action: 'accept',
            content: { interpretation: 'snake' },
          })),
      });
      // The client makes a task of a call when the tool was listed as one.
      await client.listTools();
      const states: string[] = [];
      let report = '';
      const { tasks } = client.experimental;
      for await (const event of tasks.callToolStream(
        {
          name: 'simulate-research-query',
          arguments: { topic: 'python', ambiguous: true },
        },
        CallToolResultSchema,
      )) {
        if (event.type === 'error') throw event.error;
        if (event.type === 'taskStatus') states.push(event.task.status);
        if (event.type === 'result') report = textOf(event.result);
      }
      expect(states).toContain('working');
      expect(report).toContain('python (snake)');
    });

    test('the server polls a task that the client runs', async (context) => {
      const taskStore = new InMemoryTaskStore();
      const { client } = await connect(context, {
        taskStore,
        capabilities: {
          sampling: {},
          tasks: { requests: { sampling: { createMessage: {} } } },
        },
        prepare: (client) =>
          client.setRequestHandler(CreateMessageRequestSchema, async (_, extra) => {
            const task = await extra.taskStore?.createTask({ ttl: 60_000 });
            if (!task) throw new Error('the server asked for no task');
            await extra.taskStore?.storeTaskResult(task.taskId, 'completed', {
              model: 'interop-model',
              role: 'assistant',
              content: { type: 'text', text: 'made by a task' },
            });
            return { task };
          }),
      });
      const result = await call(client, 'trigger-sampling-request-async', { prompt: 'later' });
      taskStore.cleanup();
      expect(textOf(result)).toContain('[COMPLETED]');
      expect(textOf(result)).toContain('made by a task');
    });
  });

  test('initialize brings the capabilities and the instructions as the server sent them', async (context) => {
    const { client } = await connect(context);
    expect(client.getServerVersion()?.name).toBe('mcp-servers/everything');
    expect(client.getServerCapabilities()).toMatchObject({
      completions: {},
      logging: {},
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      tasks: { requests: { tools: { call: {} } } },
      tools: { listChanged: true },
    });
    expect(client.getInstructions()).toContain('Everything Server');
  });

  test.sequential('the session is ended with DELETE when the client leaves', async (context) => {
    const { client, close } = await connect(context);
    await client.ping();
    const mark = everything.mark();
    await close();
    await everything.logged(/Received session termination request for session/, mark);
  });

  describe('tools', () => {
    test('tools/list brings every tool with its schemas', async (context) => {
      const { client } = await connect(context);
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name)).toEqual(
        expect.arrayContaining([
          'echo',
          'get-annotated-message',
          'get-env',
          'get-resource-links',
          'get-resource-reference',
          'get-structured-content',
          'get-sum',
          'get-tiny-image',
          'gzip-file-as-resource',
          'simulate-research-query',
          'toggle-simulated-logging',
          'toggle-subscriber-updates',
          'trigger-long-running-operation',
        ]),
      );
      const structured = tools.find(({ name }) => name === 'get-structured-content');
      expect(structured?.outputSchema?.required).toEqual(['temperature', 'conditions', 'humidity']);
      const research = tools.find(({ name }) => name === 'simulate-research-query');
      expect(research?.execution).toEqual({ taskSupport: 'required' });
    });

    test('tools that need a capability of the client are listed for a client that has it', async (context) => {
      const { client } = await connect(context, {
        capabilities: { roots: {}, sampling: {}, elicitation: { form: {}, url: {} } },
      });
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name)).toEqual(
        expect.arrayContaining([
          'get-roots-list',
          'trigger-elicitation-request',
          'trigger-sampling-request',
          'trigger-url-elicitation',
        ]),
      );
    });

    test.for([
      ['plain text', 'hello'],
      [
        'text beyond ASCII, line separators and quotes',
        'Grüße 🗝️ 日本語 \u2028 \u0000 "\\" \r\n \ud83d',
      ],
      ['a megabyte', 'x'.repeat(1024 * 1024)],
    ])('tools/call carries %s both ways', async ([, message], context) => {
      const { client } = await connect(context);
      const result = await call(client, 'echo', { message });
      expect(textOf(result) === `Echo: ${message}`).toBe(true);
    });

    test('tools/call brings structured content, images, links, resources and annotations', async (context) => {
      const { client } = await connect(context);
      // The client checks structured content against the output schema that it saw listed.
      await client.listTools();
      const [structured, image, links, resource, annotated] = await Promise.all([
        call(client, 'get-structured-content', { location: 'New York' }),
        call(client, 'get-tiny-image'),
        call(client, 'get-resource-links', { count: 2 }),
        call(client, 'get-resource-reference', { resourceType: 'Blob', resourceId: 7 }),
        call(client, 'get-annotated-message', { messageType: 'error' }),
      ]);
      expect(structured.structuredContent).toEqual({
        temperature: 33,
        conditions: 'Cloudy',
        humidity: 82,
      });
      expect(image.content.find(({ type }) => type === 'image')).toMatchObject({
        mimeType: 'image/png',
        data: expect.stringMatching(/^iVBORw0KGgo/),
      });
      expect(links.content.filter(({ type }) => type === 'resource_link')).toHaveLength(2);
      expect(resource.content.find(({ type }) => type === 'resource')).toMatchObject({
        resource: { uri: 'demo://resource/dynamic/blob/7', blob: expect.any(String) },
      });
      expect(annotated.content[0]).toMatchObject({
        annotations: { priority: 1, audience: ['user', 'assistant'] },
      });
    });

    test("a tool's own failure stays a result, and the server's errors keep code and message", async (context) => {
      const { client } = await connect(context);
      const refused = await call(client, 'get-sum', { a: 'one' });
      expect(refused.isError).toBe(true);
      const unknownMethod = client.request({ method: 'no/such/method' }, EmptyResultSchema);
      await expect(unknownMethod).rejects.toMatchObject({
        code: ErrorCode.MethodNotFound,
        message: expect.stringContaining('Method not found'),
      });
      const unknownResource = client.readResource({ uri: 'demo://resource/no/such' });
      await expect(unknownResource).rejects.toThrow('demo://resource/no/such');
      // The session survives all three.
      expect(textOf(await call(client, 'get-sum', { a: 2, b: 40 }))).toContain('is 42');
    });

    test('a slow call holds up none of forty others', async (context) => {
      const { client } = await connect(context);
      let slowIsDone = false;
      const slow = call(client, 'trigger-long-running-operation', { duration: 2, steps: 1 });
      slow.finally(() => {
        slowIsDone = true;
      });
      const sums = await Promise.all(
        Array.from({ length: 40 }, (_, a) => call(client, 'get-sum', { a, b: 1 })),
      );
      expect(slowIsDone).toBe(false);
      expect(sums.map(textOf)).toEqual(sums.map((_, a) => `The sum of ${a} and 1 is ${a + 1}.`));
      expect(textOf(await slow)).toContain('completed');
    });
  });

  test('progress arrives while the call runs, in order', async (context) => {
    const { client, close } = await connect(context);
    const seen: number[] = [];
    const firstTwo = new Promise<void>((resolve) => {
      client
        .callTool(
          { name: 'trigger-long-running-operation', arguments: { duration: 0.8, steps: 4 } },
          CallToolResultSchema,
          { onprogress: ({ progress }) => seen.push(progress) === 2 && resolve() },
        )
        .then(() => seen.push(-1));
    });
    await firstTwo;
    expect(seen).toEqual([1, 2]);
    // The client drops progress that it reads together with the result, so the rest is counted on
    // the proxy's stdout.
    await call(client, 'trigger-long-running-operation', { duration: 0.8, steps: 1 });
    const written = (await close()).flatMap((message) =>
      'method' in message && message.method === 'notifications/progress' ? [message.params] : [],
    );
    expect(written).toEqual(
      [1, 2, 3, 4].map((progress) => ({ progress, total: 4, progressToken: expect.anything() })),
    );
  });

  test('a cancelled call gets no reply, and the session goes on', async (context) => {
    const { client, close } = await connect(context);
    const long = {
      name: 'trigger-long-running-operation',
      arguments: { duration: 0.8, steps: 4 },
    };
    const cancelling = new AbortController();
    const cancelled = client.callTool(long, CallToolResultSchema, {
      signal: cancelling.signal,
      onprogress: () => cancelling.abort('enough'),
    });
    await expect(cancelled).rejects.toThrow('enough');
    // Started later and just as long: had the server not heard, its reply would have come by now.
    await client.callTool(long);
    await client.ping();
    const replies = (await close()).filter((message) => 'result' in message);
    // initialize, the second call and ping.
    expect(replies).toHaveLength(3);
  });

  test('a client that cancelled and leaves is not kept waiting for the cancelled call', async (context) => {
    const { client, close } = await connect(context);
    const cancelling = new AbortController();
    const cancelled = client.callTool(
      { name: 'trigger-long-running-operation', arguments: { duration: 60, steps: 600 } },
      CallToolResultSchema,
      { signal: cancelling.signal, onprogress: () => cancelling.abort('enough') },
    );
    await expect(cancelled).rejects.toThrow('enough');
    const started = performance.now();
    await close();
    expect(performance.now() - started).toBeLessThan(1500);
  });

  describe('logging', () => {
    test('logging/setLevel decides which notifications/message arrive', async (context) => {
      const { client } = await connect(context);
      const logged: unknown[] = [];
      const info = notified(client, 'notifications/message', ({ level, data }) => {
        logged.push(data);
        return level === 'info';
      });
      await client.setLoggingLevel('error');
      await client.subscribeResource({ uri: textUri(1) });
      await client.setLoggingLevel('info');
      await client.subscribeResource({ uri: textUri(2) });
      await info;
      expect(logged).toEqual([expect.stringContaining(textUri(2))]);
    });

    test('the log that the server sends on its own arrives', async (context) => {
      const { client } = await connect(context);
      await client.setLoggingLevel('debug');
      const message = notified(client, 'notifications/message');
      expect(textOf(await call(client, 'toggle-simulated-logging'))).toContain('Started');
      expect((await message)['data']).toMatch(/level[ -]message - SessionId/i);
      expect(textOf(await call(client, 'toggle-simulated-logging'))).toContain('Stopped');
    });
  });

  describe('requests of the server', () => {
    test('sampling/createMessage is answered during the call', async (context) => {
      const { client } = await connect(context, {
        capabilities: { sampling: {} },
        prepare: (client) =>
          client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
            model: 'interop-model',
            role: 'assistant',
            content: {
              type: 'text',
              text: `${params.maxTokens}: ${JSON.stringify(params.messages)}`,
            },
          })),
      });
      const result = await call(client, 'trigger-sampling-request', {
        prompt: 'Grüße 🗝️',
        maxTokens: 17,
      });
      expect(textOf(result)).toContain('interop-model');
      expect(textOf(result)).toContain('17: ');
      expect(textOf(result)).toContain('Grüße 🗝️');
    });

    test('an error from the client reaches the server as that error', async (context) => {
      const { client } = await connect(context, {
        capabilities: { sampling: {} },
        prepare: (client) =>
          client.setRequestHandler(CreateMessageRequestSchema, () => {
            throw new McpError(-1, 'User rejected sampling request');
          }),
      });
      const result = await call(client, 'trigger-sampling-request', { prompt: 'no' });
      expect(result.isError).toBe(true);
      expect(textOf(result)).toContain('User rejected sampling request');
    });

    test.for([
      ['accept', 'User provided the requested information'],
      ['decline', 'User declined'],
      ['cancel', 'User cancelled'],
    ] as const)('elicitation/create is answered with %s', async ([action, outcome], context) => {
      let asked: string[] = [];
      const { client } = await connect(context, {
        capabilities: { elicitation: { form: { applyDefaults: true } } },
        prepare: (client) =>
          client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
            if ('requestedSchema' in params) asked = Object.keys(params.requestedSchema.properties);
            return action === 'accept' ? { action, content: { name: 'Ada' } } : { action };
          }),
      });
      const result = await call(client, 'trigger-elicitation-request');
      expect(asked).toContain('titledMultipleSelectEnum');
      expect(textOf(result)).toContain(outcome);
      if (action === 'accept')
        expect(textOf(result)).toMatch(/Name: Ada[\s\S]*Favorite Integer: 42/);
    });

    test('URL elicitation works by request and by the error -32042, whose data is kept', async (context) => {
      const { client } = await connect(context, {
        capabilities: { elicitation: { url: {} } },
        prepare: (client) =>
          client.setRequestHandler(ElicitRequestSchema, ({ params }) =>
            params.mode === 'url' && params.url === 'https://example.com/consent?a=1&b=2'
              ? { action: 'accept' }
              : { action: 'cancel' },
          ),
      });
      const asked = { url: 'https://example.com/consent?a=1&b=2', errorPath: true };
      const refusal = await call(client, 'trigger-url-elicitation', asked).catch(
        (error: unknown) => error,
      );
      if (!(refusal instanceof UrlElicitationRequiredError)) throw refusal;
      expect(refusal.elicitations).toEqual([
        expect.objectContaining({ mode: 'url', url: 'https://modelcontextprotocol.io' }),
      ]);
      const result = await call(client, 'trigger-url-elicitation', asked);
      expect(textOf(result)).toContain('User completed the URL elicitation flow');
    });

    test('roots/list is answered, and asked again when the client says that they changed', async (context) => {
      let roots = [{ uri: 'file:///tmp/one', name: 'One' }];
      const { client } = await connect(context, {
        capabilities: { roots: { listChanged: true } },
        prepare: (client) => client.setRequestHandler(ListRootsRequestSchema, () => ({ roots })),
      });
      expect(textOf(await call(client, 'get-roots-list'))).toContain('file:///tmp/one');
      roots = [...roots, { uri: 'file:///tmp/zwei', name: 'Zwölf' }];
      const updated = notified(client, 'notifications/message', ({ data }) =>
        String(data).includes('2 root(s)'),
      );
      await client.sendRootsListChanged();
      await updated;
      expect(textOf(await call(client, 'get-roots-list'))).toContain('Zwölf');
    });
  });

  describe('resources', () => {
    test('resources are listed and read, as text and as bytes', async (context) => {
      const { client } = await connect(context);
      const { resources } = await client.listResources();
      const document = resources.find(({ name }) => name === 'architecture.md');
      const { resourceTemplates } = await client.listResourceTemplates();
      expect(resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual([
        'demo://resource/dynamic/text/{resourceId}',
        'demo://resource/dynamic/blob/{resourceId}',
      ]);
      const read = async (uri: string) => (await client.readResource({ uri })).contents[0];
      expect(await read(document?.uri ?? '')).toMatchObject({
        mimeType: 'text/markdown',
        text: expect.stringContaining('# '),
      });
      expect(await read(textUri(3))).toMatchObject({
        text: expect.stringContaining('Resource 3'),
      });
      const blob = await read('demo://resource/dynamic/blob/4');
      if (!blob || !('blob' in blob)) throw new Error('no blob');
      expect(Buffer.from(blob.blob, 'base64').toString()).toContain('Resource 4');
    });

    test('updates arrive for what is subscribed and not for what was unsubscribed', async (context) => {
      const { client } = await connect(context);
      for (const id of [1, 2, 3]) await client.subscribeResource({ uri: textUri(id) });
      await client.unsubscribeResource({ uri: textUri(1) });
      const updated: string[] = [];
      const last = notified(client, 'notifications/resources/updated', ({ uri }) => {
        return updated.push(String(uri)) === 2;
      });
      expect(textOf(await call(client, 'toggle-subscriber-updates'))).toContain('Started');
      await last;
      expect(textOf(await call(client, 'toggle-subscriber-updates'))).toContain('Stopped');
      expect(updated).toEqual([textUri(2), textUri(3)]);
    });

    test('a resource made by a tool is announced with list_changed and can be read', async (context) => {
      const { client } = await connect(context);
      const announced = notified(client, 'notifications/resources/list_changed');
      const made = await call(client, 'gzip-file-as-resource', {
        name: 'greeting.txt.gz',
        data: `data:text/plain;base64,${Buffer.from('Grüße').toString('base64')}`,
      });
      await announced;
      const link = made.content[0];
      if (link?.type !== 'resource_link') throw new Error('no link');
      const { contents } = await client.readResource({ uri: link.uri });
      const gzip = contents[0];
      if (!gzip || !('blob' in gzip)) throw new Error('no blob');
      expect(gunzipSync(Buffer.from(gzip.blob, 'base64')).toString()).toBe('Grüße');
    });
  });

  test('prompts are listed and got, with arguments and embedded resources', async (context) => {
    const { client } = await connect(context);
    const { prompts } = await client.listPrompts();
    expect(prompts.map(({ name }) => name)).toEqual([
      'simple-prompt',
      'args-prompt',
      'completable-prompt',
      'resource-prompt',
    ]);
    const withArguments = await client.getPrompt({
      name: 'args-prompt',
      arguments: { city: 'Zürich' },
    });
    expect(withArguments.messages[0]?.content).toEqual({
      type: 'text',
      text: "What's weather in Zürich?",
    });
    const embedding = await client.getPrompt({
      name: 'resource-prompt',
      arguments: { resourceType: 'Text', resourceId: '5' },
    });
    expect(embedding.messages[1]?.content).toMatchObject({
      type: 'resource',
      resource: { uri: textUri(5) },
    });
  });

  test('completion/complete works for prompts, with context, and for resource templates', async (context) => {
    const { client } = await connect(context);
    const ref = { type: 'ref/prompt', name: 'completable-prompt' } as const;
    const department = await client.complete({
      ref,
      argument: { name: 'department', value: 'S' },
    });
    expect(department.completion.values).toEqual(['Sales', 'Support']);
    const name = await client.complete({
      ref,
      argument: { name: 'name', value: '' },
      context: { arguments: { department: 'Sales' } },
    });
    expect(name.completion.values).toEqual(['David', 'Eve', 'Frank']);
    const resource = await client.complete({
      ref: { type: 'ref/resource', uri: 'demo://resource/dynamic/text/{resourceId}' },
      argument: { name: 'resourceId', value: '12' },
    });
    expect(resource.completion.values).toEqual(['12']);
  });
});

function textUri(id: number): string {
  return `demo://resource/dynamic/text/${id}`;
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

/**
 * Resolves with the params of the first notification of this method that `matches`. The client's
 * other notifications go unheard meanwhile, so there is one of these at a time.
 */
function notified(
  client: Client,
  method: string,
  matches: (params: Record<string, unknown>) => boolean = () => true,
): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    client.fallbackNotificationHandler = async (notification) => {
      const params = notification.params ?? {};
      if (notification.method === method && matches(params)) resolve(params);
    };
  });
}
