import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { answer, type Received, sendJson, startGateway } from './loopback-gateway.ts';
import { MODERN, reserved } from './modern-gateway.ts';
import { CAPABILITIES, CLIENT, inputRequired, modern, notified, said } from './modern-messages.ts';
import {
  EXACT,
  noSession,
  OLD,
  type OldGateway,
  type OldGatewaySettings,
  startOldGateway,
} from './old-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';
const ELICIT = 'elicitation/create';
const SAMPLE = 'sampling/createMessage';

/** An old gateway and a proxy; `isFound` after a first request. */
async function connect(
  settings: OldGatewaySettings = {},
  isFound = true,
): Promise<{ gateway: OldGateway; proxy: RunningProxy }> {
  const gateway = await startOldGateway(settings);
  const proxy = startProxy(gateway.url);
  if (isFound)
    expect(await proxy.request('first', 'prompts/list', modern())).toHaveProperty('result');
  return { gateway, proxy };
}

const send = (proxy: RunningProxy, id: string | number, method: string, params: Json) =>
  proxy.send({ jsonrpc: '2.0', id, method, params });

const ask = (label: string, rounds: string[][], more: Json = {}) => ({
  name: 'ask',
  arguments: { label, rounds, ...more },
});

/** Answers to all that a result asks for: the names it gave, with what they ask as the answer. */
function answersTo(reply: Json, give: (method: string) => Json): Json {
  const { inputRequests, requestState } = inputRequired(reply);
  const inputResponses = Object.fromEntries(
    Object.entries(inputRequests).map(([name, { method }]) => [name, give(method)]),
  );
  return { inputResponses, requestState };
}

const accept = (name: string) => ({ action: 'accept', content: { name } });
const ofKind = (gateway: OldGateway, method: string) =>
  gateway.received.filter(({ message }) => message.method === method);

const refuseWith = (status: number, body?: (received: Received) => unknown) => {
  return (received: Received, response: ServerResponse) => {
    response.writeHead(status, { 'content-type': body ? 'application/json' : 'text/plain' });
    response.end(body ? JSON.stringify(body(received)) : 'no');
  };
};
const jsonError = (code: number, data?: Json) => (received: Received) => ({
  ...{ jsonrpc: '2.0', id: received.message.id },
  error: { code, message: 'No', data },
});

describe('a gateway of an earlier era', () => {
  it.each<[string, OldGatewaySettings['refuse']]>([
    ['400 and no JSON-RPC', refuseWith(400)],
    ['400 and -32000', noSession],
    ['400 and -32600', refuseWith(400, jsonError(-32600))],
    [
      '400 and -32022 with nothing but old revisions',
      refuseWith(400, jsonError(-32022, { supported: [OLD], requested: MODERN })),
    ],
    ['404', refuseWith(404)],
    ['404 and -32001', refuseWith(404, jsonError(-32001))],
    ['405', refuseWith(405)],
    ['422', refuseWith(422, () => ({ detail: [{ msg: 'bad' }] }))],
    ['200 and -32601', refuseWith(200, jsonError(-32601))],
    ['200 and -32602', refuseWith(200, jsonError(-32602))],
  ])('is known by %s to the first request, which is answered', async (_, refuse) => {
    const { gateway, proxy } = await connect(refuse ? { refuse } : {}, false);
    expect(await proxy.request(1, 'tools/list', modern())).toMatchObject({
      result: { resultType: 'complete', tools: [{ name: 'ask' }] },
    });
    const before = gateway.received.length;
    expect(await proxy.request(2, 'tools/list', modern())).toHaveProperty('result');
    // Known for the life of the process.
    expect(gateway.received.slice(before).map(({ message }) => message.method)).toEqual([
      'tools/list',
    ]);
    expect(ofKind(gateway, 'initialize')).toHaveLength(1);
  });

  it('is known by a result without resultType, which is the answer', async () => {
    const gateway = await startGateway((received, response) => {
      answer(
        received,
        response,
        received.message.method === 'tools/list' ? { tools: [] } : undefined,
      );
    });
    const proxy = startProxy(gateway.url);
    const list = { jsonrpc: '2.0', id: 1, method: 'tools/list', params: modern() };
    proxy.send(list);
    expect(await proxy.reply(1)).toMatchObject({ result: { resultType: 'complete', tools: [] } });
    expect(gateway.received.map(({ body }) => body)).toEqual([JSON.stringify(list)]);
    expect(await proxy.request(2, 'tools/call', modern({ name: 'x' }))).toHaveProperty('result');
    expect(gateway.received.map(({ message }) => message.method).filter(Boolean)).toEqual([
      ...['tools/list', 'initialize', 'notifications/initialized', 'tools/call'],
    ]);
  });

  it.each(['server/discover', 'subscriptions/listen'])(
    'that answers anything with 200 has not answered %s',
    async (method) => {
      const gateway = await startGateway((received, response) => answer(received, response));
      const proxy = startProxy(gateway.url);
      send(proxy, 1, method, modern({ notifications: {} }));
      if (method === 'server/discover') {
        expect(await proxy.reply(1)).toMatchObject({ result: { supportedVersions: [MODERN] } });
      } else {
        await notified(proxy, ACKNOWLEDGED);
        await proxy.request(2, 'tools/list', modern());
        expect(proxy.messages.filter(({ id }) => id === 1)).toEqual([]);
      }
    },
  );

  it('that answers anything with 200 does not speak just any revision', async () => {
    const gateway = await startGateway((received, response) => answer(received, response));
    const proxy = startProxy(gateway.url);
    const params = modern({}, { [reserved('protocolVersion')]: '2099-01-01' });
    expect(await proxy.request(1, 'tools/list', params)).toMatchObject({
      error: { code: -32022, data: { supported: [MODERN], requested: '2099-01-01' } },
    });
  });

  it('gets one handshake, in the name of the client, for ten requests at once', async () => {
    const { gateway, proxy } = await connect({}, false);
    const ids = Array.from({ length: 10 }, (_, index) => index);
    for (const id of ids) {
      send(proxy, id, 'tools/call', modern({ name: 'echo', arguments: { id } }));
    }
    for (const id of ids) expect(said(await proxy.reply(id))).toEqual({ id });
    const [initialize, ...others] = ofKind(gateway, 'initialize');
    expect(others).toEqual([]);
    expect(initialize?.message.params).toEqual({
      protocolVersion: OLD,
      capabilities: CAPABILITIES,
      clientInfo: CLIENT,
    });
    expect(initialize?.headers).not.toHaveProperty('mcp-method');
    expect(gateway.requests('notifications/initialized')).toHaveLength(1);
    expect(gateway.requests('tools/call')).toHaveLength(10);
    expect(proxy.messages).toHaveLength(10);
  });

  it('runs no call twice that failed in it', async () => {
    const gateway = await startGateway((received, response) => {
      const { message } = received;
      const error = { code: message.method === 'tools/call' ? -32603 : -32601, message: 'Crashed' };
      if (!['tools/call', 'server/discover'].includes(message.method as string)) {
        answer(received, response);
      } else sendJson(response, { jsonrpc: '2.0', id: message.id, error });
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { code: -32603, message: 'Crashed' },
    });
    const calls = () => gateway.received.filter(({ message }) => message.method === 'tools/call');
    expect(calls()).toHaveLength(1);
    expect(await proxy.request(2, 'tools/list', modern())).toHaveProperty('result');
    expect(await proxy.request(3, 'tools/call', modern({ name: 'x' }))).toHaveProperty('error');
    expect(calls()).toHaveLength(2);
  });

  it('does not get what was cancelled while it shook hands', async () => {
    let shake: (() => void) | undefined;
    const gateway = await startGateway((received, response) => {
      const { message, headers } = received;
      if (headers['mcp-method'] !== undefined) response.writeHead(400).end();
      else if (message.method === 'initialize') shake = () => answer(received, response);
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    send(proxy, 1, 'tools/call', modern({ name: 'x' }));
    send(proxy, 2, 'tools/list', modern());
    await gateway.request(({ message }) => message.method === 'initialize');
    proxy.notify('notifications/cancelled', { requestId: 1 });
    // It has been read when a line behind it is refused.
    proxy.send({ jsonrpc: '1.0', id: 3, method: 'x' });
    await proxy.reply(3);
    shake?.();
    expect(await proxy.reply(2)).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages.filter(({ id }) => id === 1)).toEqual([]);
    const sent = gateway.received.filter(({ headers }) => headers['mcp-method'] === undefined);
    expect(sent.map(({ message }) => message.method).filter(Boolean)).not.toContain('tools/call');
  });

  it('is asked for a handshake again after one that failed, and each request has one reply', async () => {
    let refusals = 0;
    const gateway = await startGateway((received, response) => {
      const { message, headers } = received;
      if (message.method === 'initialize' && refusals++ === 0) response.writeHead(403).end();
      else if (headers['mcp-protocol-version'] === MODERN) response.writeHead(400).end();
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url);
    for (const id of [1, 2, 3]) send(proxy, id, 'tools/list', modern());
    const replies = await Promise.all([1, 2, 3].map((id) => proxy.reply(id)));
    expect(replies.filter(({ error }) => error).length).toBeGreaterThan(0);
    for (const { error } of replies) {
      if (error) expect(error).toMatchObject({ data: { reason: 'forbidden' } });
    }
    expect(await proxy.request(4, 'tools/list', modern())).toHaveProperty('result');
    expect(proxy.messages.map(({ id }) => id).sort()).toEqual([1, 2, 3, 4]);
  });

  it.each([
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [503, 'gateway_error'],
  ])('that answers %i is %s, and the next request tries again', async (status, reason) => {
    let isUp = false;
    const { proxy } = await connect(
      {
        refuse: (received, response) => {
          if (isUp) noSession(received, response);
          else response.writeHead(status).end();
        },
      },
      false,
    );
    expect(await proxy.request(1, 'tools/call', modern({ name: 'echo' }))).toMatchObject({
      error: { data: { reason } },
    });
    isUp = true;
    expect(await proxy.request(2, 'tools/call', modern({ name: 'echo' }))).toHaveProperty('result');
  });

  it('that is not there is unreachable, and the next request tries again', async () => {
    const away = await startGateway(() => {});
    await away.close();
    const proxy = startProxy(away.url);
    expect(await proxy.request(1, 'tools/call', modern({ name: 'echo' }))).toMatchObject({
      error: { data: { reason: 'unreachable' } },
    });
    await startGateway(
      (received, response) => {
        if (received.headers['mcp-protocol-version'] === MODERN) response.writeHead(400).end();
        else answer(received, response);
      },
      Number(new URL(away.url).port),
    );
    expect(await proxy.request(2, 'tools/call', modern({ name: 'echo' }))).toHaveProperty('result');
  });

  it('that forgets the session gets another, unseen by the client', async () => {
    const { gateway, proxy } = await connect();
    gateway.forget();
    for (const id of [1, 2]) {
      expect(said(await proxy.request(id, 'tools/call', modern({ name: 'echo' })))).toEqual({});
    }
    expect(ofKind(gateway, 'initialize')).toHaveLength(2);
  });

  it('answers with a failure what fails in its session', async () => {
    const { proxy } = await connect({
      respond: ({ message }, response) => {
        if (message.method !== 'tools/call') return false;
        response.writeHead(403).end();
        return true;
      },
    });
    expect(await proxy.request(1, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { data: { reason: 'forbidden' } },
    });
    expect(await proxy.request(2, 'tools/list', modern())).toHaveProperty('result');
  });
});

describe('a request of a new client to an old gateway', () => {
  it('loses what only 2026-07-28 has, and nothing else', async () => {
    const { gateway, proxy } = await connect();
    const meta = {
      progressToken: 'p-1',
      'com.example/trace': { a: [1] },
      [reserved('logLevel')]: 'error',
    };
    const params = { name: 'echo', arguments: { text: 'x' }, extra: true };
    await proxy.request(1, 'tools/call', modern({ ...params, inputResponses: {} }, meta));
    await proxy.request(2, 'tools/call', modern(params));
    expect(gateway.requests('tools/call').map(({ message }) => message.params)).toEqual([
      { ...params, _meta: { progressToken: 'p-1', 'com.example/trace': { a: [1] } } },
      params,
    ]);
  });

  it('keeps its numbers to the digit, and so does the result', async () => {
    const { gateway, proxy } = await connect();
    let stdout = '';
    proxy.child.stdout?.on('data', (text: string) => {
      stdout += text;
    });
    const _meta = JSON.stringify(modern()._meta);
    proxy.send(
      `{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"exact","arguments":${EXACT},"_meta":${_meta}}}`,
    );
    await proxy.until(() => stdout.endsWith('\n'));
    expect(gateway.requests('tools/call')[0]?.body).toContain(EXACT);
    expect(stdout).toContain(`"exact":${EXACT}`);
    expect(stdout).toContain('"id":9007199254740993,');
  });

  it('gets a result of 2026-07-28, with hints for caches where they are required', async () => {
    const { proxy } = await connect();
    const hints = { ttlMs: 0, cacheScope: 'private' };
    const requests: [string, Json, Json][] = [
      ['tools/list', {}, hints],
      ['prompts/list', {}, hints],
      ['resources/list', {}, hints],
      ['resources/templates/list', {}, hints],
      ['resources/read', { uri: 'memo://one' }, hints],
      ['prompts/get', { name: 'greet' }, {}],
      ['completion/complete', {}, {}],
      ['tools/call', { name: 'echo' }, {}],
    ];
    for (const [index, [method, params, expected]] of requests.entries()) {
      const { result } = await proxy.request(index, method, modern(params));
      const { ttlMs, cacheScope, resultType, _meta } = result as Json;
      expect({ resultType, ttlMs, cacheScope }, method).toEqual({
        resultType: 'complete',
        ttlMs: undefined,
        cacheScope: undefined,
        ...expected,
      });
      expect(_meta).toEqual({ [reserved('serverInfo')]: { name: 'old', version: '0.9' } });
    }
  });

  it.each(['first', 'later'])('may be server/discover, %s', async (when) => {
    const { gateway, proxy } = await connect({}, when === 'later');
    const { result } = await proxy.request(1, 'server/discover', modern());
    expect(result).toEqual({
      resultType: 'complete',
      supportedVersions: [MODERN],
      capabilities: {
        logging: {},
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        tools: { listChanged: true },
      },
      _meta: { [reserved('serverInfo')]: { name: 'old', version: '0.9' } },
      instructions: 'Mind it.',
      ttlMs: 0,
      cacheScope: 'private',
    });
    expect(gateway.requests('server/discover')).toEqual([]);
  });

  it.each(['first', 'later'])('gets -32022 for another revision, %s', async (when) => {
    const { proxy } = await connect({}, when === 'later');
    const params = modern({}, { [reserved('protocolVersion')]: '2099-01-01' });
    expect(await proxy.request(1, 'tools/list', params)).toMatchObject({
      error: { code: -32022, data: { supported: [MODERN], requested: '2099-01-01' } },
    });
  });

  it.each(['ping', 'logging/setLevel', 'resources/subscribe', 'resources/unsubscribe'])(
    'is refused when 2026-07-28 no longer has it: %s',
    async (method) => {
      const { gateway, proxy } = await connect();
      expect(await proxy.request(1, method, modern({ uri: 'memo://one' }))).toMatchObject({
        error: { code: -32601 },
      });
      expect(gateway.requests(method)).toEqual([]);
    },
  );

  it('gets the code of 2026-07-28 for a resource that is not there', async () => {
    const { proxy } = await connect();
    expect(await proxy.request(1, 'resources/read', modern({ uri: 'memo://none' }))).toMatchObject({
      error: { code: -32602, data: { uri: 'memo://none' } },
    });
  });

  it('gets its own progress and, where it asks for it, its own log', async () => {
    const { gateway, proxy } = await connect();
    const meta = (progressToken: string, logLevel?: string) => ({
      progressToken,
      ...(logLevel && { [reserved('logLevel')]: logLevel }),
    });
    const hold = (label: string) => ({ name: 'hold', arguments: { label } });
    send(proxy, 'a', 'tools/call', modern(hold('a'), meta('p-a', 'error')));
    await gateway.held('a');
    send(proxy, 'b', 'tools/call', modern(hold('b'), meta('p-b')));
    await gateway.held('b');
    gateway.release('a');
    await proxy.reply('a');
    gateway.release('b');
    await proxy.reply('b');
    const of = (method: string) =>
      proxy.messages.filter((message) => message.method === method).map(({ params }) => params);
    expect(of('notifications/progress')).toEqual([
      { progressToken: 'p-a', progress: 1 },
      { progressToken: 'p-b', progress: 1 },
    ]);
    expect(of('notifications/message')).toEqual([{ level: 'error', data: 'a error' }]);
    expect(gateway.requests('logging/setLevel').map(({ message }) => message.params)).toEqual([
      { level: 'error' },
    ]);
  });

  it('is refused for an invalid log level', async () => {
    const { gateway, proxy } = await connect();
    const params = modern({ name: 'echo' }, { [reserved('logLevel')]: 'loud' });
    expect(await proxy.request(1, 'tools/call', params)).toMatchObject({ error: { code: -32602 } });
    expect(gateway.requests('tools/call')).toEqual([]);
  });

  it('is cancelled at the gateway under the id that it has there', async () => {
    const { gateway, proxy } = await connect();
    send(proxy, 'a', 'tools/call', modern({ name: 'hold', arguments: { label: 'a' } }));
    await gateway.held('a');
    proxy.notify('notifications/cancelled', { requestId: 'a', reason: 'enough' });
    const { message } = await gateway.request(
      ({ message }) => message.method === 'notifications/cancelled',
    );
    const [call] = gateway.requests('tools/call');
    expect(message.params).toEqual({ requestId: call?.message.id, reason: 'enough' });
    await proxy.request(1, 'tools/list', modern());
    expect(proxy.messages.filter(({ id }) => id === 'a')).toEqual([]);
    // What is not known is nothing to tell.
    proxy.notify('notifications/cancelled', { requestId: 'nobody' });
    proxy.notify('notifications/cancelled', {});
    await proxy.request(2, 'tools/list', modern());
    expect(gateway.requests('notifications/cancelled')).toHaveLength(1);
  });
});

describe('what an old gateway asks during a call', () => {
  it.each([
    ['on the stream of the call', 'post'],
    ["on the gateway's own stream", 'get'],
  ])('%s becomes an input_required result, and the retry goes on with the call', async (_, via) => {
    const { gateway, proxy } = await connect();
    const call = ask('a"é', [[ELICIT, SAMPLE, 'roots/list']], { via });
    const first = await proxy.request(1, 'tools/call', modern(call));
    const { inputRequests } = inputRequired(first);
    expect(Object.values(inputRequests)).toEqual([
      {
        method: ELICIT,
        params: {
          message: 'Who, a"é?',
          requestedSchema: { type: 'object', properties: { name: { type: 'string' } } },
        },
      },
      {
        method: SAMPLE,
        params: {
          messages: [{ role: 'user', content: { type: 'text', text: 'Say a"é' } }],
          maxTokens: 17,
        },
      },
      { method: 'roots/list' },
    ]);
    expect(first.result).not.toHaveProperty('ttlMs');
    const answers = answersTo(first, (method) => ({ answered: method }));
    const { result } = await proxy.request(2, 'tools/call', modern({ ...call, ...answers }));
    expect(said({ result })).toEqual({
      label: 'a"é',
      given: [ELICIT, SAMPLE, 'roots/list'].map((method) => ({ answered: method })),
    });
    expect(result).toMatchObject({ resultType: 'complete' });
    expect(gateway.requests('tools/call')).toHaveLength(1);
    expect(proxy.messages.filter(({ method, id }) => method && id !== undefined)).toEqual([]);
  });

  it.each([
    ['resources/read', { uri: 'memo://ask' }],
    ['prompts/get', { name: 'ask' }],
  ])('becomes one in %s as well', async (method, params) => {
    const { gateway, proxy } = await connect({
      respond: ({ message }, response) => {
        if (message.method !== method) return false;
        void gateway.ask('roots/list').then((answer) => {
          sendJson(response, { jsonrpc: '2.0', id: message.id, result: { given: answer.result } });
        });
        return true;
      },
    });
    const first = await proxy.request(1, method, modern(params));
    const answers = answersTo(first, () => ({ roots: [] }));
    expect(await proxy.request(2, method, modern({ ...params, ...answers }))).toMatchObject({
      result: { resultType: 'complete', given: { roots: [] } },
    });
  });

  it('in rounds becomes one result after another, each with a state of its own', async () => {
    const { gateway, proxy } = await connect();
    const call = ask('a', [[ELICIT], [SAMPLE], [ELICIT, ELICIT]]);
    let reply = await proxy.request(0, 'tools/call', modern(call));
    const states = new Set<string>();
    for (const round of [1, 2, 3]) {
      states.add(inputRequired(reply).requestState);
      const answers = answersTo(reply, (method) => ({ round, method }));
      reply = await proxy.request(round, 'tools/call', modern({ ...call, ...answers }));
    }
    expect(said(reply).given).toEqual([
      { round: 1, method: ELICIT },
      { round: 2, method: SAMPLE },
      { round: 3, method: ELICIT },
      { round: 3, method: ELICIT },
    ]);
    expect(states.size).toBe(3);
    expect(gateway.requests('tools/call')).toHaveLength(1);
  });

  it('of two calls at once does not mix', async () => {
    const { proxy } = await connect();
    const labels = ['a', 'b', 'c'];
    const calls = labels.map((label) => ask(label, [[ELICIT], [SAMPLE]]));
    for (const [index, call] of calls.entries())
      send(proxy, `1${index}`, 'tools/call', modern(call));
    let replies = await Promise.all(labels.map((_, index) => proxy.reply(`1${index}`)));
    for (const round of [2, 3]) {
      // The last first.
      for (const index of [2, 0, 1]) {
        const answers = answersTo(replies[index] as Json, () => ({ of: labels[index], round }));
        send(proxy, `${round}${index}`, 'tools/call', modern({ ...calls[index], ...answers }));
      }
      replies = await Promise.all(labels.map((_, index) => proxy.reply(`${round}${index}`)));
    }
    for (const [index, label] of labels.entries()) {
      expect(said(replies[index] as Json)).toEqual({
        label,
        given: [
          { of: label, round: 2 },
          { of: label, round: 3 },
        ],
      });
    }
    expect(proxy.messages.filter(({ id }) => id !== 'first')).toHaveLength(9);
  });

  it('while the client gathers is asked of it when it comes back', async () => {
    const { gateway, proxy } = await connect();
    const call = ask('a', [[ELICIT]]);
    const first = await proxy.request(1, 'tools/call', modern(call));
    const late = gateway.ask(SAMPLE, { messages: [], maxTokens: 1 });
    // The question has arrived when a reply that was sent after it has.
    await gateway.tell({ method: 'notifications/marker' });
    await notified(proxy, 'notifications/marker');
    const answers = answersTo(first, () => accept('Ada'));
    const second = await proxy.request(2, 'tools/call', modern({ ...call, ...answers }));
    const methods = (reply: Json) =>
      Object.values(inputRequired(reply).inputRequests).map(({ method }) => method);
    expect(methods(second)).toEqual([SAMPLE]);
    const more = answersTo(second, () => ({ late: true }));
    const third = await proxy.request(3, 'tools/call', modern({ ...call, ...more }));
    expect(said(third).given).toEqual([accept('Ada')]);
    expect(await late).toMatchObject({ result: { late: true } });
  });

  it('is asked again when the client answers only some of it', async () => {
    const { proxy } = await connect();
    const call = ask('a', [[ELICIT, SAMPLE]]);
    const first = await proxy.request(1, 'tools/call', modern(call));
    const { inputRequests, requestState } = inputRequired(first);
    const [one, two] = Object.keys(inputRequests) as [string, string];
    const inputResponses = { [one]: accept('Ada'), __proto__x: {}, nobody: {} };
    const second = await proxy.request(
      2,
      'tools/call',
      modern({ ...call, inputResponses, requestState }),
    );
    expect(Object.keys(inputRequired(second).inputRequests)).toEqual([two]);
    const answers = answersTo(second, () => ({ said: 'yes' }));
    const third = await proxy.request(3, 'tools/call', modern({ ...call, ...answers }));
    expect(said(third).given).toEqual([accept('Ada'), { said: 'yes' }]);
  });

  it('before any call waits for the next one', async () => {
    const { gateway, proxy } = await connect();
    const early = gateway.ask('roots/list');
    await gateway.tell({ method: 'notifications/marker' });
    await notified(proxy, 'notifications/marker');
    const call = { name: 'hold', arguments: { label: 'a' } };
    const first = await proxy.request(1, 'tools/call', modern(call));
    const answers = answersTo(first, () => ({ roots: [] }));
    send(proxy, 2, 'tools/call', modern({ ...call, ...answers }));
    expect(await early).toMatchObject({ result: { roots: [] } });
    gateway.release('a');
    expect(said(await proxy.reply(2)).label).toBe('a');
  });

  it('is refused when the client has not said that it can answer', async () => {
    const { proxy } = await connect();
    const capabilities = { [reserved('clientCapabilities')]: { elicitation: { url: {} } } };
    const call = ask('a', [[ELICIT], [SAMPLE], ['roots/list'], ['constructor']]);
    const { given } = said(await proxy.request(1, 'tools/call', modern(call, capabilities)));
    expect(given).toEqual(Array(4).fill(expect.objectContaining({ code: -32601 })));
  });

  it('is answered here when it is a ping, and refused when it is unknown', async () => {
    const { gateway, proxy } = await connect();
    expect(await gateway.ask('ping')).toMatchObject({ result: {} });
    for (const method of ['no/such', 'constructor', '__proto__']) {
      expect(await gateway.ask(method)).toMatchObject({ error: { code: -32601 } });
    }
    expect(said(await proxy.request(1, 'tools/call', modern(ask('a', [['ping']])))).given).toEqual([
      {},
    ]);
  });

  it('is withdrawn when the gateway cancels it', async () => {
    const { gateway, proxy } = await connect();
    void gateway.ask('roots/list');
    await gateway.tell({ method: 'notifications/marker' });
    await notified(proxy, 'notifications/marker');
    await gateway.tell({
      method: 'notifications/cancelled',
      params: { requestId: gateway.lastAsked() },
    });
    await gateway.tell({ method: 'notifications/marker' });
    await notified(proxy, 'notifications/marker', 2);
    const reply = await proxy.request(1, 'tools/call', modern(ask('a', [])));
    expect(said(reply).given).toEqual([]);
  });

  it('is answered with a result that came while the client gathered', async () => {
    const { gateway, proxy } = await connect();
    const early = gateway.ask('roots/list');
    await gateway.tell({ method: 'notifications/marker' });
    await notified(proxy, 'notifications/marker');
    const call = { name: 'hold', arguments: { label: 'a' } };
    const first = await proxy.request(1, 'tools/call', modern(call, { progressToken: 't' }));
    await gateway.held('a');
    gateway.release('a');
    // Whether the result is there by then or not, it is the retry's.
    await proxy.request(2, 'tools/list', modern());
    const answers = answersTo(first, () => ({ roots: [] }));
    const retry = await proxy.request(3, 'tools/call', modern({ ...call, ...answers }));
    expect(said(retry)).toEqual({ label: 'a', given: [] });
    expect(await early).toMatchObject({ result: { roots: [] } });
    expect(gateway.requests('tools/call')).toHaveLength(1);
  });

  it('goes with its state: unknown, used, or of another method is an error that says so', async () => {
    const { gateway, proxy } = await connect();
    const call = ask('a', [[ELICIT]]);
    const first = await proxy.request(1, 'tools/call', modern(call));
    const answers = answersTo(first, () => accept('Ada'));
    const { requestState } = answers;
    const isReadable = {
      code: -32602,
      message: expect.stringMatching(/requestState.*start again/),
    };
    const refused: [string, Json][] = [
      ['tools/call', { ...call, ...answers, requestState: 'unknown' }],
      ['tools/call', { ...call, ...answers, requestState: '' }],
      ['prompts/get', { name: 'ask', ...answers }],
      ['tools/call', { ...call, ...answers, name: 'echo' }],
    ];
    for (const [index, [method, params]] of refused.entries()) {
      const { error } = await proxy.request(`r${index}`, method, modern(params));
      expect(error, method).toMatchObject(isReadable);
    }
    const retry = await proxy.request(2, 'tools/call', modern({ ...call, ...answers }));
    expect(said(retry).given).toEqual([accept('Ada')]);
    const again = await proxy.request(3, 'tools/call', modern({ ...call, requestState }));
    expect(again.error).toMatchObject(isReadable);
    expect(gateway.requests('tools/call')).toHaveLength(1);
    expect(gateway.requests('prompts/get')).toEqual([]);
  });

  it('may be left: who cancels the retry cancels the call', async () => {
    const { gateway, proxy } = await connect();
    const call = { name: 'hold', arguments: { label: 'a', rounds: [[ELICIT]] } };
    const first = await proxy.request(1, 'tools/call', modern(call));
    const answers = answersTo(first, () => accept('Ada'));
    send(proxy, 2, 'tools/call', modern({ ...call, ...answers }));
    await gateway.held('a');
    proxy.notify('notifications/cancelled', { requestId: 2 });
    const { message } = await gateway.request(
      ({ message }) => message.method === 'notifications/cancelled',
    );
    const [made] = gateway.requests('tools/call');
    expect(message.params).toEqual({ requestId: made?.message.id });
    gateway.release('a');
    await proxy.request(3, 'tools/list', modern());
    expect(proxy.messages.filter(({ id }) => id === 2)).toEqual([]);
  });

  it('does not hold up the end', async () => {
    const { gateway, proxy } = await connect();
    const call = ask('a', [[ELICIT]]);
    inputRequired(await proxy.request(1, 'tools/call', modern(call)));
    expect(await proxy.end()).toBe(0);
    expect(proxy.lastWait.missing).toBe(0);
    expect(gateway.received.at(-1)?.method).toBe('DELETE');
  });

  it('as links to open (-32042) becomes input_required too, and then the call is made again', async () => {
    const link = {
      mode: 'url',
      message: 'Sign in',
      url: 'https://a.example/in',
      elicitationId: 'e',
    };
    let tries = 0;
    const { gateway, proxy } = await connect({
      respond: ({ message }, response) => {
        if (message.method !== 'tools/call' || ++tries === 3) return false;
        const data = { elicitations: [link] };
        const error = { code: -32042, message: 'Sign in first', data };
        sendJson(response, { jsonrpc: '2.0', id: message.id, error });
        return true;
      },
    });
    const call = { name: 'echo', arguments: { x: 1 } };
    let reply = await proxy.request(0, 'tools/call', modern(call));
    for (const id of [1, 2]) {
      const { elicitationId, ...params } = link;
      expect(Object.values(inputRequired(reply).inputRequests)).toEqual([
        { method: ELICIT, params },
      ]);
      const answers = answersTo(reply, () => ({ action: 'accept' }));
      reply = await proxy.request(id, 'tools/call', modern({ ...call, ...answers }));
    }
    expect(said(reply)).toEqual({ x: 1 });
    expect(gateway.requests('tools/call')).toHaveLength(3);
    // Not for a client that opens no links, and not when the user declines.
    tries = 0;
    const none = { [reserved('clientCapabilities')]: { elicitation: {} } };
    expect(await proxy.request(3, 'tools/call', modern(call, none))).toMatchObject({
      error: { code: -32042 },
    });
    tries = 0;
    const wanted = await proxy.request(4, 'tools/call', modern(call));
    const declined = answersTo(wanted, () => ({ action: 'decline' }));
    const before = gateway.requests('tools/call').length;
    expect(await proxy.request(5, 'tools/call', modern({ ...call, ...declined }))).toMatchObject({
      error: { message: expect.stringContaining('not opened') },
    });
    expect(gateway.requests('tools/call')).toHaveLength(before);
  });

  it('before the era is known is refused: no one can answer', async () => {
    const answers: Json[] = [];
    let stream: ServerResponse | undefined;
    const gateway = await startGateway((received, response) => {
      const { message } = received;
      if (message.method === 'prompts/get') {
        stream = response.writeHead(200, { 'content-type': 'text/event-stream' });
        for (const [id, method] of ['ping', 'roots/list'].entries()) {
          stream.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, method })}\n\n`);
        }
        return;
      }
      answer(received, response);
      if (message.method !== undefined) return;
      answers.push(message);
      const reply = { jsonrpc: '2.0', id: 1, result: { messages: [] } };
      if (answers.length === 2) stream?.end(`data: ${JSON.stringify(reply)}\n\n`);
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.request(1, 'prompts/get', modern({ name: 'x' }))).toMatchObject({
      result: { resultType: 'complete', messages: [] },
    });
    answers.sort((a, b) => Number(a.id) - Number(b.id));
    expect(answers).toMatchObject([
      { id: 0, result: {} },
      { id: 1, error: { code: -32601 } },
    ]);
  });
});

describe("a subscription of a new client with an old gateway's changes", () => {
  const listen = (proxy: RunningProxy, id: string | number, notifications: Json) =>
    send(proxy, id, 'subscriptions/listen', modern({ notifications }));
  const marker = async (gateway: OldGateway, proxy: RunningProxy, count = 1) => {
    await gateway.tell({ method: 'notifications/marker' });
    await notified(proxy, 'notifications/marker', count);
  };
  const updates = (proxy: RunningProxy) =>
    proxy.messages
      .filter(({ method }) => method === 'notifications/resources/updated')
      .map(({ params }) => {
        const { uri, _meta } = params as { uri: string; _meta: Json };
        return [_meta[reserved('subscriptionId')], uri];
      });

  it.each(['first', 'later'])('is acknowledged and fed, opened %s', async (when) => {
    const { gateway, proxy } = await connect({}, when === 'later');
    listen(proxy, 's', {
      toolsListChanged: true,
      resourcesListChanged: false,
      resourceSubscriptions: ['memo://one'],
    });
    expect((await notified(proxy, ACKNOWLEDGED)).params).toEqual({
      notifications: { toolsListChanged: true, resourceSubscriptions: ['memo://one'] },
      _meta: { [reserved('subscriptionId')]: 's' },
    });
    expect(gateway.requests('resources/subscribe').map(({ message }) => message.params)).toEqual([
      { uri: 'memo://one' },
    ]);
    await gateway.tell({ method: 'notifications/prompts/list_changed' });
    await gateway.tell({ method: 'notifications/resources/list_changed' });
    await gateway.tell({ method: 'notifications/tools/list_changed' });
    await gateway.tell({
      method: 'notifications/resources/updated',
      params: { uri: 'memo://one' },
    });
    await gateway.tell({
      method: 'notifications/resources/updated',
      params: { uri: 'memo://two' },
    });
    await marker(gateway, proxy);
    const _meta = { [reserved('subscriptionId')]: 's' };
    expect(proxy.messages.slice(when === 'later' ? 2 : 1, -1)).toEqual([
      { jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: { _meta } },
      {
        jsonrpc: '2.0',
        method: 'notifications/resources/updated',
        params: { uri: 'memo://one', _meta },
      },
    ]);
  });

  it('is told of what lies below the resource', async () => {
    const { gateway, proxy } = await connect();
    listen(proxy, 1, { resourceSubscriptions: ['file:///a'] });
    listen(proxy, 2, { resourceSubscriptions: ['file:///a/b'] });
    await notified(proxy, ACKNOWLEDGED, 2);
    for (const uri of ['file:///a/c', 'file:///a/b', 'file:///ab']) {
      await gateway.tell({ method: 'notifications/resources/updated', params: { uri } });
    }
    await marker(gateway, proxy);
    expect(updates(proxy)).toEqual([
      [1, 'file:///a/c'],
      [1, 'file:///a/b'],
      [2, 'file:///a/b'],
    ]);
  });

  it('ends when it is cancelled, and so does what it subscribed to, for the last that did', async () => {
    const { gateway, proxy } = await connect();
    listen(proxy, 1, { resourceSubscriptions: ['memo://one', 'memo://two'] });
    listen(proxy, 2, { resourceSubscriptions: ['memo://one'] });
    await notified(proxy, ACKNOWLEDGED, 2);
    proxy.notify('notifications/cancelled', { requestId: 1 });
    const unsubscribed = () =>
      gateway.requests('resources/unsubscribe').map(({ message }) => message.params);
    await gateway.request(() => unsubscribed().length === 1);
    await gateway.tell({
      method: 'notifications/resources/updated',
      params: { uri: 'memo://one' },
    });
    await marker(gateway, proxy);
    expect(updates(proxy)).toEqual([[2, 'memo://one']]);
    proxy.notify('notifications/cancelled', { requestId: 2 });
    await gateway.request(() => unsubscribed().length === 2);
    expect(unsubscribed()).toEqual([{ uri: 'memo://two' }, { uri: 'memo://one' }]);
    expect(gateway.requests('notifications/cancelled')).toEqual([]);
    expect(proxy.messages.filter(({ id }) => id === 1 || id === 2)).toEqual([]);
  });

  it('holds although another of the same resource ends while it begins', async () => {
    let hold: (() => void) | undefined;
    const { gateway, proxy } = await connect({
      respond: ({ message }, response) => {
        if (message.method !== 'resources/subscribe') return false;
        const result = () => sendJson(response, { jsonrpc: '2.0', id: message.id, result: {} });
        if (gateway.requests('resources/subscribe').length === 1) result();
        else hold = result;
        return true;
      },
    });
    listen(proxy, 1, { resourceSubscriptions: ['memo://one'] });
    await notified(proxy, ACKNOWLEDGED);
    listen(proxy, 2, { resourceSubscriptions: ['memo://one'] });
    await gateway.request(() => gateway.requests('resources/subscribe').length === 2);
    proxy.notify('notifications/cancelled', { requestId: 1 });
    await proxy.request(3, 'tools/list', modern());
    hold?.();
    await notified(proxy, ACKNOWLEDGED, 2);
    await proxy.request(4, 'tools/list', modern());
    expect(gateway.requests('resources/unsubscribe')).toEqual([]);
  });

  it('outlives the session, and so does the log level', async () => {
    const { gateway, proxy } = await connect();
    listen(proxy, 1, { resourceSubscriptions: ['memo://one'], toolsListChanged: true });
    listen(proxy, 2, { resourceSubscriptions: ['memo://one'] });
    await notified(proxy, ACKNOWLEDGED, 2);
    const call = () => modern({ name: 'echo' }, { [reserved('logLevel')]: 'info' });
    await proxy.request(3, 'tools/call', call());
    gateway.forget();
    await proxy.request(4, 'tools/call', call());
    const sessionsOf = (method: string) =>
      gateway.requests(method).map(({ headers }) => headers['mcp-session-id']);
    const subscribedAnew = () => new Set(sessionsOf('resources/subscribe')).size === 2;
    await gateway.request(subscribedAnew);
    await proxy.request(5, 'tools/call', call());
    const [before, after] = new Set(sessionsOf('tools/call').reverse());
    expect([before, after]).toEqual(['s-2', 's-1']);
    expect(new Set(sessionsOf('logging/setLevel'))).toEqual(new Set(['s-1', 's-2']));
    expect(sessionsOf('resources/subscribe').filter((id) => id === 's-2')).toHaveLength(1);
    // The stream of the new session.
    await gateway.request(
      ({ method, headers }) => method === 'GET' && headers['mcp-session-id'] === 's-2',
    );
    const uri = 'memo://one';
    await gateway.tell({ method: 'notifications/resources/updated', params: { uri } });
    await notified(proxy, 'notifications/resources/updated', 2);
    expect(updates(proxy)).toEqual([
      [1, uri],
      [2, uri],
    ]);
  });

  it('asks only for what the gateway offers', async () => {
    const { gateway, proxy } = await connect({ capabilities: { tools: {}, resources: {} } });
    listen(proxy, 1, { toolsListChanged: true, resourceSubscriptions: ['memo://one'] });
    expect((await notified(proxy, ACKNOWLEDGED)).params).toMatchObject({ notifications: {} });
    expect(gateway.requests('resources/subscribe')).toEqual([]);
  });

  it('ends with the client', async () => {
    const { proxy } = await connect();
    listen(proxy, 1, { resourceSubscriptions: ['memo://one'] });
    await notified(proxy, ACKNOWLEDGED);
    expect(await proxy.end()).toBe(0);
    expect(proxy.lastWait.missing).toBe(0);
    expect(proxy.messages.filter(({ id }) => id === 1)).toHaveLength(1);
  });
});
