import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { ownCommand } from '../../src/terminal/own-command.ts';
import { isWine } from '../environment.ts';
import { startTether } from '../tethered-process.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer, sendJson, startGateway } from './loopback-gateway.ts';
import {
  expectNoSecret,
  type Json,
  program,
  type RunningProxy,
  runToEnd,
  startProxy,
} from './running-proxy.ts';
import {
  type Keychain,
  missingForKeychain,
  missingForSecretService,
  type SecretService,
  startKeychain,
  startSecretService,
  statusInJson,
} from './secret-service.ts';
import { startOnTerminal } from './terminal.ts';

const missing = await missingForSecretService();
const withKeyring = describe.skipIf(missing !== undefined);
const skipped = missing === undefined ? '' : ` (skipped: ${missing} is not here)`;
const noKeychain = await missingForKeychain();
const notHere = noKeychain === undefined ? '' : ` (skipped: ${noKeychain} is not here)`;

const NO_ENV_KEY = { MCP_LATCHKEY_API_KEY: '' };

/** Asks until the answer fits: what the source has now is asked for every two seconds. */
async function untilAnswered(proxy: RunningProxy, fits: (reply: Json) => boolean): Promise<Json> {
  for (let id = 1000; ; id++) {
    const reply = await proxy.request(id, 'tools/list');
    if (fits(reply)) return reply;
  }
}

describe.skipIf(noKeychain !== undefined)(`with a keychain${notHere}`, () => {
  let service: Keychain & Partial<SecretService>;
  beforeAll(async () => {
    service = await startKeychain();
  });
  afterAll(() => service.stop());

  describe('in Electron, whose program is not Node.js', () => {
    /** What makes the process look so; Electron itself cannot run everywhere that this does. */
    const inElectron = () => {
      const folder = mkdtempSync(join(tmpdir(), 'latchkey-electron-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const file = join(folder, 'electron.cjs');
      writeFileSync(
        file,
        "process.execPath = '/bin/false'; Object.defineProperty(process.versions, 'electron', { value: '39.0.0' });",
      );
      return {
        ...service.env,
        ...NO_ENV_KEY,
        NODE_OPTIONS: `--require "${file.replaceAll('\\', '/')}"`,
      };
    };

    it('finds the key', async () => {
      const gateway = await startKeyedGateway();
      const key = newKey();
      gateway.accepted.add(key);
      const login = await runToEnd(['login', gateway.url, '--no-verify'], key, service.env);
      expect(login.code).toBe(0);
      const proxy = startProxy(gateway.url, { env: inElectron() });
      expect(await proxy.request(1, 'tools/list')).toHaveProperty('result.tools.length', 2);
      expect(await proxy.end()).toBe(0);
    });

    it.skipIf(missing !== undefined)('ends although the keychain does not answer', async () => {
      const gateway = await startKeyedGateway();
      service.hang?.();
      onTestFinished(() => service.resume?.());
      const proxy = startProxy(gateway.url, { env: inElectron() });
      proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
      await proxy.until(() => proxy.stderr.includes(' for http'));
      expect(await proxy.end()).toBe('SIGKILL');
    });
  });

  it('does not show a key of its own that the gateway quotes', async () => {
    const key = newKey();
    const gateway = await startGateway(({ message }, response) => {
      const error = { code: -32000, message: `no ${key}`, data: [key.toUpperCase()] };
      sendJson(response, { jsonrpc: '2.0', id: message.id, error });
    });
    await runToEnd(['login', gateway.url, '--no-verify'], key, service.env);
    const proxy = startProxy(gateway.url, { env: { ...NO_ENV_KEY, ...service.env } });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { message: 'no [secret]', data: ['[secret]'] },
    });
    expect(gateway.received[0]?.headers.authorization).toBe(`Bearer ${key}`);
  });

  it('carries a key from login through status, a session, its revocation and its successor to logout', async () => {
    const gateway = await startKeyedGateway();
    const [first, second] = [newKey(), newKey()];
    gateway.accepted.add(first);

    const login = await runToEnd(['login', gateway.url], `  Bearer ${first}\r\n`, service.env);
    expect(login).toMatchObject({ code: 0, stderr: '' });
    expect(login.stdout).toContain('✓ The key works. 127.0.0.1');
    expect(login.stdout).toContain('2 tools');
    expect(login.stdout).toContain(gateway.url);
    expect(login.stdout).toContain('(ends in cret)');

    const status = await runToEnd(['status', gateway.url], '', service.env);
    expect(status).toMatchObject({ code: 0, stderr: '' });
    expect(status.stdout).toMatch(/Stored keys\n {2}\S+\n {4}default \(ends in cret\)\n/);
    expect(status.stdout).toMatch(/Key used for \S+\n. From the keychain \(ends in cret\)\n/);

    const proxy = startProxy(gateway.url, { env: { ...service.env, ...NO_ENV_KEY } });
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result.tools.length', 2);
    expect(new Set(gateway.authorizations())).toEqual(new Set([`Bearer ${first}`]));

    gateway.accepted.delete(first);
    expect(await proxy.request(2, 'tools/list')).toMatchObject({
      error: {
        message: expect.stringMatching(/It is from the keychain and ends in cret\..* login http/),
        data: { reason: 'unauthorized', keySource: 'keychain' },
      },
    });

    gateway.accepted.add(second);
    const again = await runToEnd(['login', gateway.url], second, service.env);
    expect(again.code).toBe(0);
    await untilAnswered(proxy, (reply) => 'result' in reply);
    expect(gateway.authorizations().at(-1)).toBe(`Bearer ${second}`);

    const logout = await runToEnd(['logout', gateway.url], '', service.env);
    expect(logout).toMatchObject({ code: 0, stderr: '' });
    expect(logout.stdout).toContain('Removed');
    const after = startProxy(gateway.url, { env: { ...service.env, ...NO_ENV_KEY } });
    expect(await after.request(1, 'tools/list')).toMatchObject({
      error: {
        code: -32010,
        message: expect.stringContaining(` login ${gateway.url}\``),
        data: { reason: 'no_api_key', keySource: 'none' },
      },
    });
    expect((await runToEnd(['logout', gateway.url], '', service.env)).code).toBe(1);
  });

  it('repeats a request that was rejected with the key that has been stored meanwhile', async () => {
    const gateway = await startKeyedGateway();
    const [first, second] = [newKey(), newKey()];
    gateway.accepted.add(first);
    await runToEnd(['login', gateway.url], first, service.env);
    const proxy = startProxy(gateway.url, { env: { ...service.env, ...NO_ENV_KEY } });
    await proxy.initialize();
    await proxy.request(0, 'tools/list');
    gateway.accepted.delete(first);
    gateway.accepted.add(second);
    await runToEnd(['login', gateway.url], second, service.env);
    const replies = await Promise.all([1, 2, 3, 4, 5].map((id) => proxy.request(id, 'tools/list')));
    for (const reply of replies) expect(reply).toHaveProperty('result.tools.length', 2);
  });

  it('is asked by a session whose program was replaced by another version', async () => {
    const gateway = await startKeyedGateway();
    const [first, second] = [newKey(), newKey()];
    gateway.accepted.add(first);
    await runToEnd(['login', gateway.url], first, service.env);
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-replaced-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    for (const part of ['bin', 'dist', 'package.json', 'node_modules/keytar']) {
      cpSync(join(dirname(program), '..', part), join(folder, part), { recursive: true });
    }
    const script = join(folder, 'bin', 'mcp-latchkey.js');
    const proxy = startProxy(gateway.url, { script, env: { ...NO_ENV_KEY, ...service.env } });
    await proxy.initialize();
    await proxy.request(0, 'tools/list');
    await proxy.until(() => proxy.stderr.includes('the files for later are in memory'));
    for (const file of readdirSync(join(folder, 'dist'))) {
      writeFileSync(join(folder, 'dist', file), 'throw new Error("another version")');
    }
    gateway.accepted.delete(first);
    gateway.accepted.add(second);
    await runToEnd(['login', gateway.url], second, service.env);
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
  });

  it('finds a key that was stored after a request went out without one', async () => {
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const proxy = startProxy(gateway.url, { env: { ...service.env, ...NO_ENV_KEY } });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('error.data.reason', 'no_api_key');
    await runToEnd(['login', gateway.url], key, service.env);
    await untilAnswered(proxy, (reply) => 'result' in reply);
  });

  it('keeps a key for each account, and for each path', async () => {
    const gateway = await startKeyedGateway();
    const [own, work] = [newKey(), newKey()];
    gateway.accepted.add(own).add(work);
    await runToEnd(['login', gateway.url], own, service.env);
    await runToEnd(['login', gateway.url, '--account', 'work #2'], work, service.env);
    const status = () => runToEnd(['status', gateway.url, '--json'], '', service.env);
    expect(await statusInJson(status)).toMatchObject({
      stored: [
        { gateway: gateway.url, account: 'default', tail: 'cret' },
        { gateway: gateway.url, account: 'work #2', tail: 'cret' },
      ],
      used: { source: 'keychain', account: 'default', isUsable: true, shadowsKeychain: false },
    });
    const env = { ...service.env, ...NO_ENV_KEY };
    const proxy = startProxy(gateway.url, { args: ['--account', 'work #2'], env });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
    expect(gateway.authorizations().at(-1)).toBe(`Bearer ${work}`);

    const elsewhere = startProxy(`${gateway.url}/other`, { env });
    expect(await elsewhere.request(1, 'tools/list')).toHaveProperty('error.code', -32010);
    const missing = startProxy(gateway.url, { args: ['--account', 'nobody'], env });
    expect(await missing.request(1, 'tools/list')).toMatchObject({
      error: { code: -32010, message: expect.stringContaining('no key for account nobody') },
    });
    expect(gateway.authorizations().at(-1)).toBeUndefined();
  });

  it('points at the key of a URL that differs in the slash at its end', async () => {
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const env = { ...service.env, ...NO_ENV_KEY };
    for (const [stored, asked] of [
      [`${gateway.url}/a`, `${gateway.url}/a/`],
      [`${gateway.url}/b/`, `${gateway.url}/b`],
    ] as const) {
      await runToEnd(['login', stored], key, service.env);
      const status = await runToEnd(['status', asked], '', env);
      expect(status.code).toBe(1);
      expect(status.stdout.replace(/\s+/g, ' ')).toContain(
        `The keychain has a key for ${stored} with`,
      );
      const report = JSON.parse((await runToEnd(['status', asked, '--json'], '', env)).stdout);
      expect(report).toMatchObject({ stored: [], used: { source: 'none', nearMiss: stored } });
      expect(await startProxy(asked, { env }).request(1, 'tools/list')).toMatchObject({
        error: {
          code: -32010,
          message: expect.stringMatching(
            new RegExp(`The keychain has one for ${stored} with .*login ${asked}\``),
          ),
        },
      });
      const other = startProxy(asked, { args: ['--account', 'other'], env });
      const { error } = await other.request(1, 'tools/list');
      expect((error as Json).message).not.toContain(`${stored} with`);
      const exact = await runToEnd(['status', stored, '--json'], '', env);
      expect(JSON.parse(exact.stdout).used).not.toHaveProperty('nearMiss');
    }
    await runToEnd(['login', `${gateway.url}/c/`, '--account', 'work'], key, service.env);
    const named = startProxy(`${gateway.url}/c`, { args: ['--account', 'work'], env });
    expect(await named.request(1, 'tools/list')).toMatchObject({
      error: {
        message: expect.stringContaining(
          `no key for account work. It has one for ${gateway.url}/c/ with`,
        ),
      },
    });
  });

  it('names the login that stores the key where this client looks for it', async () => {
    const gateway = await startKeyedGateway();
    const revoked = newKey();
    gateway.accepted.add(revoked);
    await runToEnd(['login', gateway.url, '--account', 'work #2'], revoked, service.env);
    gateway.accepted.clear();
    const env = { ...service.env, ...NO_ENV_KEY };
    for (const [args, options] of [
      [[], ''],
      [['--account', 'work #2'], ` --account ${isWine ? '"work #2"' : "'work #2'"}`],
      [['--account', 'home'], ' --account home'],
      [['--key-header', 'x-key'], ' --key-header x-key'],
    ] as const) {
      const login = `\`${ownCommand(program)} login ${gateway.url}${options}\``;
      expect(
        await startProxy(gateway.url, { args: [...args], env }).request(1, 'tools/list'),
      ).toMatchObject({
        error: { message: expect.stringContaining(login) },
      });
    }
  });

  it('says that another source comes before the keychain, and does not ask it then', async () => {
    const gateway = await startKeyedGateway();
    const [stored, inEnvironment] = [newKey(), newKey()];
    gateway.accepted.add(stored).add(inEnvironment);
    const env = { ...service.env, MCP_LATCHKEY_API_KEY: inEnvironment };
    const login = await runToEnd(['login', gateway.url], stored, env);
    expect(login.code).toBe(0);
    expect(login.stdout.replace(/\s+/g, ' ')).toContain(
      '! The environment variable MCP_LATCHKEY_API_KEY is set here and takes precedence',
    );
    const status = await runToEnd(['status', gateway.url], '', env);
    expect(status.stdout).toContain('the environment variable MCP_LATCHKEY_API_KEY');
    expect(status.stdout).toContain('The key in the keychain is not used');

    service.hang?.();
    try {
      const proxy = startProxy(gateway.url, { env });
      expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
      expect(gateway.authorizations().at(-1)).toBe(`Bearer ${inEnvironment}`);
    } finally {
      service.resume?.();
    }
  });

  it.skipIf(missing !== undefined)('shows no key to other programs while it is tried', async () => {
    const key = newKey();
    const commandLines: string[] = [];
    const gateway = await startGateway((received, response) => {
      for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        for (const file of ['cmdline', 'environ', 'comm']) {
          try {
            commandLines.push(readFileSync(`/proc/${entry}/${file}`, 'latin1'));
          } catch {
            // It has ended, or is another user's.
          }
        }
      }
      answer(received, response);
    });
    const login = await runToEnd(['login', gateway.url], key, service.env);
    expect(login.code).toBe(0);
    expect(commandLines.filter((line) => line.includes('mcp-latchkey')).length).toBeGreaterThan(0);
    expect(commandLines.filter((line) => line.includes(key))).toEqual([]);
  });
});

withKeyring(`when the keychain does not play along${skipped}`, () => {
  async function startOwnService(): Promise<SecretService> {
    const service = await startSecretService();
    onTestFinished(() => service.stop());
    return service;
  }

  it('gives a keychain up after 10 s, and a key command; answers at once while it hangs; takes the key when it comes', async () => {
    const service = await startOwnService();
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    await runToEnd(['login', gateway.url], key, service.env);
    service.hang();
    const proxy = startProxy(gateway.url, { env: { ...service.env, ...NO_ENV_KEY } });
    const commanded = startProxy(gateway.url, { args: ['--key-command', 'sleep 60'] });
    const start = performance.now();
    const stopped = commanded.request(1, 'tools/list');
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: {
        code: -32010,
        message: expect.stringMatching(/did not respond in 10 seconds\. .*hidden window/),
        data: { keySource: 'keychain' },
      },
    });
    expect(performance.now() - start).toBeGreaterThan(9_500);
    expect(performance.now() - start).toBeLessThan(20_000);
    const second = performance.now();
    expect(await proxy.request(2, 'tools/list')).toHaveProperty('error.code', -32010);
    expect(performance.now() - second).toBeLessThan(5_000);
    service.resume();
    await untilAnswered(proxy, (reply) => 'result' in reply);
    expect(await stopped).toMatchObject({
      error: {
        code: -32010,
        message: expect.stringContaining('--key-command timed out after 10 seconds'),
      },
    });
  });

  it('ends in time while the keychain hangs', async () => {
    const service = await startOwnService();
    const gateway = await startKeyedGateway();
    service.hang();
    const proxy = startProxy(gateway.url, { env: { ...service.env, ...NO_ENV_KEY } });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    await proxy.until(() => proxy.stderr !== '');
    const start = performance.now();
    proxy.child.kill('SIGTERM');
    expect(await proxy.exited).toBe(0);
    expect(performance.now() - start).toBeLessThan(8_000);
  });

  it('login says what it waits for, and goes on when it is answered', async () => {
    const service = await startOwnService();
    const gateway = await startGateway(answer);
    service.hang();
    const login = startOnTerminal(
      `'${process.execPath}' '${program}' login ${gateway.url}`,
      service.env,
    );
    await login.until('It may be asking for its password in another window.');
    service.resume();
    await login.until('(hidden): ');
    login.type(`${newKey()}\r`);
    expect(await login.exited).toBe(0);
  });

  it('says that the keychain is locked', async () => {
    const service = await startOwnService();
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    await runToEnd(['login', gateway.url], key, service.env);
    await service.lock();
    const proxy = startProxy(gateway.url, { env: { ...service.env, ...NO_ENV_KEY } });
    const locked = expect.stringContaining('the keychain is locked');
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { code: -32010, message: locked, data: { keySource: 'keychain' } },
    });
    const status = await runToEnd(['status', gateway.url, '--json'], '', service.env);
    expect(status.code).toBe(1);
    expect(JSON.parse(status.stdout)).toMatchObject({
      stored: [],
      keychainError: expect.stringContaining('The keychain is locked'),
      used: { source: 'keychain', isUsable: false, why: expect.stringContaining('is locked') },
    });
    for (const command of ['login', 'logout']) {
      const { code, stderr } = await runToEnd([command, gateway.url], newKey(), service.env);
      expect({ command, code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('The keychain is locked'),
      });
    }
  });
});

// Its place is taken by one that fails as the real one cannot be made to.
describe.skipIf(process.platform === 'win32')('when the native module hangs', () => {
  /** A copy of the program with a keytar of these lines. */
  function programWith(folder: string, keytar: string): string {
    const root = join(dirname(program), '..');
    for (const part of ['bin', 'dist', 'package.json']) {
      cpSync(join(root, part), join(folder, part), { recursive: true });
    }
    const own = join(folder, 'node_modules', 'keytar');
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, 'package.json'), '{"name":"keytar","main":"index.js"}');
    writeFileSync(join(own, 'index.js'), keytar);
    return join(folder, 'bin', basename(program));
  }
  const env = { ...NO_ENV_KEY, DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent/bus' };
  const connect = (port: number) => `
    const socket = require('node:net').connect(${port}, '127.0.0.1');
    socket.on('error', () => {});`;
  // From a call that never returns, no event gets the process out.
  const block = (port: number) => `${connect(port)}
    exports.getPassword = () => new Promise(() => {
      socket.once('connect', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
    });`;

  it.each([
    ['the client closes stdin', (proxy: RunningProxy) => void proxy.end()],
    ['SIGTERM', (proxy: RunningProxy) => void proxy.child.kill('SIGTERM')],
  ])('in a call that blocks, it ends with the proxy, which ends by %s', async (_, end) => {
    const [tether, gateway] = [await startTether(), await startKeyedGateway()];
    const script = programWith(tether.folder, block(tether.port));
    const proxy = startProxy(gateway.url, { env, script });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    await tether.started(1);
    end(proxy);
    expect(await proxy.exited).toBe(0);
    await tether.ended();
  });

  it('in a promise that never settles, it ends with the proxy that is killed', async () => {
    const [tether, gateway] = [await startTether(), await startKeyedGateway()];
    const keytar = `${connect(tether.port)} exports.getPassword = () => new Promise(() => {});`;
    const proxy = startProxy(gateway.url, { env, script: programWith(tether.folder, keytar) });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    await tether.started(1);
    proxy.child.kill('SIGKILL');
    await tether.ended();
  });

  it('is stopped in the end, and asked again', async () => {
    const tether = await startTether();
    programWith(tether.folder, block(tether.port));
    vi.stubEnv('DBUS_SESSION_BUS_ADDRESS', env.DBUS_SESSION_BUS_ADDRESS);
    onTestFinished(() => void vi.unstubAllEnvs());
    const { readKeyOnce } = createRequire(import.meta.url)(
      join(tether.folder, 'dist', 'keychain.js'),
    ) as typeof import('../../src/auth/keychain.ts');
    const url = new URL('https://gateway.example/v1/mcp');
    for (let count = 1; count <= 2; count++) {
      const [first, second] = [readKeyOnce(url, 'a', 3_000), readKeyOnce(url, 'a', 3_000)];
      await tether.started(count);
      expect(await first).toHaveProperty('error');
      expect(await second).toHaveProperty('error');
      await tether.ended();
    }
  });

  it.each([
    ['throws when it is loaded', "throw new Error('no such keychain')"],
    ['throws', "exports.getPassword = () => { throw new Error('no such keychain'); }"],
    [
      'throws in an event',
      'exports.getPassword = () => { setImmediate(() => { throw 1; }); return new Promise(() => {}); }',
    ],
    ['ends the process', 'exports.getPassword = () => process.exit(0)'],
    ['rejects with nothing', 'exports.getPassword = () => Promise.reject()'],
    ['cannot be copied', 'exports.getPassword = async () => 10n'],
    ['closes the channel', 'exports.getPassword = async () => process.disconnect()'],
  ])('or %s, a request gets its reply at once', async (_, keytar) => {
    const [tether, gateway] = [await startTether(), await startKeyedGateway()];
    const proxy = startProxy(gateway.url, { env, script: programWith(tether.folder, keytar) });
    const start = performance.now();
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('error.code', -32010);
    expect(performance.now() - start).toBeLessThan(8_000);
    expect(proxy.stderr).not.toContain(' error: ');
  });
});

describe('without a keychain', () => {
  it.runIf(process.platform === 'linux')(
    'sends the request without a key, and stores none',
    async () => {
      const env = { ...NO_ENV_KEY, DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent/bus' };
      const gateway = await startGateway(answer);
      const proxy = startProxy(gateway.url, { env });
      expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
      expect(gateway.received[0]?.headers).not.toHaveProperty('authorization');
      const { code, stdout, stderr } = await runToEnd(['login', gateway.url], newKey(), env);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr.replace(/\s+/g, ' ')).toMatch(
        /The keychain needs a D-Bus session\. .*--key-command, --key-file or an environment variable\. Nothing was stored\./,
      );
      expect(gateway.received).toHaveLength(1);
    },
  );

  it.runIf(process.platform === 'linux')(
    'says with a 401 why the keychain could not be asked',
    async () => {
      const gateway = await startKeyedGateway();
      const env = { ...NO_ENV_KEY, DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent/bus' };
      const { error } = await startProxy(gateway.url, { env }).request(1, 'tools/list');
      expect(error).toMatchObject({
        message: expect.stringMatching(
          /none is set\. The keychain needs a D-Bus session\. .*MCP_LATCHKEY_API_KEY/,
        ),
        data: { reason: 'no_api_key', keySource: 'none' },
      });
    },
  );

  it('runs where the native module is not installed, and loads none from the folders above', async () => {
    const above = mkdtempSync(`${tmpdir()}/latchkey-bare-`);
    onTestFinished(() => rmSync(above, { recursive: true }));
    const folder = join(above, 'program');
    const planted = join(above, 'node_modules', 'keytar');
    mkdirSync(planted, { recursive: true });
    writeFileSync(join(planted, 'package.json'), '{"name":"keytar"}');
    writeFileSync(join(planted, 'index.js'), `require('node:fs').mkdirSync('${above}/ran')`);
    for (const part of ['bin', 'dist', 'package.json']) {
      cpSync(join(dirname(program), '..', part), join(folder, part), { recursive: true });
    }
    const key = newKey();
    const gateway = await startGateway(answer);
    const bare = join(folder, 'bin', basename(program));
    const reply = await new Promise<string>((resolve) => {
      const child = spawn(process.execPath, [bare, gateway.url], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      child.stdout.once('data', (line) => resolve(String(line)));
      child.stdin.end('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
    });
    expect(JSON.parse(reply)).toHaveProperty('result');
    const login = [bare, 'login', gateway.url];
    const { status, stderr } = spawnSync(process.execPath, login, { input: key, encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr.replace(/\s+/g, ' ')).toContain(
      'The module keytar is not installed. Without a keychain',
    );
    expect(existsSync(join(above, 'ran'))).toBe(false);
    expectNoSecret(stderr);
  });
});
