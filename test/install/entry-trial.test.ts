import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { tryEntry } from '../../src/install/entry-trial.ts';

const node = (script: string, env: Record<string, string> = {}) =>
  tryEntry({ command: process.execPath, args: ['-e', script], env });

/** A server whose reply to each request is the value of `reply`, an expression of `m`. */
const server = (reply: string, before = '') => `
  ${before}
  require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const m = JSON.parse(line);
    if (m.id !== undefined) console.log(JSON.stringify({ jsonrpc: '2.0', id: m.id, ...(${reply}) }));
  });`;

it('does the handshake, and counts the tools', async () => {
  const result = await node(
    server(`m.method === 'initialize'
      ? { result: { serverInfo: { name: 'a\\u001b[31m b', version: '1' } } }
      : { result: { tools: [{}, {}], nextCursor: 'x' } }`),
  );
  expect(result).toEqual({ outcome: 'connected', server: 'a b', tools: 2, hasMoreTools: true });
});

it('is not confused by noise and by requests of the server', async () => {
  const noise = `console.log('hello'); console.log('{"id":1,"method":"ping"}'); console.log('[]');`;
  const result = await node(server('{ result: { tools: [] } }', noise));
  expect(result).toMatchObject({ outcome: 'connected', tools: 0 });
});

it.each(['initialize', 'tools/list'])('tells the error that answers %s', async (method) => {
  const result = await node(
    server(`m.method === '${method}'
      ? { error: { code: -1, message: 'No\\n entry', data: { reason: 'forbidden' } } }
      : { result: {} }`),
  );
  expect(result).toEqual({
    outcome: 'refused',
    reason: 'forbidden',
    message: 'No entry',
    canLogin: false,
  });
});

it('tells whether a stored key would help, by the remedy', async () => {
  const result = await node(
    server(
      `{ error: { code: -1, message: 'No', data: { hint: 'Run \`npx mcp-latchkey login u\`' } } }`,
    ),
  );
  expect(result).toMatchObject({ outcome: 'refused', canLogin: true });
});

it('tells what a program said that ended at once', async () => {
  const result = await node('console.error("no such\\u001b[1m gateway"); process.exitCode = 3');
  expect(result).toEqual({
    outcome: 'failed',
    message: 'it exited immediately (3): no such gateway',
  });
});

it('tells that a program cannot be started', async () => {
  const result = await tryEntry({ command: '/no such program', args: [] });
  expect(result).toMatchObject({ outcome: 'failed', message: expect.stringContaining('ENOENT') });
});

it.skipIf(process.platform === 'win32')(
  'tells that a path through a file cannot be started',
  async () => {
    const result = await tryEntry({ command: '/etc/passwd/op', args: [] });
    expect(result).toMatchObject({
      outcome: 'failed',
      message: expect.stringContaining('ENOTDIR'),
    });
  },
);

it('does not wait for what a program left running with its pipes', async () => {
  const started = performance.now();
  const left = `require('child_process').spawn(
    process.execPath, ['-e', 'setTimeout(() => {}, 20_000)'], { stdio: 'inherit', detached: true });`;
  const result = await node(`${left} console.error('no such gateway'); process.exit(3)`);
  expect(result).toMatchObject({ message: 'it exited immediately (3): no such gateway' });
  expect(performance.now() - started).toBeLessThan(15_000);
});

it
  .skipIf(process.platform === 'win32')
  .each([
    "'npx' is not recognized as an internal or external command",
    'Der Befehl "npx" ist entweder falsch geschrieben',
    '« npx » n’est pas reconnu',
  ])('asks for Node.js on the PATH where cmd does not find npx: %s', async (complaint) => {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-cmd-'));
  const path = process.env.PATH;
  onTestFinished(() => {
    process.env.PATH = path;
    rmSync(folder, { recursive: true });
  });
  writeFileSync(join(folder, 'cmd'), `#!/bin/sh\necho "$2" >&2\nexit 1\n`, { mode: 0o755 });
  process.env.PATH = `${folder}:${path}`;
  const result = await tryEntry({ command: 'cmd', args: ['/c', complaint] });
  expect(result).toMatchObject({ message: expect.stringMatching(/Is Node\.js on the PATH\?/) });
});

it('gives it the environment of the entry, and of its own only what clients pass on', async () => {
  process.env.LATCHKEY_TEST_ONLY = 'x';
  const result = await node(
    server(
      '{ result: { serverInfo: { name: own } } }',
      `
      const own = [process.env.A, process.env.LATCHKEY_TEST_ONLY, !!process.env.PATH].join();`,
    ),
    { A: 'b' },
  );
  delete process.env.LATCHKEY_TEST_ONLY;
  expect(result).toMatchObject({ server: 'b,,true' });
});

it('ends a program that does not end by itself', async () => {
  const started = performance.now();
  const result = await node(server('{ result: {} }', 'setInterval(() => {}, 1000);'));
  expect(result).toMatchObject({ outcome: 'connected' });
  expect(performance.now() - started).toBeLessThan(10_000);
});
