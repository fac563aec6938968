import { describe, expect, it } from 'vitest';
import {
  MODERN,
  type ModernGateway,
  type ModernGatewaySettings,
  type ModernTool,
  reserved,
  startModernGateway,
} from './modern-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const OLD = '2025-11-25';
const CLIENT = { name: 'old', version: '1.2.3' };
const CAPABILITIES = { elicitation: { form: {}, url: {} }, roots: {}, sampling: {} };

function initialize(
  proxy: RunningProxy,
  { protocolVersion = OLD, capabilities = CAPABILITIES as Json } = {},
): Promise<Json> {
  const params = { protocolVersion, capabilities, clientInfo: CLIENT };
  return proxy.request('init', 'initialize', params);
}

/** A gateway of 2026-07-28 and a proxy whose client has made the handshake of 2025-11-25. */
async function connect(
  settings: ModernGatewaySettings = {},
  handshake: Parameters<typeof initialize>[1] = {},
): Promise<{ gateway: ModernGateway; proxy: RunningProxy }> {
  const gateway = await startModernGateway(settings);
  const proxy = startProxy(gateway.url);
  expect(await initialize(proxy, handshake)).not.toHaveProperty('error');
  proxy.notify('notifications/initialized');
  return { gateway, proxy };
}

/** The value that a tool of the fixture sent back. */
function echoed(reply: Json): Json {
  if (!reply.result) throw new Error(JSON.stringify(reply));
  const { content } = reply.result as { content: { text: string }[] };
  return JSON.parse(content[0]?.text ?? '');
}

/** The `count`-th request of this method that the proxy makes of its client. */
async function asked(proxy: RunningProxy, method: string, count = 1): Promise<Json> {
  const all = () => proxy.messages.filter((message) => message.method === method);
  await proxy.until(() => all().length >= count);
  return all()[count - 1] as Json;
}

function respond(proxy: RunningProxy, request: Json, result: Json): void {
  proxy.send({ jsonrpc: '2.0', id: request.id, result });
}

const accept = (name: string) => ({ action: 'accept', content: { name } });
const sampled = { role: 'assistant', model: 'm', content: { type: 'text', text: 'yes 🗝️' } };
const roots = { roots: [{ uri: 'file:///tmp/one', name: 'One' }] };

describe('the handshake of an old client with a gateway of 2026-07-28', () => {
  it.each<[string, ModernGatewaySettings['refuseInitialize']]>([
    ['400 and HeaderMismatch', undefined],
    ['400 and -32602', { status: 400, code: -32602 }],
    [
      '400 and UnsupportedProtocolVersion',
      { status: 400, code: -32022, data: { supported: [MODERN], requested: OLD } },
    ],
    ['404 and -32601', { status: 404, code: -32601 }],
    ['200 and -32601', { status: 200, code: -32601 }],
  ])('is answered here when it refuses initialize with %s', async (_, refuseInitialize) => {
    const gateway = await startModernGateway(refuseInitialize ? { refuseInitialize } : {});
    const proxy = startProxy(gateway.url);
    const { result } = await initialize(proxy);
    expect(result).toMatchObject({
      protocolVersion: OLD,
      capabilities: {
        completions: {},
        logging: {},
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        tools: { listChanged: true },
      },
      serverInfo: { name: 'modern', version: '3.2.1' },
      instructions: 'Mind it.',
    });
    for (const modern of ['resultType', 'supportedVersions', 'ttlMs', 'cacheScope']) {
      expect(result).not.toHaveProperty(modern);
    }
    proxy.notify('notifications/initialized');
    expect(await proxy.request(1, 'prompts/list')).toMatchObject({
      result: { prompts: [{ name: 'greet' }] },
    });
    // Found out once, for the life of the process.
    expect(gateway.requests('initialize')).toHaveLength(1);
    expect(gateway.requests('server/discover').length).toBeLessThanOrEqual(1);
    expect(gateway.refusals).toEqual([]);
  });

  it.each([
    ['2025-11-25', '2025-11-25'],
    ['2025-06-18', '2025-06-18'],
    ['2025-03-26', '2025-03-26'],
    ['1999-12-31', expect.stringMatching(/^202[45]-/)],
  ])('asked for %s, it agrees on %s', async (protocolVersion, agreed) => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    expect(await initialize(proxy, { protocolVersion })).toMatchObject({
      result: { protocolVersion: agreed },
    });
  });

  it('names some server when the gateway does not say who it is', async () => {
    const gateway = await startModernGateway({ anonymous: true });
    const proxy = startProxy(gateway.url);
    expect(await initialize(proxy)).toMatchObject({
      result: { serverInfo: { name: expect.any(String), version: expect.any(String) } },
    });
  });

  it('fails with what the gateway supports when that revision is not known here', async () => {
    const gateway = await startModernGateway({ supported: ['2031-01-01'] });
    const proxy = startProxy(gateway.url);
    const { error } = await initialize(proxy);
    expect(JSON.stringify(error)).toContain('2031-01-01');
  });

  it('leaves nothing to end: the proxy goes with its client, without a session', async () => {
    const { gateway, proxy } = await connect();
    await gateway.listening(() => true);
    await proxy.request(1, 'ping');
    expect(await proxy.end()).toBe(0);
    expect(proxy.lastWait.missing).toBe(0);
    for (const { headers } of gateway.received) {
      expect(headers).not.toHaveProperty('mcp-session-id');
    }
  });
});

describe('what an old client asks and 2026-07-28 does not know', () => {
  it('is answered here: ping and logging/setLevel', async () => {
    const { gateway, proxy } = await connect();
    expect(await proxy.request(1, 'ping')).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
    expect(await proxy.request(2, 'logging/setLevel', { level: 'error' })).toEqual({
      jsonrpc: '2.0',
      id: 2,
      result: {},
    });
    expect(gateway.requests('ping')).toEqual([]);
    expect(gateway.requests('logging/setLevel')).toEqual([]);
  });

  it('is refused here when the level is invalid', async () => {
    const { proxy } = await connect();
    expect(await proxy.request(1, 'logging/setLevel', { level: 'loud' })).toMatchObject({
      error: { code: -32602 },
    });
  });

  it('is kept here: that its roots changed', async () => {
    const { gateway, proxy } = await connect();
    proxy.notify('notifications/roots/list_changed');
    await proxy.request(1, 'prompts/list');
    // The fixture fails the test when a notification reaches it.
    expect(gateway.refusals).toEqual([]);
  });

  it('stays an error with its own code: an unknown method', async () => {
    const { proxy } = await connect();
    expect(await proxy.request(1, 'no/such')).toMatchObject({ error: { code: -32601 } });
  });
});

describe('a request of an old client', () => {
  it('carries the metadata of every request, and what _meta held before', async () => {
    const { gateway, proxy } = await connect();
    const _meta = { progressToken: 'p-1', 'com.example/trace': { a: [1] } };
    await proxy.request(1, 'tools/call', { name: 'echo', arguments: { text: 'x' }, _meta });
    await proxy.request(2, 'resources/read', { uri: 'memo://é 🗝️' });
    await proxy.request(3, 'completion/complete', {
      ref: { type: 'ref/prompt', name: 'greet' },
      argument: { name: 'a', value: '' },
    });
    // A request without params is one as well.
    proxy.send({ jsonrpc: '2.0', id: 4, method: 'prompts/list' });
    await proxy.reply(4);
    const added = {
      [reserved('protocolVersion')]: MODERN,
      [reserved('clientInfo')]: CLIENT,
      [reserved('clientCapabilities')]: CAPABILITIES,
    };
    const metaOf = (method: string) =>
      (gateway.requests(method)[0]?.message.params as Json | undefined)?._meta;
    expect(metaOf('tools/call')).toEqual({ ..._meta, ...added });
    expect(metaOf('resources/read')).toEqual(added);
    expect(metaOf('completion/complete')).toEqual(added);
    expect(metaOf('prompts/list')).toEqual(added);
    expect(gateway.refusals).toEqual([]);
  });

  it('keeps its numbers as they were written', async () => {
    const { gateway, proxy } = await connect();
    proxy.send(
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"n":[1.0,12345678901234567890]}}}',
    );
    await proxy.reply(1);
    expect(gateway.requests('tools/call')[0]?.body).toContain('[1.0,12345678901234567890]');
  });

  it('gets a result without what only 2026-07-28 has, and with all else', async () => {
    const { proxy } = await connect();
    const requests: [string, Json, Json][] = [
      ['tools/list', {}, { nextCursor: 'rest', tools: [{ name: 'echo' }] }],
      ['resources/list', {}, { resources: [{ name: 'memo', uri: 'memo://one' }] }],
      ['resources/templates/list', {}, { resourceTemplates: [{ uriTemplate: 'memo://{name}' }] }],
      ['resources/read', { uri: 'memo://one' }, { contents: [{ uri: 'memo://one' }] }],
      ['prompts/list', {}, { prompts: [{ name: 'greet' }] }],
      ['tools/call', { name: 'echo' }, { content: [{ type: 'text', text: '{}' }] }],
    ];
    for (const [index, [method, params, expected]] of requests.entries()) {
      const { result } = await proxy.request(index, method, params);
      expect(result).toMatchObject(expected);
      for (const modern of ['resultType', 'ttlMs', 'cacheScope']) {
        expect(result, method).not.toHaveProperty(modern);
      }
    }
  });

  it('keeps the code and the data of an error', async () => {
    const { proxy } = await connect({}, { capabilities: {} });
    expect(await proxy.request(1, 'tools/call', { name: 'nobody' })).toMatchObject({
      error: { code: -32602, message: expect.stringContaining('Unknown tool: nobody') },
    });
    expect(await proxy.request(2, 'tools/call', { name: 'ask-all' })).toMatchObject({
      error: { code: -32021, data: { requiredCapabilities: { elicitation: {} } } },
    });
  });

  it('gets its progress and, once it has set a level, the log of that level', async () => {
    const { gateway, proxy } = await connect();
    await proxy.request(1, 'logging/setLevel', { level: 'error' });
    const _meta = { progressToken: 7 };
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'slow', _meta } });
    const progress = await asked(proxy, 'notifications/progress');
    expect(progress.params).toEqual({ progressToken: 7, progress: 1, total: 2 });
    const logged = await asked(proxy, 'notifications/message');
    expect(logged.params).toEqual({ level: 'error', data: 'logged error' });
    gateway.release();
    expect(await proxy.reply(2)).toMatchObject({ result: { content: [{ text: 'slow' }] } });
    await proxy.request(3, 'logging/setLevel', { level: 'debug' });
    await proxy.request(4, 'tools/call', { name: 'slow' });
    const log = proxy.messages.filter(({ method }) => method === 'notifications/message');
    expect(log.map(({ params }) => (params as Json).level)).toEqual(['error', 'info', 'error']);
    expect(proxy.messages.filter(({ method }) => method === 'notifications/progress')).toHaveLength(
      1,
    );
  });

  it('is cancelled by closing its stream, and by nothing else', async () => {
    const { gateway, proxy } = await connect();
    const _meta = { progressToken: 7 };
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'slow', _meta } });
    await asked(proxy, 'notifications/progress');
    proxy.notify('notifications/cancelled', { requestId: 1, reason: 'enough' });
    await gateway.closedByClient(({ message }) => message.method === 'tools/call');
    // The fixture fails the test when the notification reaches it.
    await proxy.request(2, 'prompts/list');
    expect(proxy.messages.filter(({ id }) => id === 1)).toEqual([]);
    expect(gateway.requests('tools/call')).toHaveLength(1);
  });
});

describe('headers from the arguments of a tool', () => {
  it('are encoded as the specification says, whatever the value', async () => {
    const { gateway, proxy } = await connect();
    const query = (id: number, args: Json) =>
      proxy.request(id, 'tools/call', { name: 'query', arguments: args });
    await proxy.request('list', 'tools/list', { cursor: 'rest' });
    const regions: [string, string][] = [
      ['us-west1', 'us-west1'],
      ['us west 1', 'us west 1'],
      ['', ''],
      ['Hello, 世界', '=?base64?SGVsbG8sIOS4lueVjA==?='],
      [' padded ', '=?base64?IHBhZGRlZCA=?='],
      ['line1\nline2', '=?base64?bGluZTEKbGluZTI=?='],
      ['=?base64?literal?=', '=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?='],
    ];
    for (const [id, [region, header]] of regions.entries()) {
      const args = { region, limit: -7, dryRun: false, options: { tenant: 't' }, statement: 's' };
      expect(echoed(await query(id, args))).toEqual(args);
      expect(gateway.received.at(-1)?.headers).toMatchObject({
        'mcp-param-region': header,
        'mcp-param-limit': '-7',
        'mcp-param-dry-run': 'false',
        'mcp-param-tenant': 't',
      });
    }
    expect(echoed(await query(100, { region: null, statement: 's' }))).toBeTruthy();
    const sent = Object.keys(gateway.received.at(-1)?.headers ?? {});
    expect(sent.filter((name) => name.startsWith('mcp-param-'))).toEqual([]);
    expect(gateway.refusals).toEqual([]);
  });

  it('are found when the client never listed the tools', async () => {
    const { gateway, proxy } = await connect();
    const params = { name: 'query', arguments: { region: 'eu' } };
    expect(echoed(await proxy.request(1, 'tools/call', params))).toEqual({ region: 'eu' });
    expect(gateway.requests('tools/call').length).toBeLessThanOrEqual(2);
  });

  it('are found again when the tool has changed since: one retry after tools/list', async () => {
    const { gateway, proxy } = await connect();
    await proxy.request(1, 'tools/list');
    await proxy.request(2, 'tools/list', { cursor: 'rest' });
    const query = gateway.tools.find(({ name }) => name === 'query') as ModernTool;
    query.inputSchema = {
      type: 'object',
      properties: { region: { type: 'string', 'x-mcp-header': 'Area' } },
    };
    const params = { name: 'query', arguments: { region: 'eu' } };
    expect(echoed(await proxy.request(3, 'tools/call', params))).toEqual({ region: 'eu' });
    expect(gateway.refusals.map(([code]) => code)).toEqual([-32020]);
    const calls = gateway.requests('tools/call');
    expect(calls.map(({ headers }) => headers['mcp-param-area'])).toEqual([undefined, 'eu']);
    const [first, second] = calls.map((call) => gateway.received.indexOf(call));
    const between = gateway.received.slice(first, second).map(({ message }) => message.method);
    expect(between).toContain('tools/list');
    // The client was not asked anything, and it got the tools only when it asked.
    expect(proxy.messages.filter((message) => message.id !== undefined)).toHaveLength(4);
  });

  it('are tried only once more: the mismatch that stays is the answer', async () => {
    const { gateway, proxy } = await connect({ alwaysMismatched: true });
    await proxy.request(1, 'tools/list');
    const reply = await proxy.request(2, 'tools/call', { name: 'echo', arguments: { text: 'x' } });
    expect(reply).toMatchObject({ error: { code: -32020 } });
    expect(gateway.requests('tools/call')).toHaveLength(2);
  });

  it('drop a tool whose annotations are invalid from tools/list, with a line in the log', async () => {
    const { gateway, proxy } = await connect();
    const annotations: [string, Json][] = [
      ['bad-empty', { a: { type: 'string', 'x-mcp-header': '' } }],
      ['bad-spaced', { a: { type: 'string', 'x-mcp-header': 'My Region' } }],
      ['bad-injected', { a: { type: 'string', 'x-mcp-header': 'A\r\nX: y' } }],
      ['bad-fractional', { a: { type: 'number', 'x-mcp-header': 'A' } }],
      ['bad-structured', { a: { type: 'object', 'x-mcp-header': 'A' } }],
      [
        'bad-twice',
        {
          a: { type: 'string', 'x-mcp-header': 'Same' },
          b: { type: 'object', properties: { c: { type: 'string', 'x-mcp-header': 'sAME' } } },
        },
      ],
      ['bad-listed', { a: { type: 'array', items: { type: 'string', 'x-mcp-header': 'A' } } }],
      ['bad-either', { a: { anyOf: [{ type: 'string', 'x-mcp-header': 'A' }] } }],
      ['bad-nobody', { a: { type: 'string', 'x-mcp-header': 7 } }],
    ];
    for (const [name, properties] of annotations) {
      gateway.tools.push({ name, inputSchema: { type: 'object', properties } });
    }
    gateway.tools.push({ name: 'last', inputSchema: { type: 'object' } });
    const { result } = await proxy.request(1, 'tools/list', { cursor: 'rest' });
    const { tools } = result as { tools: Json[] };
    expect(tools.map(({ name }) => name)).toEqual([
      ...['query', 'ask-all', 'ask-once', 'ask-twice', 'ask-url', 'ask-forever', 'slow', 'last'],
    ]);
    // An annotation that is well is nothing to hide from a client that does not know it.
    expect(tools[0]).toEqual(gateway.tools[1]);
    await proxy.until(() => annotations.every(([name]) => proxy.stderr.includes(name)));
  });
});

describe('input that the gateway requires', () => {
  const call = (name: string, label: string, extra: Json = {}) => ({
    ...{ jsonrpc: '2.0', id: label, method: 'tools/call' },
    params: { name, arguments: { label }, ...extra },
  });

  it('is asked of the client, and its answers end in the result', async () => {
    const { gateway, proxy } = await connect();
    proxy.send(call('ask-all', 'a', { _meta: { progressToken: 'p' } }));
    const elicit = await asked(proxy, 'elicitation/create');
    expect(elicit).toMatchObject({ jsonrpc: '2.0', params: { message: 'Who?' } });
    respond(proxy, elicit, accept('Ada'));
    const sample = await asked(proxy, 'sampling/createMessage');
    expect(sample.params).toMatchObject({
      messages: [{ role: 'user', content: { type: 'text', text: 'Say yes' } }],
      maxTokens: 17,
    });
    respond(proxy, sample, sampled);
    respond(proxy, await asked(proxy, 'roots/list'), roots);
    const reply = await proxy.reply('a');
    expect(echoed(reply)).toEqual({
      label: 'a',
      who: accept('Ada'),
      what: sampled,
      where: roots,
    });
    expect(reply.result).not.toHaveProperty('resultType');
    // Independent requests (basic/patterns/mrtr, "Client Requirements"): another id, and otherwise
    // all that the first one said.
    const [first, retry] = gateway.requests('tools/call').map(({ message }) => message);
    expect(retry?.id).not.toBe(first?.id);
    expect(retry?.params).toMatchObject(first?.params as Json);
    expect(gateway.refusals).toEqual([]);
  });

  it.each([
    ['resources/read', { uri: 'memo://ask' }],
    ['prompts/get', { name: 'greet' }],
  ])('is asked of the client in %s as well', async (method, params) => {
    const { proxy } = await connect();
    proxy.send({ jsonrpc: '2.0', id: 1, method, params });
    respond(proxy, await asked(proxy, 'elicitation/create'), accept('Ada'));
    const { result } = await proxy.reply(1);
    expect(JSON.stringify(result)).toContain('Ada');
    for (const modern of ['resultType', 'ttlMs', 'cacheScope']) {
      expect(result).not.toHaveProperty(modern);
    }
  });

  it('comes with no requestState when the gateway gave none', async () => {
    const { gateway, proxy } = await connect();
    proxy.send(call('ask-once', 'a'));
    respond(proxy, await asked(proxy, 'elicitation/create'), { action: 'decline' });
    expect(echoed(await proxy.reply('a'))).toEqual({ who: { action: 'decline' } });
    for (const { message } of gateway.requests('tools/call')) {
      expect(message.params).not.toHaveProperty('requestState');
    }
  });

  it('may be required again, and may be nothing but to call again', async () => {
    const { gateway, proxy } = await connect();
    proxy.send(call('ask-twice', 'a'));
    respond(proxy, await asked(proxy, 'elicitation/create'), accept('first'));
    respond(proxy, await asked(proxy, 'elicitation/create', 2), accept('second'));
    // The answers to the last questions, and none to those before.
    expect(echoed(await proxy.reply('a'))).toEqual({ second: accept('second') });
    const ids = gateway.requests('tools/call').map(({ message }) => message.id);
    expect(new Set(ids).size).toBe(4);
    expect(gateway.refusals).toEqual([]);
  });

  it('without end is an error in the end', async () => {
    const { gateway, proxy } = await connect();
    proxy.send(call('ask-forever', 'a'));
    expect(await proxy.reply('a')).toHaveProperty('error');
    expect(gateway.requests('tools/call').length).toBeLessThanOrEqual(100);
    expect(await proxy.request(1, 'prompts/list')).toHaveProperty('result');
  });

  it('of one call does not mix with that of another', async () => {
    const { gateway, proxy } = await connect();
    const labels = ['a', 'b"\\', 'c🗝️'];
    // Each is asked before the next call begins, so that the order of the questions is known.
    const questions: Json[] = [];
    for (const label of labels) {
      proxy.send(call('ask-all', label));
      questions.push(await asked(proxy, 'elicitation/create', questions.length + 1));
    }
    expect(new Set(questions.map(({ id }) => id)).size).toBe(3);
    // A call that has nothing to do with them has nothing of them.
    await proxy.request(1, 'tools/call', { name: 'echo', arguments: {} });
    expect(gateway.received.at(-1)?.message.params).not.toHaveProperty('requestState');
    expect(gateway.received.at(-1)?.message.params).not.toHaveProperty('inputResponses');
    for (const index of [2, 0, 1]) {
      respond(proxy, questions[index] as Json, accept(labels[index] as string));
    }
    for (const count of [1, 2, 3]) {
      respond(proxy, await asked(proxy, 'sampling/createMessage', count), sampled);
      respond(proxy, await asked(proxy, 'roots/list', count), roots);
    }
    for (const label of labels) {
      expect(echoed(await proxy.reply(label))).toMatchObject({ label, who: accept(label) });
    }
    // The gateway has refused no requestState.
    expect(gateway.refusals).toEqual([]);
  });

  it('by URL has the elicitationId that the old revision requires', async () => {
    const { proxy } = await connect();
    proxy.send(call('ask-url', 'a'));
    const elicit = await asked(proxy, 'elicitation/create');
    expect(elicit.params).toMatchObject({
      mode: 'url',
      message: 'Consent',
      url: 'https://example.com/consent?a=1&b=2',
      elicitationId: expect.stringMatching(/./),
    });
    respond(proxy, elicit, { action: 'accept' });
    expect(echoed(await proxy.reply('a'))).toEqual({ who: { action: 'accept' } });
  });

  it('that the client fails to give is the error of the call', async () => {
    const { gateway, proxy } = await connect();
    proxy.send(call('ask-once', 'a'));
    const { id } = await asked(proxy, 'elicitation/create');
    proxy.send({ jsonrpc: '2.0', id, error: { code: -1, message: 'The user is out' } });
    const { error } = await proxy.reply('a');
    expect(JSON.stringify(error)).toContain('The user is out');
    expect(gateway.requests('tools/call')).toHaveLength(1);
  });

  it('is asked for no longer when the call is cancelled', async () => {
    const { gateway, proxy } = await connect();
    proxy.send(call('ask-once', 'a'));
    const elicit = await asked(proxy, 'elicitation/create');
    proxy.notify('notifications/cancelled', { requestId: 'a' });
    const cancelled = await asked(proxy, 'notifications/cancelled');
    expect(cancelled.params).toMatchObject({ requestId: elicit.id });
    // Too late.
    respond(proxy, elicit, accept('Ada'));
    await proxy.request(1, 'prompts/list');
    expect(gateway.requests('tools/call')).toHaveLength(1);
    expect(proxy.messages.filter(({ id }) => id === 'a')).toEqual([]);
  });
});

describe('subscriptions of an old client', () => {
  const covers = (uri: string) => (filter: Json) =>
    Array.isArray(filter.resourceSubscriptions) && filter.resourceSubscriptions.includes(uri);
  const updates = (proxy: RunningProxy) =>
    proxy.messages
      .filter(({ method }) => method === 'notifications/resources/updated')
      .map(({ params }) => params);

  it('to resources become a subscriptions/listen stream, in force when they are answered', async () => {
    const { gateway, proxy } = await connect();
    for (const [id, uri] of ['memo://one', 'memo://two'].entries()) {
      const reply = await proxy.request(id, 'resources/subscribe', { uri });
      expect(reply).toEqual({ jsonrpc: '2.0', id, result: {} });
      expect(gateway.subscriptions().some(covers(uri))).toBe(true);
    }
    // The first still holds, and is told of once.
    gateway.resourceUpdated('memo://one');
    gateway.resourceUpdated('memo://other');
    gateway.resourceUpdated('memo://two');
    await asked(proxy, 'notifications/resources/updated', 2);
    // As the old revision has them, without the subscription that they came with.
    expect(updates(proxy)).toEqual([{ uri: 'memo://one' }, { uri: 'memo://two' }]);
    expect(gateway.requests('resources/subscribe')).toEqual([]);
    expect(proxy.messages.map(({ method }) => method)).not.toContain(
      'notifications/subscriptions/acknowledged',
    );
    expect(gateway.refusals).toEqual([]);
  });

  it('to resources end with resources/unsubscribe', async () => {
    const { gateway, proxy } = await connect();
    await proxy.request(1, 'resources/subscribe', { uri: 'memo://one' });
    await proxy.request(2, 'resources/subscribe', { uri: 'memo://two' });
    const reply = await proxy.request(3, 'resources/unsubscribe', { uri: 'memo://one' });
    expect(reply).toEqual({ jsonrpc: '2.0', id: 3, result: {} });
    gateway.resourceUpdated('memo://one');
    gateway.resourceUpdated('memo://two');
    await asked(proxy, 'notifications/resources/updated');
    expect(updates(proxy)).toEqual([{ uri: 'memo://two' }]);
    expect(gateway.requests('resources/unsubscribe')).toEqual([]);
  });

  it('to lists need not be asked for: list_changed arrives as the old revision has it', async () => {
    const { gateway, proxy } = await connect();
    for (const list of ['tools', 'prompts', 'resources'] as const) {
      await gateway.listening((filter) => filter[`${list}ListChanged`] === true);
      gateway.listChanged(list);
      const { params = {} } = await asked(proxy, `notifications/${list}/list_changed`);
      expect(params).toEqual({});
    }
  });

  it('to lists outlive those to resources', async () => {
    const { gateway, proxy } = await connect();
    await proxy.request(1, 'resources/subscribe', { uri: 'memo://one' });
    await proxy.request(2, 'resources/unsubscribe', { uri: 'memo://one' });
    await gateway.listening((filter) => filter.toolsListChanged === true);
    gateway.listChanged('tools');
    await asked(proxy, 'notifications/tools/list_changed');
  });

  it('are not opened with a gateway that announces no changes', async () => {
    const { gateway, proxy } = await connect({ capabilities: { tools: {} } });
    await proxy.request(1, 'tools/list');
    expect(await proxy.end()).toBe(0);
    expect(gateway.requests('subscriptions/listen')).toEqual([]);
  });

  it('made at once share a stream, and none is left over', async () => {
    let acknowledge = () => {};
    const { gateway, proxy } = await connect({
      // The first has to wait.
      beforeAcknowledging: ({ resourceSubscriptions }) =>
        Array.isArray(resourceSubscriptions) && resourceSubscriptions.length === 1
          ? new Promise((resolve) => {
              acknowledge = resolve;
            })
          : undefined,
    });
    await gateway.listening(() => true);
    const first = proxy.request(1, 'resources/subscribe', { uri: 'memo://1' });
    await gateway.listening(covers('memo://1'));
    const others = [2, 3, 4, 5].map((id) =>
      proxy.request(id, 'resources/subscribe', { uri: `memo://${id}` }),
    );
    // Read after those before it.
    await proxy.request(6, 'ping');
    acknowledge();
    for (const reply of await Promise.all([first, ...others])) {
      expect(reply).toMatchObject({ result: {} });
    }
    // For the lists, for the first and for all.
    expect(gateway.requests('subscriptions/listen')).toHaveLength(3);
    await gateway.listeningOnce();
    for (const id of [1, 5]) gateway.resourceUpdated(`memo://${id}`);
    await asked(proxy, 'notifications/resources/updated', 2);
    expect(updates(proxy)).toEqual([{ uri: 'memo://1' }, { uri: 'memo://5' }]);
  });

  it('end with a second handshake, those too that wait for their turn', async () => {
    const never = new Promise<void>(() => {});
    const { gateway, proxy } = await connect({
      beforeAcknowledging: () =>
        gateway.requests('subscriptions/listen').length === 1 ? never : undefined,
    });
    await gateway.listening(() => true);
    proxy.send({
      jsonrpc: '2.0',
      id: 1,
      method: 'resources/subscribe',
      params: { uri: 'memo://one' },
    });
    const params = { protocolVersion: OLD, capabilities: CAPABILITIES, clientInfo: CLIENT };
    expect(await proxy.request('again', 'initialize', params)).toHaveProperty('result');
    proxy.notify('notifications/initialized');
    await gateway.request(() => gateway.requests('subscriptions/listen').length === 2);
    await gateway.listeningOnce();
    expect(gateway.subscriptions()[0]).not.toHaveProperty('resourceSubscriptions');
    expect(gateway.requests('subscriptions/listen')).toHaveLength(2);
  });

  it('are opened again when the stream breaks', async () => {
    const { gateway, proxy } = await connect();
    await proxy.request(1, 'resources/subscribe', { uri: 'memo://one' });
    const before = gateway.requests('subscriptions/listen').length;
    gateway.dropSubscriptions();
    await gateway.request(() => gateway.requests('subscriptions/listen').length > before);
    await gateway.listening(covers('memo://one'));
    gateway.resourceUpdated('memo://one');
    await asked(proxy, 'notifications/resources/updated');
    expect(updates(proxy)).toEqual([{ uri: 'memo://one' }]);
  });
});
