import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { answer, startGateway } from './loopback-gateway.ts';
import { runToEnd, startProxy } from './running-proxy.ts';

describe('mcp-latchkey trace', () => {
  let folder: string;
  let file: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'latchkey-trace-'));
    file = join(folder, 'session.jsonl');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const trace = async (...words: string[]) => {
    const { stdout, stderr, code } = await runToEnd(['trace', file, ...words]);
    return { rows: stdout.trimEnd().split('\n'), stdout, stderr, code };
  };

  it('shows a recorded session in order, and its parts by filter', async () => {
    let calls = 0;
    const gateway = await startGateway((received, response) => {
      const { method, id } = received.message;
      if (method === 'tools/list' && ++calls === 1) {
        response.writeHead(503, { 'retry-after': '1' }).end();
      } else if (id === 3) response.writeHead(403).end();
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url, { args: ['--trace', file] });
    await proxy.initialize();
    await proxy.request(2, 'tools/list');
    await proxy.request(3, 'tools/call', { name: 'denied' });
    await proxy.request(4, 'tools/call', { name: 'search', arguments: { text: 'private words' } });
    await proxy.end();

    const all = await trace();
    expect(all.code).toBe(0);
    const times = all.rows.map((row) => Number.parseFloat(row));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(all.stdout).toMatch(/client → proxy +initialize \(id "init"\)/);
    expect(all.stdout).toMatch(/proxy ← gateway ✗ HTTP 503 for POST tools\/list \(id 2\)/);
    expect(all.stdout).toMatch(/proxy → gateway +POST tools\/list \(id 2\), attempt 2/);
    expect(all.stdout).toMatch(/client ← proxy +result for tools\/call search \(id 4\) after/);

    const failed = await trace('--failed');
    expect(failed.stdout).toContain('tools/call denied (id 3)');
    expect(failed.stdout).not.toContain('search');
    expect(await trace('--tool', 'nonesuch')).toMatchObject({
      ...{ code: 0, stdout: '✓ No call fits these filters.\n' },
    });
    const ofTool = await trace('--tool', 'search');
    expect(ofTool.rows.length).toBe(5);
    for (const row of ofTool.rows) expect(row).toContain('(id 4)');
    expect((await trace('--method', 'tools/list')).stdout).not.toContain('tools/call');
    // The second attempt comes after the pause that the gateway asked for.
    const slow = await trace('--slower-than', '900');
    expect(slow.stdout).toContain('tools/list (id 2)');
    expect(slow.stdout).not.toContain('search');
  });

  it('shows the newest run of several, or the one that is asked for', async () => {
    const gateway = await startGateway(answer);
    file = join(folder, 'two.jsonl');
    for (const id of ['first', 'second']) {
      const proxy = startProxy(gateway.url, { args: ['--trace', file] });
      await proxy.request(id, 'ping');
      await proxy.end();
    }
    const newest = await trace();
    expect(newest.stdout).toContain('(id "second")');
    expect(newest.stdout).not.toContain('(id "first")');
    expect(newest.stderr).toContain('newest of 2 runs');
    expect((await trace('--run', '1')).stdout).toContain('(id "first")');
  });

  it('writes a page in the place of an earlier one, and of nothing else of the user', async () => {
    const gateway = await startGateway(answer);
    const own = join(folder, 'own.jsonl');
    const proxy = startProxy(gateway.url, { args: ['--trace', own] });
    await proxy.initialize();
    await proxy.end();
    const page = join(folder, 'page.html');
    const write = (to: string) => runToEnd(['trace', own, '--html', to]);
    for (const _ of ['a new file', 'an earlier page']) {
      expect(await write(page)).toMatchObject({ code: 0 });
      expect(readFileSync(page, 'utf8').match(/<title>/g)).toHaveLength(1);
    }
    const notes = join(folder, 'notes.html');
    writeFileSync(notes, 'mcp-latchkey trace');
    for (const other of [notes, own]) {
      const before = readFileSync(other, 'utf8');
      const { code, stderr } = await write(other);
      expect(code).toBe(1);
      expect(stderr.replace(/\s+/g, ' ')).toContain(
        `${other} is already there, and is not an earlier page of trace. Move it away, or`,
      );
      expect(readFileSync(other, 'utf8')).toBe(before);
    }
  });

  it('shows what is hostile in a file as plain text, and leaves out what is not a line', async () => {
    file = join(folder, 'hostile.jsonl');
    const line = { n: 2, run: 1, ms: 1, type: 'stdio', to: 'proxy', kind: 'request' };
    const lines = [
      { n: 1, run: 1, ms: 0, type: 'run', gateway: 7 },
      { ...line, id: '\u001b[31m1', method: 'a\u202eb\nc', bytes: {} },
      { ...line, n: 3, id: {}, method: [], name: null },
      { n: 4, run: 1, ms: 2, type: 'http', requestHeaders: 3, headMs: 'x' },
      { n: 5, run: 1, ms: 2, type: 'log', level: 5 },
      { n: 6, run: 1, ms: 'now', type: 'log' },
      [7],
    ];
    writeFileSync(file, `${lines.map((own) => JSON.stringify(own)).join('\n')}\nno json\n`, {
      mode: 0o600,
    });
    const { code, stdout, rows } = await trace();
    expect(code).toBe(0);
    expect(rows).toHaveLength(5);
    expect(stdout).toContain('ab c (id 1)');
    expect(stdout).not.toMatch(/[\u001b\u202e]/);
  });

  it.each([
    ['a file that is not there', '/no/such/trace', 1, 'could not be read: ENOENT'],
    ['a file that is not a trace', import.meta.filename, 1, 'is not a file of --trace'],
  ])('says why it cannot show %s', async (_, path, expected, words) => {
    const { code, stderr } = await runToEnd(['trace', path]);
    expect(stderr.replace(/\s+/g, ' ')).toContain(words);
    expect(code).toBe(expected);
  });
});
