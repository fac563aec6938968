import { expect, it } from 'vitest';
import { TOOLS } from './filtered-session.ts';
import { answer, sendJson, startGateway } from './loopback-gateway.ts';
import { startModernGateway } from './modern-gateway.ts';
import { runToEnd, TEST_KEY } from './running-proxy.ts';

const env = { MCP_LATCHKEY_API_KEY: TEST_KEY };

/** Two pages; the name of a tool tries to write to the terminal. */
async function gatewayWithTools() {
  const tools = [...TOOLS, { name: '\u001b[31mred' }, { name: TEST_KEY }];
  return startGateway((received, response) => {
    const { message } = received;
    if (message.method !== 'tools/list') return answer(received, response);
    const isFirst = (message.params as { cursor?: string }).cursor === undefined;
    const result = isFirst
      ? { tools: tools.slice(0, 3), nextCursor: 'x' }
      : { tools: tools.slice(3) };
    sendJson(response, { jsonrpc: '2.0', id: message.id, result });
  });
}

it('lists all pages with annotations, and what the filters leave', async () => {
  const { url } = await gatewayWithTools();
  const args = ['tools', url, '--read-only', '--deny-tool', 'get_all'];
  const { code, stdout, stderr } = await runToEnd(args, '', env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain(`1 of 8 tools at ${url}`);
  expect(stdout).toMatch(/^– plain +unknown +--read-only$/m);
  expect(stdout).toMatch(/^✓ get_issue +read-only$/m);
  expect(stdout).toMatch(/^– add_issue +additive +--read-only$/m);
  expect(stdout).toMatch(/^– delete_issue +destructive +--read-only$/m);
  expect(stdout).toMatch(/^– get_all +read-only +--deny-tool get_all$/m);
  expect(stdout).toMatch(/^– red +unknown/m);
  expect(stdout).not.toContain('\u001b');
});

it('prints the same as JSON', async () => {
  const gateway = await startModernGateway();
  const { code, stdout } = await runToEnd(
    ['tools', gateway.url, '--allow-tool', 'echo', '--allow-tool', 'q*', '--json'],
    '',
    env,
  );
  expect(code).toBe(0);
  const { tools, ...rest } = JSON.parse(stdout);
  expect(rest).toEqual({ gateway: gateway.url });
  expect(tools).toHaveLength(8);
  expect(tools.slice(0, 3)).toEqual([
    { name: 'echo', annotations: {}, blockedBy: null },
    { name: 'query', annotations: {}, blockedBy: null },
    { name: 'ask-all', annotations: {}, blockedBy: '--allow-tool' },
  ]);
});

it('says why the tools cannot be listed', async () => {
  const gateway = await startGateway((_, response) => void response.writeHead(401).end());
  const { code, stdout, stderr } = await runToEnd(['tools', gateway.url], '', env);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toContain('(HTTP 401)');
  const json = await runToEnd(['tools', gateway.url, '--json'], '', env);
  expect(JSON.parse(json.stdout)).toMatchObject({ error: expect.stringContaining('(HTTP 401)') });
});
