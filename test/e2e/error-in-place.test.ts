import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, type Received, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy } from './running-proxy.ts';

type Take = (received: Received, response: ServerResponse, count: number) => void;

const JSON_TYPE = 'application/json';
const STREAM = 'text/event-stream';

/** A gateway, with a session unless told, that `take` answers every `tools/call` of. */
async function connect(take: Take, hasSession = true) {
  let sessions = 0;
  let calls = 0;
  const gateway = await startGateway((received, response) => {
    const { method } = received.message;
    if (method === 'initialize' && hasSession)
      response.setHeader('mcp-session-id', `s-${++sessions}`);
    if (method === 'tools/call') take(received, response, ++calls);
    else answer(received, response);
  });
  const proxy = startProxy(gateway.url, { args: ['--timeout', '30'] });
  await proxy.initialize();
  await proxy.request('before', 'ping');
  const sent = (method: string) =>
    gateway.received.filter(({ message }) => message.method === method).length;
  return { gateway, proxy, call: () => proxy.request(1, 'tools/call', { name: 'x' }), sent };
}

/** What to answer with: the status, the type, and what the body is made of the request's id. */
type Answer = [status: number, type: string, body: (id: string) => string];

const respond = ({ message }: Received, response: ServerResponse, [status, type, body]: Answer) =>
  void response
    .writeHead(status, type === '' ? {} : { 'content-type': type })
    .end(body(JSON.stringify(message.id)));

const error = (code: number, message: string, id = '"id":null,') =>
  `{"jsonrpc":"2.0",${id}"error":{"code":${code},"message":"${message}","data":{"own":1}}}`;
const RESULT = { content: [{ type: 'text', text: 'é' }] };
const result = (id: string) => `{"jsonrpc":"2.0","id":${id},"result":${JSON.stringify(RESULT)}}`;
const event = (data: string, type?: string) =>
  `${type === undefined ? '' : `event: ${type}\n`}data: ${data}\n\n`;

describe('an error in the place of the reply reaches the client', () => {
  it.each<[string, ...Answer]>([
    ['JSON, id null', 200, JSON_TYPE, () => error(-32603, 'Quota used up')],
    ['JSON, no id', 200, JSON_TYPE, () => error(-32603, 'Quota used up', '')],
    ['JSON with another success status', 202, JSON_TYPE, () => error(-32603, 'Quota used up')],
    ['a batch', 200, JSON_TYPE, () => `[${error(-32603, 'Quota used up')}]`],
    ['a stream, id null', 200, STREAM, () => event(error(-32603, 'Quota used up'))],
    ['a stream, no id', 200, STREAM, () => event(error(-32603, 'Quota used up', ''), 'message')],
    ['event: error', 200, STREAM, () => event(error(-32603, 'Quota used up'), 'error')],
    [
      'event: error, own id',
      200,
      STREAM,
      (id) => event(error(-32603, 'Quota used up', `"id":${id},`), 'error'),
    ],
    ['text that is JSON', 200, 'text/plain', () => error(-32603, 'Quota used up')],
  ])('as it came, once: %s', async (_, ...answered) => {
    const { proxy, call, sent } = await connect((received, response) =>
      respond(received, response, answered),
    );
    expect((await call()).error).toEqual({
      ...{ code: -32603, message: 'Quota used up', data: { own: 1 } },
    });
    expect(await proxy.request(2, 'ping')).toHaveProperty('result');
    expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
  });

  it.each<[string, ...Answer]>([
    ['event: error', 200, STREAM, () => event('Quota used up', 'error')],
    ['event: error, JSON', 200, STREAM, () => event('{"detail":"Quota used up"}', 'error')],
    [
      'event: error, an object',
      200,
      STREAM,
      () => event('{"error":{"message":"Quota used up"}}', 'error'),
    ],
    ['an event of JSON', 200, STREAM, () => event('{"error":"Quota used up"}')],
    ['JSON', 200, JSON_TYPE, () => '{"error":"Quota used up"}'],
    ['JSON, an object', 200, JSON_TYPE, () => '{"error":{"code":7,"message":"Quota used up"}}'],
    ['JSON without a type', 200, '', () => '{"error":"Quota used up"}'],
  ])('in its words: %s', async (_, ...answered) => {
    const { call, sent } = await connect((received, response) =>
      respond(received, response, answered),
    );
    expect((await call()).error).toMatchObject({
      message: expect.stringContaining('Quota used up'),
      data: { reason: 'gateway_error', status: 200 },
    });
    expect(sent('tools/call')).toBe(1);
  });

  it.each([event(error(-1, 'Quota used up')), event('Quota used up', 'error')])(
    'also where the stream stays open: %j',
    async (bytes) => {
      const { call } = await connect((_, response) => {
        response.writeHead(200, { 'content-type': STREAM }).write(bytes);
      });
      expect((await call()).error).toMatchObject({
        message: expect.stringContaining('Quota used up'),
      });
    },
  );

  it('also where the connection breaks off, with what came before it', async () => {
    const note = '{"jsonrpc":"2.0","method":"notifications/hello"}';
    const { proxy, call } = await connect((_, response) => {
      response.writeHead(200, { 'content-type': STREAM });
      response.write(event(note) + event('Quota used up', 'error'), () => response.destroy());
    });
    expect((await call()).error).toMatchObject({
      message: expect.stringContaining('Quota used up'),
    });
    expect(proxy.messages.some(({ method }) => method === 'notifications/hello')).toBe(true);
  });

  it('but not where the reply follows', async () => {
    const { call } = await connect(({ message }, response) => {
      const id = JSON.stringify(message.id);
      response.writeHead(200, { 'content-type': STREAM });
      const note = '{"jsonrpc":"2.0","method":"notifications/hello"}';
      response.write(event('slow', 'error') + event(error(-1, 'slow')) + event(note));
      // Longer than it waits after an error.
      setTimeout(() => response.end(event(result(id))), 1_500);
    });
    expect((await call()).result).toEqual(RESULT);
  });

  it('over HTTP+SSE too, where one request waits', async () => {
    const gateway = await startHttpSseGateway({
      take: ({ message: { method, id } }, stream, response) => {
        if (id === 1) stream.write(event(error(-32603, 'Quota used up')));
        else if (id === 2) stream.write(event('Quota used up', 'error'));
        else if (id === 3) {
          response
            .writeHead(200, { 'content-type': JSON_TYPE })
            .end(error(-32603, 'Quota used up'));
          return true;
        } else return method === 'tools/call';
        response.writeHead(202).end();
        return true;
      },
    });
    const proxy = startProxy(gateway.url, { args: ['--transport', 'sse', '--timeout', '30'] });
    await proxy.initialize();
    for (const id of [1, 2, 3]) {
      expect((await proxy.request(id, 'tools/call', { name: 'x' })).error).toMatchObject({
        message: expect.stringContaining('Quota used up'),
      });
    }
  });
});

describe('a body that its type does not fit is read for what it is', () => {
  it.each<[string, ...Answer]>([
    ['JSON as a stream', 200, STREAM, result],
    [
      'JSON over lines as a stream',
      200,
      STREAM,
      (id) => `\n ${result(id).replaceAll(',', ',\n')}\n`,
    ],
    ['a batch as a stream', 200, STREAM, (id) => `[${result(id)}]`],
    ['JSON as text', 200, 'text/plain; charset=utf-8', result],
    ['JSON as a web page', 200, 'text/html', result],
    ['JSON as bytes', 200, 'application/octet-stream', result],
    ['a stream as JSON', 200, JSON_TYPE, (id) => event(result(id))],
    [
      'a stream of events with ids as JSON',
      200,
      JSON_TYPE,
      (id) => `id: 1\n${event(result(id), 'message')}`,
    ],
    [
      'a stream that begins with a comment as JSON',
      200,
      JSON_TYPE,
      (id) => `: hello\n\n${event(result(id))}`,
    ],
    ['a stream as text', 200, 'text/plain', (id) => event(result(id))],
    ['a stream without a type', 200, '', (id) => `\ufeffretry: 5\n${event(result(id))}`],
  ])('%s', async (_, ...answered) => {
    const { proxy, call, sent } = await connect((received, response) =>
      respond(received, response, answered),
    );
    expect((await call()).result).toEqual(RESULT);
    expect(sent('tools/call')).toBe(1);
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
  });

  it('as it comes: a stream as JSON that stays open, one byte at a time', async () => {
    const { call } = await connect(async ({ message }, response) => {
      response.writeHead(200, { 'content-type': JSON_TYPE });
      for (const byte of Buffer.from(event(result(JSON.stringify(message.id))))) {
        await new Promise<void>((resolve) => response.write(Buffer.of(byte), () => resolve()));
      }
    });
    expect((await call()).result).toEqual(RESULT);
  });

  it.each<[string, ...Answer]>([
    ['JSON without the reply', 200, 'text/plain', () => '{"status":"ok"}'],
    ['text', 200, 'text/plain', () => 'events are over'],
    ['text like an event', 200, 'text/plain', () => 'error: no'],
    ['a half reply as a stream', 200, STREAM, (id) => result(id).slice(0, -1)],
  ])('and is no reply where it has none: %s', async (_, ...answered) => {
    const { call, sent } = await connect((received, response) =>
      respond(received, response, answered),
    );
    expect((await call()).error).toMatchObject({ data: { reason: 'invalid_response' } });
    expect(sent('tools/call')).toBe(1);
  });
});

describe('an answer without the request’s id that the session is lost', () => {
  const NOT_FOUND = 'Session not found';
  const LOST: [string, ...Answer][] = [
    ['200, id null', 200, JSON_TYPE, () => error(-32001, NOT_FOUND)],
    [
      '200, no id, another code',
      200,
      JSON_TYPE,
      () => error(-32600, 'Bad Request: Server not initialized', ''),
    ],
    ['200, a stream', 200, STREAM, () => event(error(-32000, 'Invalid or expired session'))],
    ['200, event: error', 200, STREAM, () => event('{"error":"session_expired"}', 'error')],
    ['200, no JSON-RPC', 200, JSON_TYPE, () => '{"error":"Invalid or expired session"}'],
    ['500, id null', 500, JSON_TYPE, () => error(-32603, NOT_FOUND)],
    ['503, no JSON-RPC', 503, JSON_TYPE, () => '{"error":"Invalid or expired session"}'],
    ['500, a stream', 500, STREAM, () => event(error(-32000, 'Server not initialized'))],
    ['400', 400, JSON_TYPE, () => error(-32000, 'Bad Request: Server not initialized')],
    ['401, text', 401, 'text/plain', () => 'Unauthorized: Session not found'],
    ['401, JSON', 401, JSON_TYPE, () => '{"error":"Invalid or expired session"}'],
    ['403, JSON', 403, JSON_TYPE, () => '{"code":"SESSION_NOT_FOUND"}'],
    ['403, initialize', 403, 'text/plain', () => 'Forbidden: please initialize first'],
    ['404', 404, 'text/html', () => '<h1>Not Found</h1>'],
    ['409', 409, 'text/plain', () => 'Session expired'],
    ['410', 410, 'text/plain', () => 'the session is gone'],
    ['422', 422, 'text/plain', () => 'Unexpected message, expect initialize request'],
  ];

  it.each(LOST)('begins another one, and repeats the call, once: %s', async (_, ...answered) => {
    const { proxy, call, sent } = await connect((received, response, count) => {
      if (count === 1) respond(received, response, answered);
      else answer(received, response, RESULT);
    });
    expect((await call()).result).toEqual(RESULT);
    expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
    expect(proxy.stderr).not.toMatch(/ (?:warn|error): /);
  });

  it.each(LOST)(
    'that the next session gives too is passed on, not about keys: %s',
    async (_, ...answered) => {
      const { proxy, call, sent } = await connect((received, response) =>
        respond(received, response, answered),
      );
      const { error: said } = (await call()) as { error: { message: string; data: Json } };
      expect(said.message).not.toMatch(/\bkeys?\b/i);
      expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
      expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
    },
  );

  it.each<[string, ...Answer]>([
    ['200 with the own id', 200, JSON_TYPE, (id) => error(-32001, NOT_FOUND, `"id":${id},`)],
    [
      'a stream with the own id',
      200,
      STREAM,
      (id) => event(error(-32000, 'Session expired', `"id":${id},`)),
    ],
    ['500 with the own id', 500, JSON_TYPE, (id) => error(-32001, NOT_FOUND, `"id":${id},`)],
    [
      '403 with the own id',
      403,
      JSON_TYPE,
      (id) => error(-32000, 'Session ID is required', `"id":${id},`),
    ],
  ])(
    'counts with the request’s id where the code is one of the SDKs: %s',
    async (_, ...answered) => {
      const { proxy, call, sent } = await connect((received, response, count) => {
        if (count === 1) respond(received, response, answered);
        else answer(received, response, RESULT);
      });
      expect((await call()).result).toEqual(RESULT);
      expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
      expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
    },
  );

  it('with the request’s id, and the same in the next session, is passed on as it came', async () => {
    const { proxy, call, sent } = await connect(({ message }, response) =>
      respond({ message } as Received, response, [
        ...([200, JSON_TYPE, (id) => error(-32001, NOT_FOUND, `"id":${id},`)] as Answer),
      ]),
    );
    expect((await call()).error).toEqual({ code: -32001, message: NOT_FOUND, data: { own: 1 } });
    expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
  });

  it('is not repeated after a message that came first: the call had begun', async () => {
    const note = '{"jsonrpc":"2.0","method":"notifications/hello"}';
    const { call, sent } = await connect((received, response) =>
      respond(received, response, [
        200,
        STREAM,
        () => event(note) + event(error(-32001, NOT_FOUND)),
      ]),
    );
    expect((await call()).error).toMatchObject({ code: -32001, message: NOT_FOUND });
    expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
  });

  it.each<[string, number, string, Record<string, string>]>([
    ['a plain 401', 401, 'Unauthorized', {}],
    ['a plain 403', 403, '{"error":"forbidden"}', {}],
    ['a 401 with a cookie of a session', 401, '', { 'set-cookie': 'session=expired; Path=/' }],
    [
      'a 401 that exposes the header',
      401,
      '',
      { 'access-control-expose-headers': 'Mcp-Session-Id' },
    ],
    [
      'a 401 with a challenge',
      401,
      'Session expired',
      { 'www-authenticate': 'Bearer error="invalid_token"' },
    ],
  ])('is not what %s is: that is about the key', async (_, status, body, headers) => {
    const { call, sent } = await connect((__, response) => {
      response.writeHead(status, headers).end(body);
    });
    expect((await call()).error).toMatchObject({
      data: { reason: status === 401 ? 'unauthorized' : 'forbidden', status },
    });
    expect(sent('initialize')).toBe(1);
  });

  it('in a header begins another one', async () => {
    const { call, sent } = await connect((received, response, count) => {
      if (count > 1) answer(received, response, RESULT);
      else response.writeHead(401, { 'x-mcp-error': 'session_not_found' }).end();
    });
    expect((await call()).result).toEqual(RESULT);
    expect(sent('initialize')).toBe(2);
  });
});

describe('a gateway without session ids', () => {
  it.each([200, 400, 404, 500])(
    'runs no call twice whose own error speaks of sessions, HTTP %d',
    async (status) => {
      for (const code of [-32000, -32001, -32020, -32021, -32022]) {
        const { call, sent } = await connect(
          (received, response) =>
            respond(received, response, [
              ...([
                status,
                JSON_TYPE,
                (id) => error(code, 'Session not found', `"id":${id},`),
              ] as Answer),
            ]),
          false,
        );
        expect((await call()).error).toMatchObject({ code });
        expect([sent('tools/call'), sent('initialize')]).toEqual([1, 1]);
      }
    },
  );

  it('is asked for another handshake where it says that there was none', async () => {
    const { call, sent } = await connect((received, response, count) => {
      if (count > 1) answer(received, response, RESULT);
      else
        respond(received, response, [
          400,
          JSON_TYPE,
          () => error(-32000, 'Server not initialized'),
        ]);
    }, false);
    expect((await call()).result).toEqual(RESULT);
    expect([sent('tools/call'), sent('initialize')]).toEqual([2, 2]);
  });
});
