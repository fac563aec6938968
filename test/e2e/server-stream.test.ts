import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { answer, startGateway } from './loopback-gateway.ts';
import { type RunningProxy, runToEnd, startProxy } from './running-proxy.ts';

/** A gateway that does this to the n-th GET, from 1. */
async function gatewayWithStreams(open: (response: ServerResponse, count: number) => void) {
  let count = 0;
  const gateway = await startGateway((received, response) => {
    if (received.method !== 'GET') return answer(received, response);
    open(response, ++count);
  });
  return { ...gateway, count: () => count };
}

const begin = (response: ServerResponse) =>
  response.writeHead(200, { 'content-type': 'text/event-stream' });
const waits = ({ stderr }: RunningProxy) =>
  Array.from(stderr.matchAll(/stream ended, again in (\d+) ms/g), ([, ms]) => Number(ms));
const HELLO = 'data: {"jsonrpc":"2.0","method":"notifications/hello"}\n\n';

describe('a GET stream that brings nothing', () => {
  it.each<[string, string, number[]]>([
    ['ends at once', '', [1_000, 2_000]],
    ['ends after a comment', ': hello\n\n', [1_000, 2_000]],
    ['ends after retry: 0', 'retry: 0\n\n', [100, 1_000, 2_000]],
    ['ends after the same id each time', 'id: 7\ndata:\n\nretry: 0\n\n', [100, 1_000, 2_000]],
    ['asks for longer than that', 'retry: 1500\n\n', [1_500, 3_000]],
  ])('and %s is opened again later each time', async (_, bytes, expected) => {
    const gateway = await gatewayWithStreams((response) => begin(response).end(bytes));
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.until(() => waits(proxy).length === expected.length);
    expect(waits(proxy)).toEqual(expected);
    expect(gateway.count()).toBe(expected.length);
    expect(proxy.stderr).not.toMatch(/ (?:warn|error): /);
  });

  it('until it brings something: then it is opened again as soon as it asks', async () => {
    const gateway = await gatewayWithStreams((response, count) =>
      begin(response).end(count < 3 ? 'retry: 200\n\n' : `retry: 200\n${HELLO}`),
    );
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await proxy.until(() => waits(proxy).length === 4);
    expect(waits(proxy)).toEqual([200, 1_000, 200, 200]);
  });
});

describe('--no-server-stream', () => {
  const STREAMLESS: [string, Parameters<typeof startProxy>[1]][] = [
    ['as an option', { args: ['--no-server-stream'] }],
    ['in the environment', { env: { MCP_LATCHKEY_NO_SERVER_STREAM: '1' } }],
  ];

  it.each(STREAMLESS)('opens no GET stream: %s', async (_, options) => {
    const gateway = await gatewayWithStreams((response) => begin(response));
    const proxy = startProxy(gateway.url, options);
    await proxy.initialize();
    expect(await proxy.request(1, 'ping')).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    expect(gateway.count()).toBe(0);
  });

  it('is written into a client’s entry', async () => {
    const { stdout, code } = await runToEnd([
      ...['install', 'cursor', 'https://a.test/v1/mcp', '--no-server-stream'],
      ...['--dry-run', '--no-verify', '--force'],
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain('--no-server-stream');
  });
});

it.each([405, 404, 501])(
  'a gateway without GET streams, HTTP %d, is not asked twice',
  async (status) => {
    const gateway = await gatewayWithStreams((response) => response.writeHead(status).end());
    const proxy = startProxy(gateway.url);
    await proxy.initialize();
    await gateway.request(({ method }) => method === 'GET');
    expect(await proxy.request(1, 'ping')).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
    expect(gateway.count()).toBe(1);
    expect(proxy.stderr).not.toMatch(/ (?:warn|error): /);
  },
);
