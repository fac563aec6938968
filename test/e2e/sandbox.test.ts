import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { afterEach, expect, it } from 'vitest';

const launcher = resolve(import.meta.dirname, '../../bin/mcp-latchkey.js');
// WT_SESSION: on Windows, for a terminal that shows more than ASCII.
const env = { WT_SESSION: 'x', ...process.env, FORCE_COLOR: undefined };
const started: ChildProcess[] = [];

afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

/** Runs `mcp-latchkey sandbox` until it ends by itself. */
async function run(...options: string[]) {
  const child = spawn(process.execPath, [launcher, 'sandbox', ...options], { env });
  started.push(child);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  return { stdout, stderr, code };
}

/** Starts `mcp-latchkey sandbox` on a free port; `printed` waits until stdout matches. */
async function start(...options: string[]) {
  const child = spawn(process.execPath, [launcher, 'sandbox', '--port', '0', ...options], { env });
  started.push(child);
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  async function printed(pattern: RegExp): Promise<string> {
    for (;;) {
      const [match] = pattern.exec(stdout) ?? [];
      if (match !== undefined) return match;
      await once(child.stdout, 'data');
    }
  }
  await printed(/Requests\n/);
  return { child, printed, introduction: stdout, url: await printed(/http:\S+\/v1\/mcp/) };
}

const tools = { jsonrpc: '2.0', id: 1, method: 'tools/list' };

function post(url: string, message: unknown, headers: Record<string, string> = {}) {
  return fetch(url, {
    method: 'POST',
    headers: {
      authorization: 'Bearer sandbox-good-key-0001',
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: JSON.stringify(message),
  });
}

/** Expects 80 columns at most. The paths of Node.js and of this program are as long as they are. */
function expectNarrow(introduction: string): void {
  const lines = introduction.replaceAll(JSON.stringify(launcher), '""').split('\n');
  for (const line of lines.filter((own) => !own.startsWith('      "command": '))) {
    expect(line.length).toBeLessThanOrEqual(80);
  }
}

it('introduces itself within 80 columns and without color when piped', async () => {
  const { introduction } = await start();
  expect(introduction).not.toContain('\x1b');
  expectNarrow(introduction);
});

it('names keys that do what it says they do', async () => {
  const { introduction, url } = await start();
  const rows = [...introduction.matchAll(/^ {2}(sandbox-\S+) +(works|\d+): /gm)];
  expect(rows).toHaveLength(5);
  for (const [, key, promise] of rows) {
    const { status } = await post(url, tools, { authorization: `Bearer ${key}` });
    expect(status).toBe(promise === 'works' ? 200 : Number(promise));
  }
});

it('prints a config entry with which a client gets a whole session', async () => {
  const { introduction } = await start();
  const snippet = /^\{[\s\S]*?^\}/m.exec(introduction)?.[0] ?? '';
  const { command, args, env: entryEnv } = JSON.parse(snippet).mcpServers.sandbox;
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(
    new StdioClientTransport({
      command,
      args,
      env: entryEnv,
      stderr: 'ignore',
    }),
  );
  expect((await client.listTools()).tools.length).toBeGreaterThan(5);
  await client.close();
});

it('offers sign-in with --oauth: no key in the config entry, and clients that are known', async () => {
  const { introduction, url } = await start('--oauth-fault', 'no-registration');
  expect(introduction).not.toContain('MCP_LATCHKEY_API_KEY');
  expect(introduction).toContain('Fault no-registration: ');
  expectNarrow(introduction);
  const issuer = /Authorization server: (\S+)/.exec(introduction)?.[1] ?? '';
  const [, id = '', secret = ''] =
    /--client-id (\S+), with the secret\s+(\S+)/.exec(introduction) ?? [];
  const { status } = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource: url }),
  });
  expect(status).toBe(200);
});

it('prints no state and no code of a sign-in', async () => {
  const { introduction, printed } = await start('--oauth');
  const issuer = /Authorization server: (\S+)/.exec(introduction)?.[1] ?? '';
  await fetch(`${issuer}/authorize?state=do-not-print-me`);
  expect(await printed(/^GET .*$/m)).toMatch(/^GET +\/authorize +400 +\d+ ms$/);
});

it('says which port is taken where the authorization server should be', async () => {
  const { introduction } = await start('--oauth');
  const taken = Number(/Authorization server: \S+:(\d+)/.exec(introduction)?.[1]);
  const { stderr, code } = await run('--oauth', '--port', String(taken - 1));
  expect(stderr).toMatch(new RegExp(`^✗ Port (${taken}|${taken - 1}) is already in use\\. `));
  expect(code).toBe(1);
});

it('prints a line for each request, in which the request cannot steer the terminal', async () => {
  const { printed, url } = await start('--fail', '503:1');
  await post(url, tools);
  await printed(/^POST +tools\/list +503 +\d+ ms$/m);
  await post(url, tools);
  await printed(/^POST +tools\/list +200 +\d+ ms$/m);
  await fetch(`${url}/elsewhere`);
  await printed(/^GET +\/v1\/mcp\/elsewhere +404 +\d+ ms$/m);
  const params = { name: 'linear:\u001b[31mget\n_issue' };
  await post(url, { jsonrpc: '2.0', id: 1, method: 'tools/call', params });
  await printed(/^POST +tools\/call linear:get _issue +200 error -32602 +\d+ ms$/m);
});

it('rehearses sessions, event streams and latency', async () => {
  const { url, introduction } = await start('--sessions', '--sse', '--latency', '150');
  expect((await post(url, tools)).status).toBe(400);
  const first = /-d '(.+)'$/m.exec(introduction)?.[1] ?? '';
  const asked = performance.now();
  const reply = await post(url, JSON.parse(first));
  expect(performance.now() - asked).toBeGreaterThan(140);
  expect(reply.headers.get('content-type')).toBe('text/event-stream');
  const session = { 'mcp-session-id': reply.headers.get('mcp-session-id') ?? '' };
  expect(await reply.text()).toContain('"protocolVersion":"2025-11-25"');
  expect((await post(url, tools, session)).status).toBe(200);
});

it.skipIf(process.platform === 'win32').each(['SIGINT', 'SIGTERM'] as const)(
  'stops on %s with exit code 0, and cuts a call that is still running',
  async (signal) => {
    const { child, url } = await start('--sse');
    const params = { name: 'platform_wait', arguments: { seconds: 600 } };
    const slow = await post(url, { jsonrpc: '2.0', id: 1, method: 'tools/call', params });
    const cut = expect(slow.text()).rejects.toThrow();
    child.kill(signal);
    expect(await once(child, 'exit')).toEqual([0, null]);
    await cut;
  },
);

it('says in one sentence that its port is taken', async () => {
  const { url } = await start();
  const { port } = new URL(url);
  expect(await run('--port', port)).toEqual({
    stdout: '',
    stderr: `✗ Port ${port} is already in use. Choose another with --port (0 = any free port).\n`,
    code: 1,
  });
});

it.each([
  ['--port', '70000'],
  ['--port', 'x'],
  ['--latency', '-1'],
  ['--fail', '200:1'],
  ['--fail', '503'],
  ['--oauth-fault', 'x'],
])('refuses %s %s with exit code 2', async (option, value) => {
  const { stdout, stderr, code } = await run(`${option}=${value}`);
  expect(stdout).toBe('');
  expect(stderr).toMatch(new RegExp(`^✗ ${option} must be .+\n`));
  expect(code).toBe(2);
});
