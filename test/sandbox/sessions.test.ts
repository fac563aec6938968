import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { call, events, initialize, post, request } from './post.ts';

let sandbox: Sandbox;
const streams: AbortController[] = [];

beforeEach(async () => {
  sandbox = await startSandbox({ sessions: true });
});
afterEach(async () => {
  for (const stream of streams.splice(0)) stream.abort();
  await sandbox.close();
});

async function handshake(revision = '2025-11-25') {
  const reply = await post(sandbox, initialize(revision));
  const id = reply.headers.get('mcp-session-id') ?? '';
  return { session: { 'mcp-session-id': id }, result: reply.json?.result };
}

/** Opens the GET stream; `next` resolves to its next message, or undefined at its end. */
async function listen(headers: Record<string, string>) {
  const stream = new AbortController();
  streams.push(stream);
  const response = await fetch(sandbox.url, {
    headers: {
      accept: 'text/event-stream',
      authorization: `Bearer ${sandbox.keys.good}`,
      ...headers,
    },
    signal: stream.signal,
  });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  async function next() {
    while (!text.includes('\n\n')) {
      const { value, done } = (await reader?.read()) ?? { done: true };
      if (done) return undefined;
      text += value;
    }
    const end = text.indexOf('\n\n') + 2;
    const [message] = events(text.slice(0, end));
    text = text.slice(end);
    return message;
  }
  return { status: response.status, type: response.headers.get('content-type'), next };
}

const notice = { jsonrpc: '2.0', method: 'notifications/tools/list_changed' };

it.each(['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'])(
  'negotiates revision %s',
  async (revision) => {
    expect((await handshake(revision)).result.protocolVersion).toBe(revision);
  },
);

it('answers an unknown revision with its newest', async () => {
  expect((await handshake('2099-01-01')).result.protocolVersion).toBe('2025-11-25');
});

it('assigns a session ID of visible ASCII, another one each time', async () => {
  const [first, second] = [(await handshake()).session, (await handshake()).session];
  expect(first['mcp-session-id']).toMatch(/^[\x21-\x7e]{16,}$/);
  expect(second).not.toEqual(first);
});

it('requires the session: 400 without, 404 when unknown, 200 with it', async () => {
  const { session } = await handshake();
  expect((await post(sandbox, request('ping'))).status).toBe(400);
  expect((await post(sandbox, request('ping'), { 'mcp-session-id': 'nope' })).status).toBe(404);
  expect((await post(sandbox, request('ping'), session)).json.result).toEqual({});
  const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' };
  expect((await post(sandbox, initialized)).status).toBe(400);
  expect((await post(sandbox, initialized, session)).status).toBe(202);
});

it('checks the key before the session', async () => {
  const reply = await post(sandbox, request('ping'), { authorization: null });
  expect(reply.status).toBe(401);
});

it('refuses a second initialize in a session', async () => {
  const { session } = await handshake();
  expect((await post(sandbox, initialize('2025-11-25'), session)).status).toBe(400);
});

it('answers 400 to an unsupported MCP-Protocol-Version, and takes one it knows', async () => {
  const { session } = await handshake();
  const status = async (revision: string) =>
    (await post(sandbox, request('ping'), { ...session, 'mcp-protocol-version': revision })).status;
  expect(await status('2025-11-25')).toBe(200);
  expect(await status('2025-03-26')).toBe(200);
  expect(await status('1.0')).toBe(400);
});

it('ends a session on DELETE', async () => {
  const { session } = await handshake();
  const stream = await listen(session);
  const headers = { authorization: `Bearer ${sandbox.keys.good}`, ...session };
  expect((await fetch(sandbox.url, { method: 'DELETE', headers })).status).toBe(204);
  expect(await stream.next()).toBeUndefined();
  expect((await post(sandbox, request('ping'), session)).status).toBe(404);
  expect((await fetch(sandbox.url, { method: 'DELETE', headers })).status).toBe(404);
});

it('loses every session on endSessions, and starts new ones', async () => {
  const [first, second] = [await handshake(), await handshake()];
  const stream = await listen(first.session);
  sandbox.endSessions();
  expect(await stream.next()).toBeUndefined();
  for (const { session } of [first, second]) {
    expect((await post(sandbox, request('ping'), session)).status).toBe(404);
  }
  expect((await post(sandbox, request('ping'), (await handshake()).session)).status).toBe(200);
});

it('opens a GET stream and sends notifications on it, to every session once', async () => {
  const [first, second] = [await handshake(), await handshake()];
  const one = await listen(first.session);
  const other = await listen(second.session);
  expect(one.type).toBe('text/event-stream');
  sandbox.notify(notice);
  expect(await one.next()).toEqual(notice);
  expect(await other.next()).toEqual(notice);
});

it('holds notifications until a session opens its stream', async () => {
  const { session } = await handshake();
  sandbox.notify({ ...notice, params: { n: 1 } });
  sandbox.notify({ ...notice, params: { n: 2 } });
  const stream = await listen(session);
  expect((await stream.next()).params.n).toBe(1);
  expect((await stream.next()).params.n).toBe(2);
});

it('sends on the newest of several streams only', async () => {
  const { session } = await handshake();
  const older = await listen(session);
  const newer = await listen(session);
  sandbox.notify(notice);
  expect(await newer.next()).toEqual(notice);
  sandbox.endSessions();
  expect(await older.next()).toBeUndefined();
});

it.each([
  ['no session', {}, 400],
  ['an unknown session', { 'mcp-session-id': 'nope' }, 404],
  ['an Accept without text/event-stream', { accept: 'application/json' }, 406],
  ['no key', { authorization: '' }, 401],
])('refuses a GET stream with %s', async (_what, headers, status) => {
  expect((await listen(headers as Record<string, string>)).status).toBe(status);
});

it('cannot notify without sessions', async () => {
  const plain = await startSandbox();
  try {
    expect(() => plain.notify(notice)).toThrow('sessions');
  } finally {
    await plain.close();
  }
});

it('stops a cancelled call and answers it with nothing', async () => {
  const { session } = await handshake();
  const slow = post(sandbox, call('platform_wait', { seconds: 600 }), session);
  await expect.poll(() => sandbox.requests.length).toBe(2);
  const params = { requestId: 1, reason: 'enough' };
  // The call may not have begun when it is first recorded, so cancel until it ends.
  let ended = false;
  const answered = slow.finally(() => {
    ended = true;
  });
  await expect
    .poll(async () => {
      await post(sandbox, { jsonrpc: '2.0', method: 'notifications/cancelled', params }, session);
      return ended;
    })
    .toBe(true);
  expect(await answered).toMatchObject({ status: 202, text: '' });
});

it('takes JSON-RPC batches in revision 2025-03-26 only', async () => {
  const batch = [
    request('ping', undefined, 'a'),
    { jsonrpc: '2.0', method: 'notifications/x' },
    request('nope', undefined, 'b'),
  ];
  const { session } = await handshake('2025-03-26');
  const reply = await post(sandbox, batch, session);
  expect(reply.json).toEqual([
    { jsonrpc: '2.0', id: 'a', result: {} },
    { jsonrpc: '2.0', id: 'b', error: { code: -32601, message: 'Method not found' } },
  ]);
  expect((await post(sandbox, [batch[1]], session)).status).toBe(202);
  expect((await post(sandbox, [], session)).status).toBe(400);
  expect((await post(sandbox, batch, (await handshake('2025-06-18')).session)).status).toBe(400);
});
