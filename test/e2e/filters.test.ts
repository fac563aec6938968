import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { filteredSession, SESSIONS, TOOLS } from './filtered-session.ts';
import { answer, type Received, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

const names = TOOLS.map(({ name }) => name);
const LEGACY = ['legacy', 'legacy', 'json'] as const;

/** What a filter's error says. */
const blockedBy = (rule: string) => ({
  error: {
    code: -32002,
    message: expect.stringContaining(`blocked by ${rule}`),
    data: { reason: 'tool_not_allowed', rule, retryable: false },
  },
});

describe.each(SESSIONS)('a %s client at a %s gateway that replies with %s', (...eras) => {
  it.each([
    {
      args: ['--allow-tool', 'get_*', '--allow-tool', 'plain'],
      left: ['plain', 'get_issue', 'get_all'],
      rule: '--allow-tool',
    },
    {
      args: ['--deny-tool', '*_issue'],
      left: ['plain', 'get_all', 'odd'],
      rule: '--deny-tool *_issue',
    },
    {
      args: ['--deny', 'tool:*_issue'],
      left: ['plain', 'get_all', 'odd'],
      rule: '--deny tool:*_issue',
    },
    { args: ['--read-only'], left: ['get_issue', 'get_all'], rule: '--read-only' },
    {
      args: ['--no-destructive'],
      left: ['get_issue', 'add_issue', 'get_all'],
      rule: '--no-destructive',
    },
  ])('$args leaves $left, on lists and for calls', async ({ args, left, rule }) => {
    const { ask, listed, requests } = await filteredSession(eras, args);
    // Before any list, and after it.
    for (const _ of [1, 2]) {
      for (const name of ['delete_issue', 'get_all']) {
        const reply = await ask('tools/call', { name });
        if (name === 'delete_issue') expect(reply).toMatchObject(blockedBy(rule));
        else expect(reply).toHaveProperty('result.content');
      }
      expect(await listed()).toEqual(left);
    }
    const called = requests('tools/call').map(({ message }) => (message.params as Json).name);
    expect(called).toEqual(['get_all', 'get_all']);
  });

  it('deny wins over allow', async () => {
    const args = ['--allow-tool', 'get_*', '--deny-tool', 'get_all'];
    const { ask, listed } = await filteredSession(eras, args);
    expect(await listed()).toEqual(['get_issue']);
    expect(await ask('tools/call', { name: 'get_all' })).toMatchObject(
      blockedBy('--deny-tool get_all'),
    );
  });

  it('blocks a tool that no list has shown, where annotations decide', async () => {
    const { ask, requests } = await filteredSession(eras, ['--read-only']);
    for (const _ of [1, 2]) {
      expect(await ask('tools/call', { name: 'hidden' })).toMatchObject(blockedBy('--read-only'));
    }
    expect(requests('tools/call')).toEqual([]);
    // All pages, once.
    const pages = eras[1] === 'modern' ? 2 : 3;
    expect(requests('tools/list')).toHaveLength(pages);
  });
});

describe('a filter', () => {
  it('leaves what remains of a list as it came, byte for byte', async () => {
    const kept = '{"name":"a","n":1.0,"big":12345678901234567890,"s":"\\u00e9"}';
    const gateway = await startGateway((received, response) => {
      if (received.message.method !== 'tools/list') return answer(received, response);
      const { id } = received.message;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        `{"jsonrpc":"2.0","id":${id},"result":{"x" : 1E2,"tools":[{"name":"b"},${kept} , {"name":"b2"}],"_meta":{}}}`,
      );
    });
    const proxy = startProxy(gateway.url, { args: ['--deny-tool', 'b*'] });
    let stdout = '';
    proxy.child.stdout?.on('data', (text) => {
      stdout += text;
    });
    await proxy.initialize();
    await proxy.request(1, 'tools/list');
    expect(stdout).toContain(
      `{"jsonrpc":"2.0","id":1,"result":{"x" : 1E2,"tools":[${kept}],"_meta":{}}}\n`,
    );
  });

  it.each(['GET', 'tools/call'])('filters a list that comes on the stream of %s', async (of) => {
    const opened: Received[] = [];
    const streams: ServerResponse[] = [];
    const gateway = await startGateway((received, response) => {
      const { method, message } = received;
      const begin = () => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(': open\n\n');
      };
      if (of === (method === 'GET' ? 'GET' : message.method)) {
        opened.push(received);
        streams.push(response);
        begin();
      } else if (message.method === 'tools/list') {
        begin();
        const tools = [{ name: 'delete_a' }, { name: 'get_a' }];
        const list = { jsonrpc: '2.0', id: message.id, result: { tools } };
        streams[0]?.write(`data: ${JSON.stringify(list)}\n\n`);
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url, { args: ['--deny-tool', 'delete_*'] });
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 'c', method: 'tools/call', params: { name: 'get_a' } });
    await gateway.request((received) => opened.includes(received));
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      result: { tools: [{ name: 'get_a' }] },
    });
  });

  it('asks for the list again after it has changed', async () => {
    const session = await filteredSession(['legacy', 'modern', 'json'], ['--read-only']);
    const { ask, proxy } = session;
    const gateway = session.gateway as Awaited<
      ReturnType<typeof import('./modern-gateway.ts').startModernGateway>
    >;
    await gateway.listening(({ toolsListChanged }) => toolsListChanged === true);
    expect(await ask('tools/call', { name: 'get_all' })).toHaveProperty('result');
    session.tools = [{ name: 'get_all' }, { name: 'plain', annotations: { readOnlyHint: true } }];
    gateway.listChanged('tools');
    await proxy.message(({ method }) => method === 'notifications/tools/list_changed');
    expect(await ask('tools/call', { name: 'get_all' })).toMatchObject(blockedBy('--read-only'));
    expect(await ask('tools/call', { name: 'plain' })).toHaveProperty('result');
  });

  it('asks once for calls that come together', async () => {
    const { proxy, requests } = await filteredSession(LEGACY, ['--read-only']);
    for (const id of ['a', 'b', 'c']) {
      proxy.send({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'get_all' } });
    }
    for (const id of ['a', 'b', 'c']) expect(await proxy.reply(id)).toHaveProperty('result');
    expect(requests('tools/list')).toHaveLength(3);
  });

  it('says why the gateway does not answer, where it must be asked first', async () => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'tools/list') response.writeHead(403).end();
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url, { args: ['--read-only'] });
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/call', { name: 'x' })).toMatchObject({
      error: { data: { reason: 'forbidden' } },
    });
  });

  it('judges each message of a batch on its own', async () => {
    const { proxy, requests } = await filteredSession(LEGACY, ['--deny-tool', 'delete_*']);
    const call = (id: number, name: string) => ({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name },
    });
    proxy.send([call(1, 'plain'), call(2, 'delete_issue'), call(3, 'get_all')]);
    expect(await proxy.reply(2)).toMatchObject(blockedBy('--deny-tool delete_*'));
    expect(await proxy.reply(1)).toHaveProperty('result');
    expect(requests('tools/call')).toHaveLength(2);
  });

  it('blocks a call that is written as a notification', async () => {
    const { proxy, ask, requests } = await filteredSession(LEGACY, ['--deny-tool', 'delete_*']);
    proxy.notify('tools/call', { name: 'delete_issue' });
    await proxy.until(() => proxy.stderr.includes('blocked by'));
    await ask('ping');
    expect(requests('tools/call')).toEqual([]);
  });

  it.each([
    ['a repeated name', '"method":"tools/call","params":{"name":"plain","name":"delete_issue"}'],
    [
      'a repeated name, escaped',
      '"method":"tools/call","params":{"name":"plain","n\\u0061me":"delete_issue"}',
    ],
    [
      'the name in another case',
      '"method":"tools/call","params":{"name":"plain","Name":"delete_issue"}',
    ],
    [
      'repeated params',
      '"method":"tools/call","params":{"name":"delete_issue"},"params":{"name":"plain"}',
    ],
    [
      'params in another case',
      '"method":"tools/call","params":{"name":"plain"},"PARAMS":{"name":"delete_issue"}',
    ],
    [
      'params with a long s',
      '"method":"tools/call","params":{"name":"plain"},"param\u017f":{"name":"delete_issue"}',
    ],
    ['a repeated method', '"method":"tools/call","method":"ping","params":{"name":"delete_issue"}'],
    [
      'the method in another case',
      '"method":"ping","Method":"tools/call","params":{"name":"delete_issue"}',
    ],
    ['a method of unlike case', '"method":"Tools/Call","params":{"name":"delete_issue"}'],
    ['white space around the method', '"method":" tools/call","params":{"name":"delete_issue"}'],
    ['a method that is not known', '"method":"tools/callMany","params":{"names":["delete_issue"]}'],
    ['params by position', '"method":"tools/call","params":["delete_issue"]'],
    ['a name that is no string', '"method":"tools/call","params":{"name":["delete_issue"]}'],
    ['no name', '"method":"tools/call"'],
    [
      'a name of 5,000 characters',
      `"method":"tools/call","params":{"name":"delete_issue${' '.repeat(5_000)}"}`,
    ],
  ])('does not send %s', async (_, members) => {
    const { proxy, ask, requests } = await filteredSession(LEGACY, ['--deny-tool', 'delete_*']);
    proxy.send(`{"jsonrpc":"2.0","id":"x",${members}}`);
    expect(await proxy.reply('x')).toMatchObject({
      error: { code: -32002, data: { reason: 'tool_not_allowed' } },
    });
    await ask('ping');
    expect(requests('ping')).toHaveLength(1);
    expect(requests('tools/call')).toEqual([]);
    expect(proxy.stderr).not.toMatch(/\bbug:/);
  });

  it.each([
    ['tools\\u002fcall', 'd\\u0065lete_issue'],
    ['tools/call', 'DELETE_ISSUE'],
    ['tools/call', ' delete_issue '],
    ['tools/call', '\uff44elete_issue'],
    ['tools/call', 'dele\u00adte\u200b_issue\ufe0f'],
    ['tools/call', '\\u0000delete_issue'],
  ])('blocks %s of "%s"', async (method, name) => {
    const { proxy, requests } = await filteredSession(LEGACY, ['--deny-tool', 'delete_*']);
    proxy.send(`{"jsonrpc":"2.0","id":"x","method":"${method}","params":{"name":"${name}"}}`);
    expect(await proxy.reply('x')).toMatchObject(blockedBy('--deny-tool delete_*'));
    expect(requests('tools/call')).toEqual([]);
  });

  it('does not send a response that another program could read as a call', async () => {
    const { proxy, ask, gateway } = await filteredSession(LEGACY, ['--deny-tool', 'delete_*']);
    proxy.send(
      '{"jsonrpc":"2.0","id":"x","result":{},"Method":"tools/call","Params":{"name":"delete_issue"}}',
    );
    await ask('ping');
    expect(gateway.received.filter(({ body }) => body.includes('delete_issue'))).toEqual([]);
  });

  it('filters the lists of a start without the gateway', async () => {
    const { mkdtempSync } = await import('node:fs');
    const { tmpdir } = await import('node:os');
    const { join } = await import('node:path');
    const env = { XDG_CACHE_HOME: mkdtempSync(join(tmpdir(), 'latchkey-filters-')) };
    const first = await filteredSession(LEGACY, [], env);
    expect(await first.listed()).toEqual(names);
    await first.proxy.end();
    await first.gateway.close();
    const proxy = startProxy(first.gateway.url, { args: ['--read-only'], env });
    await proxy.initialize('2025-11-25');
    const { result } = await proxy.request(1, 'tools/list');
    expect((result as { tools: Json[] }).tools.map(({ name }) => name)).toEqual(['get_issue']);
  });
});

describe('prompts and resources', () => {
  const args = [
    ...['--deny', 'prompt:secret_*', '--deny', 'resource:file:///etc/*'],
    ...['--allow', 'resource:file:///*'],
  ];

  it('are left out of lists', async () => {
    const { ask, listed } = await filteredSession(LEGACY, args);
    expect(await ask('prompts/list')).toMatchObject({ result: { prompts: [{ name: 'greet' }] } });
    expect(await ask('resources/list')).toMatchObject({
      result: { resources: [{ uri: 'file:///safe/a' }] },
    });
    expect(await ask('resources/templates/list')).toMatchObject({
      result: { resourceTemplates: [] },
    });
    expect(await listed()).toEqual(names);
  });

  it.each([
    ['prompts/get', { name: 'secret_plan' }],
    ['resources/read', { uri: 'file:///etc/shadow' }],
    ['resources/read', { uri: 'file:///safe/../etc/shadow' }],
    ['resources/read', { uri: 'file:///safe/%2e%2e/%65tc/shadow' }],
    ['resources/read', { uri: 'file:///safe/%252e%252e/etc/shadow' }],
    ['resources/read', { uri: 'FILE:///etc/shadow' }],
    ['resources/read', { uri: 'file:\\\\\\etc\\shadow' }],
    ['resources/read', { uri: `file:///${'%25'.repeat(3)}${'25'.repeat(20)}2e` }],
    ['resources/read', { uri: 'https://elsewhere.example/' }],
    ['resources/subscribe', { uri: 'file:///etc/shadow' }],
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'secret_plan' } }],
    ['completion/complete', { ref: { type: 'ref/resource', uri: 'file:///etc/{name}' } }],
    [
      'completion/complete',
      { ref: { type: 'ref/prompt', uri: 'file:///safe/a', name: 'secret_x' } },
    ],
    ['completion/complete', {}],
  ])('cannot be used: %s of %j', async (method, params) => {
    const { ask, requests } = await filteredSession(LEGACY, args);
    expect(await ask(method, params)).toMatchObject({
      error: { code: -32002, data: { reason: 'tool_not_allowed' } },
    });
    expect(requests(method)).toEqual([]);
  });

  it('can be used where no rule blocks them', async () => {
    const { ask } = await filteredSession(LEGACY, args);
    expect(await ask('prompts/get', { name: 'greet' })).toHaveProperty('result');
    expect(await ask('resources/read', { uri: 'file:///safe/a' })).toHaveProperty('result');
    expect(await ask('resources/read', { uri: 'file:///safe/a%20b' })).toHaveProperty('result');
    const ref = { type: 'ref/prompt', name: 'greet' };
    expect(await ask('completion/complete', { ref })).toHaveProperty('result');
  });

  it('cannot be subscribed to in revision 2026-07-28', async () => {
    const { ask, requests } = await filteredSession(['modern', 'modern', 'json'], args);
    const notifications = { resourceSubscriptions: ['file:///safe/a', 'file:///etc/shadow'] };
    expect(await ask('subscriptions/listen', { notifications })).toMatchObject(
      blockedBy('--deny resource:file:///etc/*'),
    );
    expect(requests('subscriptions/listen')).toEqual([]);
  });

  const denied = { resourceSubscriptions: ['file:///etc/shadow'] };
  it.each([
    [{ notifications: {}, Notifications: denied }],
    [{ NOTIFICATIONS: denied }],
    [
      {
        notifications: { resourceSubscriptions: [], ResourceSubscriptions: ['file:///etc/shadow'] },
      },
    ],
    [{ notifications: { resourceSubscriptions: 'file:///etc/shadow' } }],
  ])('cannot be subscribed to where the request is unclear: %j', async (params) => {
    for (const gateway of ['modern', 'legacy'] as const) {
      const { ask, requests } = await filteredSession(['modern', gateway, 'json'], args);
      expect(await ask('subscriptions/listen', params)).toMatchObject({
        error: { code: -32002, data: { reason: 'tool_not_allowed' } },
      });
      for (const method of ['subscriptions/listen', 'resources/subscribe']) {
        expect(requests(method)).toEqual([]);
      }
    }
  });
});

describe('filter options', () => {
  it('are read from the environment, one pattern a line', async () => {
    const { listed } = await filteredSession(LEGACY, [], {
      MCP_LATCHKEY_DENY_TOOL: 'get_*\nplain',
      MCP_LATCHKEY_READ_ONLY: '0',
      MCP_LATCHKEY_NO_DESTRUCTIVE: 'true',
    });
    expect(await listed()).toEqual(['add_issue']);
  });

  it.each([
    [['--allow', 'get_*'], "--allow needs 'tool:NAME'"],
    [['--deny', 'prompt:'], "--deny needs 'tool:NAME'"],
    [['--deny-tool='], '--deny-tool needs a name'],
  ])('%j is not accepted', async (args, why) => {
    const proxy = startProxy('https://gateway.example/', { args });
    const reply = await proxy.request(1, 'initialize');
    expect(reply).toMatchObject({ error: { message: expect.stringContaining(why) } });
  });
});

describe('a suggestion for an unknown tool', () => {
  it('never names a tool that a filter hides', async () => {
    const gateway = await startGateway((received, response) => {
      const { id, method } = received.message;
      const tools = [
        { name: 'get_issue', annotations: { readOnlyHint: true } },
        { name: 'set_issue', annotations: { readOnlyHint: true } },
        { name: 'let_issue' },
      ];
      if (method === 'tools/list') answer(received, response, { tools });
      else if (method !== 'tools/call') answer(received, response);
      else {
        const error = { code: -32602, message: 'Tool not found' };
        response.setHeader('Content-Type', 'application/json');
        response.end(JSON.stringify({ jsonrpc: '2.0', id, error }));
      }
    });
    const suggested = async (args: string[], env: Record<string, string>) => {
      const proxy = startProxy(gateway.url, { args, env });
      await proxy.initialize();
      await proxy.request(1, 'tools/list');
      const { error } = await proxy.request(2, 'tools/call', { name: 'bet_issue' });
      return (error as { message: string }).message;
    };
    expect(await suggested([], {})).toContain('let_issue');
    const message = await suggested(['--deny-tool', 'set_*'], { MCP_LATCHKEY_ALLOW: 'tool:*et_*' });
    expect(message).not.toContain('set_issue');
    expect(message).toContain('Did you mean');
  });
});

it.skipIf(process.platform !== 'linux')(
  'a list of 20 MB is filtered to 10 tools, with at most 100 MB more memory',
  async () => {
    const description = 'x'.repeat(1000);
    const tools = Array.from({ length: 20_000 }, (_, index) => ({
      name: index % 2000 === 0 ? `get_${index}` : `delete_${index}`,
      description,
    }));
    const gateway = await startGateway((received, response) => {
      const isList = received.message.method === 'tools/list';
      answer(received, response, isList ? { tools } : undefined);
    });
    const proxy = startProxy(gateway.url, { args: ['--deny-tool', 'delete_*'] });
    await proxy.initialize();
    const peakMB = () => {
      const status = readFileSync(`/proc/${proxy.child.pid}/status`, 'utf8');
      return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
    };
    const before = peakMB();
    const { result } = await proxy.request(1, 'tools/list');
    expect((result as { tools: object[] }).tools).toHaveLength(10);
    expect(peakMB() - before).toBeLessThan(100);
  },
);
