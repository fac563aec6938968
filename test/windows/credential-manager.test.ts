import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { answer, startGateway } from '../e2e/loopback-gateway.ts';
import { expectNoSecret, program, runToEnd, secret, startProxy } from '../e2e/running-proxy.ts';
import { statusInJson } from '../e2e/secret-service.ts';

describe.skipIf(process.platform !== 'win32')('Credential Manager', () => {
  it.each([
    ['default', 'windows-secret-0123456789'],
    ['jürgen ß', 'windows-secret-9876543210'],
    ['long', `windows-secret-${'x'.repeat(3_900)}`],
  ])('stores, uses and removes the key of the account %s', async (account, key) => {
    secret(key);
    const used: unknown[] = [];
    const gateway = await startGateway((received, response) => {
      used.push(received.headers.authorization);
      answer(received, response);
    });
    const run = (...args: string[]) => runToEnd([...args], `${key}\n`, {});
    const own = [gateway.url, '--account', account];
    expect(await run('login', ...own, '--no-verify')).toMatchObject({ code: 0 });
    const listed = async () => JSON.stringify(await statusInJson(() => run('status', '--json')));
    expect(await listed()).toContain(JSON.stringify(account));
    const proxy = startProxy(gateway.url, {
      args: ['--account', account],
      env: { MCP_LATCHKEY_API_KEY: '' },
    });
    await proxy.initialize();
    expect(used.at(-1) === `Bearer ${key}`).toBe(true);
    expect(await run('logout', ...own)).toMatchObject({ code: 0 });
    expect(await listed()).not.toContain(gateway.url);
  });
  it('gets the key that is typed at a prompt, which does not show it', async () => {
    const key = secret('typed-windows-secret-0123');
    const account = ['--account', 'typed'];
    const words = ['login', 'http://127.0.0.1:9/mcp', ...account, '--no-verify'];
    const outside = fileURLToPath(new URL('outside.mjs', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [
      outside,
      'terminal',
      '(hidden):',
      `${key}\r`,
      program,
      ...words,
    ]);
    expectNoSecret(stdout);
    expect(stdout).toContain(`${key.length} characters`);
    expect(stdout).toContain('Stored in the keychain');
    const logout = await runToEnd(['logout', 'http://127.0.0.1:9/mcp', ...account], '', {});
    expect(logout).toMatchObject({ code: 0 });
  });
});
