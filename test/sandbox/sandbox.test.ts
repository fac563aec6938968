import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { call, events, initialize, post, read, request } from './post.ts';

const open: Sandbox[] = [];

async function start(options?: SandboxOptions) {
  const sandbox = await startSandbox(options);
  open.push(sandbox);
  return sandbox;
}

afterEach(() => Promise.all(open.splice(0).map((sandbox) => sandbox.close())));

describe('the gateway as documented', () => {
  let sandbox: Sandbox;
  beforeEach(async () => {
    sandbox = await start();
  });

  it('listens on loopback at /v1/mcp', () => {
    expect(sandbox.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1\/mcp$/);
    expect(sandbox.url).toBe(`${sandbox.origin}/v1/mcp`);
  });

  it('names its keys so that they are not mistaken for real ones', () => {
    for (const key of Object.values(sandbox.keys)) expect(key).toMatch(/^sandbox-.{8,}$/);
  });

  it('lists tools without a handshake and without a session', async () => {
    const reply = await post(sandbox, request('tools/list', undefined, 'list-1'));
    expect(reply.status).toBe(200);
    expect(reply.headers.get('mcp-session-id')).toBeNull();
    expect(reply.json).toMatchObject({ jsonrpc: '2.0', id: 'list-1' });
    const { tools } = reply.json.result;
    expect(tools.map((tool: { name: string }) => tool.name)).toEqual(
      expect.arrayContaining([
        'linear_get_issue',
        'github_search_code',
        'sap-s4hana-rfc_invoke_bapi',
        'notion_search_pages',
        'platform_whoami',
      ]),
    );
    for (const tool of tools) {
      expect(tool.description).not.toBe('');
      expect(tool.inputSchema.type).toBe('object');
    }
    const annotations = (name: string) =>
      tools.find((tool: { name: string }) => tool.name === name).annotations;
    expect(annotations('linear_get_issue')).toEqual({ readOnlyHint: true, idempotentHint: true });
    expect(annotations('linear_add_comment')).toMatchObject({ idempotentHint: false });
  });

  it.each(['2024-11-05', '2025-11-25', '1999-01-01'])(
    'answers initialize for %s with its own revision, 2024-11-05',
    async (revision) => {
      const reply = await post(sandbox, initialize(revision));
      expect(reply.json.result.protocolVersion).toBe('2024-11-05');
      expect(reply.headers.get('mcp-session-id')).toBeNull();
    },
  );

  it('answers ping with an empty result', async () => {
    expect((await post(sandbox, request('ping', undefined, 0))).json).toEqual({
      jsonrpc: '2.0',
      id: 0,
      result: {},
    });
  });

  it.each([
    ['a notification', { jsonrpc: '2.0', method: 'notifications/initialized' }],
    ['a response', { jsonrpc: '2.0', id: 9, result: {} }],
    ['an error response', { jsonrpc: '2.0', id: 9, error: { code: -1, message: 'no' } }],
  ])('takes %s with 202 and no body', async (_what, message) => {
    const reply = await post(sandbox, message);
    expect(reply.status).toBe(202);
    expect(reply.text).toBe('');
  });

  it.each(['', '/v1/mcp'])(
    'serves the RFC 9728 document at the well-known path%s',
    async (path) => {
      const reply = await read(
        await fetch(`${sandbox.origin}/.well-known/oauth-protected-resource${path}`),
      );
      expect(reply.status).toBe(200);
      expect(reply.json).toMatchObject({
        resource: sandbox.url,
        bearer_methods_supported: ['header'],
        resource_name: expect.any(String),
        resource_documentation: expect.stringMatching(/^https:/),
      });
    },
  );

  it.each([
    ['GET', '/v1/mcp'],
    ['DELETE', '/v1/mcp'],
    ['PUT', '/v1/mcp'],
    ['POST', '/'],
    ['POST', '/v1/mcp/'],
    ['POST', '/mcp'],
    ['POST', '//'],
    ['POST', '/.well-known/oauth-protected-resource'],
    ['GET', '/.well-known/oauth-protected-resource/mcp'],
  ])('answers 404 to %s %s, key or no key', async (method, path) => {
    for (const authorization of ['', `Bearer ${sandbox.keys.good}`]) {
      const req = httpRequest(sandbox.origin, { method, path, headers: { authorization } }).end();
      const [res]: IncomingMessage[] = await once(req, 'response');
      expect(res?.statusCode).toBe(404);
      expect(res?.headers['www-authenticate']).toBeUndefined();
      expect(JSON.parse(await text(res as IncomingMessage))).toEqual({ error: 'Not Found' });
    }
  });

  describe('keys', () => {
    it.each<[string, (keys: Sandbox['keys']) => Record<string, string | null>]>([
      ['no key', () => ({ authorization: null })],
      ['an unknown key', () => ({ authorization: 'Bearer nobody-has-this-key' })],
      ['a revoked key', (keys) => ({ authorization: `Bearer ${keys.revoked}` })],
      ['a key with a space in it', (keys) => ({ authorization: `Bearer ${keys.good} x` })],
      ['another scheme', (keys) => ({ authorization: `Basic ${keys.good}` })],
      ['a bare key in Authorization', (keys) => ({ authorization: keys.good })],
      ['an empty Authorization', () => ({ authorization: '' })],
      ['a revoked x-api-key', (keys) => ({ authorization: null, 'x-api-key': keys.revoked })],
      [
        'a malformed Authorization beside a good x-api-key',
        (keys) => ({ authorization: 'Bearer', 'x-api-key': keys.good }),
      ],
      [
        'a revoked Authorization beside a good x-api-key',
        (keys) => ({ authorization: `Bearer ${keys.revoked}`, 'x-api-key': keys.good }),
      ],
    ])('answers 401 to %s and points at the metadata', async (_what, headers) => {
      const reply = await post(sandbox, request('ping'), headers(sandbox.keys));
      expect(reply.status).toBe(401);
      expect(reply.text).toBe('{"error":"Unauthorized"}');
      expect(reply.headers.get('content-type')).toBe('application/json');
      const challenge = reply.headers.get('www-authenticate') ?? '';
      const metadata = /^Bearer resource_metadata="(.+)"$/.exec(challenge)?.[1] ?? '';
      expect(metadata).toBe(`${sandbox.origin}/.well-known/oauth-protected-resource`);
      expect((await read(await fetch(metadata))).json.resource).toBe(sandbox.url);
    });

    it.each<[string, (keys: Sandbox['keys']) => Record<string, string | null>]>([
      ['in Authorization', (keys) => ({ authorization: `Bearer ${keys.good}` })],
      ['under a lower-case scheme', (keys) => ({ authorization: `bearer ${keys.good}` })],
      ['in x-api-key', (keys) => ({ authorization: null, 'x-api-key': keys.good })],
      [
        'in Authorization beside a revoked x-api-key',
        (keys) => ({ authorization: `Bearer ${keys.good}`, 'x-api-key': keys.revoked }),
      ],
    ])('lets a good key in %s', async (_where, headers) => {
      const reply = await post(sandbox, request('ping'), headers(sandbox.keys));
      expect(reply.status).toBe(200);
    });

    it('answers 403 without a challenge when the holder lacks the entitlement', async () => {
      const authorization = `Bearer ${sandbox.keys.noEntitlement}`;
      const reply = await post(sandbox, request('ping'), { authorization });
      expect(reply.status).toBe(403);
      expect(reply.headers.get('www-authenticate')).toBeNull();
    });

    it('lists nothing for an account without integrations', async () => {
      const authorization = `Bearer ${sandbox.keys.emptyAccount}`;
      const reply = await post(sandbox, request('tools/list'), { authorization });
      expect(reply.json.result).toEqual({ tools: [] });
    });

    it('lists and calls only what an account reaches', async () => {
      const authorization = `Bearer ${sandbox.keys.linearOnly}`;
      const list = await post(sandbox, request('tools/list'), { authorization });
      const names = list.json.result.tools.map((tool: { name: string }) => tool.name);
      expect(names).toEqual(['linear_get_issue', 'linear_list_issues', 'linear_add_comment']);
      const reply = await post(sandbox, call('platform_whoami'), { authorization });
      expect(reply.json.error).toEqual({
        code: -32602,
        message: 'Not authorized to call tool: platform_whoami',
      });
    });
  });

  it.each(['application/json', '*/*', 'text/event-stream'])(
    'answers 406 to Accept: %s',
    async (accept) => {
      const reply = await post(sandbox, request('ping'), { accept });
      expect(reply.status).toBe(406);
      expect(reply.json.error.message).toBe(
        'Not Acceptable: Client must accept both application/json and text/event-stream',
      );
    },
  );

  describe('the Origin of a request (MCP, Transports, Security Warning)', () => {
    it.each([
      'https://evil.example',
      'http://evil.example:PORT',
      'http://127.0.0.1.evil.example:PORT',
      'http://localhost:1',
      'https://127.0.0.1:PORT',
      'http://127.0.0.1:PORT/',
      'null',
      '',
    ])('is refused with 403 when it is %j', async (given) => {
      const origin = given.replace('PORT', new URL(sandbox.url).port);
      const reply = await post(sandbox, request('tools/list'), { origin });
      expect(reply.status).toBe(403);
      expect(reply.json).toEqual({
        jsonrpc: '2.0',
        error: { code: -32000, message: expect.stringContaining('Origin') },
        id: null,
      });
      const metadata = await fetch(`${sandbox.origin}/.well-known/oauth-protected-resource`, {
        headers: { origin },
      });
      expect(metadata.status).toBe(403);
    });

    it.each(['http://127.0.0.1:PORT', 'http://localhost:PORT'])(
      'is accepted when it is its own: %s',
      async (given) => {
        const origin = given.replace('PORT', new URL(sandbox.url).port);
        const reply = await post(sandbox, request('tools/list'), { origin });
        expect(reply.status).toBe(200);
      },
    );

    it('is looked at before the key and the path', async () => {
      const headers = { origin: 'https://evil.example', authorization: null };
      expect((await post(sandbox, request('ping'), headers)).status).toBe(403);
      expect((await post(sandbox, request('ping'), headers, `${sandbox.origin}/x`)).status).toBe(
        403,
      );
    });
  });

  it('answers 415 to a body that is not declared as JSON', async () => {
    const reply = await post(sandbox, request('ping'), { 'content-type': 'text/plain' });
    expect(reply.status).toBe(415);
  });

  it.each([
    ['broken JSON', '{"jsonrpc":"2.0","id":1', -32700],
    ['an empty body', '', -32700],
    ['a number', '42', -32600],
    ['null', 'null', -32600],
    ['no jsonrpc member', '{"id":1,"method":"ping"}', -32600],
    ['an id of null', '{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600],
    ['params that are no object', '{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32600],
    ['a batch', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600],
    ['an empty batch', '[]', -32600],
  ])('answers 400 to %s', async (_what, body, code) => {
    const reply = await post(sandbox, body);
    expect(reply.status).toBe(400);
    expect(reply.json).toMatchObject({ jsonrpc: '2.0', id: null, error: { code } });
  });

  it.each(['resources/list', 'resources/read', 'logging/setLevel', 'toString', '__proto__'])(
    'does not support %s: -32601',
    async (method) => {
      const reply = await post(sandbox, request(method));
      expect(reply.status).toBe(200);
      expect(reply.json.error.code).toBe(-32601);
    },
  );

  describe('tools', () => {
    // biome-ignore lint/suspicious/noExplicitAny: each tool's result has its own shape
    async function result(name: string, args: unknown): Promise<any> {
      const reply = await post(sandbox, call(name, args));
      expect(reply.json.error).toBeUndefined();
      expect(reply.json.result.isError).toBeUndefined();
      return JSON.parse(reply.json.result.content[0].text);
    }

    it('finds one issue by its ID', async () => {
      expect(await result('linear_get_issue', { id: 'ENG-42' })).toMatchObject({
        title: 'Login page forgets the return address',
      });
    });

    it('filters issues by state, assignee and words', async () => {
      const ids = async (args: unknown) =>
        (await result('linear_list_issues', args)).map((issue: { id: string }) => issue.id);
      expect(await ids({})).toEqual(['ENG-41', 'ENG-42', 'ENG-43', 'OPS-7']);
      expect(await ids({ state: 'todo' })).toEqual(['ENG-42', 'OPS-7']);
      expect(await ids({ state: 'todo', assignee: 'grace' })).toEqual(['ENG-42']);
      expect(await ids({ query: 'MODE dark' })).toEqual(['ENG-43']);
      expect(await ids({ query: 'nowhere' })).toEqual([]);
    });

    it('keeps comments, and starts afresh in the next sandbox', async () => {
      await result('linear_add_comment', { id: 'OPS-7', text: 'one' });
      expect(await result('linear_add_comment', { id: 'OPS-7', text: 'two' })).toEqual({
        id: 'OPS-7',
        comments: 2,
      });
      sandbox = await start();
      expect((await result('linear_get_issue', { id: 'OPS-7' })).comments).toEqual([]);
    });

    it('searches code line by line', async () => {
      expect(await result('github_search_code', { query: 'limit readRows' })).toEqual([
        {
          repository: 'example/api',
          path: 'src/export.ts',
          line: 2,
          text: 'return readRows(limit);',
        },
      ]);
      const elsewhere = { query: 'limit', repository: 'example/web' };
      expect(await result('github_search_code', elsewhere)).toEqual([]);
    });

    it('computes availability in a tool whose integration ID holds hyphens', async () => {
      const invoke = (MATERIAL: string, QUANTITY: number) =>
        result('sap-s4hana-rfc_invoke_bapi', {
          bapi: 'BAPI_MATERIAL_AVAILABILITY',
          parameters: { MATERIAL, QUANTITY },
        });
      expect((await invoke('MAT-300', 12)).AVAILABLE).toBe(true);
      expect((await invoke('MAT-300', 13)).AVAILABLE).toBe(false);
    });

    it('echoes arguments, non-ASCII text included', async () => {
      const args = { z: 1, a: ['ü', '漢字', '😀', '\u2028'], nested: { deep: null } };
      expect(await result('platform_echo', args)).toEqual(args);
    });

    it('says who holds the key, and never the key', async () => {
      const reply = await post(sandbox, call('platform_whoami'));
      expect(reply.text).toContain('Ada Example');
      expect(reply.text).not.toContain(sandbox.keys.good);
    });

    it.each([
      ['github_create_issue', { repository: 'example/api', title: 'x' }],
      ['linear_get_issue', { id: 'ENG-999' }],
      ['sap-s4hana-rfc_invoke_bapi', { bapi: 'BAPI_UNKNOWN' }],
      [
        'sap-s4hana-rfc_invoke_bapi',
        { bapi: 'BAPI_MATERIAL_AVAILABILITY', parameters: { MATERIAL: '__proto__' } },
      ],
    ])('reports its own failure as isError: %s %o', async (name, args) => {
      const reply = await post(sandbox, call(name, args));
      expect(reply.json.result.isError).toBe(true);
    });

    it.each([
      ['linear_get_issue', undefined, 'id is required'],
      ['linear_get_issue', { id: 42 }, 'id must be of type string'],
      ['linear_list_issues', { state: 'lost' }, 'state must be one of: todo, in progress, done'],
      ['platform_wait', { seconds: -1 }, 'seconds must be at least 0'],
      ['platform_wait', { seconds: 1e9 }, 'seconds must be at most 600'],
      [
        'sap-s4hana-rfc_invoke_bapi',
        { bapi: 'B', parameters: [] },
        'parameters must be of type object',
      ],
    ])('refuses wrong arguments with -32602: %s %o', async (name, args, problem) => {
      const reply = await post(sandbox, call(name, args));
      expect(reply.status).toBe(200);
      expect(reply.json.error).toEqual({
        code: -32602,
        message: `Invalid arguments for tool ${name}: ${problem}`,
      });
    });

    it.each(['linear:get_issue', 'nope', '', 'constructor'])(
      'answers -32602 to the unknown tool "%s"',
      async (name) => {
        const reply = await post(sandbox, call(name, {}));
        expect(reply.status).toBe(200);
        expect(reply.json.error).toEqual({ code: -32602, message: `Tool not found: ${name}` });
      },
    );

    it('answers credentials_unavailable exactly as documented', async () => {
      const reply = await post(sandbox, call('notion_search_pages', { query: 'x' }));
      expect(reply.status).toBe(200);
      expect(reply.json).toEqual({
        jsonrpc: '2.0',
        id: 1,
        error: {
          code: -32000,
          message: 'Credentials unavailable for integration notion',
          data: {
            reason: 'credentials_unavailable',
            integrationId: 'notion',
            hint: `Reconnect at ${sandbox.frontend}/settings/integrations`,
          },
        },
      });
      expect(sandbox.frontend).not.toBe(sandbox.origin);
    });

    it('answers -32601 to a tool of a disabled integration, which it does not list', async () => {
      const reply = await post(sandbox, call('salesforce_run_query', {}));
      expect(reply.json.error.code).toBe(-32601);
      expect((await post(sandbox, request('tools/list'))).text).not.toContain('salesforce');
    });

    it('waits as long as it is told', async () => {
      const started = performance.now();
      const reply = await post(sandbox, call('platform_wait', { seconds: 0.2 }));
      expect(performance.now() - started).toBeGreaterThan(150);
      expect(reply.json.result.content[0].text).toMatch(/^Waited \d+ ms\.$/);
    });
  });

  it('lists and gets prompts', async () => {
    const list = await post(sandbox, request('prompts/list'));
    expect(list.json.result.prompts[0].name).toBe('linear_triage');
    const params = { name: 'linear_triage', arguments: { assignee: 'ada' } };
    const prompt = await post(sandbox, request('prompts/get', params));
    expect(prompt.json.result.messages[0].content.text).toContain(' ada ');
    for (const wrong of [{ name: 'nope' }, { name: 'linear_triage' }, {}]) {
      const reply = await post(sandbox, request('prompts/get', wrong));
      expect(reply.json.error.code).toBe(-32602);
    }
  });

  describe('the integration filter', () => {
    async function integrations(query: string, headers: Record<string, string> = {}) {
      const reply = await post(sandbox, request('tools/list'), headers, sandbox.url + query);
      const names: string[] = reply.json.result.tools.map((tool: { name: string }) => tool.name);
      return [...new Set(names.map((name) => name.split('_')[0]))];
    }

    it.each([
      ['?integrations=linear,github', {}, ['linear', 'github']],
      ['?integrations=linear&integrations=github', {}, ['linear', 'github']],
      ['', { 'x-kindo-integrations': 'linear, github' }, ['linear', 'github']],
      ['?integrations=sap-s4hana-rfc', {}, ['sap-s4hana-rfc']],
      ['?integrations=linear', { 'x-kindo-integrations': 'github' }, ['linear']],
      ['?integrations=nothing', { 'x-kindo-integrations': 'github' }, []],
      ['?integrations=', {}, []],
      ['?integrations=Linear,linea', {}, []],
      ['?other=1', {}, ['linear', 'github', 'sap-s4hana-rfc', 'notion', 'platform']],
    ])('%s with %o lists %o', async (query, headers, expected) => {
      expect(await integrations(query, headers)).toEqual(expected);
    });

    it('only narrows what the account reaches', async () => {
      const authorization = `Bearer ${sandbox.keys.linearOnly}`;
      expect(await integrations('?integrations=linear,github', { authorization })).toEqual([
        'linear',
      ]);
    });

    it('hides a tool from calls, too', async () => {
      const url = `${sandbox.url}?integrations=github`;
      const reply = await post(sandbox, call('linear_get_issue', { id: 'ENG-42' }), {}, url);
      expect(reply.json.error.message).toBe('Tool not found: linear_get_issue');
    });
  });

  it('records what it received and how it answered', async () => {
    await post(sandbox, call('linear:get_issue'), { 'x-extra': 'u' });
    await post(sandbox, 'no json', { authorization: null });
    expect(sandbox.requests).toMatchObject([
      {
        method: 'POST',
        url: '/v1/mcp',
        headers: { 'x-extra': 'u', host: new URL(sandbox.url).host },
        body: { method: 'tools/call', params: { name: 'linear:get_issue' } },
        status: 200,
        errorCode: -32602,
      },
      { text: 'no json', body: undefined, status: 401 },
    ]);
    expect(sandbox.requests[0]?.ms).toBeGreaterThan(0);
  });
});

describe('bodies over the limit', () => {
  const tooLarge = request('ping', { pad: 'x'.repeat(3000) });

  it('answers 413 with the documented body at 52,428,800 bytes, not before', async () => {
    const sandbox = await start();
    const frame = JSON.stringify(request('ping', { pad: '' })).length;
    const fits = request('ping', { pad: 'x'.repeat(52_428_800 - frame) });
    expect((await post(sandbox, fits)).status).toBe(200);
    fits.params = { pad: 'x'.repeat(52_428_801 - frame) };
    const reply = await post(sandbox, fits);
    expect(reply.status).toBe(413);
    expect(reply.text).toBe('{"message":"Request body too large. Maximum size is 50 MB."}');
    expect(sandbox.requests[1]?.text).toBe('');
  });

  it('names a limit set by option', async () => {
    const sandbox = await start({ bodyLimit: 2048 });
    const reply = await post(sandbox, tooLarge);
    expect(reply.status).toBe(413);
    expect(reply.json.message).toBe('Request body too large. Maximum size is 2 KB.');
    expect((await post(sandbox, request('ping'))).status).toBe(200);
  });

  it('answers before the body has ended, declared or chunked', async () => {
    const sandbox = await start({ bodyLimit: 2048 });
    for (const declared of [{ 'content-length': 1_000_000 }, { 'transfer-encoding': 'chunked' }]) {
      const req = httpRequest(sandbox.url, {
        method: 'POST',
        headers: { authorization: `Bearer ${sandbox.keys.good}`, ...declared },
      });
      req.write('x'.repeat(4096));
      const [res]: IncomingMessage[] = await once(req, 'response');
      expect(res?.statusCode).toBe(413);
      req.on('error', () => {});
      req.destroy();
    }
  });

  it('checks the key first', async () => {
    const sandbox = await start({ bodyLimit: 2048 });
    expect((await post(sandbox, tooLarge, { authorization: null })).status).toBe(401);
  });
});

describe('bursts of failure', () => {
  it('fails as many POSTs as told, then recovers', async () => {
    const sandbox = await start({ fail: { count: 2, status: 502 } });
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push((await post(sandbox, request('ping'))).status);
    expect(statuses).toEqual([502, 502, 200]);
  });

  it('starts and ends a burst at run time, with headers', async () => {
    const sandbox = await start();
    sandbox.failNext(10, 503, { 'Retry-After': '1' });
    const reply = await post(sandbox, request('ping'), { authorization: null });
    expect(reply.status).toBe(503);
    expect(reply.headers.get('retry-after')).toBe('1');
    expect(reply.json).toEqual({ error: 'Service Unavailable' });
    sandbox.failNext(0);
    expect((await post(sandbox, request('ping'))).status).toBe(200);
  });

  it('leaves the metadata alone', async () => {
    const sandbox = await start({ fail: { count: 1, status: 500 } });
    const url = `${sandbox.origin}/.well-known/oauth-protected-resource`;
    expect((await fetch(url)).status).toBe(200);
    expect((await post(sandbox, request('ping'))).status).toBe(500);
  });

  it.each([200, 399, 600, Number.NaN])('refuses to fail with status %s', async (status) => {
    const sandbox = await start();
    expect(() => sandbox.failNext(1, status)).toThrow(RangeError);
  });
});

describe('latency', () => {
  it('delays every reply by the given milliseconds', async () => {
    const sandbox = await start({ latencyMs: 120 });
    const started = performance.now();
    await post(sandbox, request('ping'));
    expect(performance.now() - started).toBeGreaterThan(110);
  });
});

describe('replies as event streams', () => {
  it('sends one event that holds the reply', async () => {
    const sandbox = await start({ sse: true });
    const reply = await post(sandbox, call('platform_echo', { a: 'line\nbreak' }));
    expect(reply.headers.get('content-type')).toBe('text/event-stream');
    expect(events(reply.text)).toEqual([
      {
        jsonrpc: '2.0',
        id: 1,
        result: { content: [{ type: 'text', text: '{"a":"line\\nbreak"}' }] },
      },
    ]);
  });

  it('sends progress ahead of the reply when a token asks for it, and only then', async () => {
    const sandbox = await start({ sse: true });
    const slow = { seconds: 0.01 };
    const asked = events(
      (await post(sandbox, call('platform_wait', slow, { progressToken: 'p' }))).text,
    );
    expect(asked.slice(0, -1)).toEqual(
      [0, 1, 2, 3].map((progress) => ({
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken: 'p', progress, total: 4 },
      })),
    );
    expect(asked.at(-1).id).toBe(1);
    const silent = events((await post(sandbox, call('platform_wait', slow))).text);
    expect(silent).toHaveLength(1);
  });

  it('answers errors as events, HTTP failures and notifications not', async () => {
    const sandbox = await start({ sse: true });
    expect(events((await post(sandbox, request('nope'))).text)[0].error.code).toBe(-32601);
    expect((await post(sandbox, request('ping'), { authorization: null })).json).toEqual({
      error: 'Unauthorized',
    });
    expect((await post(sandbox, { jsonrpc: '2.0', method: 'x' })).status).toBe(202);
  });
});

describe('start and close', () => {
  it('rejects with EADDRINUSE when the port is taken', async () => {
    const sandbox = await start();
    const port = Number(new URL(sandbox.url).port);
    await expect(startSandbox({ port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });

  it('closes at once with idle connections, half a request and slow calls open', async () => {
    const sandbox = await start({ sse: true });
    const { port } = new URL(sandbox.url);
    const idle = connect(Number(port), '127.0.0.1');
    const half = connect(Number(port), '127.0.0.1');
    half.write('POST /v1/mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc');
    const ends = [idle, half].map((socket) =>
      once(
        socket.resume().on('error', () => {}),
        'close',
      ),
    );
    await post(sandbox, request('ping'));
    const slow = post(sandbox, call('platform_wait', { seconds: 600 }));
    const cut = expect(slow).rejects.toThrow();
    await expect.poll(() => sandbox.requests.length).toBe(3);
    const started = performance.now();
    await sandbox.close();
    expect(performance.now() - started).toBeLessThan(5_000);
    await Promise.all([...ends, cut]);
    await expect(post(sandbox, request('ping'))).rejects.toThrow();
  });
});
