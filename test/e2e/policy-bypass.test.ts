import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { hasLinks } from '../environment.ts';
import { unzip } from '../unzip.ts';
import { filteredSession } from './filtered-session.ts';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { modern } from './modern-messages.ts';
import { packNext } from './next-package.ts';
import { computerWith, hasOwnPolicy } from './policy-of-computer.ts';
import { program, runToEnd, startProxy } from './running-proxy.ts';

const contact = 'it@example.com';
const DENIED = { gateways: ['https://allowed.example'], contact };
const NO_DELETE = { filters: { 'deny-tool': ['delete_*'] }, contact };
const BLOCKED = { error: { code: -32002, data: { reason: 'tool_not_allowed' } } };

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-bypass-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe.skipIf(!hasOwnPolicy)('a gateway that the policy does not allow', () => {
  const refusal = "is not allowed by your organization's policy. Ask it@example.com";

  it.each([
    ['login', ['--json']],
    ['doctor', []],
    ['doctor', ['--report', '/dev/null']],
    ['tools', []],
    ['status', []],
  ])('gets nothing from %s %j', async (command, options) => {
    const gateway = await startGateway(answer);
    const { wrapper } = computerWith(DENIED);
    const words = [command, gateway.url, ...options];
    const { code, stdout, stderr } = await runToEnd(
      words,
      'sk-some-key-0123456789',
      {},
      { wrapper },
    );
    expect((stdout + stderr).replaceAll(/\s+/g, ' ')).toContain(refusal);
    expect(code).toBe(2);
    expect(gateway.received).toEqual([]);
  });

  it('gets nothing from install, and no entry', async () => {
    const gateway = await startGateway(answer);
    const { wrapper } = computerWith(DENIED);
    const env = { HOME: newFolder() };
    const words = ['install', 'cursor', gateway.url, '--yes'];
    for (const more of [[], ['--npx'], ['--no-verify']]) {
      const { code, stdout, stderr } = await runToEnd([...words, ...more], '', env, { wrapper });
      expect((stdout + stderr).replaceAll(/\s+/g, ' ')).toContain(refusal);
      expect(code).not.toBe(0);
    }
    expect(gateway.received).toEqual([]);
  });

  it('gets nothing from bundle, nor from a bundle that was made without a policy', async () => {
    const gateway = await startGateway(answer);
    const folder = newFolder();
    const file = join(folder, 'x.mcpb');
    const { wrapper } = computerWith(DENIED);
    const words = ['bundle', gateway.url, '--output', file];
    const denied = await runToEnd(words, '', {}, { wrapper });
    expect((denied.stdout + denied.stderr).replaceAll(/\s+/g, ' ')).toContain(refusal);
    expect(denied.code).toBe(2);
    expect(existsSync(file)).toBe(false);

    expect((await runToEnd(words)).code).toBe(0);
    for (const [name, { content }] of unzip(readFileSync(file))) {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    const { server } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
    const [script, url] = server.mcp_config.args;
    const proxy = startProxy(url, { wrapper, script: script.replace('${__dirname}', folder) });
    expect(await proxy.initialize()).toMatchObject({ error: { code: -32005 } });
    expect(gateway.received).toEqual([]);
  });

  it('gets nothing where it is the sandbox', async () => {
    const sandbox = await startSandbox();
    onTestFinished(() => sandbox.close());
    const { wrapper } = computerWith(DENIED);
    const proxy = startProxy(sandbox.url, { wrapper });
    expect(await proxy.initialize()).toMatchObject({ error: { code: -32005 } });
    expect(sandbox.requests).toEqual([]);
  });

  it('gets nothing from the trial of an update', async () => {
    const gateway = await startGateway(answer);
    const home = newFolder();
    mkdirSync(join(home, '.cursor'));
    const env = { HOME: home, npm_config_cache: join(home, 'npm') };
    await runToEnd(['install', 'cursor', gateway.url, '--no-verify'], '', env);
    const { wrapper } = computerWith(DENIED);
    const words = ['update', '--from', packNext(home), '--json'];
    const { stdout } = await runToEnd(words, '', env, { wrapper });
    const [entry] = JSON.parse(stdout).entries;
    expect(entry.check.message.replaceAll(/\s+/g, ' ')).toContain(refusal);
    expect(gateway.received).toEqual([]);
  }, 60_000);

  it('gets nothing from the doctor of a config that has it', async () => {
    const gateway = await startGateway(answer);
    const home = newFolder();
    mkdirSync(join(home, '.cursor'));
    const entry = { command: process.execPath, args: [program, gateway.url] };
    const config = JSON.stringify({ mcpServers: { mine: entry } });
    writeFileSync(join(home, '.cursor', 'mcp.json'), config);
    const { wrapper } = computerWith(DENIED);
    const { code, stdout } = await runToEnd(['doctor'], '', { HOME: home }, { wrapper });
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(refusal);
    expect(code).toBe(1);
    expect(gateway.received).toEqual([]);
  });

  it.each([
    ['a variable that moves folders', { XDG_CONFIG_HOME: '/nowhere', XDG_CONFIG_DIRS: '/nowhere' }],
    ['a variable of the policy', { MCP_LATCHKEY_POLICY: '/nowhere' }],
    ['a variable of Windows', { ProgramData: '/nowhere' }],
    ['a home of its own', { HOME: '/nowhere' }],
  ])('gets nothing in spite of %s', async (_, env) => {
    const gateway = await startGateway(answer);
    const { wrapper } = computerWith(DENIED);
    const proxy = startProxy(gateway.url, { wrapper, env });
    expect(await proxy.initialize()).toMatchObject({ error: { code: -32005 } });
    expect(gateway.received).toEqual([]);
  });

  it.each(hasLinks ? ['copy', 'link'] : ['copy'])(
    'gets nothing from a %s of the program',
    async (how) => {
      const gateway = await startGateway(answer);
      const folder = newFolder();
      if (how === 'link') symlinkSync(program, join(folder, 'latchkey.js'));
      else {
        const root = join(import.meta.dirname, '../..');
        for (const name of ['bin', 'dist', 'package.json']) {
          cpSync(join(root, name), join(folder, name), { recursive: true });
        }
      }
      const script =
        how === 'link' ? join(folder, 'latchkey.js') : join(folder, 'bin', 'mcp-latchkey.js');
      const { wrapper } = computerWith(DENIED);
      const proxy = startProxy(gateway.url, { wrapper, script });
      expect(await proxy.initialize()).toMatchObject({ error: { code: -32005 } });
      expect(gateway.received).toEqual([]);
    },
  );

  it('gets nothing where it would redirect to one that is allowed', async () => {
    const allowed = await startGateway(answer);
    const gateway = await startGateway((_, response) => {
      response.writeHead(307, { Location: allowed.url }).end();
    });
    const { wrapper } = computerWith({ gateways: [new URL(allowed.url).origin] });
    const proxy = startProxy(gateway.url, { wrapper, args: ['--start-patience', '0'] });
    expect(await proxy.initialize()).toMatchObject({ error: { code: -32005 } });
    expect(gateway.received).toEqual([]);
    expect(allowed.received).toEqual([]);
  });

  it('gets nothing where one that is allowed redirects to it', async () => {
    const elsewhere = await startGateway(answer);
    const gateway = await startGateway((_, response) => {
      response.writeHead(307, { Location: elsewhere.url }).end();
    });
    const { wrapper } = computerWith({ gateways: [new URL(gateway.url).origin] });
    const proxy = startProxy(gateway.url, { wrapper, args: ['--start-patience', '0'] });
    expect(await proxy.initialize()).toMatchObject({ error: { data: { reason: 'redirected' } } });
    expect(gateway.received).not.toEqual([]);
    expect(elsewhere.received).toEqual([]);
  });

  it.each(['Host', 'host', 'HOST'])('gets nothing through the header %s', async (name) => {
    const gateway = await startGateway(answer);
    const { wrapper } = computerWith({ gateways: [new URL(gateway.url).origin] });
    const env = { MCP_LATCHKEY_HEADER: `${name}: other.example` };
    const proxy = startProxy(gateway.url, { wrapper, env });
    expect(await proxy.initialize()).toMatchObject({ error: { code: -32005 } });
    expect(gateway.received).toEqual([]);
  });
});

describe.skipIf(!hasOwnPolicy)('a tool that the policy blocks', () => {
  async function blocked(args: string[] = [], env: Record<string, string> = {}) {
    const gateway = await startGateway(answer);
    const { wrapper } = computerWith(NO_DELETE);
    const proxy = startProxy(gateway.url, { wrapper, args, env });
    const called = () => gateway.received.filter(({ body }) => /delete_all/i.test(body));
    return { proxy, called };
  }
  const call = { name: 'delete_all' };

  it.each([
    ['an option', ['--allow-tool', 'delete_*'], {}],
    ['the environment', [], { MCP_LATCHKEY_ALLOW_TOOL: '*', MCP_LATCHKEY_DENY_TOOL: '' }],
    ['a header', ['--header', 'X-Filters: off'], {}],
    ['a cookie', ['--header', 'Cookie: filters=off'], {}],
  ])('is not called through %s', async (_, args, env) => {
    const { proxy, called } = await blocked([...args, '--start-patience', '0'], env);
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/call', call)).toMatchObject(BLOCKED);
    expect(called()).toEqual([]);
  });

  it.each([[[]], [['--transport', 'sse']]])(
    'is not called over HTTP+SSE, with %j',
    async (args) => {
      const gateway = await startHttpSseGateway();
      const { wrapper } = computerWith(NO_DELETE);
      const proxy = startProxy(gateway.url, { wrapper, args });
      await proxy.initialize('2024-11-05');
      expect(await proxy.request(1, 'tools/call', call)).toMatchObject(BLOCKED);
      expect(await proxy.request(2, 'tools/call', { name: 'get' })).toHaveProperty('result');
      expect(gateway.posts().filter((post) => post.startsWith('tools/call'))).toHaveLength(1);
    },
  );

  it.each([307, 308])('is not called where the gateway has moved (HTTP %i)', async (status) => {
    const gateway = await startGateway((received, response) => {
      if (received.target === '/new') answer(received, response);
      else response.writeHead(status, { Location: '/new' }).end();
    });
    const { wrapper } = computerWith(NO_DELETE);
    const proxy = startProxy(gateway.url, { wrapper });
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/call', { name: 'get' })).toHaveProperty('result');
    expect(await proxy.request(2, 'tools/call', call)).toMatchObject(BLOCKED);
    expect(gateway.received.filter(({ body }) => body.includes('delete_all'))).toEqual([]);
  });

  it.each([
    ['a repeated name', '"method":"tools/call","params":{"name":"get","name":"delete_all"}'],
    ['a repeated method', '"method":"ping","method":"tools/call","params":{"name":"delete_all"}'],
    [
      'repeated params',
      '"method":"tools/call","params":{"name":"get"},"params":{"name":"delete_all"}',
    ],
    ['an escaped name', '"method":"tools/call","params":{"name":"\\u0064elete_all"}'],
    ['an escaped method', '"method":"tools\\/c\\u0061ll","params":{"name":"delete_all"}'],
    ['an escaped member', '"method":"tools/call","p\\u0061rams":{"n\\u0061me":"delete_all"}'],
    ['another case', '"method":"Tools/Call","params":{"Name":"delete_all"}'],
    ['another case of the name', '"method":"tools/call","params":{"name":"DELETE_all"}'],
  ])('is not called through %s', async (_, members) => {
    const { proxy, called } = await blocked();
    await proxy.initialize();
    proxy.send(`{"jsonrpc":"2.0","id":1,${members}}`);
    expect(await proxy.reply(1)).toMatchObject(BLOCKED);
    expect(called()).toEqual([]);
  });

  it('is not called in a batch', async () => {
    const { proxy, called } = await blocked();
    await proxy.initialize('2025-03-26');
    const ping = { jsonrpc: '2.0', id: 1, method: 'ping' };
    proxy.send([ping, { jsonrpc: '2.0', id: 2, method: 'tools/call', params: call }]);
    expect(await proxy.reply(2)).toMatchObject(BLOCKED);
    expect(called()).toEqual([]);
  });

  it('is not called without an id', async () => {
    const { proxy, called } = await blocked();
    await proxy.initialize();
    proxy.notify('tools/call', call);
    await proxy.request(1, 'ping');
    expect(called()).toEqual([]);
  });

  it('is not called by a client of 2026-07-28, with or without a handshake', async () => {
    const { proxy, called } = await blocked();
    expect(await proxy.request(1, 'tools/call', modern(call))).toMatchObject(BLOCKED);
    await proxy.initialize();
    expect(await proxy.request(2, 'tools/call', call)).toMatchObject(BLOCKED);
    expect(called()).toEqual([]);
  });
});

describe.skipIf(!hasOwnPolicy)('an older version in the folder of copies', () => {
  it('sends nothing where the policy requires a newer one', async () => {
    const gateway = await startGateway(answer);
    const home = newFolder();
    mkdirSync(join(home, '.cursor'));
    await runToEnd(['install', 'cursor', gateway.url, '--no-verify'], '', { HOME: home });
    const config = JSON.parse(readFileSync(join(home, '.cursor', 'mcp.json'), 'utf8'));
    const [entry] = Object.values<{ args: [string, string] }>(config.mcpServers);
    const [script = '', url = ''] = entry?.args ?? [];
    expect(script).toContain(join('mcp-latchkey', 'versions'));
    const { wrapper } = computerWith({ minimumVersion: '0.999.0', contact });
    const proxy = startProxy(url, { wrapper, script, env: { HOME: home } });
    expect(await proxy.initialize()).toMatchObject({
      error: { code: -32005, message: expect.stringContaining('is older than 0.999.0') },
    });
    expect(gateway.received).toEqual([]);
  });
});

describe.skipIf(!hasOwnPolicy)('what is managed', () => {
  it('is in status and doctor, with the contact', async () => {
    const gateway = await startGateway(answer);
    const policy = { gateways: ['http://127.0.0.1:*'], forbidden: ['trace'], contact };
    const { file, wrapper } = computerWith(policy);
    const sets = [
      'Allowed gateways: http://127.0.0.1:*',
      'Not allowed: --trace',
      'Contact: it@example.com',
    ];
    const status = await runToEnd(['status', '--json'], '', {}, { wrapper });
    expect(JSON.parse(status.stdout).policy).toEqual({ file, contact, sets });
    const text = await runToEnd(['status'], '', {}, { wrapper });
    expect(text.stdout).toContain(`Managed by your organization (${file})`);
    const { stdout } = await runToEnd(
      ['doctor', gateway.url, '--json', '--no-redact'],
      '',
      {},
      { wrapper },
    );
    const [report] = JSON.parse(stdout).gateways;
    expect(report.findings).toContainEqual({
      check: 'machine',
      name: 'policy',
      status: 'ok',
      line: 'managed by your organization, contact it@example.com',
      details: { file, sets },
    });
  });

  it('has the HTTP proxy that doctor goes through', async () => {
    const proxied = await startGateway((_, response) => void response.writeHead(502).end());
    const url = new URL(proxied.url).origin;
    const { wrapper } = computerWith({ httpProxy: { url } });
    const words = [
      'doctor',
      'http://gateway.invalid/v1/mcp',
      '--allow-http',
      '--json',
      '--no-redact',
    ];
    const { stdout } = await runToEnd(words, '', { http_proxy: 'http://127.0.0.1:9' }, { wrapper });
    expect(stdout).toContain(new URL(url).host);
    expect(proxied.received.length).toBeGreaterThan(0);
  });
});

describe('filters of a client without a policy', () => {
  it('are those of --allow-tool and --deny-tool in the environment, too', async () => {
    const env = { MCP_LATCHKEY_DENY_TOOL: 'delete_*' };
    const { ask } = await filteredSession(['modern', 'legacy', 'json'], [], env);
    expect(await ask('tools/call', { name: 'delete_issue' })).toMatchObject(BLOCKED);
  });
});
