import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { answer, sendEvents, sendJson, startGateway } from './loopback-gateway.ts';
import { type Json, startProxy, TEST_KEY } from './running-proxy.ts';

describe('what is sent to the gateway', () => {
  it('carries Accept, Content-Type, Bearer and User-Agent on every POST', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'tools/list');
    expect(gateway.received[0]).toMatchObject({
      method: 'POST',
      target: '/v1/mcp',
      headers: {
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
        authorization: `Bearer ${TEST_KEY}`,
        'user-agent': expect.stringMatching(/^mcp-latchkey\/\d/),
      },
    });
    expect(gateway.received[0]?.headers).not.toHaveProperty('mcp-protocol-version');
    expect(await proxy.end()).toBe(0);
  });

  it('names the negotiated revision and the session after initialize, and ends the session', async () => {
    const gateway = await startGateway((received, response) => {
      response.setHeader('Mcp-Session-Id', 'session-1');
      answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.request(2, 'ping');
    expect(await proxy.end()).toBe(0);
    const [initialize, ...later] = gateway.received;
    expect(initialize?.headers).not.toHaveProperty('mcp-session-id');
    for (const { headers } of later) {
      expect(headers).toMatchObject({
        'mcp-session-id': 'session-1',
        'mcp-protocol-version': '2025-06-18',
        authorization: `Bearer ${TEST_KEY}`,
      });
    }
    expect(later.map(({ method }) => method).sort()).toEqual(['DELETE', 'GET', 'POST', 'POST']);
    expect(later.at(-1)?.method).toBe('DELETE');
  });

  it('passes every byte of a message on: order, big numbers, escapes, unknown members', async () => {
    const gateway = await startGateway((received, response) => {
      const id = /"id":(\S+?),/.exec(received.body)?.[1];
      sendJson(
        response,
        `{"result":{"n":1e400,"big":12345678901234567890,"x":"\\u00e9é😀"},"id":${id},"jsonrpc":"2.0"}`,
      );
    });
    const proxy = startProxy(gateway.url);
    const sent =
      '{"z":[1.0,98765432109876543210],"id":12345678901234567890,"method":"未知/x","jsonrpc":"2.0","t":"\\ud83d\\ude00é"}';
    proxy.send(`${sent}\r`);
    let stdout = '';
    proxy.child.stdout?.on('data', (text) => {
      stdout += text;
    });
    await proxy.until(() => stdout.endsWith('\n'));
    expect(gateway.received[0]?.body).toBe(`${sent}`);
    expect(stdout).toBe(
      '{"result":{"n":1e400,"big":12345678901234567890,"x":"\\u00e9é😀"},"id":12345678901234567890,"jsonrpc":"2.0"}\n',
    );
  });

  it('sends nothing later before notifications/initialized was accepted', async () => {
    let accept: (() => void) | undefined;
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'notifications/initialized') {
        accept = () => response.writeHead(202).end();
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 3, method: 'tools/list' });
    await gateway.request(({ message }) => message.method === 'notifications/initialized');
    // A batch's answer shows that the line above has been read; nothing of it may have been sent.
    proxy.send('[{"id":"read"}]');
    await proxy.reply('read');
    expect(gateway.received.map(({ message }) => message.method)).not.toContain('tools/list');
    accept?.();
    await proxy.reply(3);
  });

  it('holds what a client pipelines behind initialize until the session is there', async () => {
    const gateway = await startGateway((received, response) => {
      response.setHeader('Mcp-Session-Id', 'late');
      if (received.message.method === 'initialize') setImmediate(() => answer(received, response));
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    proxy.send(
      { jsonrpc: '2.0', id: 1, method: 'initialize', params: {} },
      { jsonrpc: '2.0', method: 'notifications/initialized' },
      { jsonrpc: '2.0', id: 2, method: 'tools/list' },
    );
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages.map(({ id }) => id)).toEqual([1, 2]);
    expect(
      gateway.received.slice(1).every(({ headers }) => headers['mcp-session-id'] === 'late'),
    ).toBe(true);
  });

  it('lets no request wait behind a slow one', async () => {
    const slow: (() => void)[] = [];
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'slow') slow.push(() => answer(received, response));
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    for (let id = 1; id <= 20; id++) proxy.send({ jsonrpc: '2.0', id, method: 'slow' });
    await proxy.request('fast', 'ping');
    expect(proxy.messages).toHaveLength(1);
    for (const finish of slow) finish();
    await proxy.until(() => proxy.messages.length === 21);
  });

  it('adds the integration filter and leaves the query as it was', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(`${gateway.url}?team=a%20b&x=1+2`, {
      args: ['--integrations', 'linear, sap-s4hana-rfc'],
    });
    await proxy.request(1, 'tools/list');
    expect(gateway.received[0]?.target).toBe(
      '/v1/mcp?team=a%20b&x=1+2&integrations=linear,sap-s4hana-rfc',
    );
  });
});

describe('what comes back', () => {
  it('passes on everything on one event stream, in order, and the reply', async () => {
    const gateway = await startGateway((received, response) => {
      sendEvents(
        response,
        { jsonrpc: '2.0', method: 'notifications/progress', params: { progress: 1 } },
        { jsonrpc: '2.0', method: 'notifications/progress', params: { progress: 2 } },
        { jsonrpc: '2.0', id: received.message.id, result: { done: true } },
      );
      response.end();
    });
    const proxy = startProxy(gateway.url);
    await proxy.request(1, 'tools/call');
    expect(proxy.messages.map(({ params, result }) => params ?? result)).toEqual([
      { progress: 1 },
      { progress: 2 },
      { done: true },
    ]);
  });

  it('reads events cut anywhere, with CRLF, comments, several data lines and a priming event', async () => {
    const gateway = await startGateway(async ({ message }, response) => {
      response.writeHead(200, { 'content-type': 'Text/Event-Stream; charset=utf-8' });
      const events = Buffer.from(
        `\ufeff: hello\r\nid: 1\r\ndata:\r\n\r\nevent: message\r\ndata: {"jsonrpc":"2.0",\r\ndata: "id":${message.id},"result":{"text":"é😀"}}\r\n\r\n`,
      );
      for (const byte of events) {
        await new Promise((resolve) => response.write(Buffer.from([byte]), resolve));
      }
      response.end();
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'x')).toMatchObject({ result: { text: 'é😀' } });
  });

  it("passes on the gateway's requests and POSTs the client's answers back", async () => {
    let stream: ServerResponse | undefined;
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'tools/call') {
        sendEvents(response, { jsonrpc: '2.0', id: 'ask-1', method: 'sampling/createMessage' });
        stream = response;
        return;
      }
      response.writeHead(202).end();
      if (received.message.id === 'ask-1') {
        stream?.end(
          `data: {"jsonrpc":"2.0","id":1,"result":${JSON.stringify(received.message.result)}}\n\n`,
        );
      }
    });
    const proxy = startProxy(gateway.url);
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call' });
    await proxy.message(({ method }) => method === 'sampling/createMessage');
    proxy.send({ jsonrpc: '2.0', id: 'ask-1', result: { model: 'm' } });
    expect(await proxy.reply(1)).toMatchObject({ result: { model: 'm' } });
  });

  it('opens the GET stream once initialized and passes on what comes there', async () => {
    const gateway = await startGateway((received, response) => {
      if (received.method === 'GET') {
        sendEvents(response, { jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.message(({ method }) => method === 'notifications/tools/list_changed');
    const order = gateway.received.map(({ method, message }) => message.method ?? method);
    expect(order).toEqual(['initialize', 'notifications/initialized', 'GET']);
    expect(gateway.received[2]?.headers.accept).toBe('text/event-stream');
  });

  it.each([404, 405, 501])('takes it in silence that GET answers %i', async (status) => {
    const gateway = await startGateway((received, response) => {
      if (received.method === 'GET') response.writeHead(status).end();
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await gateway.request(({ method }) => method === 'GET');
    await proxy.request(2, 'ping');
    await proxy.end();
    expect(proxy.stderr).not.toMatch(/ warn| error/);
    expect(gateway.received.filter(({ method }) => method === 'GET')).toHaveLength(1);
  });

  it('carries 20 MB both ways, in JSON and in an event', async () => {
    const text = 'né😀 "\\'.repeat(2_000_000);
    const gateway = await startGateway(({ message }, response) => {
      const reply = { jsonrpc: '2.0', id: message.id, result: message.params };
      if (message.method === 'sse') {
        sendEvents(response, reply);
        response.end();
      } else sendJson(response, reply);
    });
    const proxy = startProxy(gateway.url);
    for (const [id, method] of ['json', 'sse'].entries()) {
      const { result } = await proxy.request(id, method, { text });
      expect((result as { text: string }).text === text).toBe(true);
    }
  });

  it('slows the gateway down, not the heap, while the client does not read', async () => {
    const total = 200;
    const piece = { jsonrpc: '2.0', method: 'n', params: { text: 'x'.repeat(1024 * 1024) } };
    let sent = 0;
    let stalledAt: (() => void) | undefined;
    const stalled = new Promise<void>((resolve) => {
      stalledAt = resolve;
    });
    const gateway = await startGateway(async ({ message }, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const stall = setInterval(() => {
        if (sent > 0 && response.writableNeedDrain && sent === before) stalledAt?.();
        before = sent;
      }, 200);
      let before = -1;
      for (; sent < total; sent++) {
        if (!response.write(`data: ${JSON.stringify(piece)}\n\n`)) {
          await new Promise((resolve) => response.once('drain', resolve));
        }
      }
      clearInterval(stall);
      response.end(`data: {"jsonrpc":"2.0","id":${message.id},"result":{}}\n\n`);
    });
    const proxy = startProxy(gateway.url);
    proxy.child.stdout?.pause();
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'flood' });
    await stalled;
    expect(sent).toBeLessThan(total / 4);
    proxy.child.stdout?.resume();
    await proxy.reply(1);
    expect(proxy.messages).toHaveLength(total + 1);
  });
});

describe('lines that are not messages', () => {
  it('answers -32700 or -32600 where there is an id, logs the rest, and goes on', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    proxy.send(
      'hello',
      '',
      '{"id":1,"method":',
      '{"id":"two"}',
      '[]',
      '5',
      '{"jsonrpc":"2.0","id":null,"method":"x"}',
    );
    expect(await proxy.reply(1)).toMatchObject({ error: { code: -32700 } });
    expect(await proxy.reply('two')).toMatchObject({ error: { code: -32600 } });
    await proxy.request(3, 'ping');
    expect(proxy.messages).toHaveLength(3);
    expect(proxy.stderr.match(/not a JSON-RPC message/g)).toHaveLength(6);
  });

  it.each([
    '{"jsonrpc":"2.0","id":9,"result":1,"error":{"code":1,"message":"m"}}',
    '{"id":9,"result":1}',
    '{"jsonrpc":"2.0","id":9,"error":"no"}',
    '{"jsonrpc":"2.0","id":9,"result":1,',
    '[{"id":9,"result":1}]',
  ])('%s is a response, however broken, and gets no answer', async (line) => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    proxy.send(line);
    await proxy.request(3, 'ping');
    expect(proxy.messages).toHaveLength(1);
    expect(proxy.stderr).toContain('not a JSON-RPC message');
  });

  it('answers a request whose id or method is too long to be one', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    const id = 'i'.repeat(2_000);
    proxy.send({ jsonrpc: '2.0', id, method: 'x' });
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'm'.repeat(2_000) });
    for (const own of [id, 2]) {
      expect(await proxy.reply(own)).toMatchObject({ error: { code: -32600 } });
    }
    expect(gateway.received).toHaveLength(0);
  });

  it('reads UTF-8 that is split between two writes', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    const line = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"x","params":{"t":"😀"}}\n');
    const middle = line.indexOf(0xf0) + 2;
    await new Promise((resolve) => proxy.child.stdin?.write(line.subarray(0, middle), resolve));
    await new Promise((resolve) => proxy.child.stdin?.write(line.subarray(middle), resolve));
    await proxy.reply(1);
    expect(gateway.received[0]?.message.params).toEqual({ t: '😀' });
  });
});

describe('batches', () => {
  it("sends each of the client's messages alone and answers with one array", async () => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'bad') response.writeHead(403).end();
      else answer(received, response, { for: received.message.id });
    });
    const proxy = startProxy(gateway.url);
    let stdout = '';
    proxy.child.stdout?.on('data', (text) => {
      stdout += text;
    });
    proxy.send([
      { jsonrpc: '2.0', id: 1, method: 'a' },
      { jsonrpc: '2.0', method: 'notifications/x' },
      { jsonrpc: '2.0', id: 2, method: 'bad' },
      { id: 3 },
    ]);
    await proxy.until(() => stdout.endsWith('\n'));
    const replies = JSON.parse(stdout);
    expect(replies).toHaveLength(3);
    expect(replies.find(({ id }: { id: number }) => id === 1).result).toEqual({ for: 1 });
    expect(replies.find(({ id }: { id: number }) => id === 2).error.data.reason).toBe('forbidden');
    expect(replies.find(({ id }: { id: number }) => id === 3).error.code).toBe(-32600);
    await gateway.request(({ message }) => message.method === 'notifications/x');
    expect(gateway.received.every(({ body }) => body.startsWith('{'))).toBe(true);
  });

  it.each([
    ['is broken', 3, -32700, (messages: string) => `[${messages}`],
    ['has more than 1,000 messages', 20_001, -32600, (messages: string) => `[${messages}]`],
  ])(
    'sends nothing of one that %s, and answers each of its requests',
    async (_, count, code, batch) => {
      const gateway = await startGateway(answer);
      const proxy = startProxy(gateway.url);
      const ids = Array.from({ length: count }, (_, id) => id);
      proxy.send(
        batch(
          [
            '{"jsonrpc":"2.0","method":"notifications/x"}',
            '{"jsonrpc":"2.0","id":1,"result":{}}',
            ...ids.map((id) => `{"jsonrpc":"2.0","id":${id},"method":"x"}`),
          ].join(','),
        ),
      );
      // The client is done: what it is owed comes all the same.
      expect(await proxy.end()).toBe(0);
      expect(proxy.messages.map(({ id }) => id)).toEqual(ids);
      for (const { error } of proxy.messages) expect(error).toMatchObject({ code });
      expect(gateway.received).toHaveLength(0);
    },
  );

  it("says that a gateway's batch is too long, unless the reply came before that", async () => {
    const gateway = await startGateway(({ message }, response) => {
      const reply = { jsonrpc: '2.0', id: message.id, result: {} };
      const others = Array(10_000).fill({ jsonrpc: '2.0', method: 'n' });
      sendJson(response, message.method === 'first' ? [reply, ...others] : [...others, reply]);
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'first')).toHaveProperty('result');
    const { error } = await proxy.request(2, 'last');
    expect(error).toMatchObject({ data: { reason: 'invalid_response' } });
    expect((error as Json).message).toContain('an oversized batch');
  });

  it("takes the gateway's batches apart, in JSON and in events", async () => {
    const gateway = await startGateway(({ message }, response) => {
      const batch = [
        { jsonrpc: '2.0', method: 'notifications/message' },
        { jsonrpc: '2.0', id: message.id, result: {} },
      ];
      if (message.method === 'sse') {
        sendEvents(response, batch);
        response.end();
      } else sendJson(response, batch);
    });
    const proxy = startProxy(gateway.url);
    for (const method of ['sse', 'json']) await proxy.request(method, method);
    expect(proxy.messages.map(({ id, method }) => id ?? method)).toEqual([
      'notifications/message',
      'sse',
      'notifications/message',
      'json',
    ]);
  });
});

describe('ids beyond 2^53', () => {
  const [one, other] = ['10000000000000001', '10000000000000002'];
  const call = (id: string) => `{"jsonrpc":"2.0","id":${id},"method":"x"}`;
  const idIn = (body: string) => /"id":(\d+)/.exec(body)?.[1] ?? '';

  async function start(writeId: (id: string) => string) {
    const waiting: (() => void)[] = [];
    const gateway = await startGateway(({ body }, response) => {
      const id = idIn(body);
      if (id === '') return void response.writeHead(202).end();
      waiting.push(() =>
        sendJson(response, `{"jsonrpc":"2.0","id":${writeId(id)},"result":"for ${id}"}`),
      );
      // The last comes first.
      if (waiting.length === 2) for (const respond of waiting.reverse()) respond();
    });
    const proxy = startProxy(gateway.url);
    let stdout = '';
    proxy.child.stdout?.on('data', (text) => {
      stdout += text;
    });
    return { gateway, proxy, replies: () => stdout.trim().split('\n') };
  }

  it.each([
    ['writes them as they are', (id: string) => id],
    ['rounds them to what a double can hold', (id: string) => String(Number(id))],
  ])('are told apart where the gateway %s', async (_, writeId) => {
    const { proxy, replies } = await start(writeId);
    proxy.send(call(one), call(other));
    await proxy.until(() => replies().length === 2);
    for (const id of [one, other]) {
      expect(replies()).toContain(`{"jsonrpc":"2.0","id":${id},"result":"for ${id}"}`);
    }
  });

  it('are told apart in a cancellation', async () => {
    const { gateway, proxy, replies } = await start((id) => id);
    proxy.send(call(one));
    await gateway.request(({ body }) => idIn(body) === one);
    proxy.send(
      `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${other}}}`,
    );
    await gateway.request(({ body }) => body.includes('cancelled'));
    proxy.send(call('3'));
    await proxy.until(() => replies().length === 2);
    expect(replies()).toContain(`{"jsonrpc":"2.0","id":${one},"result":"for ${one}"}`);
  });
});

describe('cancellation', () => {
  it('reaches the gateway, ends the exchange and leaves the request without a reply', async () => {
    let closed: Promise<unknown> | undefined;
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'slow') {
        sendEvents(response, { jsonrpc: '2.0', method: 'started' });
        closed = new Promise((resolve) => response.once('close', resolve));
      } else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    proxy.send({ jsonrpc: '2.0', id: 7, method: 'slow' });
    await proxy.message(({ method }) => method === 'started');
    proxy.notify('notifications/cancelled', { requestId: 7, reason: 'enough' });
    await closed;
    await proxy.request(8, 'ping');
    expect(proxy.messages.map(({ id, method }) => id ?? method)).toEqual(['started', 8]);
    expect(gateway.received[1]?.message).toMatchObject({ params: { requestId: 7 } });
  });
});
