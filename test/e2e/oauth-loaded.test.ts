import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { secret } from './running-proxy.ts';
import { missingForKeychain, startKeychain } from './secret-service.ts';
import { type SecretWatch, watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

const missing = await missingForKeychain();

/** Records each program that starts, and the files that it runs, required or compiled from memory. */
const RECORD = `
const { appendFileSync } = require('node:fs');
const { basename } = require('node:path');
const record = (file) => appendFileSync(__filename + '.log', basename(String(file)) + '\\n');
if (process.argv[1]) record('start of ' + basename(process.argv[1]));
const vm = require('node:vm');
const { compileFunction, Script } = vm;
vm.Script = class extends Script {
  constructor(source, options) {
    record(options?.filename);
    super(source, options);
  }
};
vm.compileFunction = (source, names, options) => {
  record(options?.filename);
  return compileFunction(source, names, options);
};
process.on('exit', () => Object.keys(require.cache).forEach(record));`;

/** The files of dist/ that a proxy has run after one session, with the arguments and environment. */
async function filesRun(url: string, args: string[], env: Record<string, string> = {}) {
  return filesOf(watchSecrets(), url, args, env);
}

async function filesOf(
  watch: SecretWatch,
  url: string,
  args: string[],
  env: Record<string, string>,
) {
  const recorder = join(watch.folder, 'record.cjs');
  writeFileSync(recorder, RECORD);
  rmSync(`${recorder}.log`, { force: true });
  const proxy = watch.proxy(url, args, { NODE_OPTIONS: `--require ${recorder}`, ...env });
  await proxy.initialize();
  await proxy.request(1, 'ping');
  expect(await proxy.end()).toBe(0);
  return existsSync(`${recorder}.log`) ? readFileSync(`${recorder}.log`, 'utf8').split('\n') : [];
}

const MORE = ['user-sign-in.js', 'sign-in-process.js', 'sign-in-links.js'];
const SIGN_IN = ['stored-token.js', ...MORE];

it('runs nothing of sign-in for a gateway that needs none, or with a key', async () => {
  const gateway = await startGateway(answer);
  const key = { MCP_LATCHKEY_API_KEY: secret('key-of-the-loaded-test') };
  for (const env of [{}, key]) {
    const files = await filesRun(gateway.url, [], env);
    expect(files).toContain('run-proxy.js');
    for (const file of SIGN_IN) expect(files).not.toContain(file);
  }
});

it('runs it where the gateway requires a sign-in', async () => {
  const sandbox = await startSandbox({ oauth: {} });
  onTestFinished(() => sandbox.close());
  expect(await filesRun(sandbox.url, ['--sign-in', 'error'])).toContain('user-sign-in.js');
});

describe.skipIf(missing !== undefined)('with a stored sign-in', () => {
  it('only reads it, and asks the keychain once for that and an API key', async () => {
    const service = await startKeychain();
    onTestFinished(() => service.stop());
    const watch = watchSecrets();
    const sandbox = (await startSandbox({ oauth: {} })) as Sandbox & { oauth: AuthorizationServer };
    onTestFinished(() => sandbox.close());
    watch.follow(sandbox.oauth);
    const browser = await startBrowser(watch.folder);
    const { DBUS_SESSION_BUS_ADDRESS = '' } = service.env;
    const env = { ...browser.env, MCP_LATCHKEY_STORE_KEY: '', DBUS_SESSION_BUS_ADDRESS };
    expect(await watch.run(['login', sandbox.url], '', env)).toMatchObject({ code: 0 });
    for (const args of [[], ['--auth', 'oauth']]) {
      const files = await filesOf(watch, sandbox.url, args, env);
      expect(files).toContain('stored-token.js');
      for (const file of MORE) expect(files).not.toContain(file);
      const started = files.filter((line) => line.startsWith('start of keychain'));
      expect(started).toEqual(['start of keychain-child.js']);
    }
  }, 60_000);
});
