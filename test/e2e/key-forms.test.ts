import { describe, expect, it } from 'vitest';
import { answer, startGateway } from './loopback-gateway.ts';
import { startProxy, TEST_KEY } from './running-proxy.ts';

/** The headers of the first request, from a key in the environment or from `args`. */
async function headersSent(key: string, args: string[] = []) {
  const gateway = await startGateway(answer);
  const proxy = startProxy(gateway.url, { args, env: { MCP_LATCHKEY_API_KEY: key } });
  expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
  return gateway.received[0]?.headers;
}

describe('quotes around a key are removed', () => {
  it.each([
    `"${TEST_KEY}"`,
    `'${TEST_KEY}'`,
    ` "Bearer ${TEST_KEY}" `,
    `Bearer '${TEST_KEY}'`,
    `\`"${TEST_KEY}"\``,
  ])('from %s', async (key) => {
    expect((await headersSent(key))?.authorization).toBe(`Bearer ${TEST_KEY}`);
  });

  it('in a header that carries the key, and in no other', async () => {
    const authorization = ['-H', `Authorization: Bearer "${TEST_KEY}"`];
    const other = ['-H', 'If-Match: "v1"'];
    const sent = await headersSent('', [...authorization, ...other]);
    expect(sent).toMatchObject({ authorization: `Bearer ${TEST_KEY}`, 'if-match': '"v1"' });
    const bare = await headersSent('', ['-H', `x-api-key: '${TEST_KEY}'`]);
    expect(bare?.['x-api-key']).toBe(TEST_KEY);
  });

  it('from what a command prints', async () => {
    const quoted = process.platform === 'win32' ? `"${TEST_KEY}"` : `'"${TEST_KEY}"'`;
    const args = ['--key-command', `echo ${quoted}`];
    expect((await headersSent('', args))?.authorization).toBe(`Bearer ${TEST_KEY}`);
  });

  it('but not from one that only begins with one', async () => {
    expect((await headersSent(`"${TEST_KEY}`))?.authorization).toBe(`Bearer "${TEST_KEY}`);
  });
});

describe('a placeholder is not sent, and called that', () => {
  async function refusal(key: string, args: string[] = []) {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, { args, env: { MCP_LATCHKEY_API_KEY: key } });
    const { error } = await proxy.request(1, 'tools/list');
    expect(error).toMatchObject({ code: -32011, data: { reason: 'malformed_api_key' } });
    expect(gateway.received).toEqual([]);
    return (error as { message: string }).message;
  }

  it.each([
    '${MCP_KEY}',
    '${env:MCP_KEY}',
    '${input:mcp-key}',
    '%MCP_KEY%',
    '<your-api-key>',
    '<your API key>',
    'Bearer ${env:MCP_KEY}',
    '"${MCP_KEY}"',
    '{{MCP_KEY}}',
    '$MCP_KEY',
    '$env:MCP_KEY',
  ])('%s', async (key) => {
    const message = await refusal(key);
    expect(message).toContain('it is a placeholder that was not filled in');
    expect(message).toContain('It is from MCP_LATCHKEY_API_KEY.');
    // It may be a key in angle brackets.
    expect(message).not.toContain(key);
  });

  it.each(['Bearer ${input:key}', 'Bearer <key>', 'Token %KEY%', '${env:KEY}'])(
    'in the header Authorization: %s',
    async (value) => {
      const message = await refusal('', ['-H', `Authorization: ${value}`]);
      expect(message).toContain('It is from the header authorization.');
    },
  );

  it('in a header of a gateway’s own', async () => {
    const args = ['--key-header', 'X-Team-Key', '-H', 'X-Team-Key: ${input:key}'];
    expect(await refusal('', args)).toContain('It is from the header x-team-key.');
  });
});
