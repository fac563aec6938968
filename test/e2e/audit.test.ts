import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hasLinks } from '../environment.ts';
import { filteredSession, SESSIONS } from './filtered-session.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { computerWith, hasOwnEtc, hasOwnPolicy } from './policy-of-computer.ts';
import { type Json, startProxy } from './running-proxy.ts';

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-audit-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const linesIn = (file: string): Json[] =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    : [];

describe.each(SESSIONS)('a %s client at a %s gateway that replies with %s', (...eras) => {
  it('has a line about each call, before its reply', async () => {
    const file = join(newFolder(), 'audit.jsonl');
    const args = ['--audit-log', file, '--deny-tool', 'delete_*'];
    const { ask, listed } = await filteredSession(eras, args);
    await listed();
    expect(linesIn(file)).toEqual([]);
    await ask('tools/call', { name: 'get_issue', arguments: { secret: 'argument-1' } });
    const [line] = linesIn(file);
    expect(line).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      user: userInfo().username,
      client: expect.any(String),
      clientVersion: expect.any(String),
      gateway: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/v1\/mcp$/),
      method: 'tools/call',
      tool: 'get_issue',
      outcome: 'ok',
      ms: expect.any(Number),
      id: expect.stringMatching(/^\d+$/),
    });
    await ask('tools/call', { name: 'delete_issue' });
    expect(linesIn(file)[1]).toMatchObject({
      tool: 'delete_issue',
      outcome: 'tool_not_allowed',
      code: -32002,
    });
    expect(linesIn(file)).toHaveLength(2);
    expect(readFileSync(file, 'utf8')).not.toMatch(/argument-1|content/);
  });
});

describe('--audit-log', () => {
  it.skipIf(process.platform === 'win32')('appends to a file of this user alone', async () => {
    const file = join(newFolder(), 'audit.jsonl');
    writeFileSync(file, '{}\n', { mode: 0o644 });
    const { ask } = await filteredSession(['legacy', 'legacy', 'json'], ['--audit-log', file]);
    await ask('tools/call', { name: 'plain' });
    expect(linesIn(file)).toMatchObject([{}, { tool: 'plain' }]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('becomes FILE.1 when it is full', async () => {
    const file = join(newFolder(), 'audit.jsonl');
    writeFileSync(file, `${' '.repeat(10 * 1024 * 1024)}\n`, { mode: 0o600 });
    const { ask } = await filteredSession(['legacy', 'legacy', 'json'], ['--audit-log', file]);
    await ask('tools/call', { name: 'plain' });
    expect(linesIn(file)).toMatchObject([{ tool: 'plain' }]);
    expect(statSync(`${file}.1`).size).toBe(10 * 1024 * 1024 + 1);
  });

  it('has a call in a batch, one that is cancelled, one without an id, and the end of the session', async () => {
    const file = join(newFolder(), 'audit.jsonl');
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'tools/call') return;
      answer(received, response);
    });
    const proxy = startProxy(gateway.url, { args: ['--audit-log', file] });
    await proxy.initialize('2025-03-26');
    const call = (id: number) => ({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name: `t${id}` },
    });
    proxy.send([call(1), call(2)]);
    await gateway.request(({ message }) => message.id === 2);
    proxy.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    await gateway.request(({ message }) => message.method === 'notifications/cancelled');
    await proxy.end();
    expect(linesIn(file)).toMatchObject([
      { tool: 't1', outcome: 'cancelled' },
      { tool: 't2', outcome: 'interrupted' },
    ]);
  });

  it('never contains a key, or the query of a resource', async () => {
    const file = join(newFolder(), 'audit.jsonl');
    const { ask } = await filteredSession(['legacy', 'legacy', 'json'], ['--audit-log', file], {
      MCP_LATCHKEY_API_KEY: 'sk-audited-key-0123456789',
    });
    await ask('tools/call', { name: 'sk-audited-key-0123456789' });
    await ask('resources/read', { uri: 'db://rows?token=abc' });
    expect(readFileSync(file, 'utf8')).not.toMatch(/sk-audited-key|token=abc/);
    expect(linesIn(file)[1]).toMatchObject({ method: 'resources/read', resource: 'db://rows' });
  });

  it('does not stop a call when it cannot be written', async () => {
    const folder = newFolder();
    const file = join(folder, 'missing', 'audit.jsonl');
    const { ask, proxy } = await filteredSession(
      ['legacy', 'legacy', 'json'],
      ['--audit-log', file],
    );
    expect(await ask('tools/call', { name: 'plain' })).toHaveProperty('result');
    expect(proxy.stderr).toContain('--audit-log: ');
  });
});

describe.skipIf(!hasOwnPolicy)('an audit log that a policy requires', () => {
  async function audited(prepare: (file: string) => void = () => {}) {
    const file = join(newFolder(), 'logs', 'audit.jsonl');
    mkdirSync(join(file, '..'));
    prepare(file);
    const gateway = await startGateway(answer);
    const { wrapper } = computerWith({ audit: { file, required: true } });
    const proxy = startProxy(gateway.url, { wrapper });
    await proxy.initialize();
    const called = () => gateway.received.filter(({ message }) => message.method === 'tools/call');
    return { file, proxy, called };
  }

  it('has a line before the call is sent, and one before its reply', async () => {
    const { file, proxy } = await audited();
    await proxy.request(7, 'tools/call', { name: 'one' });
    expect(linesIn(file)).toMatchObject([
      { tool: 'one', outcome: 'sent', id: '7' },
      { tool: 'one', outcome: 'ok', id: '7', ms: expect.any(Number) },
    ]);
  });

  it.each([
    ['its folder is gone', (file: string) => rmSync(join(file, '..'), { recursive: true })],
    ['it is a folder', (file: string) => mkdirSync(file)],
    ...(hasLinks
      ? [['it leads to a device', (file: string) => symlinkSync('/dev/null', file)] as const]
      : []),
  ] as const)('stops each call if %s', async (_, prepare) => {
    const { file, proxy, called } = await audited(prepare);
    expect(await proxy.request(1, 'tools/call', { name: 'one' })).toMatchObject({
      error: {
        code: -32001,
        message: expect.stringMatching(/^Audit log not written: .*Nothing was sent/),
        data: { reason: 'audit_failed' },
      },
    });
    expect(called()).toEqual([]);
    rmSync(file, { recursive: true, force: true });
    mkdirSync(join(file, '..'), { recursive: true });
    expect(await proxy.request(2, 'tools/call', { name: 'two' })).toHaveProperty('result');
  });

  it('stops a call that another program could read in another way', async () => {
    const { file, proxy, called } = await audited((path) => mkdirSync(path));
    proxy.send(
      '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"x"}}',
    );
    proxy.send('{"jsonrpc":"2.0","id":2,"method":"Tools/Call","params":{"name":"x"}}');
    proxy.send('{"jsonrpc":"2.0","id":3,"method":"tools\\u002fcall","params":{"name":"x"}}');
    for (const id of [1, 2, 3]) {
      expect(await proxy.reply(id)).toMatchObject({ error: { code: -32001 } });
    }
    expect(called()).toEqual([]);
    expect(statSync(file).isDirectory()).toBe(true);
  });

  it('withholds the reply of a call whose end cannot be logged', async () => {
    const file = join(newFolder(), 'audit.jsonl');
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'tools/call') {
        rmSync(file);
        mkdirSync(file);
      }
      answer(received, response);
    });
    const { wrapper } = computerWith({ audit: { file, required: true } });
    const proxy = startProxy(gateway.url, { wrapper });
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/call', { name: 'one' })).toMatchObject({
      error: { code: -32001, message: expect.stringContaining('The call has run') },
    });
  });

  it('cannot be moved by an option', async () => {
    const gateway = await startGateway(answer);
    const { wrapper } = computerWith({ audit: { file: '~/audit.jsonl', required: true } });
    const proxy = startProxy(gateway.url, { wrapper, args: ['--audit-log', '/dev/null'] });
    expect(await proxy.initialize()).toMatchObject({
      error: { code: -32005, message: expect.stringContaining('--audit-log is set by') },
    });
  });

  /** A session whose log is in a file system of its own, which it alone sees, and where that is. */
  async function auditedIn(mount: string, respond = answer) {
    const folder = newFolder();
    const gateway = await startGateway(respond);
    const { wrapper } = computerWith({
      audit: { file: join(folder, 'audit.jsonl'), required: true },
    });
    const script = `mount -t tmpfs ${mount} none "$0" && exec "$@"`;
    const proxy = startProxy(gateway.url, { wrapper: [...wrapper, 'sh', '-c', script, folder] });
    await proxy.initialize();
    const called = () => gateway.received.filter(({ message }) => message.method === 'tools/call');
    return { proxy, called, folder: join(`/proc/${proxy.child.pid}/root`, folder) };
  }

  it.skipIf(!hasOwnEtc)(
    'stops calls on a full disk, and goes on with a whole line once there is space',
    async () => {
      const { proxy, called, folder } = await auditedIn('-o size=8k');
      writeFileSync(join(folder, 'other'), 'x'.repeat(4096));
      const outcomes = [];
      let id = 0;
      do outcomes.push(await proxy.request(++id, 'tools/call', { name: 'one' }));
      while (!('error' in (outcomes.at(-1) as Json)));
      expect(outcomes.at(-1)).toMatchObject({ error: { code: -32001 } });
      const before = called().length;
      expect(await proxy.request('full', 'tools/call', { name: 'one' })).toMatchObject({
        error: { code: -32001, message: expect.stringContaining('Nothing was sent') },
      });
      expect(called()).toHaveLength(before);

      rmSync(join(folder, 'other'));
      expect(await proxy.request('free', 'tools/call', { name: 'two' })).toHaveProperty('result');
      const lines = readFileSync(join(folder, 'audit.jsonl'), 'utf8').trimEnd().split('\n');
      expect(lines.slice(-2).map((line) => JSON.parse(line))).toMatchObject([
        { tool: 'two', outcome: 'sent' },
        { tool: 'two', outcome: 'ok' },
      ]);
    },
  );

  it.skipIf(!hasOwnEtc)('stops each call on a read-only disk', async () => {
    const { proxy, called } = await auditedIn('-o ro');
    expect(await proxy.request(1, 'tools/call', { name: 'one' })).toMatchObject({
      error: { code: -32001, message: expect.stringContaining('Nothing was sent') },
    });
    expect(called()).toEqual([]);
  });

  it('has the call that was running when the process was killed', async () => {
    const file = join(newFolder(), 'audit.jsonl');
    const gateway = await startGateway((received, response) => {
      if (received.message.method !== 'tools/call') answer(received, response);
    });
    const { wrapper } = computerWith({ audit: { file, required: true } });
    const proxy = startProxy(gateway.url, { wrapper });
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'one' } });
    await gateway.request(({ message }) => message.method === 'tools/call');
    proxy.child.kill('SIGKILL');
    await proxy.exited;
    expect(linesIn(file)).toMatchObject([{ tool: 'one', outcome: 'sent', id: '1' }]);
  });

  it('goes on in a new file when it is full in the middle of a call', async () => {
    const { file, proxy } = await audited((path) => {
      writeFileSync(path, `${' '.repeat(10 * 1024 * 1024 - 300)}\n`, { mode: 0o600 });
    });
    await proxy.request(1, 'tools/call', { name: 'one' });
    expect(readFileSync(`${file}.1`, 'utf8').trim()).toContain('"outcome":"sent"');
    expect(linesIn(file)).toMatchObject([{ tool: 'one', outcome: 'ok' }]);
  });
});
