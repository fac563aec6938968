import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { answer, startGateway } from './loopback-gateway.ts';
import { TEST_KEY } from './running-proxy.ts';

const program = fileURLToPath(new URL('../../bin/mcp-latchkey.js', import.meta.url));

/**
 * A name with two addresses takes a private /etc/hosts, and that a mount namespace of its own: only
 * Linux has it, and not every machine lets everyone have it.
 */
const isPossible =
  spawnSync('unshare', ['-rm', 'true']).status === 0 &&
  Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));

/**
 * Makes this port of ::1 a black hole: of a process that is stopped, and whose queue of connections
 * is full, the system drops what knocks. Resolves once a connection has not come about for 0.5 s.
 */
async function swallowConnections(port: number): Promise<void> {
  const listen = `require('node:net').createServer().listen({ port: ${port}, host: '::1', backlog: 1 }, () => console.log('up'))`;
  const listener = spawn(process.execPath, ['-e', listen]);
  onTestFinished(() => void listener.kill('SIGKILL'));
  await once(listener.stdout, 'data');
  listener.kill('SIGSTOP');
  for (let isConnected = true; isConnected; ) {
    const socket = connect(port, '::1').on('error', () => {});
    onTestFinished(() => void socket.destroy());
    isConnected = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      setTimeout(() => resolve(false), 500);
    });
  }
}

it.skipIf(!isPossible)(
  'a gateway is reached over IPv4 at once when its IPv6 address swallows everything',
  async () => {
    const gateway = await startGateway(answer);
    const port = Number(new URL(gateway.url).port);
    await swallowConnections(port);
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-hosts-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const hosts = join(folder, 'hosts');
    writeFileSync(hosts, '::1 both.test\n127.0.0.1 both.test\n');
    const start = performance.now();
    const stdout = await new Promise<string>((resolve) => {
      const child = execFile(
        'unshare',
        [
          ...['-rm', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts],
          ...[process.execPath, program, `http://both.test:${port}/v1/mcp`, '--allow-http'],
        ],
        { env: { PATH: process.env.PATH, MCP_LATCHKEY_API_KEY: TEST_KEY } },
        (_, output) => resolve(output),
      );
      child.stdin?.end('{"jsonrpc":"2.0","id":1,"method":"tools/call"}\n');
    });
    expect(JSON.parse(stdout)).toHaveProperty('result');
    expect(performance.now() - start).toBeLessThan(8_000);
    expect(gateway.received).toHaveLength(1);
  },
);
