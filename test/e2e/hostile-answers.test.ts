import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { cleanNetworkText } from '../../src/failures/network-text.ts';
import { answer, type Received, type Respond, sendJson, startGateway } from './loopback-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

// Colours, a title that is set, a cursor that moves, text that runs backwards, what cannot be seen.
const NASTY =
  '\u001b[31mred\u001b]0;title\u0007\u009b2J \u202eslaw\u202c \u2066x\u2069 \u200bz\u{e0041} \u0000\u0008\u007f end';
const NASTY_JSON = JSON.stringify(NASTY);

/** Sends bytes that no HTTP library would, and closes. */
const raw = (response: ServerResponse, bytes: string | Buffer) => void response.socket?.end(bytes);

const http = (fields: string, body: string | Buffer = '', status = '200 OK') =>
  Buffer.concat([
    Buffer.from(`HTTP/1.1 ${status}\r\nconnection: close\r\n${fields}\r\n`),
    Buffer.from(body),
  ]);

const json = (body: string | Buffer) => http('content-type: application/json\r\n', body);
const events = (body: string | Buffer) => http('content-type: text/event-stream\r\n', body);

/** Nothing that this program words or logs may hold what a terminal would act on. */
function expectHarmless(proxy: RunningProxy): void {
  for (const line of proxy.stderr.split('\n')) expect(line).toBe(cleanNetworkText(line, 2_000));
  expect(proxy.stderr).not.toContain('error: bug:');
  for (const { error } of proxy.messages) {
    const { code, message, data } = (error ?? {}) as {
      code?: number;
      message?: string;
      data?: Json;
    };
    if (data?.gateway === undefined) continue;
    expect(code).toBeLessThanOrEqual(-32000);
    for (const text of [message, ...Object.values(data)]) {
      if (typeof text === 'string') expect(text).toBe(cleanNetworkText(text, 5_000));
    }
  }
}

/** The names of all headers that this program sends of itself. */
const OWN_HEADERS = new Set([
  ...['accept', 'authorization', 'connection', 'content-length', 'content-type', 'host'],
  ...['last-event-id', 'mcp-protocol-version', 'mcp-session-id', 'user-agent'],
]);

function expectNothingForged(received: readonly Received[]): void {
  for (const { headers, target } of received) {
    expect(Object.keys(headers).filter((name) => !OWN_HEADERS.has(name))).toEqual([]);
    expect(JSON.stringify(headers)).not.toMatch(/forged/i);
    expect(target).not.toMatch(/[^\x21-\x7e]/);
  }
}

const deep = (depth = 100_000) => '['.repeat(depth) + ']'.repeat(depth);

type Case = [name: string, answer: (id: number) => Buffer, outcome: string];

const reply = (members: string) => (id: number) => json(`{"jsonrpc":"2.0","id":${id},${members}}`);

const bodies: Case[] = [
  [
    'bytes that are not UTF-8',
    (id) =>
      json(
        Buffer.concat([
          Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":{"x":"`),
          Buffer.from([0xff, 0xc0, 0x80, 0xed, 0xa0, 0x80, 0xf5]),
          Buffer.from('"}}'),
        ]),
      ),
    'result',
  ],
  ['a half character at the end', () => json(Buffer.from([0x7b, 0xe2, 0x82])), 'invalid_response'],
  ['NUL bytes instead of JSON', () => json(Buffer.alloc(1_000)), 'invalid_response'],
  ['a NUL byte in a string', reply('"result":{"x":"\u0000"}'), 'invalid_response'],
  ['a result of 100,000 levels', reply(`"result":${deep()}`), 'result'],
  [
    'an error with data of 100,000 levels',
    reply(`"error":{"code":1,"message":"m","data":${deep()}}`),
    'error',
  ],
  [
    'expired credentials with data of 100,000 levels',
    reply(
      `"error":{"code":-32000,"message":"m","data":{"reason":"credentials_unavailable","hint":"https://h.example/","x":${deep()}}}`,
    ),
    'error',
  ],
  [
    '100,000 levels that are never closed',
    () => json('{"a":['.repeat(100_000)),
    'invalid_response',
  ],
  [
    'two ids, the last of which counts',
    (id) => json(`{"jsonrpc":"2.0","id":"no","id":${id},"result":{}}`),
    'result',
  ],
  [
    'two ids, the last of which is another',
    (id) => json(`{"jsonrpc":"2.0","id":${id},"id":"no","result":{}}`),
    'invalid_response',
  ],
  ['result and error', reply('"result":{},"error":{"code":1,"message":"m"}'), 'invalid_response'],
  ['result and method', reply('"result":{},"method":"x"'), 'invalid_response'],
  [
    '__proto__ and constructor',
    reply(
      '"__proto__":{"id":5,"polluted":1},"constructor":{"prototype":{"polluted":1}},"result":{"__proto__":{"polluted":1}}',
    ),
    'result',
  ],
  [
    'an error made of __proto__',
    reply(
      '"error":{"__proto__":{"code":1},"constructor":1,"message":{"__proto__":null},"data":{"__proto__":{"reason":"credentials_unavailable"}}}',
    ),
    'error',
  ],
  ['an error that is an array', reply('"error":[1,2]'), 'invalid_response'],
  ['an error without anything', reply('"error":{}'), 'error'],
  ...['null', 'true', '{}', '[]', '1.5', '-0', '""', '"x"', '1e999'].map(
    (id): Case => [
      `the id ${id}`,
      () => json(`{"jsonrpc":"2.0","id":${id},"result":{}}`),
      'invalid_response',
    ],
  ),
  [
    'the id as a string',
    (id) => json(`{"jsonrpc":"2.0","id":"${id}","result":{}}`),
    'invalid_response',
  ],
  [
    'the id as a fraction',
    (id) => json(`{"jsonrpc":"2.0","id":${id}.000e0,"result":{}}`),
    'result',
  ],
  ['no id', () => json('{"jsonrpc":"2.0","result":{}}'), 'invalid_response'],
  [
    'an error to no id',
    () => json('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}'),
    'error',
  ],
  [
    'a reply to a request never sent',
    () => json('{"jsonrpc":"2.0","id":"never","result":{}}'),
    'invalid_response',
  ],
  [
    'the same reply twice, as a batch',
    (id) =>
      json(`[{"jsonrpc":"2.0","id":${id},"result":{}},{"jsonrpc":"2.0","id":${id},"result":{}}]`),
    'result',
  ],
  [
    'the same reply twice, as events',
    (id) => events(`data: {"jsonrpc":"2.0","id":${id},"result":{}}\n\n`.repeat(2)),
    'result',
  ],
  [
    'replies to others before its own',
    (id) =>
      events(
        `data: {"jsonrpc":"2.0","id":"never","result":{}}\n\ndata: {"jsonrpc":"2.0","id":null,"error":{"code":1,"message":${NASTY_JSON}}}\n\ndata: {"jsonrpc":"2.0","id":${id},"result":{}}\n\n`,
      ),
    'result',
  ],
  [
    'events that are not messages before its own',
    (id) =>
      events(
        `data: nonsense\n\ndata: 5\n\ndata: [[]]\n\ndata: []\n\nevent: other\ndata: {}\n\n${NASTY}: x\n\nretry: ${NASTY}\n\nid: ${NASTY}\ndata: {"jsonrpc":"2.0","id":${id},"result":{}}\n\n`,
      ),
    'result',
  ],
  [
    'nothing but events that are not messages',
    () => events('data: nonsense\n\n: x\n\n'),
    'interrupted',
  ],
  ['a number, not an object', () => json('5'), 'invalid_response'],
  ['an empty batch', () => json('[]'), 'invalid_response'],
  ['a batch in a batch', () => json('[[{"jsonrpc":"2.0"}],null,5]'), 'invalid_response'],
  [
    'a type that is not a type',
    () => http(`content-type: ${NASTY.replaceAll('\u0000', '')}\r\n`, 'x'),
    'invalid_response',
  ],
  [
    'a page whose title is nasty',
    () => http('content-type: text/html\r\n', `<title>${NASTY}</title>`),
    'invalid_response',
  ],
  [
    'headers named like what every object has',
    (id) =>
      http(
        'content-type: application/json\r\n__proto__: x\r\n__proto__: y\r\nconstructor: x\r\nhasOwnProperty: x\r\n',
        `{"jsonrpc":"2.0","id":${id},"result":{}}`,
      ),
    'result',
  ],
  [
    'a header of 10 MB',
    (id) =>
      http(
        `content-type: application/json\r\nx: ${'y'.repeat(10_000_000)}\r\n`,
        `{"jsonrpc":"2.0","id":${id},"result":{}}`,
      ),
    'invalid_response',
  ],
  ['a status of four digits', () => http('', '', '2000 OK'), 'invalid_response'],
  ['a status below 200 and nothing more', () => http('', '', '103 Early Hints'), 'interrupted'],
  [
    'a switch of protocols',
    () => http('upgrade: websocket\r\nconnection: upgrade\r\n', '', '101 Switching Protocols'),
    'interrupted',
  ],
  [
    'a length and chunks',
    () =>
      http(
        'content-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n',
        '0\r\n\r\n',
      ),
    'invalid_response',
  ],
  ['a length that is no number', () => http(`content-length: -1\r\n`, 'x'), 'invalid_response'],
  ['HTTP of another age', () => Buffer.from('<html>no head at all'), 'invalid_response'],
];

it(`gets through ${bodies.length} hostile answers with one reply each`, async () => {
  const gateway = await startGateway((received, response) => {
    const found = bodies[Number(received.message.id)];
    if (received.message.method !== 'tools/call' || found === undefined) answer(received, response);
    else raw(response, found[1](Number(received.message.id)));
  });
  const proxy = startProxy(gateway.url);
  await proxy.request('i', 'initialize', { capabilities: { elicitation: { url: {} } } });
  proxy.notify('notifications/initialized');
  const outcomes: unknown[] = [];
  for (const [id, [name]] of bodies.entries()) {
    const reply = await proxy.request(id, 'tools/call', { name: 'x' });
    const reason = ((reply.error as Json | undefined)?.data as Json | undefined)?.reason;
    const own = (reply.error as { data?: Json } | undefined)?.data?.gateway !== undefined;
    outcomes.push([name, 'result' in reply ? 'result' : own ? reason : 'error']);
  }
  expect(outcomes).toEqual(bodies.map(([name, , outcome]) => [name, outcome]));
  expect(await proxy.request('last', 'ping')).toHaveProperty('result');
  expect(proxy.messages).toHaveLength(bodies.length + 2);
  for (const message of proxy.messages) expect(message).not.toHaveProperty('polluted');
  expectHarmless(proxy);
  expectNothingForged(gateway.received);
  expect(await proxy.end()).toBe(0);
});

describe('text that a terminal would act on is shown without its teeth', () => {
  const visible = NASTY.replace(/[\u0000\r\n]/g, '');
  const latin1 = Buffer.from(visible).toString('latin1');
  const cases: Record<string, [status: string, fields: string, body: string]> = {
    'in a JSON body': [
      '418 Teapot',
      'content-type: application/json\r\n',
      `{"message":${NASTY_JSON}}`,
    ],
    'in a problem': [
      '418 T',
      'content-type: application/problem+json\r\n',
      `{"title":${NASTY_JSON}}`,
    ],
    'in a nested error': ['500 T', '', `{"error":{"message":${NASTY_JSON}}}`],
    'in plain text': ['418 T', 'content-type: text/plain\r\n', NASTY],
    'in a 413': ['413 T', '', `{"message":${NASTY_JSON}}`],
    'in a 429': ['429 T', `retry-after: ${latin1}\r\n`, `{"message":${NASTY_JSON}}`],
    'in the reason phrase': [`418 ${latin1}`, '', ''],
    'in a challenge': [
      '401 T',
      `www-authenticate: Bearer realm="${latin1}", error="invalid_token", error_description="${latin1}"\r\n`,
      '',
    ],
    'in the scope of a challenge': [
      '403 T',
      `www-authenticate: Bearer error="insufficient_scope", scope="${latin1}"\r\n`,
      '',
    ],
    'in the error of a challenge': ['403 T', `www-authenticate: Bearer error="${latin1}"\r\n`, ''],
    'in where a redirect points': ['302 T', `location: http://h.example/${latin1}\r\n`, ''],
    'in a coding': ['200 OK', `content-encoding: ${latin1}\r\n`, 'x'],
  };

  it.each(Object.entries(cases))('%s', async (_, [status, fields, body]) => {
    const gateway = await startGateway(({ method, target }, response) => {
      if (method === 'GET') sendJson(response, { resource: 'http://h.example/', target });
      else
        raw(
          response,
          Buffer.from(`HTTP/1.1 ${status}\r\nconnection: close\r\n${fields}\r\n${body}`, 'latin1'),
        );
    });
    const proxy = startProxy(gateway.url);
    const { error } = await proxy.request(1, 'tools/call', { name: 'x' });
    expect(error).toMatchObject({ data: { reason: expect.any(String) } });
    proxy.notify('notifications/roots/list_changed');
    await proxy.until(() => proxy.stderr.includes('could not deliver'));
    expectHarmless(proxy);
  });

  it('in the metadata of the resource', async () => {
    const gateway = await startGateway(({ method, headers }, response) => {
      if (method === 'POST') response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
      else {
        const resource = `http://${headers.host}/v1/mcp`;
        sendJson(response, {
          resource,
          resource_name: NASTY,
          resource_documentation: `${resource}${NASTY}`,
          authorization_servers: [NASTY, `https://h.example/${NASTY}`],
          scopes_supported: [NASTY],
          bearer_methods_supported: [NASTY],
        });
      }
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { data: { reason: 'unauthorized' } },
    });
    expectHarmless(proxy);
  });

  it('in the names of tools and in what is added to an error of the gateway', async () => {
    const gateway = await startGateway((received, response) => {
      const { id, method } = received.message;
      const tools = [{ name: `linear_get${NASTY}` }, { name: NASTY }];
      if (method === 'tools/list') return answer(received, response, { tools });
      const hint = `${NASTY} https://h.example/${NASTY}`;
      const error =
        id === 'credentials'
          ? { code: -32000, message: NASTY, data: { reason: 'credentials_unavailable', hint } }
          : { code: -32602, message: NASTY };
      sendJson(response, { jsonrpc: '2.0', id, error });
    });
    const proxy = startProxy(gateway.url);
    await proxy.request('list', 'tools/list');
    for (const [id, name] of [
      ['credentials', 'x'],
      ['unknown', 'linear_gte'],
    ] as const) {
      const { error } = await proxy.request(id, 'tools/call', { name });
      const { message } = error as { message: string };
      expect(message).toBe(cleanNetworkText(message, 2_000));
    }
    expectHarmless(proxy);
  });
});

describe('no header is forged', () => {
  const forged = 'x\r\nX-Forged: 1';

  it.each<[string, Respond]>([
    [
      'from the revision',
      ({ message }, response) =>
        sendJson(response, { jsonrpc: '2.0', id: message.id, result: { protocolVersion: forged } }),
    ],
    [
      'from a revision that is not text',
      ({ message }, response) =>
        sendJson(response, {
          jsonrpc: '2.0',
          id: message.id,
          result: { protocolVersion: [forged], capabilities: forged },
        }),
    ],
    ...(
      [
        ['a session id with a line break in it', 'abc\r\n X-Forged: 1'],
        ['a session id with a tab in it', 'abc\tX-Forged: 1'],
        ['a session id with a bare carriage return', 'abc\rX-Forged: 1'],
        ['a session id with a bare line feed', 'abc\n X-Forged: 1'],
        ['a session id that is not ASCII', 'abc\u00e9\u0085X-Forged'],
        ['two session ids', 'abc\r\nmcp-session-id: def'],
        ['a session id of 2,000 characters and a tab', `${'forged'.repeat(400)}\tx`],
      ] as const
    ).map(([name, id]): [string, Respond] => [
      `from ${name}`,
      ({ message }, response) =>
        raw(
          response,
          Buffer.from(
            `HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\nmcp-session-id: ${id}\r\n\r\n{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":{"protocolVersion":"2025-06-18"}}`,
            'latin1',
          ),
        ),
    ]),
  ])('%s', async (_, initialize) => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'initialize') initialize(received, response);
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    expect(await proxy.request(1, 'ping')).toHaveProperty('result');
    await gateway.request(({ message }) => message.method === 'notifications/initialized');
    expect(await proxy.end()).toBe(0);
    expectNothingForged(gateway.received);
    expectHarmless(proxy);
  });

  it.each([
    ['a carriage return', 'x\rX-Forged: 1', 'x'],
    ['a line break', 'x\r\nX-Forged: 1', 'x'],
    ['a NUL', 'x\u0000X-Forged: 1', undefined],
    ['control characters', 'x\u000b\u007fX-Forged: 1', undefined],
    ['a line separator', 'x\u2028y', Buffer.from('x\u2028y').toString('latin1')],
    ['6,000 characters', 'forged'.repeat(1_000), undefined],
  ])('from an event id with %s', async (_, id, sentBack) => {
    let gets = 0;
    const gateway = await startGateway((received, response) => {
      if (received.method === 'GET' && gets++ === 0) {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.end(`retry: 100\nid: ${id}\ndata: {"jsonrpc":"2.0","method":"n"}\n\n`);
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await gateway.request(() => gets === 2);
    expect(await proxy.end()).toBe(0);
    const [, second] = gateway.received.filter(({ method }) => method === 'GET');
    expect(second?.headers['last-event-id']).toBe(sentBack);
    expectNothingForged(gateway.received);
    expectHarmless(proxy);
  });

  it.each([
    ['a folded line', '/x\r\n X-Forged: 1'],
    ['an encoded line break', '/x%0d%0aX-Forged:%201'],
    ['a tab and a carriage return', '/x\ty\rX-Forged: 1'],
    ['a space', '/x y#z'],
    ['what is not ASCII', '/\u00e9\u0001?q= X-Forged: 1'],
    ['a query alone', '?X-Forged: 1'],
    ['8,000 characters', `/${'x'.repeat(8_000)}`],
  ])('from a redirect with %s', async (_, location) => {
    const gateway = await startGateway((received, response) => {
      if (received.target !== '/v1/mcp') answer(received, response);
      else {
        const bytes = `HTTP/1.1 307 T\r\nconnection: close\r\nlocation: ${location}\r\n\r\n`;
        raw(response, Buffer.from(bytes, 'latin1'));
      }
    });
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'ping');
    expect(gateway.received.length).toBeGreaterThan(0);
    for (const { headers } of gateway.received) {
      expect(Object.keys(headers).filter((name) => !OWN_HEADERS.has(name))).toEqual([]);
    }
    expectHarmless(proxy);
    expect(await proxy.request(2, 'ping')).toBeDefined();
  });

  it.each([
    'http://ORIGIN/m\\r\\nX-Forged: 1',
    'http://ORIGIN/m\\"X-Forged',
    'http://u:p@ORIGIN/m',
  ])('from the address of the metadata, %j', async (address) => {
    const gateway = await startGateway((received, response) => {
      if (received.method === 'GET') return void response.writeHead(404).end();
      const url = address.replace('ORIGIN', received.headers.host as string);
      raw(
        response,
        `HTTP/1.1 401 T\r\nconnection: close\r\nwww-authenticate: Bearer resource_metadata="${url}"\r\n\r\n`,
      );
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'ping')).toMatchObject({
      error: { data: { reason: 'unauthorized' } },
    });
    expectHarmless(proxy);
    expectNothingForged(gateway.received);
  });
});

it('a renewal with capabilities of 100,000 levels changes nothing', async () => {
  let handshakes = 0;
  const gateway = await startGateway((received, response) => {
    const { id, method } = received.message;
    const session = `s-${handshakes}`;
    if (method === 'initialize') {
      handshakes++;
      const capabilities = `{"tools":{"listChanged":true,"x":${deep()}},"__proto__":{"x":1}}`;
      const result = `{"protocolVersion":"2025-06-18","capabilities":${capabilities}}`;
      const body = `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${result}}`;
      sendJson(response, body, { 'mcp-session-id': `s-${handshakes}` });
    } else if (handshakes === 1 && method === 'tools/call') response.writeHead(404).end();
    else if (received.headers['mcp-session-id'] !== session) response.writeHead(404).end();
    else answer(received, response);
  });
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  expect(await proxy.request(1, 'tools/call', { name: 'x' })).toHaveProperty('result');
  expect(handshakes).toBe(2);
  expectHarmless(proxy);
});
