import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { type Json, runToEnd, startProxy } from './running-proxy.ts';
import { missingForKeychain, startKeychain } from './secret-service.ts';
import { watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

const missing = await missingForKeychain();

const linesOf = (file: string): Json[] =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

it('a trace of a session with a sign-in has the sign-in, and no token, code, verifier or state', async () => {
  // Searches every file below its folder, the trace among them.
  const watch = watchSecrets();
  const sandbox = (await startSandbox({ oauth: {} })) as Sandbox & { oauth: AuthorizationServer };
  onTestFinished(() => sandbox.close());
  watch.follow(sandbox.oauth);
  const browser = await startBrowser(watch.folder);
  const file = join(watch.folder, 'trace.jsonl');
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const proxy = watch.proxy(sandbox.url, ['--trace', file, '--trace-bodies', 'all'], env);
  expect(await proxy.initialize()).toHaveProperty('result');
  const params = { name: 'platform_whoami', arguments: {} };
  expect(JSON.stringify(await proxy.request(1, 'tools/call', params))).toContain('Ada Example');
  await proxy.end();
  expect(browser.opened).toHaveLength(1);

  const lines = linesOf(file);
  const posted = lines.filter(({ type, verb }) => type === 'http' && verb === 'POST');
  expect(posted).toContainEqual(expect.objectContaining({ status: 401, outcome: 'http-error' }));
  const call = posted.find(({ id }) => id === '1');
  expect(call).toMatchObject({ status: 200, requestHeaders: { authorization: '[secret]' } });
});

it.skipIf(missing !== undefined)(
  `a trace has no key of the keychain${missing ? ` (skipped: no ${missing})` : ''}`,
  async () => {
    const service = await startKeychain();
    onTestFinished(() => service.stop());
    const gateway = await startKeyedGateway();
    const watch = watchSecrets();
    const key = newKey();
    watch.add(key);
    gateway.accepted.add(key);
    await runToEnd(['login', gateway.url], key, service.env);
    const file = join(watch.folder, 'trace.jsonl');
    const proxy = startProxy(gateway.url, {
      args: ['--trace', file, '--trace-bodies', 'all'],
      env: { ...service.env, MCP_LATCHKEY_API_KEY: '' },
    });
    // The client gets the key, as it sent it: the trace is looked at here.
    proxy.expectClean = () => {};
    const call = proxy.request(1, 'tools/call', { name: 'echo', arguments: { text: key } });
    expect(await call).toHaveProperty('result');
    await proxy.end();
    const text = readFileSync(file, 'utf8');
    expect(text).toContain('"authorization":"[secret]"');
    for (const form of [
      key,
      Buffer.from(key).toString('base64'),
      Buffer.from(key).toString('hex'),
    ]) {
      expect(text.includes(form), 'the key is there').toBe(false);
    }
  },
);
