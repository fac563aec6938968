import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { startTether } from '../tethered-process.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { type Json, type RunningProxy, startProxy } from './running-proxy.ts';

// The commands here are for /bin/sh.
describe.skipIf(process.platform === 'win32')('a key command that hangs', () => {
  it.each([
    ['the client closes stdin', (proxy: RunningProxy) => void proxy.end()],
    ['SIGTERM', (proxy: RunningProxy) => void proxy.child.kill('SIGTERM')],
    ['SIGINT', (proxy: RunningProxy) => void proxy.child.kill('SIGINT')],
    ['SIGHUP', (proxy: RunningProxy) => void proxy.child.kill('SIGHUP')],
    ['SIGKILL', (proxy: RunningProxy) => void proxy.child.kill('SIGKILL')],
  ])('ends with the proxy, which ends by %s, and so do its children', async (_, end) => {
    const [tether, gateway] = [await startTether(), await startKeyedGateway()];
    const command = `${tether.hold()} | (${tether.hold()} & ${tether.hold()})`;
    const proxy = startProxy(gateway.url, { args: ['--key-command', command] });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    await tether.started(3);
    end(proxy);
    await proxy.exited;
    await tether.ended();
  });

  it('is started once for fifty calls in a row, and again for a later one', async () => {
    const [tether, gateway] = [await startTether(), await startKeyedGateway()];
    const key = newKey();
    gateway.accepted.add(key);
    const [keyFile, runs] = [`${tether.folder}/key`, `${tether.folder}/runs`];
    const command = `if [ -e '${keyFile}' ]; then cat '${keyFile}'; else echo run >>'${runs}'; ${tether.hold()} | cat; fi`;
    const proxy = startProxy(gateway.url, { args: ['--key-command', command] });
    const failed = {
      error: { code: -32010, message: expect.stringContaining('timed out after 10 seconds') },
    };
    for (let id = 1; id <= 50; id++) {
      expect(await proxy.request(id, 'tools/list')).toMatchObject(failed);
    }
    expect(readFileSync(runs, 'utf8')).toBe('run\n');
    await tether.ended();
    writeFileSync(keyFile, key);
    let reply: Json = {};
    for (let id = 100; !('result' in reply); id++) reply = await proxy.request(id, 'tools/list');
    expect(gateway.authorizations()).toEqual([`Bearer ${key}`]);
  });
});

it.runIf(process.platform === 'linux' && existsSync('/usr/bin/mkfifo'))(
  'a pipe without a writer leaves no process when the proxy is killed',
  async () => {
    const [tether, gateway] = [await startTether(), await startKeyedGateway()];
    const pipe = `${tether.folder}/pipe`;
    const { execFileSync } = await import('node:child_process');
    execFileSync('mkfifo', ['-m', '600', pipe]);
    const proxy = startProxy(gateway.url, { args: ['--key-file', pipe] });
    proxy.send({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    const readers = () =>
      execFileSync('ps', ['-A', '-o', 'args='])
        .toString()
        .split('\n')
        .filter((line) => line.startsWith('cat ') && line.includes(pipe)).length;
    await expect.poll(readers, { timeout: 10_000 }).toBe(1);
    proxy.child.kill('SIGKILL');
    await expect.poll(readers, { timeout: 10_000 }).toBe(0);
  },
);
