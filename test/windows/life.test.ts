import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { answer, startGateway } from '../e2e/loopback-gateway.ts';
import { program, startProxy, TEST_KEY } from '../e2e/running-proxy.ts';
import { environment } from '../environment.ts';
import { startTether } from '../tethered-process.ts';

describe.skipIf(process.platform !== 'win32')('the proxy on Windows', () => {
  it('has a session, and ends when stdin is closed', async () => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url);
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await proxy.request(2, 'tools/list')).toHaveProperty('result');
    expect(await proxy.request(3, 'tools/call', { name: 'x' })).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
  });

  it.each([
    ['', false],
    [' and has left its job', true],
  ])('ends when its client is killed%s', async (_, detached) => {
    const gateway = await startGateway(answer);
    const script = `
      const child = require('node:child_process').spawn(process.execPath, [${JSON.stringify(program)}, ${JSON.stringify(gateway.url)}],
        { stdio: ['pipe', 'pipe', 'ignore'], detached: ${detached} });
      child.stdin.write(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {
        protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'x', version: '1' } } }) + '\\n');
      child.stdout.once('data', () => console.log(child.pid));`;
    const client = spawn(process.execPath, ['-e', script], {
      env: environment({ MCP_LATCHKEY_API_KEY: TEST_KEY }),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [pid] = await once(client.stdout, 'data');
    client.kill('SIGKILL');
    await once(client, 'exit');
    const isAlive = () => {
      try {
        return process.kill(Number(pid), 0);
      } catch {
        return false;
      }
    };
    await expect.poll(isAlive, { timeout: 10_000 }).toBe(false);
  });

  it('ends its key command when it is told to end', async () => {
    const tether = await startTether();
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, {
      args: ['--key-command', tether.hold()],
      env: { MCP_LATCHKEY_API_KEY: '' },
    });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} });
    await tether.started(1);
    await proxy.end();
    await tether.ended();
  });
});
