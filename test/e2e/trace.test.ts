import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { readTrace } from '../../src/trace/read-trace.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer, sendJson, startGateway } from './loopback-gateway.ts';
import {
  expectNoSecret,
  type Json,
  RunningProxy,
  secret,
  startProxy,
  TEST_KEY,
} from './running-proxy.ts';

describe('--trace', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'latchkey-trace-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  let files = 0;
  const newFile = () => join(folder, `${++files}.jsonl`);
  const linesOf = (file: string): Json[] => readTrace(file).flat() as object[] as Json[];
  const at = (line: Json | undefined, ...names: string[]) =>
    names.map((name) => Number(line?.[name]));

  it('records every message of both sides, with its timing, for the user alone', async () => {
    const gateway = await startGateway(answer);
    const file = newFile();
    const proxy = startProxy(gateway.url, { args: ['--trace', file] });
    await proxy.initialize();
    await proxy.request(7, 'tools/call', { name: 'search', arguments: { text: 'é<b>' } });
    await proxy.end();

    if (process.platform !== 'win32') expect(statSync(file).mode & 0o777).toBe(0o600);
    const lines = linesOf(file);
    expect(lines[0]).toMatchObject({ type: 'run', gateway: gateway.url });
    const call = lines.find(
      (line) => line.type === 'stdio' && line.to === 'proxy' && line.id === '7',
    );
    expect(call).toMatchObject({
      ...{ kind: 'request', method: 'tools/call', name: 'search' },
      message: { id: 7, params: { name: 'search', arguments: { text: 'é<b>' } } },
    });
    const sent = lines.find((line) => line.type === 'http' && line.id === '7');
    expect(sent).toMatchObject({
      ...{
        verb: 'POST',
        path: '/v1/mcp',
        attempt: 1,
        as: call?.n,
        status: 200,
        outcome: 'replied',
      },
      requestHeaders: { authorization: '[secret]', 'content-type': 'application/json' },
      responseHeaders: { 'content-type': 'application/json' },
    });
    const times = at(sent, 'ms', 'sentMs', 'headMs', 'endMs');
    expect(times).toEqual([...times].sort((a, b) => a - b));
    const received = lines.find((line) => line.type === 'received' && line.http === sent?.http);
    expect(received).toMatchObject({ kind: 'result', id: '7', message: { id: 7, result: {} } });
    const reply = lines.find(
      (line) => line.type === 'stdio' && line.to === 'client' && line.id === '7',
    );
    expect(reply).toMatchObject({
      kind: 'result',
      method: 'tools/call',
      as: received?.n,
      attempts: 1,
    });
    const connection = lines.find((line) => line.connection === sent?.connection);
    expect(connection).toMatchObject({ type: 'connection', host: new URL(gateway.url).host });
    const opened = at(connection, 'ms', 'tcpMs', 'readyMs');
    expect(opened).toEqual([...opened].sort((a, b) => a - b));
    const order = lines.map(({ n }) => Number(n));
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  it('records headers once where several requests have the same', async () => {
    const gateway = await startGateway(answer);
    const file = newFile();
    const proxy = startProxy(gateway.url, { args: ['--trace', file] });
    await proxy.initialize();
    await Promise.all([2, 3, 4, 5, 6].map((id) => proxy.request(id, 'ping')));
    await proxy.end();
    const isPing = ({ type, method }: Json) => type === 'http' && method === 'ping';
    const whole = linesOf(file).filter(isPing);
    expect(whole.map((line) => line.requestHeaders)).toEqual(
      Array(5).fill(expect.objectContaining({ authorization: '[secret]' })),
    );
    const raw: Json[] = readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((row) => JSON.parse(row));
    const written = raw.filter(isPing);
    const short = written.filter((line) => line.requestHeaders === undefined);
    expect(short.length).toBeGreaterThan(0);
    for (const { requestHeadersAs } of short) {
      expect(raw.find(({ n }) => n === requestHeadersAs)?.requestHeaders).toEqual(
        whole[0]?.requestHeaders,
      );
    }
  });

  it('records a retry, a failure, a cancellation and what is not a message', async () => {
    let calls = 0;
    const gateway = await startGateway((received, response) => {
      const { method, id } = received.message;
      if (method === 'tools/list' && ++calls === 1) response.writeHead(503).end('busy <b>');
      else if (id === 3) response.writeHead(403, { 'x-request-id': 'r-1' }).end('no');
      else if (id !== 4) answer(received, response);
    });
    const file = newFile();
    const proxy = startProxy(gateway.url, { args: ['--trace', file] });
    await proxy.initialize();
    await proxy.request(2, 'tools/list');
    await proxy.request(3, 'tools/call', { name: 'denied' });
    proxy.send({ jsonrpc: '2.0', id: 4, method: 'tools/call', params: { name: 'slow' } });
    await gateway.request(({ message }) => message.id === 4);
    proxy.notify('notifications/cancelled', { requestId: 4 });
    proxy.send('no json');
    await proxy.request(5, 'ping');
    await proxy.end();

    const lines = linesOf(file);
    const attempts = lines.filter((line) => line.type === 'http' && line.id === '2');
    expect(attempts).toMatchObject([
      { attempt: 1, status: 503, outcome: 'http-error', responseBody: 'busy <b>' },
      { attempt: 2, status: 200, outcome: 'replied' },
    ]);
    expect(lines).toContainEqual(
      expect.objectContaining({ type: 'log', text: expect.stringContaining('attempt 1 failed') }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ type: 'stdio', kind: 'error', id: '3', to: 'client', attempts: 1 }),
    );
    expect(lines.find((line) => line.type === 'http' && line.id === '3')).toMatchObject({
      responseHeaders: { 'x-request-id': 'r-1' },
    });
    expect(lines).toContainEqual(
      expect.objectContaining({ type: 'cancelled', id: '4', method: 'tools/call', name: 'slow' }),
    );
    expect(lines).toContainEqual(expect.objectContaining({ type: 'stdio', kind: 'unusable' }));
  });

  it.each([
    ['none', undefined, undefined],
    ['heads', undefined, 4097],
    ['all', 10_000, undefined],
  ])('--trace-bodies %s records that much of a message', async (bodies, whole, head) => {
    const gateway = await startGateway(answer);
    const file = newFile();
    const proxy = startProxy(gateway.url, { args: ['--trace', file, '--trace-bodies', bodies] });
    await proxy.request(1, 'tools/call', { name: 'x', arguments: { text: 'x'.repeat(10_000) } });
    await proxy.end();
    const line = linesOf(file).find(({ kind }) => kind === 'request');
    expect(Number(line?.bytes)).toBeGreaterThan(10_000);
    const text = (line?.message as { params: { arguments: Json } })?.params.arguments.text;
    expect((text as string | undefined)?.length).toBe(whole);
    expect((line?.head as string | undefined)?.length).toBe(head);
  });

  // Windows has no signals that a program could react to.
  const signals = process.platform === 'win32' ? [] : (['SIGTERM', 'SIGINT'] as const);
  it.each(['the client closes stdin', ...signals] as const)(
    'is complete when the session ends: %s',
    async (cause) => {
      const gateway = await startGateway(answer);
      const file = newFile();
      // At a lower level of the log, lines of the trace are written some time later.
      const env = { MCP_LATCHKEY_API_KEY: TEST_KEY };
      const proxy = new RunningProxy([gateway.url, '--trace', file], env);
      onTestFinished(() => void proxy.child.kill('SIGKILL'));
      await proxy.initialize();
      const ids = Array.from({ length: 300 }, (_, index) => index + 1);
      await Promise.all(ids.map((id) => proxy.request(id, 'tools/call', { name: 'search' })));
      if (cause === 'the client closes stdin') await proxy.end();
      else proxy.child.kill(cause);
      await proxy.exited;

      const lines = linesOf(file);
      expect(lines.map(({ n }) => n)).toEqual(lines.map((_, index) => index + 1));
      const idsOf = (fits: object) =>
        lines
          .filter((line) => Object.entries(fits).every(([name, value]) => line[name] === value))
          .map(({ id }) => id);
      for (const fits of [
        { type: 'stdio', to: 'proxy' },
        { type: 'http', outcome: 'replied' },
        { type: 'received' },
        { type: 'stdio', to: 'client', attempts: 1 },
      ]) {
        expect(idsOf(fits)).toEqual(expect.arrayContaining(ids.map(String)));
      }
      expectNoSecret(readFileSync(file, 'utf8'));
    },
  );

  it('never gets larger than --trace-max-bytes: the oldest lines give way', async () => {
    const gateway = await startGateway(answer);
    const file = newFile();
    const limit = 64 * 1024;
    const args = ['--trace', file, '--trace-max-bytes', String(limit)];
    const proxy = startProxy(gateway.url, { args });
    for (let id = 1; id <= 100; id++) {
      await proxy.request(id, 'tools/call', { name: 'x', arguments: { text: 'x'.repeat(2_000) } });
    }
    await proxy.end();
    expect(statSync(file).size + statSync(`${file}.1`).size).toBeLessThanOrEqual(limit);
    expect(existsSync(`${file}.2`)).toBe(false);
    const lines = [...linesOf(`${file}.1`), ...linesOf(file)];
    expect(lines.findLast(({ type }) => type === 'http')).toMatchObject({ id: '100' });
    expect(lines[0]?.type).not.toBe('run');
  });

  it('goes on without a record when the file cannot be written, and says so once', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, { args: ['--trace', '/no/such/folder/trace'] });
    await proxy.initialize();
    await proxy.until(() => proxy.stderr.includes('--trace: '));
    await proxy.request(2, 'ping');
    await proxy.end();
    expect(proxy.stderr.match(/--trace: .*cannot be written \(ENOENT\)/g)).toHaveLength(1);
  });

  it('has no credential, cookie or session id, also where the gateway quotes it', async () => {
    const [key, tenant, query] = [newKey(), newKey(), newKey()];
    const cookie = secret('cookie-value-93a1f7c2d4');
    const session = secret('session-7f3b2c1d9e');
    const quotes = (text: string) =>
      [
        text,
        text.toUpperCase(),
        Buffer.from(text).toString('base64'),
        encodeURIComponent(text),
      ].join(' ');
    const gateway = await startGateway((received, response) => {
      const { id, method } = received.message;
      const told = [key, tenant, query, cookie, session].map(quotes).join('\\ "\n');
      response.setHeader('mcp-session-id', session);
      response.setHeader('set-cookie', `sid=${cookie}; Path=/`);
      response.setHeader('x-echo', `Bearer ${key}`);
      if (id === 3) response.writeHead(500, { 'content-type': 'text/html' }).end(told);
      else if (method === 'tools/call')
        sendJson(response, { jsonrpc: '2.0', id, result: { told, [key]: 1 } });
      else answer(received, response);
    });
    const file = newFile();
    const told = startProxy(`${gateway.url}?token=${query}`, {
      args: ['--trace', file, '--trace-bodies', 'all', '-H', `X-Tenant-Secret: ${tenant}`],
      env: { MCP_LATCHKEY_API_KEY: key },
    });
    // The client gets the key, as the gateway said it: the trace is looked at here.
    told.expectClean = () => {};
    await told.initialize();
    await told.request(2, 'tools/call', { name: 'echo' });
    await told.request(3, 'tools/list');
    await told.end();

    const text = readFileSync(file, 'utf8');
    expect(text).toContain('[secret]');
    expect(text).toContain('[session 1]');
    for (const own of [key, tenant, query, cookie, session]) {
      const forms = [
        own,
        encodeURIComponent(own),
        ...[0, 1, 2].map((shift) => shifted(own, shift)),
      ];
      for (const form of forms) {
        expect(text.toLowerCase().includes(form.toLowerCase()), 'a secret is there').toBe(false);
      }
    }
    expectNoSecret(text);
    for (const line of linesOf(file)) expect(line).toHaveProperty('type');
  });

  it('has no key of any source', async () => {
    const gateway = await startKeyedGateway();
    const fromFile = newKey();
    gateway.accepted.add(fromFile);
    const file = newFile();
    writeFileSync(join(folder, 'key'), fromFile, { mode: 0o600 });
    writeFileSync(join(folder, 'headers'), `Authorization: Bearer ${fromFile}\n`, { mode: 0o600 });
    writeFileSync(
      join(folder, 'late.cjs'),
      `setTimeout(() => console.log(${JSON.stringify(fromFile)}), 1_000);`,
    );
    for (const args of [
      ['--key-file', join(folder, 'key')],
      // Known only after the call that contains it.
      ['--key-command', `"${process.execPath}" "${join(folder, 'late.cjs')}"`],
      ['--key-env', 'OTHER'],
      ['--header-file', join(folder, 'headers')],
      ['-H', `Authorization: Bearer ${fromFile}`],
      ['-H', 'Authorization: Bearer @{OTHER}'],
    ]) {
      const proxy = startProxy(gateway.url, {
        args: ['--trace', file, ...args],
        env: { OTHER: fromFile },
      });
      const call = proxy.request(1, 'tools/call', { name: 'echo', arguments: { text: fromFile } });
      expect(await call).toHaveProperty('result');
      await proxy.end();
    }
    const text = readFileSync(file, 'utf8');
    expect(text.match(/"type":"run"/g)).toHaveLength(6);
    expect(text.includes(fromFile), 'a key is there').toBe(false);
  });
});

/** What base64 makes of a text after `shift` other bytes, less its ends. */
function shifted(text: string, shift: number): string {
  return Buffer.from(' '.repeat(shift) + text)
    .toString('base64')
    .slice(4, -4);
}
