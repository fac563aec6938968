import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { type Received, startGateway } from './loopback-gateway.ts';
import { MODERN, reserved, startModernGateway } from './modern-gateway.ts';
import { inputRequired, modern, notified, said } from './modern-messages.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';

const listen = (proxy: RunningProxy, id: string | number, notifications: Json) =>
  proxy.send({
    ...{ jsonrpc: '2.0', id, method: 'subscriptions/listen' },
    params: modern({ notifications }),
  });

describe('a client of 2026-07-28 and a gateway of 2026-07-28', () => {
  it('exchange the very bytes that they wrote, and nothing besides', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    const _meta = JSON.stringify(modern()._meta);
    const lines = [
      // It may be repeated, so that the gateway is not asked what it is.
      `{"id":0,"jsonrpc":"2.0","method":"tools/list","params":{"_meta":${_meta}}}`,
      `{"jsonrpc":"2.0", "id" : "\\u00e9" ,"method":"tools/call","unknown":[1.0],"params":{"name":"echo","arguments":{"text":"x","n":12345678901234567890,"e":1E400,"text":"\\u00e9 é"},"_meta":${_meta}}}`,
      `{"method":"tools/list","params":{"_meta":${_meta}},"id":9007199254740993,"jsonrpc":"2.0"}`,
      `{"jsonrpc":"2.0","id":3,"method":"prompts/list","params":{"_meta":${_meta}}}`,
      `{"jsonrpc":"2.0","id":4,"method":"resources/read","params":{"uri":"memo://é","_meta":${_meta}}}`,
      `{"jsonrpc":"2.0","id":5,"method":"server/discover","params":{"_meta":${_meta}}}`,
    ];
    for (const [index, line] of lines.entries()) {
      proxy.send(line);
      await proxy.until(() => proxy.messages.length > index);
    }
    expect(gateway.received.map(({ body }) => body)).toEqual(lines);
    expect(proxy.messages.every(({ result }) => result)).toBe(true);
    expect(gateway.received.map(({ headers }) => headers['mcp-name'])).toEqual([
      undefined,
      'echo',
      undefined,
      undefined,
      '=?base64?bWVtbzovL8Op?=',
      undefined,
    ]);
    for (const { headers, message } of gateway.received) {
      expect(headers).toMatchObject({
        'mcp-protocol-version': MODERN,
        'mcp-method': message.method,
      });
      expect(headers).not.toHaveProperty('mcp-session-id');
    }
    expect(await proxy.end()).toBe(0);
    expect(gateway.received).toHaveLength(lines.length);
  });

  it.each([
    ['with "\\/", as PHP and Swift write it', (name: string) => name.replaceAll('/', '\\/')],
    ['with "\\u002f"', (name: string) => name.replaceAll('/', '\\u002f')],
    [
      'letter by letter',
      (name: string) =>
        [...name]
          .map((letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`)
          .join(''),
    ],
  ])('know each other where names in _meta are escaped %s', async (_, escaped) => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    const _meta = JSON.stringify(modern()._meta).replace(
      /"(io\.modelcontextprotocol[^"]*)":/g,
      (_, name: string) => `"${escaped(name)}":`,
    );
    const line = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":${_meta}}}`;
    proxy.send(line);
    expect(await proxy.reply(1)).toHaveProperty('result');
    expect(gateway.received.map(({ body }) => body)).toEqual([line]);
    expect(gateway.received[0]?.headers).toMatchObject({ 'mcp-method': 'tools/list' });
  });

  it('exchange the replies as they are: what only the gateway says stays', async () => {
    const exact =
      '{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","x":[1.0,12345678901234567890]},"y":0}';
    const gateway = await startGateway((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(exact);
    });
    const proxy = startProxy(gateway.url);
    let stdout = '';
    proxy.child.stdout?.on('data', (text: string) => {
      stdout += text;
    });
    await proxy.request(1, 'tools/list', modern());
    expect(stdout).toBe(`${exact}\n`);
  });

  it('settle the revision between them', async () => {
    const gateway = await startModernGateway({ supported: ['2031-01-01'] });
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2]) {
      expect(await proxy.request(id, 'tools/list', modern())).toMatchObject({
        error: { code: -32022, data: { supported: ['2031-01-01'], requested: MODERN } },
      });
    }
    expect(gateway.received.map(({ message }) => message.method)).toEqual([
      'tools/list',
      'tools/list',
    ]);
  });

  it('find each other although the first request fails', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'nobody' }))).toMatchObject({
      error: { code: -32602, message: expect.stringContaining('nobody') },
    });
    expect(await proxy.request(2, 'no/such', modern())).toMatchObject({ error: { code: -32601 } });
    expect(await proxy.request(3, 'prompts/list', modern())).toHaveProperty('result');
    expect(gateway.requests('initialize')).toEqual([]);
    expect(gateway.requests('server/discover').length).toBeLessThanOrEqual(1);
  });

  it('agree on headers of arguments: a mismatch refreshes the tools and tries once more', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    const call = modern({ name: 'query', arguments: { region: 'eu é' } });
    expect(said(await proxy.request(1, 'tools/call', call))).toEqual({ region: 'eu é' });
    const methods = ['tools/call', 'tools/list', 'tools/list', 'tools/call'];
    expect(gateway.received.map(({ message }) => message.method)).toEqual([
      'server/discover',
      ...methods,
    ]);
    const [first, second] = gateway.requests('tools/call');
    expect(first?.body).toBe(second?.body);
    expect(second?.headers['mcp-param-region']).toBe('=?base64?ZXUgw6k=?=');
    // From here on it is known.
    await proxy.request(2, 'tools/call', call);
    expect(gateway.received).toHaveLength(6);
    expect(proxy.messages).toHaveLength(2);
  });

  it('disagree on headers for good: the second mismatch is the answer', async () => {
    const gateway = await startModernGateway({ alwaysMismatched: true });
    const proxy = startProxy(gateway.url);
    const reply = await proxy.request(1, 'tools/call', modern({ name: 'echo' }));
    expect(reply).toMatchObject({ error: { code: -32020 } });
    expect(gateway.requests('tools/call')).toHaveLength(2);
  });

  it('have no tools with invalid annotations; the log names them in clean text', async () => {
    const gateway = await startModernGateway();
    gateway.tools.push({
      name: 'bad\u001b[31m\nline',
      inputSchema: {
        type: 'object',
        properties: { a: { type: 'string', 'x-mcp-header': 'No Name' } },
      },
    });
    const proxy = startProxy(gateway.url);
    const { result } = await proxy.request(1, 'tools/list', modern({ cursor: 'rest' }));
    const { tools } = result as { tools: Json[] };
    expect(tools).toEqual(gateway.tools.slice(1, -1));
    expect(proxy.stderr).toMatch(/left out the tool 'bad.*line'/);
    expect(proxy.stderr).not.toContain('\u001b');
  });

  it('ask for input and give it, to the byte', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    const args = { name: 'ask-all', arguments: { label: 'a"é' } };
    const { inputRequests, requestState } = inputRequired(
      await proxy.request(1, 'tools/call', modern(args)),
    );
    expect(Object.keys(inputRequests)).toEqual(['who', 'what', 'where']);
    const inputResponses = { who: { action: 'decline' }, what: {}, where: { roots: [] } };
    const retry = await proxy.request(
      2,
      'tools/call',
      modern({ ...args, inputResponses, requestState }),
    );
    expect(said(retry)).toEqual({ label: 'a"é', ...inputResponses });
    expect(gateway.requests('tools/call')).toHaveLength(2);
  });

  it('report progress and log for the request that asked for it', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    const meta = { progressToken: 'p', [reserved('logLevel')]: 'error' };
    const slow = { jsonrpc: '2.0', id: 1, method: 'tools/call' };
    proxy.send({ ...slow, params: modern({ name: 'slow' }, meta) });
    await notified(proxy, 'notifications/message');
    expect(proxy.messages).toEqual([
      {
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken: 'p', progress: 1, total: 2 },
      },
      {
        jsonrpc: '2.0',
        method: 'notifications/message',
        params: { level: 'error', data: 'logged error' },
      },
    ]);
    gateway.release();
    expect(await proxy.reply(1)).toHaveProperty('result');
  });

  it('cancel by closing the stream, the first request too', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2]) {
      const slow = { jsonrpc: '2.0', id, method: 'tools/call' };
      proxy.send({ ...slow, params: modern({ name: 'slow' }, { progressToken: id }) });
      await notified(proxy, 'notifications/progress', id);
      proxy.notify('notifications/cancelled', { requestId: id });
      await gateway.closedByClient(({ message }) => message.id === id);
      await proxy.request(`after ${id}`, 'prompts/list', modern());
    }
    // The fixture fails the test when a notification reaches it.
    expect(gateway.requests('tools/call')).toHaveLength(2);
    expect(proxy.messages.filter(({ id }) => id === 1 || id === 2)).toEqual([]);
  });
});

describe('a subscription with a gateway of 2026-07-28', () => {
  it('tells of what was asked for, each with the id of its own', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    listen(proxy, 'one', { toolsListChanged: true });
    expect(await notified(proxy, ACKNOWLEDGED)).toEqual({
      jsonrpc: '2.0',
      method: ACKNOWLEDGED,
      params: {
        notifications: { toolsListChanged: true },
        _meta: { [reserved('subscriptionId')]: 'one' },
      },
    });
    listen(proxy, 2, { resourceSubscriptions: ['memo://one'] });
    await notified(proxy, ACKNOWLEDGED, 2);
    gateway.resourceUpdated('memo://one');
    const updated = await notified(proxy, 'notifications/resources/updated');
    expect(updated.params).toEqual({
      uri: 'memo://one',
      _meta: { [reserved('subscriptionId')]: 2 },
    });
    gateway.listChanged('tools');
    const changed = await notified(proxy, 'notifications/tools/list_changed');
    expect(changed.params).toEqual({ _meta: { [reserved('subscriptionId')]: 'one' } });
    // The era was found by the acknowledgment.
    expect(gateway.received.map(({ message }) => message.id)).toEqual(['one', 2]);
  });

  it('ends when it is cancelled, by closing its stream and by nothing else', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    listen(proxy, 1, { toolsListChanged: true });
    await notified(proxy, ACKNOWLEDGED);
    proxy.notify('notifications/cancelled', { requestId: 1 });
    await gateway.closedByClient(({ message }) => message.id === 1);
    await proxy.request(2, 'prompts/list', modern());
    expect(gateway.received).toHaveLength(2);
    expect(proxy.messages.filter(({ id }) => id === 1)).toEqual([]);
  });

  it('goes on when its stream is cut, acknowledged once', async () => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    listen(proxy, 1, { toolsListChanged: true });
    await notified(proxy, ACKNOWLEDGED);
    for (const count of [1, 2]) {
      gateway.dropSubscriptions();
      await gateway.request(() => gateway.requests('subscriptions/listen').length > count);
      await gateway.listening(({ toolsListChanged }) => toolsListChanged === true);
      gateway.listChanged('tools');
      await notified(proxy, 'notifications/tools/list_changed', count);
    }
    expect(proxy.messages.filter(({ method }) => method === ACKNOWLEDGED)).toHaveLength(1);
    const bodies = gateway.requests('subscriptions/listen').map(({ body }) => body);
    expect(new Set(bodies).size).toBe(1);
    expect(proxy.messages.filter(({ id }) => id === 1)).toEqual([]);
  });

  /** A gateway that acknowledges and then does as told. */
  const acknowledging = (then: (response: ServerResponse, count: number) => void) => {
    let count = 0;
    return startGateway(({ method }: Received, response) => {
      if (method !== 'POST') {
        response.writeHead(405).end();
        return;
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const params = { notifications: {}, _meta: { [reserved('subscriptionId')]: 1 } };
      const acknowledgment = { jsonrpc: '2.0', method: ACKNOWLEDGED, params };
      response.write(`id: e-1\ndata: ${JSON.stringify(acknowledgment)}\n\n`);
      then(response, ++count);
    });
  };

  it('ends in good order when the gateway says so', async () => {
    const result = { resultType: 'complete', _meta: { [reserved('subscriptionId')]: 1 } };
    const gateway = await acknowledging((response) => {
      response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id: 1, result })}\n\n`);
    });
    const proxy = startProxy(gateway.url);
    listen(proxy, 1, {});
    expect(await proxy.reply(1)).toEqual({ jsonrpc: '2.0', id: 1, result });
    expect(await proxy.end()).toBe(0);
    expect(gateway.received).toHaveLength(1);
  });

  it('is opened again, not resumed: this revision has no GET', async () => {
    const gateway = await acknowledging((response, count) => {
      if (count === 1) response.write('', () => response.socket?.destroySoon());
    });
    const proxy = startProxy(gateway.url);
    listen(proxy, 1, {});
    await gateway.request(() => gateway.received.length > 1);
    expect(gateway.received.map(({ method }) => method)).toEqual(['POST', 'POST']);
  });

  it.each(['found', 'unknown'])('ends with the client, the era being %s', async (era) => {
    const gateway = await startModernGateway();
    const proxy = startProxy(gateway.url);
    if (era === 'found') await proxy.request(0, 'prompts/list', modern());
    listen(proxy, 1, { toolsListChanged: true });
    await notified(proxy, ACKNOWLEDGED);
    expect(await proxy.end()).toBe(0);
    expect(proxy.lastWait.missing).toBe(0);
    // Exactly one reply, since it was not cancelled.
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
  });
});
