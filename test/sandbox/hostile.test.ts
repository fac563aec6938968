import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { call, post, request } from './post.ts';

let sandboxes: Sandbox[];

beforeAll(async () => {
  sandboxes = await Promise.all([
    startSandbox({ bodyLimit: 4096 }),
    startSandbox({ bodyLimit: 4096, sessions: true, sse: true }),
  ]);
});
afterAll(() => Promise.all(sandboxes.map((sandbox) => sandbox.close())));

const methods = ['initialize', 'ping', 'tools/list', 'tools/call', 'prompts/get', 'x'];
const tools = ['linear_get_issue', 'linear_list_issues', 'platform_echo', 'github_search_code'];

/** Bodies from plain noise to requests that are right but for their parameters. */
const bodies = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 6000 }),
  fc.json(),
  fc
    .record(
      {
        jsonrpc: fc.constantFrom('2.0', '1.0'),
        id: fc.oneof(fc.integer(), fc.string(), fc.constant(null)),
        method: fc.oneof(fc.constantFrom(...methods), fc.string()),
        params: fc.oneof(
          fc.jsonValue(),
          fc.record({
            name: fc.oneof(fc.constantFrom(...tools), fc.string()),
            arguments: fc.oneof(
              fc.jsonValue(),
              fc.dictionary(fc.constantFrom('id', 'query', '__proto__'), fc.jsonValue()),
            ),
            _meta: fc.jsonValue(),
          }),
        ),
      },
      { requiredKeys: [] },
    )
    .map((message) => JSON.stringify(message)),
);

const printable = fc.string({ maxLength: 60 }).map((value) => value.trim());
const headers = fc.record(
  {
    accept: fc.oneof(fc.constant('application/json, text/event-stream'), printable),
    'content-type': fc.oneof(fc.constant('application/json'), printable),
    authorization: fc.oneof(fc.constant('Bearer sandbox-good-key-0001'), printable),
    'x-api-key': printable,
    'x-kindo-integrations': printable,
    'mcp-session-id': printable,
    'mcp-protocol-version': printable,
  },
  { requiredKeys: ['accept', 'content-type', 'authorization'] },
);
const paths = fc.oneof(
  fc.constant('/v1/mcp'),
  fc.webQueryParameters().map((query) => `/v1/mcp?${query}`),
  fc.stringMatching(/^\/[!-~]{0,30}$/),
);

it('answers any body, headers and path over HTTP, and never with its own failure', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...sandboxes),
      fc.constantFrom('POST', 'POST', 'POST', 'GET', 'DELETE', 'OPTIONS'),
      paths,
      headers,
      bodies,
      async (sandbox, method, path, fuzzed, body) => {
        const req = httpRequest(sandbox.origin, { method, path, headers: fuzzed });
        req.end(body);
        const [res]: IncomingMessage[] = await once(req, 'response');
        res?.resume();
        expect([200, 202, 400, 401, 404, 406, 413, 415]).toContain(res?.statusCode);
        if (res) await once(res, 'close');
      },
    ),
    { numRuns: 400 },
  );
}, 30_000);

it('survives bytes that are not HTTP', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (bytes) => {
      const [sandbox] = sandboxes as [Sandbox];
      const socket = connect(Number(new URL(sandbox.url).port), '127.0.0.1');
      socket.on('error', () => {});
      socket.resume().end(bytes);
      await once(socket, 'close');
      expect((await post(sandbox, request('ping'))).status).toBe(200);
    }),
    { numRuns: 100 },
  );
});

/** Whether JSON can be written again once it is read: Node.js 26 writes values of any depth. */
function isWritable(json: string): boolean {
  const value = JSON.parse(json);
  try {
    JSON.stringify(value);
    return true;
  } catch {
    return false;
  }
}

it('answers 500 to arguments nested too deep to be written again, and goes on', async () => {
  const deep = await startSandbox();
  try {
    const nested = '['.repeat(200_000) + ']'.repeat(200_000);
    const body = JSON.stringify(call('platform_echo', { nested: 0 })).replace(':0', `:${nested}`);
    expect((await post(deep, body)).status).toBe(isWritable(nested) ? 200 : 500);
    expect((await post(deep, request('ping'))).status).toBe(200);
  } finally {
    await deep.close();
  }
});

describe('a client that leaves', () => {
  /** Sends the head and `body`, and leaves as soon as the sandbox has taken the request up. */
  async function leave(sandbox: Sandbox, body: string, length: number) {
    const before = sandbox.requests.length;
    const req = httpRequest(sandbox.url, {
      method: 'POST',
      headers: {
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
        authorization: `Bearer ${sandbox.keys.good}`,
        'content-length': length,
      },
    });
    req.on('error', () => {});
    req.write(body);
    await expect.poll(() => sandbox.requests.length).toBe(before + 1);
    req.destroy();
    await expect.poll(() => sandbox.requests[before]?.ms).toBeGreaterThan(0);
    return sandbox.requests[before]?.status;
  }

  it.each([
    ['in the middle of its request', '{"jsonrpc"', 1000],
    ['while its call runs', JSON.stringify(call('platform_wait', { seconds: 600 })), undefined],
  ])('does no harm %s', async (_when, body, length = body.length) => {
    const [sandbox] = sandboxes as [Sandbox];
    expect(await leave(sandbox, body, length)).toBeUndefined();
    expect((await post(sandbox, request('ping'))).status).toBe(200);
  });

  it('does no harm when the reply finds it gone', async () => {
    const [sandbox] = sandboxes as [Sandbox];
    const body = JSON.stringify(call('platform_wait', { seconds: 0.1 }));
    await leave(sandbox, body, body.length);
    // Takes longer than the call that was left.
    expect((await post(sandbox, call('platform_wait', { seconds: 0.2 }))).status).toBe(200);
  });
});
