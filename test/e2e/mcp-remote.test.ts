import { expect, it } from 'vitest';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { RunningProxy } from './running-proxy.ts';

it('an entry of mcp-remote works with the name of the package replaced', async () => {
  const gateway = await startKeyedGateway();
  const key = newKey();
  gateway.accepted.add(key);
  const proxy = new RunningProxy(
    [
      ...[gateway.url, '9696', '--transport', 'http-first', '--allow-http', '--host', '127.0.0.1'],
      ...['--header', `Authorization:$${'{AUTH_HEADER}'}`, '--enable-proxy', '--debug'],
    ],
    { AUTH_HEADER: `Bearer ${key}` },
  );
  await proxy.initialize();
  expect(await proxy.request(1, 'tools/list')).toHaveProperty('result.tools.length', 2);
  expect(await proxy.end()).toBe(0);
  expect(gateway.authorizations()).toContain(`Bearer ${key}`);
  expect(proxy.stderr).toContain('warn: --debug of mcp-remote is --log-level debug here\n');
  expect(proxy.stderr).toContain('debug: ');
});
