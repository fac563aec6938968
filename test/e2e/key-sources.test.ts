import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandToPrint } from '../environment.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { expectNoSecret, program, runToEnd, startProxy } from './running-proxy.ts';

/** Node.js as a shell starts it. */
const NODE = `"${process.execPath}"`;

const onPosix = it.skipIf(process.platform === 'win32');

describe('a key', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'latchkey-sources-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const file = (name: string, text: string, mode = 0o600) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode });
    return path;
  };

  it('from a command comes before one from a file, and that before the environment', async () => {
    const gateway = await startKeyedGateway();
    const [fromCommand, fromFile] = [newKey(), newKey()];
    gateway.accepted.add(fromCommand).add(fromFile);
    const keyFile = ['--key-file', file('key', fromFile)];
    const keyCommand = ['--key-command', commandToPrint(file('command', fromCommand))];
    await startProxy(gateway.url, { args: keyFile }).request(1, 'tools/list');
    await startProxy(gateway.url, { args: [...keyFile, ...keyCommand] }).request(1, 'tools/list');
    expect(gateway.authorizations()).toEqual([`Bearer ${fromFile}`, `Bearer ${fromCommand}`]);
  });

  it('is asked of its command again when the gateway rejects it, while the client goes on', async () => {
    const gateway = await startKeyedGateway();
    const [first, second] = [newKey(), newKey()];
    gateway.accepted.add(first);
    const key = file('rotating', first);
    const runs = join(folder, 'runs');
    const script = file(
      'command.cjs',
      `const fs = require('node:fs');
      fs.appendFileSync(${JSON.stringify(runs)}, 'run\\n');
      const key = fs.readFileSync(${JSON.stringify(key)}, 'utf8');
      console.error('the key: ' + key);
      console.log(key);`,
    );
    const proxy = startProxy(gateway.url, { args: ['--key-command', `${NODE} "${script}"`] });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
    gateway.accepted.clear();
    gateway.accepted.add(second);
    writeFileSync(key, second);
    const replies = await Promise.all([2, 3, 4].map((id) => proxy.request(id, 'tools/list')));
    for (const reply of replies) expect(reply).toHaveProperty('result');
    expect(readFileSync(runs, 'utf8')).toBe('run\nrun\n');
    expect(proxy.stderr).toContain('warn: --key-command: the key: [secret]\n');
  });

  it('that its command does not give is answered with what the command says', async () => {
    const gateway = await startGateway(answer);
    const command = `${NODE} -e "console.error('[ERROR] not signed in'); process.exitCode = 1"`;
    const proxy = startProxy(gateway.url, { args: ['--key-command', command] });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: {
        code: -32010,
        message: expect.stringContaining(
          '--key-command failed with exit code 1: [ERROR] not signed in',
        ),
        data: { keySource: 'key-command' },
      },
    });
    expect(gateway.received).toEqual([]);
  });

  onPosix('in a file that others can read is refused with the command that fixes it', async () => {
    const gateway = await startGateway(answer);
    const path = file('open', newKey(), 0o644);
    const proxy = startProxy(gateway.url, { args: ['--key-file', path] });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { code: -32010, message: expect.stringContaining(`Run \`chmod 600 ${path}\``) },
    });
    const headers = file('open headers', `Authorization: Bearer ${newKey()}`, 0o644);
    const { code, stderr } = await runToEnd([gateway.url, '--header-file', headers]);
    expect(stderr).toContain(`Run \`chmod 600 '${headers}'\``);
    expect(code).toBe(2);
    expect(gateway.received).toEqual([]);
  });

  onPosix('may come from a process substitution', async () => {
    if (!existsSync('/bin/bash')) return;
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const child = spawn(
      '/bin/bash',
      [
        '-c',
        `exec '${process.execPath}' '${program}' '${gateway.url}' --key-file <(cat '${file('substituted', key)}')`,
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text) => (output += text));
    child.stdin.end('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(JSON.parse(output)).toHaveProperty('result');
    expectNoSecret(output);
  });

  it('in a header file is sent as it is, with the other headers there', async () => {
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const text = `# for the gateway\r\n\r\nAuthorization: Bearer \${THE_KEY}\r\nX-Tenant: file\r\n`;
    const args = ['--header-file', file('headers', text), '-H', 'X-Tenant: line'];
    const proxy = startProxy(gateway.url, { args, env: { THE_KEY: key } });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
    expect(gateway.received[0]?.headers).toMatchObject({ 'x-tenant': 'line' });
    gateway.accepted.clear();
    expect(await proxy.request(2, 'tools/list')).toMatchObject({
      error: {
        message: expect.stringContaining('It is from --header-file and ends in'),
        data: { reason: 'unauthorized', keySource: 'header-file' },
      },
    });
  });

  it('is sent bare in the header of --key-header, and nowhere else', async () => {
    const gateway = await startGateway(answer);
    const key = newKey();
    const proxy = startProxy(gateway.url, {
      args: ['--key-header', 'X-Api-Key'],
      env: { MCP_LATCHKEY_API_KEY: key },
    });
    await proxy.initialize();
    await gateway.request(({ method }) => method === 'GET');
    for (const { headers } of gateway.received) {
      expect(headers['x-api-key']).toBe(key);
      expect(headers).not.toHaveProperty('authorization');
    }
  });

  it.each([
    [['--key-header', 'no header'], 'needs the name of a header'],
    [['--key-header', 'Mcp-Session-Id'], 'mcp-session-id cannot carry the key'],
    [['--account', ''], '--account needs a value'],
    [['--account', ' padded'], '--account must be 1 to 100 characters'],
    [['--header-file', '/nonexistent/headers'], 'could not be read: ENOENT'],
    [['--key-command='], '--key-command needs a value'],
  ])('option that cannot be followed is refused: %j', async (args, words) => {
    const { code, stderr } = await runToEnd(['https://gateway.example/v1/mcp', ...args]);
    expect(stderr).toContain(words);
    expect(code).toBe(2);
  });
});
