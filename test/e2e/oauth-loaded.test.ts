import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { secret } from './running-proxy.ts';
import { watchSecrets } from './secret-watch.ts';

/** Records the files that a process runs, required or compiled from memory. */
const RECORD = `
const { appendFileSync } = require('node:fs');
const { basename } = require('node:path');
const record = (file) => appendFileSync(__filename + '.log', basename(String(file)) + '\\n');
const vm = require('node:vm');
const { compileFunction } = vm;
vm.compileFunction = (source, names, options) => {
  record(options?.filename);
  return compileFunction(source, names, options);
};
process.on('exit', () => Object.keys(require.cache).forEach(record));`;

/** The files of dist/ that a proxy has run after one session, with the arguments and environment. */
async function filesRun(url: string, args: string[], env: Record<string, string> = {}) {
  const watch = watchSecrets();
  const recorder = join(watch.folder, 'record.cjs');
  writeFileSync(recorder, RECORD);
  const proxy = watch.proxy(url, args, { NODE_OPTIONS: `--require ${recorder}`, ...env });
  await proxy.initialize();
  await proxy.request(1, 'ping');
  expect(await proxy.end()).toBe(0);
  return existsSync(`${recorder}.log`) ? readFileSync(`${recorder}.log`, 'utf8').split('\n') : [];
}

const SIGN_IN = ['open-sign-in.js', 'user-sign-in.js', 'sign-in-process.js', 'sign-in-links.js'];

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
