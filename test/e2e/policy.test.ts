import { chmodSync, chownSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { answer, startGateway } from './loopback-gateway.ts';
import { computerWith, hasOwnEtc, hasOwnPolicy } from './policy-of-computer.ts';
import { startProxy } from './running-proxy.ts';

const misconfigured = (why: string) => ({
  error: { code: -32005, message: expect.stringContaining(why) },
});

describe.skipIf(!hasOwnPolicy)('a policy (skipped unless root on Linux, or on Windows)', () => {
  /** What the first request gets, and whether the gateway was asked. */
  async function first(
    policy: object | string,
    { args = [], env = {} }: { args?: string[]; env?: Record<string, string> } = {},
    change: (folder: string) => void = () => {},
  ) {
    const gateway = await startGateway(answer);
    const { folder, wrapper } = computerWith(policy);
    change(folder);
    const proxy = startProxy(gateway.url, { args, env, wrapper });
    const reply = await proxy.initialize();
    return { reply, proxy, gateway, asked: gateway.received.length > 0 };
  }
  const contact = 'it@example.com';
  const elsewhere = { gateways: ['https://*.example.com'], contact };

  it.each([
    [
      'another gateway',
      elsewhere,
      {},
      "is not allowed by your organization's policy. Ask it@example.com",
    ],
    [
      'an option',
      { forbidden: ['timeout'] },
      { args: ['--timeout', '5'] },
      '--timeout is not allowed',
    ],
    [
      'an option in the environment',
      { forbidden: ['timeout'] },
      { env: { MCP_LATCHKEY_TIMEOUT: '5' } },
      '--timeout is not allowed',
    ],
    [
      'a command that is called false',
      { forbidden: ['key-command'] },
      { args: ['--key-command', 'false'] },
      '--key-command is not allowed',
    ],
    [
      'a header',
      { forbidden: ['header'] },
      { args: ['--header', 'X-A: b'] },
      '--header is not allowed',
    ],
    [
      'a file of headers',
      { forbidden: ['header'] },
      { args: ['--header-file', '/x'] },
      '--header-file is not allowed',
    ],
    [
      'a key in the environment',
      { forbidden: ['key-env'] },
      {},
      'MCP_LATCHKEY_API_KEY is not allowed',
    ],
    [
      'TLS without verification',
      { forbidden: ['NODE_TLS_REJECT_UNAUTHORIZED'] },
      { env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } },
      'NODE_TLS_REJECT_UNAUTHORIZED is not allowed',
    ],
    [
      'another Host',
      { gateways: ['http://127.0.0.1:*'] },
      { args: ['--header', 'Host: other.example'] },
      'the header host is not allowed',
    ],
    [
      'another value of an option that is set',
      { required: { timeout: 9 } },
      { args: ['--timeout', '5'] },
      '--timeout is set by',
    ],
    ['an older version', { minimumVersion: '99.0.0' }, {}, 'is older than 99.0.0'],
  ])('refuses %s', async (_, policy, given, why) => {
    const { reply, asked } = await first(policy, given);
    expect(reply).toMatchObject(misconfigured(why));
    expect(asked).toBe(false);
  });

  it.each([
    ['what is not JSON', '{'],
    ['an unknown member', { gateway: [] }],
    ['a path in a gateway', { gateways: ['https://gateway.example/mcp'] }],
    ['an unknown option', { forbidden: ['allow-htp'] }],
    ['a filter of no kind', { filters: { deny: ['x'] } }],
    ['a repeated member', '{"filters":{"deny-tool":["*"]},"filters":{}}'],
    ['a repeated member in another', '{"filters":{"deny-tool":["*"],"deny-tool":[]}}'],
    ['a member in two cases', '{"gateways":["https://a.example"],"Gateways":[]}'],
  ])('stops the proxy if it has %s', async (_, policy) => {
    const { reply, asked } = await first(policy);
    expect(reply).toMatchObject(misconfigured('the policy of your organization cannot be used'));
    expect(asked).toBe(false);
  });

  it.runIf(hasOwnPolicy && !hasOwnEtc)('stops the proxy if this user can write to it', async () => {
    const gateway = await startGateway(answer);
    const env = { ProgramData: join(computerWith({}).folder, '..') };
    const reply = await startProxy(gateway.url, { env }).initialize();
    expect(reply).toMatchObject(misconfigured('you can write to'));
    expect(gateway.received).toEqual([]);
  });

  it.skipIf(!hasOwnEtc).each([
    [
      'another user owns it',
      (folder: string) => chownSync(join(folder, 'policy.json'), 1000, 1000),
    ],
    ['others can write to it', (folder: string) => chmodSync(join(folder, 'policy.json'), 0o666)],
    ['others can write to its folder', (folder: string) => chmodSync(folder, 0o777)],
    [
      'it is a link to nowhere',
      (folder: string) => {
        rmSync(join(folder, 'policy.json'));
        symlinkSync('/nowhere/policy.json', join(folder, 'policy.json'));
      },
    ],
    [
      'its folder is a link to nowhere',
      (folder: string) => {
        rmSync(folder, { recursive: true });
        symlinkSync('/nowhere', folder);
      },
    ],
  ])('stops the proxy if %s', async (_, change) => {
    const { reply, asked } = await first({}, {}, change);
    expect(reply).toMatchObject(misconfigured('the policy of your organization cannot be used'));
    expect(asked).toBe(false);
  });

  it('sets filters that options can only narrow', async () => {
    const policy = {
      gateways: ['http://127.0.0.1:*'],
      filters: { 'deny-tool': ['delete_*'] },
      contact,
    };
    const { proxy } = await first(policy, { args: ['--allow-tool', '*', '--deny-tool', 'add_*'] });
    expect(await proxy.request(1, 'tools/call', { name: 'delete_all' })).toMatchObject({
      error: {
        code: -32002,
        message: expect.stringMatching(
          /--deny-tool delete_\* in your organization's policy.*it@example/,
        ),
      },
    });
    expect(await proxy.request(2, 'tools/call', { name: 'add_one' })).toHaveProperty('error');
    expect(await proxy.request(3, 'tools/call', { name: 'get_one' })).toHaveProperty('result');
  });

  it('leaves everything else alone', async () => {
    const { reply } = await first({ defaults: { timeout: 5 }, gateways: ['http://127.0.0.1:*'] });
    expect(reply).toHaveProperty('result');
  });
});
