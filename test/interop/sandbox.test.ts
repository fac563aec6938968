import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, type TestContext, test } from 'vitest';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { missing, pathOf } from './installed-peers.ts';
import { proxyUnderTest } from './proxy-under-test.ts';
import { connectSdkClient } from './sdk-session.ts';

const call = { name: 'linear_get_issue', arguments: { id: 'ENG-41' } };
const inspectorIsMissing = missing('inspector', 'recentNode');

describe.each([
  { sse: false, sessions: false },
  { sse: false, sessions: true },
  { sse: true, sessions: false },
  { sse: true, sessions: true },
])('the sandbox with $sse SSE and $sessions sessions', { concurrent: true }, (options) => {
  test("the SDK's client completes initialize, tools/list and tools/call", async (context) => {
    const sandbox = await startSandboxThat(context, options);
    const { client, close } = await connectSdkClient(context, sandbox.url, {
      env: { MCP_LATCHKEY_API_KEY: sandbox.keys.good },
    });
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toContain(call.name);
    const result = await client.callTool(call);
    expect(result).toMatchObject({ content: [{ text: expect.stringContaining('ENG-41') }] });
    const messages = await close();
    expect(messages.map((message) => 'result' in message)).toEqual([true, true, true]);
    expectProperSession(sandbox, options);
    expect(JSON.stringify(messages)).not.toContain(sandbox.keys.good);
  });

  test.skipIf(inspectorIsMissing)('the Inspector CLI completes tools/list', async (context) => {
    const sandbox = await startSandboxThat(context, options);
    const { tools } = await inspect(context, sandbox, '--method', 'tools/list');
    expect(tools).toContainEqual(expect.objectContaining({ name: call.name }));
    expectProperSession(sandbox, options);
  });

  test.skipIf(inspectorIsMissing)('the Inspector CLI completes tools/call', async (context) => {
    const sandbox = await startSandboxThat(context, options);
    const toolArguments = [
      '--tool-name',
      call.name,
      '--tool-args-json',
      JSON.stringify(call.arguments),
    ];
    const result = await inspect(context, sandbox, '--method', 'tools/call', ...toolArguments);
    expect(result).toMatchObject({ content: [{ text: expect.stringContaining('ENG-41') }] });
    expectProperSession(sandbox, options);
  });
});

/** A sandbox for this test, seen to reply as `options` say. */
async function startSandboxThat(test: TestContext, options: SandboxOptions): Promise<Sandbox> {
  const sandbox = await startSandbox(options);
  test.onTestFinished(() => sandbox.close());
  const { headers } = await fetch(sandbox.url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${sandbox.keys.good}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 0,
      method: 'initialize',
      params: {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'interop', version: '1.0.0' },
      },
    }),
  });
  expect(headers.get('content-type')).toBe(options.sse ? 'text/event-stream' : 'application/json');
  expect(headers.has('mcp-session-id')).toBe(options.sessions);
  sandbox.requests.length = 0;
  return sandbox;
}

/**
 * What the sandbox received from the proxy is one session as MCP 2025-11-25, basic/transports,
 * describes it: the handshake first, session and revision on everything after it, DELETE at the end.
 */
function expectProperSession({ requests }: Sandbox, { sessions }: SandboxOptions): void {
  const posts = requests.filter(({ method }) => method === 'POST');
  expect(posts.map(({ body }) => Object(body).method)).toEqual(
    expect.arrayContaining(['initialize', 'notifications/initialized', 'tools/list']),
  );
  const [initialize, initialized, ...later] = posts;
  expect(initialize?.body).toMatchObject({ method: 'initialize' });
  expect(initialized?.body).toMatchObject({ method: 'notifications/initialized' });
  expect(posts.map(({ status }) => status)).toEqual([200, 202, ...later.map(() => 200)]);
  for (const { headers } of [initialized, ...later].flatMap((post) => post ?? [])) {
    expect(headers['mcp-protocol-version']).toBe(sessions ? '2025-11-25' : '2024-11-05');
    expect('mcp-session-id' in headers).toBe(sessions);
  }
  const last = requests.at(-1);
  if (sessions) expect(last).toMatchObject({ method: 'DELETE', status: 204 });
  else expect(requests.some(({ method }) => method === 'DELETE')).toBe(false);
}

/**
 * What the Inspector's CLI prints as the result when it is given the proxy in a config file, as any
 * desktop client is.
 */
async function inspect(
  test: TestContext,
  sandbox: Sandbox,
  ...options: string[]
): Promise<Record<string, unknown>> {
  const { command, args, exit, messages } = proxyUnderTest(test, sandbox.url);
  const home = mkdtempSync(join(tmpdir(), 'mcp-latchkey-inspector-'));
  test.onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  const config = join(home, 'config.json');
  const env = { MCP_LATCHKEY_API_KEY: sandbox.keys.good };
  writeFileSync(config, JSON.stringify({ mcpServers: { latchkey: { command, args, env } } }));
  const { stdout } = await promisify(execFile)(
    pathOf('recentNode'),
    [
      pathOf('inspector'),
      ...['--cli', '--config', config, '--server', 'latchkey', '--format', 'json'],
      ...options,
    ],
    // A home of its own: the Inspector keeps its state there.
    { env: { ...process.env, HOME: home, USERPROFILE: home }, timeout: 15_000 },
  );
  expect(await exit()).toEqual({ code: 0, signal: null });
  expect(messages().length).toBeGreaterThan(1);
  expect(stdout).not.toContain(sandbox.keys.good);
  return JSON.parse(stdout).result;
}
