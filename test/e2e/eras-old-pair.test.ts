import { expect, it } from 'vitest';
import { type Received, startGateway } from './loopback-gateway.ts';
import { startProxy } from './running-proxy.ts';

/** Odd spaces, an unknown member, numbers that no parser keeps, a member twice. */
const ODD = '"odd" : [1.0, 12345678901234567890,1E400], "odd":"\\u00e9 é \\ud83d"';

const INITIALIZE = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"old","version":"1"},${ODD}}}`;
const INITIALIZED = '{"jsonrpc":"2.0","method":"notifications/initialized"}';
const PING = `{ "id":"p", "jsonrpc":"2.0","method":"ping" }`;
const LIST = `{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/list","params":{"_meta":{"progressToken":1.0}}}`;
const CALL = `{"jsonrpc":"2.0","id":"c\\u0061ll","method":"tools/call","params":{"name":"weather","arguments":{"region":"eu",${ODD}}}}`;
const SUBSCRIBE = `{"jsonrpc":"2.0","id":3,"method":"resources/subscribe","params":{"uri":"memo://one"}}`;
const LEVEL = `{"jsonrpc":"2.0","id":4,"method":"logging/setLevel","params":{"level":"error"}}`;
const ANSWER = `{"jsonrpc":"2.0", "id":"q-1","result":{"roots":[],${ODD}}}`;
const HOLD = `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"hold","_meta":{"progressToken":1.0}}}`;
const CANCEL = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5, "reason":"\\u00e9"}}`;

const QUESTION = `{"jsonrpc":"2.0","id":"q-1","method":"roots/list","params":{${ODD}}}`;
const CHANGED = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{${ODD}}}`;
const PROGRESS = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1.0,"progress":1.0}}`;
const LOGGED = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug",${ODD}}}`;

// An annotation that 2026-07-28 finds invalid is nothing to it; neither is resultType.
const REPLIES: Record<string, string> = {
  initialize: `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"g","version":"1"},${ODD}}}`,
  ping: `{"result":{},"id":"p","jsonrpc":"2.0", ${ODD}}`,
  'tools/list': `{"jsonrpc":"2.0","id":9007199254740993,"result":{"tools":[{"name":"weather","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"number","x-mcp-header":"No Name"}}}}],"ttlMs":7}}`,
  'tools/call': `{"jsonrpc":"2.0","id":"c\\u0061ll","result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}},"content":[],${ODD}}}`,
  'resources/subscribe': `{"jsonrpc":"2.0","id":3,"error":{"code":-32002,"message":"No such resource",${ODD}}}`,
  'logging/setLevel': `{"jsonrpc":"2.0","id":4,"result":{ }}`,
};

const DIFFERS = new Set(['host', 'connection', 'content-length', 'transfer-encoding', 'date']);
const POST = ['accept', 'authorization', 'content-type', 'user-agent'];
const SESSION = ['mcp-protocol-version', 'mcp-session-id'];

it('an old client and an old gateway get what the other sent, byte for byte, and nothing else', async () => {
  const gateway = await startGateway(({ method, message }, response) => {
    if (method === 'GET') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`data: ${CHANGED}\n\n`);
    } else if (method === 'DELETE') response.writeHead(200).end();
    else if (message.id === undefined || message.method === undefined) {
      response.writeHead(202).end();
    } else if (message.id === 5) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const event of [QUESTION, PROGRESS, LOGGED]) response.write(`data: ${event}\n\n`);
    } else {
      if (message.method === 'initialize') response.setHeader('mcp-session-id', 's-1');
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(REPLIES[message.method as string]);
    }
  });
  const proxy = startProxy(gateway.url);
  let stdout = '';
  proxy.child.stdout?.on('data', (text: string) => {
    stdout += text;
  });
  const lines = () => stdout.split('\n').slice(0, -1);
  const written = (line: string) => proxy.until(() => lines().includes(line));
  const posted = (line: string) => gateway.request(({ body }) => body === line);

  proxy.send(INITIALIZE);
  await written(REPLIES.initialize as string);
  proxy.send(INITIALIZED);
  // The stream is there as ever, and one at a time keeps the order certain.
  await written(CHANGED);
  for (const line of [PING, LIST, CALL, SUBSCRIBE, LEVEL]) {
    proxy.send(line);
    await posted(line);
    await written(REPLIES[JSON.parse(line).method] as string);
  }
  proxy.send(HOLD);
  await written(LOGGED);
  proxy.send(ANSWER);
  await posted(ANSWER);
  proxy.send(CANCEL);
  await posted(CANCEL);
  expect(await proxy.end()).toBe(0);

  expect(gateway.received.map(({ method, target, body }) => [method, target, body])).toEqual([
    ['POST', '/v1/mcp', INITIALIZE],
    ['POST', '/v1/mcp', INITIALIZED],
    ['GET', '/v1/mcp', ''],
    ...[PING, LIST, CALL, SUBSCRIBE, LEVEL, HOLD, ANSWER, CANCEL].map((line) => [
      ...['POST', '/v1/mcp', line],
    ]),
    ['DELETE', '/v1/mcp', ''],
  ]);
  const headersOf = ({ headers }: Received) =>
    Object.keys(headers)
      .filter((name) => !DIFFERS.has(name))
      .sort();
  const inSession = [...POST, ...SESSION].sort();
  const bodiless = inSession.filter((name) => name !== 'content-type');
  expect(gateway.received.map(headersOf)).toEqual([
    POST,
    inSession,
    bodiless,
    ...Array(8).fill(inSession),
    bodiless,
  ]);
  for (const { headers } of gateway.received.slice(1)) {
    expect(headers).toMatchObject({
      'mcp-protocol-version': '2025-11-25',
      'mcp-session-id': 's-1',
    });
  }
  const replies = REPLIES;
  expect(lines()).toEqual([
    ...[replies.initialize, CHANGED, replies.ping, replies['tools/list'], replies['tools/call']],
    ...[replies['resources/subscribe'], replies['logging/setLevel'], QUESTION, PROGRESS, LOGGED],
  ]);
});

it('an old client and an old gateway speak past each other as ever where initialize is refused', async () => {
  const error = { code: -32050, message: 'Not today' };
  const gateway = await startGateway(({ message }, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, error }));
  });
  const proxy = startProxy(gateway.url);
  for (const count of [1, 2]) {
    expect(await proxy.request(count, 'initialize', {})).toMatchObject({ error: { code: -32050 } });
    expect(gateway.received).toHaveLength(count);
  }
  expect(gateway.received[0]?.body).toBe(
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}',
  );
});
