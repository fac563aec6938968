import { gunzipSync } from 'node:zlib';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missing } from './installed-peers.ts';
import { connectModernClient, type ModernClient } from './modern-session.ts';
import { type ServerEverything, startServerEverything } from './server-everything.ts';

const LOG_LEVEL = 'io.modelcontextprotocol/logLevel';
const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId';

const suite = missing('serverEverything', 'modernClient') ? describe.skip : describe;

suite('server-everything, which speaks 2025-11-25, for a client of 2026-07-28', () => {
  let everything: ServerEverything;

  beforeAll(async () => {
    everything = await startServerEverything();
  });

  afterAll(async () => {
    await everything?.close();
  });

  test('server/discover brings what the server said in its handshake', async (context) => {
    const { client } = await connectModernClient(context, everything.url);
    expect(client.getNegotiatedProtocolVersion()).toBe('2026-07-28');
    expect(client.getServerVersion()?.name).toBe('mcp-servers/everything');
    expect(client.getServerCapabilities()).toMatchObject({
      completions: {},
      logging: {},
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      tools: { listChanged: true },
    });
    expect(client.getInstructions()).toContain('Everything Server');
    expect(client.getDiscoverResult()).toMatchObject({
      supportedVersions: expect.arrayContaining(['2026-07-28']),
      ttlMs: expect.any(Number),
      cacheScope: 'private',
    });
  });

  test('a client that finds out the era by itself takes the modern one', async (context) => {
    const settings = { negotiation: 'probing' } as const;
    const { client } = await connectModernClient(context, everything.url, settings);
    expect(client.getNegotiatedProtocolVersion()).toBe('2026-07-28');
    expect(textOf(await call(client, 'echo', { message: 'hello' }))).toBe('Echo: hello');
  });

  test('the session that is held for the client ends with it', async (context) => {
    const { client, close } = await connectModernClient(context, everything.url);
    await client.listTools();
    const mark = everything.mark();
    await close();
    await everything.logged(/Received session termination request for session/, mark);
  });

  describe('tools', () => {
    test('tools/list brings every tool with its schemas, to be cached by nobody', async (context) => {
      const { client, close } = await connectModernClient(context, everything.url);
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
          'toggle-simulated-logging',
          'toggle-subscriber-updates',
          'trigger-long-running-operation',
        ]),
      );
      const structured = tools.find(({ name }) => name === 'get-structured-content');
      expect(structured?.outputSchema?.required).toEqual(['temperature', 'conditions', 'humidity']);
      const listed = (await close()).find(
        (message) => 'result' in message && 'tools' in message.result,
      );
      expect(listed).toMatchObject({ result: { ttlMs: 0, cacheScope: 'private' } });
    });

    test('tools that need a capability of the client are listed for a client that has it', async (context) => {
      const { client } = await connectModernClient(context, everything.url, {
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
      const { client } = await connectModernClient(context, everything.url);
      const result = await call(client, 'echo', { message });
      expect(textOf(result) === `Echo: ${message}`).toBe(true);
    });

    test('tools/call brings structured content, images, links, resources and annotations', async (context) => {
      const { client } = await connectModernClient(context, everything.url);
      // The client checks structured content against the output schema that it saw listed.
      await client.listTools();
      const [structured, image, links, resource, annotated, sum, environment] = await Promise.all([
        call(client, 'get-structured-content', { location: 'New York' }),
        call(client, 'get-tiny-image'),
        call(client, 'get-resource-links', { count: 2 }),
        call(client, 'get-resource-reference', { resourceType: 'Blob', resourceId: 7 }),
        call(client, 'get-annotated-message', { messageType: 'error' }),
        call(client, 'get-sum', { a: 2, b: 40 }),
        call(client, 'get-env'),
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
      expect(textOf(sum)).toContain('is 42');
      expect(JSON.parse(textOf(environment))).toHaveProperty('PATH');
    });

    test("a tool's own failure stays a result, and the server's errors keep code and message", async (context) => {
      const { client } = await connectModernClient(context, everything.url);
      const refused = await call(client, 'get-sum', { a: 'one' });
      expect(refused.isError).toBe(true);
      const unknownResource = client.readResource({ uri: 'demo://resource/no/such' });
      await expect(unknownResource).rejects.toThrow('demo://resource/no/such');
      const unknownPrompt = client.getPrompt({ name: 'no-such-prompt' });
      await expect(unknownPrompt).rejects.toMatchObject({ code: -32602 });
      // The session survives all three.
      expect(textOf(await call(client, 'get-sum', { a: 2, b: 40 }))).toContain('is 42');
    });

    test('a slow call holds up none of forty others', async (context) => {
      const { client } = await connectModernClient(context, everything.url);
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
    const { client, close } = await connectModernClient(context, everything.url);
    const seen: number[] = [];
    const params = {
      name: 'trigger-long-running-operation',
      arguments: { duration: 0.8, steps: 4 },
    };
    await new Promise<void>((resolve) => {
      const onprogress = ({ progress }: { progress: number }) => {
        if (seen.push(progress) === 2) resolve();
      };
      client.callTool(params, { onprogress }).then(() => seen.push(-1));
    });
    expect(seen).toEqual([1, 2]);
    // The rest is counted on the proxy's stdout, and one that asks for none gets none.
    await client.callTool(params);
    const written = (await close()).flatMap((message) =>
      'method' in message && message.method === 'notifications/progress' ? [message.params] : [],
    );
    expect(written).toEqual(
      [1, 2, 3, 4].map((progress) => ({ progress, total: 4, progressToken: expect.anything() })),
    );
  });

  test('a cancelled call gets no reply, and the session goes on', async (context) => {
    const { client, close } = await connectModernClient(context, everything.url);
    const long = {
      name: 'trigger-long-running-operation',
      arguments: { duration: 0.8, steps: 4 },
    };
    const cancelling = new AbortController();
    const cancelled = client.callTool(long, {
      signal: cancelling.signal,
      onprogress: () => cancelling.abort('enough'),
    });
    await expect(cancelled).rejects.toThrow('enough');
    // Started later and just as long: had the call gone on, its reply would have come by now.
    await client.callTool(long);
    expect(textOf(await call(client, 'echo', { message: 'still here' }))).toContain('still here');
    const replies = (await close()).filter((message) => 'result' in message);
    // server/discover, the second call and echo.
    expect(replies).toHaveLength(3);
  });

  test('a client that cancelled and leaves is not kept waiting for the cancelled call', async (context) => {
    const { client, close } = await connectModernClient(context, everything.url);
    const cancelling = new AbortController();
    const cancelled = client.callTool(
      { name: 'trigger-long-running-operation', arguments: { duration: 60, steps: 600 } },
      { signal: cancelling.signal, onprogress: () => cancelling.abort('enough') },
    );
    await expect(cancelled).rejects.toThrow('enough');
    const started = performance.now();
    await close();
    expect(performance.now() - started).toBeLessThan(1500);
  });

  describe('logging', () => {
    /** Turns the server's log on while a call is under way, and waits for that call's end. */
    async function logDuringACall(client: ModernClient, _meta: Record<string, unknown>) {
      let toggled: Promise<CallToolResult> | undefined;
      await client.callTool(
        { name: 'trigger-long-running-operation', arguments: { duration: 1, steps: 5 }, _meta },
        { onprogress: () => (toggled ??= call(client, 'toggle-simulated-logging')) },
      );
      expect(textOf((await toggled) as CallToolResult)).toContain('Started');
    }

    test('a request that names a level gets the log', async (context) => {
      const { client, close } = await connectModernClient(context, everything.url);
      await logDuringACall(client, { [LOG_LEVEL]: 'debug' });
      const log = (await close()).flatMap((message) =>
        'method' in message && message.method === 'notifications/message' ? [message.params] : [],
      );
      expect(log).toEqual([
        expect.objectContaining({ data: expect.stringMatching(/level[ -]message - SessionId/i) }),
      ]);
    });

    test('requests that name none get none', async (context) => {
      const { client, close } = await connectModernClient(context, everything.url);
      await logDuringACall(client, {});
      const methods = (await close()).map((message) => 'method' in message && message.method);
      expect(methods).not.toContain('notifications/message');
    });
  });

  describe('what the server asks during a call', () => {
    test('sampling becomes input that the call requires', async (context) => {
      const { client, close } = await connectModernClient(context, everything.url, {
        capabilities: { sampling: {} },
        prepare: (client) =>
          client.setRequestHandler('sampling/createMessage', ({ params }) => ({
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
      expect(await close()).toContainEqual(
        expect.objectContaining({
          result: expect.objectContaining({ resultType: 'input_required' }),
        }),
      );
    });

    test('five at a time, each call gets the answer that was meant for it', async (context) => {
      const { client } = await connectModernClient(context, everything.url, {
        capabilities: { sampling: {} },
        prepare: (client) =>
          client.setRequestHandler('sampling/createMessage', ({ params }) => ({
            model: 'interop-model',
            role: 'assistant',
            content: { type: 'text', text: `answer ${params.maxTokens}` },
          })),
      });
      const results = await Promise.all(
        [1, 2, 3, 4, 5].map((maxTokens) =>
          call(client, 'trigger-sampling-request', { prompt: 'p', maxTokens }),
        ),
      );
      for (const [index, result] of results.entries()) {
        expect(textOf(result)).toContain(`answer ${index + 1}`);
      }
    });

    test('a client that gives no answer ends its call, and neither the session nor its end', async (context) => {
      const { client } = await connectModernClient(context, everything.url, {
        capabilities: { sampling: {} },
        prepare: (client) =>
          client.setRequestHandler('sampling/createMessage', () => {
            throw new Error('User rejected sampling request');
          }),
      });
      const rejected = call(client, 'trigger-sampling-request', { prompt: 'no' });
      await expect(rejected).rejects.toThrow('User rejected sampling request');
      expect(textOf(await call(client, 'echo', { message: 'on' }))).toBe('Echo: on');
      // That the proxy ends at once, though a call of the gateway still waits, is checked at the end.
    });

    test.for([
      ['accept', 'User provided the requested information'],
      ['decline', 'User declined'],
      ['cancel', 'User cancelled'],
    ] as const)('elicitation is answered with %s', async ([action, outcome], context) => {
      let asked: string[] = [];
      const { client } = await connectModernClient(context, everything.url, {
        capabilities: { elicitation: { form: {} } },
        prepare: (client) =>
          client.setRequestHandler('elicitation/create', ({ params }) => {
            if ('requestedSchema' in params) asked = Object.keys(params.requestedSchema.properties);
            return action === 'accept' ? { action, content: { name: 'Ada' } } : { action };
          }),
      });
      const result = await call(client, 'trigger-elicitation-request');
      expect(asked).toContain('titledMultipleSelectEnum');
      expect(textOf(result)).toContain(outcome);
      if (action === 'accept') expect(textOf(result)).toContain('Name: Ada');
    });

    test('elicitation by URL, too', async (context) => {
      const { client } = await connectModernClient(context, everything.url, {
        capabilities: { elicitation: { url: {} } },
        prepare: (client) =>
          client.setRequestHandler('elicitation/create', ({ params }) =>
            params.mode === 'url' && params.url === 'https://example.com/consent?a=1&b=2'
              ? { action: 'accept' }
              : { action: 'cancel' },
          ),
      });
      const url = 'https://example.com/consent?a=1&b=2';
      const result = await call(client, 'trigger-url-elicitation', { url });
      expect(textOf(result)).toContain('User completed the URL elicitation flow');
    });

    // The revision knows no such error and forbids it (basic/index, "Error Codes"); what it says, to
    // go to a URL and call again, is what input_required says.
    test('the error -32042 becomes input that the call requires', async (context) => {
      const urls: string[] = [];
      const { client } = await connectModernClient(context, everything.url, {
        capabilities: { elicitation: { url: {} } },
        prepare: (client) =>
          client.setRequestHandler('elicitation/create', ({ params }) => {
            if (params.mode === 'url') urls.push(params.url);
            return { action: 'accept' };
          }),
      });
      const url = 'https://example.com/consent?a=1&b=2';
      const result = await call(client, 'trigger-url-elicitation', { url, errorPath: true });
      expect(urls).toEqual(['https://modelcontextprotocol.io', url]);
      expect(textOf(result)).toContain('User completed the URL elicitation flow');
    });

    // The server asks for the roots once by itself, 350 ms after its handshake and outside any call:
    // the first time is before that, the second time after it.
    test.for([
      ['at once', 0],
      ['after the server has asked by itself', 0.8],
    ] as const)('roots/list is answered, %s', async ([, duration], context) => {
      const { client } = await connectModernClient(context, everything.url, {
        capabilities: { roots: {} },
        prepare: (client) =>
          client.setRequestHandler('roots/list', () => ({
            roots: [{ uri: 'file:///tmp/zwei', name: 'Zwölf' }],
          })),
      });
      if (duration > 0)
        await call(client, 'trigger-long-running-operation', { duration, steps: 1 });
      expect(textOf(await call(client, 'get-roots-list'))).toContain('Zwölf');
    });

    test('that the server asks outside any call hurts nobody', async (context) => {
      const { client } = await connectModernClient(context, everything.url, {
        capabilities: { roots: {} },
        prepare: (client) => client.setRequestHandler('roots/list', () => ({ roots: [] })),
      });
      const result = await call(client, 'trigger-long-running-operation', {
        duration: 1,
        steps: 2,
      });
      expect(textOf(result)).toContain('completed');
    });
  });

  describe('resources', () => {
    test('resources are listed and read, as text and as bytes', async (context) => {
      const { client } = await connectModernClient(context, everything.url);
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

    test('updates arrive for each subscription, until it is closed', async (context) => {
      const { client, close } = await connectModernClient(context, everything.url);
      const [first, second, third] = [
        await client.listen({ resourceSubscriptions: [textUri(1), textUri(2)] }),
        await client.listen({ resourceSubscriptions: [textUri(2), textUri(3)] }),
        await client.listen({ resourceSubscriptions: [textUri(4)] }),
      ];
      expect(first.honoredFilter).toEqual({ resourceSubscriptions: [textUri(1), textUri(2)] });
      await third.close();
      expect(await third.closed).toBe('local');
      const updated: string[] = [];
      const all = notified(client, 'notifications/resources/updated', ({ uri }) => {
        return updated.push(String(uri)) === 4;
      });
      expect(textOf(await call(client, 'toggle-subscriber-updates'))).toContain('Started');
      await all;
      expect(textOf(await call(client, 'toggle-subscriber-updates'))).toContain('Stopped');
      expect(updated.toSorted()).toEqual([1, 2, 2, 3].map(textUri));

      await first.close();
      const rest: string[] = [];
      const last = notified(client, 'notifications/resources/updated', ({ uri }) => {
        return rest.push(String(uri)) === 2;
      });
      await call(client, 'toggle-subscriber-updates');
      await last;
      await call(client, 'toggle-subscriber-updates');
      expect(rest.toSorted()).toEqual([2, 3].map(textUri));
      await second.close();

      // Each was told on the subscription that it was meant for.
      const told = (await close()).flatMap((message) =>
        'method' in message && message.method === 'notifications/resources/updated'
          ? [[message.params?._meta?.[SUBSCRIPTION], { uri: '', ...message.params }.uri] as const]
          : [],
      );
      const toldOn = (id: number) =>
        told.filter(([subscription]) => subscription === `listen:${id}`).map(([, uri]) => uri);
      expect(toldOn(0)).toEqual([1, 2].map(textUri));
      expect(toldOn(1)).toEqual([2, 3, 2, 3].map(textUri));
    });

    test('a resource made by a tool is announced to who listens and can be read', async (context) => {
      const { client } = await connectModernClient(context, everything.url);
      await client.listen({ resourcesListChanged: true });
      const announced = notified(client, 'notifications/resources/list_changed');
      const link = await makeResource(client);
      await announced;
      const { contents } = await client.readResource({ uri: link });
      const gzip = contents[0];
      if (!gzip || !('blob' in gzip)) throw new Error('no blob');
      expect(gunzipSync(Buffer.from(gzip.blob, 'base64')).toString()).toBe('Grüße');
    });

    test('a change that nobody listens for is not announced', async (context) => {
      const { client, close } = await connectModernClient(context, everything.url);
      const { closed } = await client.listen({ toolsListChanged: true });
      await makeResource(client);
      await client.listResources();
      const methods = (await close()).map((message) => 'method' in message && message.method);
      expect(methods).not.toContain('notifications/resources/list_changed');
      expect(methods).toContain('notifications/subscriptions/acknowledged');
      await closed;
    });
  });

  test('prompts are listed and got, with arguments and embedded resources', async (context) => {
    const { client } = await connectModernClient(context, everything.url);
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
    const { client } = await connectModernClient(context, everything.url);
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

function call(
  client: ModernClient,
  name: string,
  args: Record<string, unknown> = {},
): Promise<CallToolResult> {
  return client.callTool({ name, arguments: args });
}

function textOf(result: CallToolResult): string {
  return result.content.map((part) => (part.type === 'text' ? part.text : '')).join('');
}

/** Has the server make a resource, and returns its URI. */
async function makeResource(client: ModernClient): Promise<string> {
  const made = await call(client, 'gzip-file-as-resource', {
    name: 'greeting.txt.gz',
    data: `data:text/plain;base64,${Buffer.from('Grüße').toString('base64')}`,
  });
  const link = made.content[0];
  if (link?.type !== 'resource_link') throw new Error('no link');
  return link.uri;
}

/**
 * Resolves with the params of the first notification of this method that `matches`. The client's
 * other notifications go unheard meanwhile, so there is one of these at a time.
 */
function notified(
  client: ModernClient,
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
