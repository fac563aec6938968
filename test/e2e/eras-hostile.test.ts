import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { sendEvents, sendJson, startGateway } from './loopback-gateway.ts';
import { MODERN, reserved } from './modern-gateway.ts';
import { inputRequired, modern, notified, said } from './modern-messages.ts';
import { type OldGateway, type OldGatewaySettings, startOldGateway } from './old-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';
const ELICIT = 'elicitation/create';

/** Values that neither text nor a number can be made of. */
const STRANGE = [
  '{"toString":1,"valueOf":1}',
  `${'['.repeat(20_000)}${']'.repeat(20_000)}`,
  'null',
  '{"__proto__":{"toString":1}}',
];

async function connect(
  settings: OldGatewaySettings = {},
): Promise<{ gateway: OldGateway; proxy: RunningProxy }> {
  const gateway = await startOldGateway(settings);
  const proxy = startProxy(gateway.url);
  expect(await proxy.request('first', 'prompts/list', modern())).toHaveProperty('result');
  return { gateway, proxy };
}

const send = (proxy: RunningProxy, id: string | number, method: string, params: Json) =>
  proxy.send({ jsonrpc: '2.0', id, method, params });

/** Takes every `tools/call` and gives it a stream. */
const onStream = (
  take: (write: (...messages: (Json | string)[]) => void, id: unknown, end: () => void) => void,
): OldGatewaySettings => ({
  respond: ({ message }, response: ServerResponse) => {
    if (message.method !== 'tools/call') return false;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const write = (...messages: (Json | string)[]) => {
      const events = messages.map((message) =>
        typeof message === 'string' ? message : JSON.stringify({ jsonrpc: '2.0', ...message }),
      );
      response.write(events.map((event) => `data: ${event}\n\n`).join(''));
    };
    take(write, message.id, () => response.end());
    return true;
  },
});

const elicit = (id: string) => ({ id, method: ELICIT, params: { message: 'Who?' } });
const result = (text: string) => ({ content: [{ type: 'text', text: JSON.stringify(text) }] });

/** The replies to this request, when all that was sent before has come. */
async function repliesTo(proxy: RunningProxy, ...ids: unknown[]): Promise<Json[]> {
  await proxy.request(`marker ${ids}`, 'prompts/list', modern());
  return proxy.messages.filter(({ id, method }) => ids.includes(id) && method === undefined);
}

describe('a hostile gateway of an earlier era', () => {
  it('that sends notifications about nothing that can be named breaks nothing', async () => {
    const { proxy } = await connect(
      onStream((write, id, end) => {
        for (const value of STRANGE) {
          for (const [method, name] of [
            ['notifications/progress', 'progressToken'],
            ['notifications/cancelled', 'requestId'],
            ['notifications/resources/updated', 'uri'],
            ['notifications/message', 'level'],
          ]) {
            write(`{"jsonrpc":"2.0","method":"${method}","params":{"${name}":${value}}}`);
          }
        }
        for (const method of ['__proto__', 'constructor', 'toString']) write({ method });
        write({ id, result: result('done') });
        end();
      }),
    );
    expect(said(await proxy.request(1, 'tools/call', modern({ name: 'x' })))).toBe('done');
  });

  it('that says nothing sensible in its handshake and its results breaks nothing', async () => {
    for (const value of ['7', 'null', '[]', '"x"', STRANGE[1]]) {
      const gateway = await startGateway(({ method, message, headers }, response) => {
        if (method !== 'POST') response.writeHead(405).end();
        else if (message.id === undefined) response.writeHead(202).end();
        else if (headers['mcp-method'] !== undefined) response.writeHead(400).end();
        else
          sendJson(
            response,
            `{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":${value}}`,
          );
      });
      const proxy = startProxy(gateway.url);
      expect(await proxy.request(1, 'tools/list', modern())).toMatchObject({
        result: { resultType: 'complete' },
      });
      expect(await proxy.request(2, 'server/discover', modern())).toHaveProperty('result');
      send(proxy, 3, 'subscriptions/listen', modern({ notifications: { toolsListChanged: true } }));
      await notified(proxy, ACKNOWLEDGED);
      expect(await proxy.end()).toBe(0);
    }
  });

  it('that answers twice, or asks behind its answer, is believed once', async () => {
    const { gateway, proxy } = await connect(
      onStream((write, id) => {
        write(
          ...[
            { id, result: result('one') },
            { id, result: result('two') },
          ],
          ...[elicit('late'), { id, error: { code: -32042, message: 'x' } }],
        );
      }),
    );
    expect(said(await proxy.request(1, 'tools/call', modern({ name: 'x' })))).toBe('one');
    // The same id again: what is left of the first is not its answer.
    expect(said(await proxy.request(1, 'tools/call', modern({ name: 'x' })))).toBe('one');
    expect(await repliesTo(proxy, 1)).toHaveLength(2);
    const { message } = await gateway.request(({ message }) => message.id === 'late');
    expect(message).toMatchObject({ error: { code: -32601 } });
  });

  it('that answers while it asks gets its question refused when it is too late', async () => {
    const { gateway, proxy } = await connect(
      onStream((write, id, end) => {
        write(elicit('asked'), { id, result: result('done') });
        end();
      }),
    );
    const reply = await proxy.request(1, 'tools/call', modern({ name: 'x' }));
    expect(said(reply)).toBe('done');
    await gateway.request(({ message }) => message.id === 'asked' && message.error !== undefined);
  });

  it('that asks for links to be opened while the client gathers is asked again, once each time', async () => {
    const link = { mode: 'url', message: 'In', url: 'https://a.example', elicitationId: 'e' };
    let calls = 0;
    let fail: (() => void) | undefined;
    const { gateway, proxy } = await connect(
      onStream((write, id, end) => {
        if (++calls === 1) {
          write(elicit('asked'));
          fail = () => {
            const data = { elicitations: [link] };
            write(
              { id, error: { code: -32042, message: 'In', data } },
              { id, result: result('x') },
            );
            end();
          };
        } else {
          write({ id, result: result('done') });
          end();
        }
      }),
    );
    const call = { name: 'x' };
    let reply = await proxy.request(1, 'tools/call', modern(call));
    fail?.();
    await proxy.request(2, 'prompts/list', modern());
    for (const id of [3, 4]) {
      const { inputRequests, requestState } = inputRequired(reply);
      const inputResponses = Object.fromEntries(
        Object.keys(inputRequests).map((name) => [name, { action: 'accept' }]),
      );
      const params = modern({ ...call, inputResponses, requestState });
      reply = await proxy.request(id, 'tools/call', params);
    }
    expect(said(reply)).toBe('done');
    expect(gateway.requests('tools/call')).toHaveLength(2);
  });

  it('that asks without end is answered, and asks the client a hundred things at most', async () => {
    const { gateway, proxy } = await connect(
      onStream((write) => {
        write(...Array.from({ length: 150 }, (_, index) => elicit(`q-${index}`)));
      }),
    );
    const reply = await proxy.request(1, 'tools/call', modern({ name: 'x' }));
    expect(Object.keys(inputRequired(reply).inputRequests)).toHaveLength(100);
    await gateway.request(({ message }) => message.id === 'q-149' && message.error !== undefined);
    // And not more of them when there is no one to ask.
    const early = Array.from({ length: 5 }, () => gateway.ask(ELICIT, {}));
    expect((await Promise.all(early)).map(({ error }) => error)).toEqual(
      Array(5).fill(expect.objectContaining({ code: -32601 })),
    );
  });

  it('that asks in vain before any call is refused the hundred-and-first time', async () => {
    const { gateway } = await connect();
    const answers = Array.from({ length: 101 }, () => gateway.ask(ELICIT, {}));
    expect(await (answers.at(-1) as Promise<Json>)).toMatchObject({ error: { code: -32601 } });
  });

  it('whose words reach the log writes no line of its own there', async () => {
    const method = 'evil\n2026-01-01T00:00:00.000Z mcp-latchkey error: forged\u001b[31m';
    const { proxy, gateway } = await connect({
      refuseAnswers: true,
    });
    await gateway.tell({ id: 'evil', method });
    await proxy.until(() => /could not answer|could not deliver/.test(proxy.stderr));
    expect(proxy.stderr).not.toMatch(/^2026-01-01T00:00:00.000Z/m);
    expect(proxy.stderr).not.toContain('\u001b');
  });

  it('that rejects a log level is not asked twice within a call, and the call goes on', async () => {
    const { proxy } = await connect({
      respond: ({ message }, response) => {
        if (message.method !== 'logging/setLevel') return false;
        response.writeHead(403).end();
        return true;
      },
    });
    const params = modern({ name: 'echo' }, { [reserved('logLevel')]: 'info' });
    expect(await proxy.request(1, 'tools/call', params)).toHaveProperty('result');
  });
});

describe('a hostile gateway of 2026-07-28', () => {
  const complete = (id: unknown, more: Json = {}) => ({
    ...{ jsonrpc: '2.0', id },
    result: { resultType: 'complete', content: [], ...more },
  });

  it('that asks the client, or answers twice, reaches it with one reply', async () => {
    const gateway = await startGateway(({ message }, response) => {
      const question = { jsonrpc: '2.0', id: 'q', method: 'evil\n\u001b[31m' };
      sendEvents(response, question, complete(message.id), complete(message.id, { no: 2 }));
    });
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2, 2]) await proxy.request(id, 'tools/call', modern({ name: 'x' }));
    proxy.send({ jsonrpc: '2.0', id: 'q', result: {} });
    await proxy.request(3, 'prompts/list', modern());
    await proxy.until(() => proxy.stderr.includes('dropped a request'));
    expect(proxy.stderr).not.toContain('\u001b');
    expect(proxy.messages.map(({ id }) => id)).toEqual([1, 2, 2, 3]);
    expect(JSON.stringify(proxy.messages)).not.toContain('"no"');
  });

  it('that misses a header and answers all the same has a call once', async () => {
    const gateway = await startGateway(({ message }, response) => {
      const error = { code: -32020, message: 'Header mismatch' };
      sendEvents(response, complete(message.id), { jsonrpc: '2.0', id: message.id, error });
      response.end();
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    const calls = gateway.received.filter(({ message }) => message.method === 'tools/call');
    expect(calls).toHaveLength(1);
  });

  it('whose schemas are large beyond reason is read all the same', async () => {
    const anyOf = Array.from({ length: 300_000 }, () => 0);
    const gateway = await startGateway(({ message }, response) => {
      const properties = { a: { type: 'string', 'x-mcp-header': 'A' } };
      const tools = [{ name: 'large', inputSchema: { type: 'object', anyOf, properties } }];
      sendJson(response, complete(message.id, { tools }));
    });
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2]) {
      const { result } = await proxy.request(id, 'tools/list', modern());
      expect((result as { tools: Json[] }).tools).toHaveLength(1);
    }
    await proxy.request(3, 'tools/call', modern({ name: 'large', arguments: { a: 'x' } }));
    expect(gateway.received.at(-1)?.headers).toHaveProperty('mcp-param-a', 'x');
  });

  it('that acknowledges to an old client what cannot be named does not harm it', async () => {
    const gateway = await startGateway(({ method, message }, response) => {
      if (method !== 'POST' || message.id === undefined) response.writeHead(405).end();
      else if (message.method === 'initialize') response.writeHead(400).end();
      else if (message.method === 'server/discover') {
        const capabilities = { resources: { subscribe: true } };
        sendJson(response, complete(message.id, { supportedVersions: [MODERN], capabilities }));
      } else if (message.method === 'subscriptions/listen') {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        for (const value of STRANGE) {
          const params = `{"notifications":{"resourceSubscriptions":[${value},"memo://one"]}}`;
          response.write(
            `data: {"jsonrpc":"2.0","method":"${ACKNOWLEDGED}","params":${params}}\n\n`,
          );
        }
      } else {
        const wanted = { resultType: 'input_required', requestState: 's' };
        sendEvents(response, complete(message.id, wanted), complete(message.id));
        response.end();
      }
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.initialize()).toHaveProperty('result');
    const subscribed = await proxy.request(1, 'resources/subscribe', { uri: 'memo://one' });
    expect(subscribed).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
    // Two replies at once: the first counts, and asks for the call again, without end.
    expect(await proxy.request(2, 'tools/call', { name: 'x' })).toHaveProperty('error');
  });
});

describe('a hostile client of 2026-07-28', () => {
  it('that names what cannot be named breaks nothing', async () => {
    const { proxy } = await connect();
    const meta = JSON.stringify(modern()._meta).slice(0, -1);
    for (const [index, value] of STRANGE.entries()) {
      const cancelled = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${value}}}`;
      proxy.send(cancelled);
      proxy.send(
        `{"jsonrpc":"2.0","id":"a${index}","method":"tools/call","params":{"name":"echo","requestState":${value},"inputResponses":${value},"_meta":${meta},"progressToken":${value}}}}`,
        `{"jsonrpc":"2.0","id":"b${index}","method":"tools/call","params":{"name":${value},"_meta":${meta}}}}`,
        `{"jsonrpc":"2.0","id":"c${index}","method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":[${value}]},"_meta":${meta}}}}`,
        `{"jsonrpc":"2.0","id":"d${index}","method":"subscriptions/listen","params":{"notifications":${value},"_meta":${meta}}}}`,
      );
      await Promise.all([proxy.reply(`a${index}`), proxy.reply(`b${index}`)]);
      await notified(proxy, ACKNOWLEDGED, 2 * (index + 1));
    }
    expect(await proxy.end()).toBe(0);
  });

  it('that never comes back loses its oldest call, which is cancelled at the gateway', async () => {
    const { gateway, proxy } = await connect();
    const call = { name: 'ask', arguments: { label: 'a', rounds: [[ELICIT]] } };
    const first = await proxy.request(0, 'tools/call', modern(call));
    const { requestState } = inputRequired(first);
    for (let id = 1; id <= 100; id++) send(proxy, id, 'tools/call', modern(call));
    const [oldest] = gateway.requests('tools/call');
    const { message } = await gateway.request(
      ({ message }) => message.method === 'notifications/cancelled',
    );
    expect(message.params).toMatchObject({ requestId: oldest?.message.id });
    expect(await proxy.request('r', 'tools/call', modern({ ...call, requestState }))).toMatchObject(
      {
        error: { message: expect.stringContaining('start again') },
      },
    );
    for (let id = 1; id <= 100; id++) inputRequired(await proxy.reply(id));
    expect(gateway.requests('notifications/cancelled')).toHaveLength(1);
  });

  it('that uses an id twice has one reply for each, and cancels the newer', async () => {
    const { gateway, proxy } = await connect();
    const hold = (label: string) => modern({ name: 'hold', arguments: { label } });
    for (const label of ['a', 'b']) {
      send(proxy, 1, 'tools/call', hold(label));
      await gateway.held(label);
    }
    proxy.notify('notifications/cancelled', { requestId: 1 });
    const { message } = await gateway.request(
      ({ message }) => message.method === 'notifications/cancelled',
    );
    const [, newer] = gateway.requests('tools/call');
    expect(message.params).toEqual({ requestId: newer?.message.id });
    gateway.release('b');
    gateway.release('a');
    expect(said(await proxy.reply(1))).toEqual({ label: 'a', given: [] });
    expect(await repliesTo(proxy, 1)).toHaveLength(1);
  });

  it('that cancels what is answered, and answers what was not asked, changes nothing', async () => {
    const { gateway, proxy } = await connect();
    proxy.notify('notifications/cancelled', { requestId: 'first' });
    proxy.send({ jsonrpc: '2.0', id: 1, result: {} });
    expect(await proxy.request(1, 'tools/list', modern())).toHaveProperty('result');
    expect(gateway.requests('notifications/cancelled')).toEqual([]);
    expect(gateway.received.filter(({ message }) => 'result' in message)).toEqual([]);
  });
});
