import { describe, expect, it } from 'vitest';
import { answer, sendJson, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

const LINK = 'https://app.kindo.ai/settings/integrations';

const UNAVAILABLE = `{"code":-32000,"data":{"reason":"credentials_unavailable","integrationId":"linear","hint":"Reconnect at ${LINK}","n":1.50},"message":"Credentials unavailable for integration linear"}`;

/** A gateway with some tools that answers every tools/call with this error, as it is written. */
function gatewayWith(error: string, tools = ['linear_get_issue', 'github_search_code']) {
  return startGateway((received, response) => {
    const { method, id } = received.message;
    if (method === 'tools/call' || method === 'resources/list') {
      sendJson(response, `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":${error}}`);
    } else if (method === 'tools/list') {
      sendJson(response, {
        jsonrpc: '2.0',
        id,
        result: { tools: tools.map((name) => ({ name })) },
      });
    } else answer(received, response);
  });
}

async function call(
  error: string,
  name: string,
  { lists = true, tools }: { lists?: boolean; tools?: string[] } = {},
) {
  const gateway = await gatewayWith(error, tools);
  const proxy = startProxy(gateway.url);
  if (lists) await proxy.request('list', 'tools/list');
  return (await proxy.request(1, 'tools/call', { name })).error as Json & { message: string };
}

describe('credentials_unavailable', () => {
  it('gets its hint into the message; code and data stay as they came', async () => {
    const gateway = await gatewayWith(UNAVAILABLE);
    const proxy = startProxy(gateway.url);
    let stdout = '';
    proxy.child.stdout?.on('data', (text) => {
      stdout += text;
    });
    await proxy.request(1, 'tools/call', { name: 'linear_get_issue' });
    expect(stdout.trim()).toBe(
      `{"jsonrpc":"2.0","id":1,"error":${UNAVAILABLE.replace('integration linear"', `integration linear. Reconnect at ${LINK}"`)}}`,
    );
  });

  async function initialized(capabilities: object, error: string, args: string[] = []) {
    const gateway = await gatewayWith(error);
    const proxy = startProxy(gateway.url, { args });
    await proxy.request('init', 'initialize', { protocolVersion: '2025-11-25', capabilities });
    return (await proxy.request(1, 'tools/call', { name: 'x' })).error as Json;
  }

  it('becomes URLElicitationRequired for a client that can show a link', async () => {
    expect(await initialized({ elicitation: { url: {} } }, UNAVAILABLE)).toMatchObject({
      code: -32042,
      message: expect.stringContaining(LINK),
      data: {
        reason: 'credentials_unavailable',
        elicitations: [{ mode: 'url', url: LINK, elicitationId: expect.any(String) }],
      },
    });
  });

  it('has a link to this computer from a gateway on it, and from no other', async () => {
    const own = UNAVAILABLE.replace(LINK, 'http://localhost:631/printers');
    const capabilities = { elicitation: { url: {} } };
    expect(await initialized(capabilities, own)).toMatchObject({ code: -32042 });
    for (const link of [
      'http://localhost:631/printers',
      'https://127.0.0.1/x',
      'https://[::ffff:127.0.0.1]/x',
      'https://0.0.0.0/x',
      'https://192.168.0.1/reboot',
      'https://169.254.169.254/latest',
      `${LINK}, or at http://[::1]:631/`,
    ]) {
      const gateway = await gatewayWith(UNAVAILABLE.replace(LINK, link));
      const proxy = startProxy('http://gateway.test/v1/mcp', {
        args: ['--allow-http'],
        env: { HTTP_PROXY: new URL(gateway.url).origin },
      });
      await proxy.request('init', 'initialize', { protocolVersion: '2025-11-25', capabilities });
      const { error } = await proxy.request(1, 'tools/call', { name: 'x' });
      expect(error).toEqual(JSON.parse(UNAVAILABLE.replace(LINK, link)));
    }
  });

  it.each([
    ['the client did not say so', { elicitation: {} }, UNAVAILABLE, []],
    ['--elicit-url off', { elicitation: { url: {} } }, UNAVAILABLE, ['--elicit-url', 'off']],
    [
      'the link is plain http',
      { elicitation: { url: {} } },
      UNAVAILABLE.replace('https:', 'http:'),
      [],
    ],
    [
      'there is no link',
      { elicitation: { url: {} } },
      UNAVAILABLE.replace(`at ${LINK}`, 'now'),
      [],
    ],
  ])('stays what it is when %s', async (_, capabilities, error, args) => {
    expect(await initialized(capabilities, error, args)).toMatchObject({ code: -32000 });
  });
});

describe('an unknown tool', () => {
  const unknown = '{"code":-32602,"message":"Tool not found"}';

  it.each([
    ['linear:get_issue', 'linear_get_issue'],
    ['linear_get_isue', 'linear_get_issue'],
    ['search_code', 'github_search_code'],
  ])('%s: the message names %s', async (name, meant) => {
    const { message, code } = await call(unknown, name);
    expect(code).toBe(-32602);
    expect(message).toBe(`Tool not found. There is no tool named ${name}. Did you mean ${meant}?`);
  });

  it.each(['linear:get_issue', 'linear_get_isue', 'anything'])(
    '%s: nothing is added where the client has not seen a list',
    async (name) => {
      expect(await call(unknown, name, { lists: false })).toEqual(JSON.parse(unknown));
    },
  );

  it('is not called unknown where it may be on a page that was not asked for', async () => {
    const gateway = await startGateway(({ message: { id, method } }, response) => {
      const result = { tools: [{ name: 'linear_get_issue' }], nextCursor: '2' };
      if (method === 'tools/list') sendJson(response, { jsonrpc: '2.0', id, result });
      else sendJson(response, `{"jsonrpc":"2.0","id":${id},"error":${unknown}}`);
    });
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'tools/list');
    const { error } = await proxy.request(2, 'tools/call', { name: 'linear_get_issues' });
    expect(error).toEqual(JSON.parse(unknown));
  });

  it('is called unknown where the list is empty', async () => {
    const { message } = await call(unknown, 'linear_get_issue', { tools: [] });
    expect(message).toContain('This account has no tool named linear_get_issue');
  });

  it('a tool that exists was called with wrong arguments: nothing is added', async () => {
    expect(await call(unknown, 'linear_get_issue')).toEqual(JSON.parse(unknown));
  });

  it('shows nothing of the gateway’s that could steer a terminal', async () => {
    const { message } = await call(
      '{"code":-32602,"message":"no \\u001b[31msuch\\u202e tool"}',
      'linear_get_isue',
      { tools: ['linear_get_issue\u001b[2J'] },
    );
    expect(message).not.toMatch(/[\p{Cc}\u202e]/u);
    expect(message).toContain('no such tool');
  });
});

it('an unsupported method is said to be that', async () => {
  const gateway = await gatewayWith('{"code":-32601,"message":"Method not found"}');
  const proxy = startProxy(gateway.url);
  expect((await proxy.request(1, 'resources/list')).error).toEqual({
    code: -32601,
    message: 'Method not found. The gateway does not support the method resources/list.',
  });
});

it('a result with isError passes through untouched', async () => {
  const result = { content: [{ type: 'text', text: 'credentials_unavailable' }], isError: true };
  const gateway = await startGateway((received, response) => answer(received, response, result));
  const proxy = startProxy(gateway.url);
  expect((await proxy.request(1, 'tools/call', { name: 'x' })).result).toEqual(result);
});

it.each([
  ['', 'no connected integrations'],
  ['?integrations=nope', "match the integrations filter 'nope'"],
])('an empty tools/list is passed on and explained in the log (%s)', async (query, words) => {
  const gateway = await gatewayWith('{}', []);
  const proxy = startProxy(gateway.url + query);
  expect(await proxy.request(1, 'tools/list')).toMatchObject({ result: { tools: [] } });
  expect(proxy.stderr).toContain(words);
});
