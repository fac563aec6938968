import { cpSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { program, runToEnd, startProxy, TEST_KEY } from './running-proxy.ts';

const withSession = (
  received: Parameters<typeof answer>[0],
  response: Parameters<typeof answer>[1],
) => {
  response.setHeader('Mcp-Session-Id', 'session-1');
  answer(received, response);
};

describe('when the client closes stdin', () => {
  it('finishes what is in flight, then ends the session and exits 0', async () => {
    let finish: (() => void) | undefined;
    const gateway = await startGateway((received, response) => {
      if (received.message.method === 'slow') finish = () => answer(received, response);
      else withSession(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'slow' });
    await gateway.request(({ message }) => message.method === 'slow');
    proxy.child.stdin?.end();
    finish?.();
    expect(await proxy.exited).toBe(0);
    expect(proxy.messages.at(-1)).toMatchObject({ id: 2, result: {} });
    expect(gateway.received.at(-1)?.method).toBe('DELETE');
  });

  it('answers after 1.5 s what never came, and still exits 0', async () => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method !== 'never') withSession(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'never' });
    await gateway.request(({ message }) => message.method === 'never');
    const start = performance.now();
    expect(await proxy.end()).toBe(0);
    expect(performance.now() - start).toBeGreaterThan(1_400);
    expect(performance.now() - start).toBeLessThan(8_000);
    expect(proxy.messages.at(-1)).toMatchObject({
      id: 2,
      error: { code: -32008, data: { reason: 'interrupted' } },
    });
    expect(gateway.received.at(-1)?.method).toBe('DELETE');
  });

  it('waits at most a second for the end of the session', async () => {
    const gateway = await startGateway((received, response) => {
      if (received.method !== 'DELETE') withSession(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await gateway.request(({ method }) => method === 'GET');
    const start = performance.now();
    expect(await proxy.end()).toBe(0);
    expect(performance.now() - start).toBeLessThan(6_000);
  });

  it('sends no DELETE where there is no session', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.request(2, 'ping');
    expect(await proxy.end()).toBe(0);
    expect(gateway.received.map(({ method }) => method)).not.toContain('DELETE');
  });

  it('works as a filter: input from a file, replies on stdout', async () => {
    const gateway = await startGateway(withSession);
    const input = [
      '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}',
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      '{"jsonrpc":"2.0","id":2,"method":"tools/list"}',
    ].join('\n');
    const { code, stdout } = await runToEnd([gateway.url], input);
    expect(code).toBe(0);
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).id),
    ).toEqual([1, 2]);
  });
});

it.each(['SIGINT', 'SIGTERM'] as const)(
  'on %s answers what is in flight, ends the session and exits 0 at once',
  async (signal) => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method !== 'never') withSession(received, response);
    });
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    proxy.send({ jsonrpc: '2.0', id: 2, method: 'never' });
    await gateway.request(({ message }) => message.method === 'never');
    proxy.child.kill(signal);
    expect(await proxy.exited).toBe(0);
    // Where it waits for replies, it waits for a second at least.
    expect(proxy.lastWait.ms).toBeLessThan(500);
    expect(proxy.messages.at(-1)).toMatchObject({
      id: 2,
      error: { data: { reason: 'interrupted' } },
    });
    expect(gateway.received.at(-1)?.method).toBe('DELETE');
  },
);

it('exits at once when stdout is gone', async () => {
  const gateway = await startGateway(answer);
  const proxy = startProxy(gateway.url);
  await proxy.initialize();
  proxy.child.stdout?.destroy();
  proxy.send({ jsonrpc: '2.0', id: 2, method: 'ping' });
  expect(await proxy.exited).toBe(1);
});

it('lives on when stderr is gone', async () => {
  const gateway = await startGateway(answer);
  const proxy = startProxy(gateway.url);
  proxy.child.stderr?.destroy();
  for (let id = 1; id < 5; id++) await proxy.request(id, 'ping');
  expect(await proxy.end()).toBe(0);
});

describe('a command line that cannot be followed', () => {
  it.each([
    [['https://h.example/v1/mcp', '--no-such-option', 'x'], 'no-such-option'],
    [['http://gateway.example/v1/mcp'], '--allow-http'],
    [['ftp://gateway.example/'], 'https://'],
    [['gateway.example/v1/mcp'], 'https://'],
    [['https://user:pass@h.example/'], 'user name'],
    [['https://h.example/', 'https://i.example/'], 'Expected one URL'],
    [['https://h.example/', '--header', 'nonsense'], "'Name: value'"],
    [['https://h.example/', '-H', 'X-A: ${NOT_SET_ANYWHERE}'], 'NOT_SET_ANYWHERE'],
    [['https://h.example/', '-H', 'Mcp-Session-Id: 1'], 'mcp-session-id'],
    [['https://h.example/?integrations=a', '--integrations', 'b'], 'integrations'],
    [['https://h.example/', '--timeout', 'soon'], '--timeout'],
    [['https://h.example/', '--log-level', 'loud'], '--log-level'],
    [
      ['https://h.example/', '--keyfile', 'x'],
      'Unknown option --keyfile. Did you mean --key-file?',
    ],
    [['--url', 'https://h.example/'], 'Unknown option --url. Pass the URL without'],
    [['https://h.example/', '--api-key', 'x'], 'Store keys with `'],
    [['http://127.0.0.1:1/v1/mcp --allow-http'], 'The URL contains a space'],
    [['https://h.example:44x/v1/mcp'], 'Check its host and port'],
  ])('%j: says so on stderr, nothing on stdout, exits 2', async (args, words) => {
    const { code, stdout, stderr } = await runToEnd(args);
    expect(stderr).toContain(words);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });

  const key = 'sk-live-0123456789abcdef';
  it.each([
    [[key]],
    [[`--${key}`]],
    [['https://h.example/v1/mcp', key]],
    [['https://h.example/v1/mcp', `--${key}`]],
    [['https://h.example/v1/mcp', `--api-key=${key}`]],
    [['https://h.example/v1/mcp', '--header', key]],
    [['login', key]],
    [['login', 'https://h.example/v1/mcp', `--${key}`]],
    [['explain', key]],
    [['install', key]],
    [['install', 'cursor', key]],
  ])('never shows a word that may be a key: %j', async (args) => {
    const { code, stdout, stderr } = await runToEnd(
      args,
      '{"jsonrpc":"2.0","id":1,"method":"initialize"}\n',
    );
    expect(code).toBe(2);
    expect(stdout + stderr).not.toContain(key);
  });

  it.each([
    ['--port', 'x', ['sandbox']],
    ['--fail', 'x', ['sandbox']],
    ['--timeout', 'x', ['login', 'https://h.example/']],
    ['--account', '', ['logout', 'https://h.example/']],
    ['--key-file', '/none', ['status', 'https://h.example/']],
    ['--name', '', ['install', 'cursor', 'https://h.example/', '--print']],
    ['--from', '/none', ['update']],
    ['--timeout', 'x', ['https://h.example/']],
  ])('never answers with a stack trace where %s is given twice', async (option, value, args) => {
    for (const twice of [
      [option, value, option, value],
      [`${option}=${value}`, `${option}=${value}`],
    ]) {
      const { code, stdout, stderr } = await runToEnd([...args, ...twice]);
      expect(stderr + stdout).not.toMatch(/\n\s+at |TypeError|bug:/);
      expect([1, 2]).toContain(code);
    }
  });

  it('is said to the client as well, as the error of its first request', async () => {
    const proxy = startProxy('http://gateway.example/v1/mcp');
    const { error } = await proxy.request(1, 'initialize');
    expect(error).toMatchObject({ code: -32005, data: { reason: 'misconfigured' } });
    expect(await proxy.exited).toBe(2);
  });
});

describe('options', () => {
  it('takes plain http beyond loopback with --allow-http, and every option from the environment', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, {
      env: {
        MCP_LATCHKEY_HEADER: 'X-One: 1\nX-Two: ${TWO}',
        TWO: 'zwei',
        MCP_LATCHKEY_INTEGRATIONS: 'linear',
        MCP_LATCHKEY_KEY_ENV: 'OTHER_KEY',
        OTHER_KEY: 'another-key-000000',
      },
    });
    await proxy.request(1, 'ping');
    expect(gateway.received[0]).toMatchObject({
      target: '/v1/mcp?integrations=linear',
      headers: { 'x-one': '1', 'x-two': 'zwei', authorization: 'Bearer another-key-000000' },
    });
    const far = await runToEnd(['http://127.0.0.1.invalid/v1/mcp', '--allow-http'], '', {});
    expect(far.code).toBe(0);
  });

  it("sends --header's Authorization and no other key", async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, {
      args: ['-H', 'Authorization: Bearer ${MY_KEY}', '--header', 'X-Team: blue'],
      env: { MY_KEY: 'from-the-header-1234' },
    });
    await proxy.request(1, 'ping');
    expect(gateway.received[0]?.headers).toMatchObject({
      authorization: 'Bearer from-the-header-1234',
      'x-team': 'blue',
    });
  });

  it('writes the log to --log-file too, for the user alone', async () => {
    const { mkdtempSync, readFileSync, rmSync, statSync } = await import('node:fs');
    const { tmpdir } = await import('node:os');
    const folder = mkdtempSync(`${tmpdir()}/latchkey-`);
    try {
      const gateway = await startGateway(answer);
      const proxy = startProxy(gateway.url, { args: ['--log-file', `${folder}/log`] });
      await proxy.request(1, 'ping');
      await proxy.end();
      expect(readFileSync(`${folder}/log`, 'utf8')).toBe(proxy.stderr);
      expect(proxy.stderr).not.toContain(TEST_KEY);
      const { mode } = statSync(`${folder}/log`);
      if (process.platform !== 'win32') expect(mode & 0o777).toBe(0o600);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('says once that --log-file cannot be written, and goes on without', async () => {
    const gateway = await startGateway(answer);
    const args = ['--log-file', '/no/such/folder/log', '--log-level', 'debug'];
    const proxy = startProxy(gateway.url, { args });
    expect(await proxy.request(1, 'ping')).toHaveProperty('result');
    await proxy.end();
    expect(proxy.stderr.match(/--log-file: .* cannot be written \(ENOENT\)/g)).toHaveLength(1);
  });
});

describe('when its own files are removed while it runs', () => {
  /**
   * The built program in a folder of its own, and what removes it from there. With `keeps`, it can
   * keep the files that it loads late, and not only those of its first moments.
   */
  function ownCopy({ keeps = false } = {}) {
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-gone-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    for (const part of ['bin', 'dist', 'package.json']) {
      cpSync(join(dirname(program), '..', part), join(folder, part), { recursive: true });
    }
    const dist = join(folder, 'dist');
    if (!keeps) rmSync(join(dist, 'late-files.js'));
    const remove = () => {
      for (const file of readdirSync(dist)) rmSync(join(dist, file));
    };
    const replace = () => {
      for (const file of readdirSync(dist)) {
        writeFileSync(join(dist, file), 'throw new Error("another version")');
      }
    };
    return { script: join(folder, 'bin', 'mcp-latchkey.js'), remove, replace };
  }

  it.each(['remove', 'replace'] as const)('goes on as before: %s', async (change) => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method !== 'refused') return answer(received, response);
      const challenge = `Bearer error="invalid_token", resource_metadata="${gateway.url}/none"`;
      response.writeHead(401, { 'www-authenticate': challenge }).end(`no ${TEST_KEY}`);
    });
    const { script, ...changes } = ownCopy({ keeps: true });
    const args = ['--key-command', `echo ${TEST_KEY}`];
    const proxy = startProxy(gateway.url, { script, args });
    await proxy.until(() => proxy.stderr.includes('the files for later are in memory'));
    changes[change]();
    for (const id of [2, 3]) {
      expect(await proxy.request(id, 'refused')).toMatchObject({
        error: { code: -32012, data: { reason: 'unauthorized', keySource: 'key-command' } },
      });
    }
    expect(await proxy.request(4, 'ping')).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
  });

  it('answers each request that needs them, and says what to do', async () => {
    const gateway = await startGateway((received, response) => {
      if (received.message.method !== 'refused') return answer(received, response);
      response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end();
    });
    const { script, remove } = ownCopy();
    const proxy = startProxy(gateway.url, { script });
    await proxy.initialize();
    remove();
    for (const id of [2, 3]) {
      const { error } = await proxy.request(id, 'refused');
      expect(error).toMatchObject({ code: -32004, data: { reason: 'internal_error' } });
      expect((error as Error).message).toMatch(
        /mcp-latchkey's files are missing, probably after an update\. .*Restart the client\./,
      );
    }
    expect(await proxy.request(4, 'ping')).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
  });

  it('answers each request where the transport itself needs one of them, until it is back', async () => {
    const gateway = await startHttpSseGateway();
    const { script } = ownCopy();
    const file = join(dirname(script), '..', 'dist', 'http-sse.js');
    renameSync(file, `${file}.away`);
    const proxy = startProxy(gateway.url, { script, args: ['--transport', 'sse'] });
    for (const id of [1, 2, 3]) {
      expect(await proxy.request(id, 'ping')).toMatchObject({
        error: { data: { reason: 'internal_error' } },
      });
    }
    renameSync(`${file}.away`, file);
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
  });

  it('answers a handshake that needs them, and carries the next one', async () => {
    let handshakes = 0;
    const gateway = await startGateway((received, response) => {
      const isFirst = received.message.method === 'initialize' && ++handshakes === 1;
      if (!isFirst) return answer(received, response);
      response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end();
    });
    const { script, remove } = ownCopy();
    const proxy = startProxy(gateway.url, { script });
    await proxy.until(() => proxy.stderr.includes('mcp-latchkey info'));
    remove();
    expect(await proxy.request(1, 'initialize')).toMatchObject({
      error: { data: { reason: 'internal_error' } },
    });
    expect(await proxy.request(2, 'initialize')).toHaveProperty('result');
    expect(await proxy.request(3, 'ping')).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
  });
});
