import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';

const watch = fileURLToPath(new URL('../../src/http/network-watch.ts', import.meta.url));

/** A network to change takes a network namespace of its own. */
const isPossible = spawnSync('unshare', ['-rn', 'ip', 'link']).status === 0;

it.skipIf(!isPossible)('tells of an address that comes and of one that goes', async () => {
  const { build } = await import('esbuild');
  const script = `import { execFileSync } from 'node:child_process';
    import { watchForNetworkChange } from ${JSON.stringify(watch)};
    watchForNetworkChange(() => console.log('changed'));
    process.stdin.on('data', (words) => execFileSync('ip', String(words).split(' ')));
    console.log('watching');`;
  const { outputFiles } = await build({
    stdin: { contents: script, resolveDir: '/', loader: 'ts' },
    bundle: true,
    platform: 'node',
    write: false,
  });
  const child = spawn('unshare', ['-rn', process.execPath, '-e', outputFiles[0]?.text ?? '']);
  onTestFinished(() => void child.kill('SIGKILL'));
  const said = async () => String((await once(child.stdout, 'data'))[0]).trim();
  expect(await said()).toBe('watching');
  const isUp = said();
  child.stdin.write('link set lo up');
  expect(await isUp).toBe('changed');
  const isDown = said();
  child.stdin.write('link set lo down');
  expect(await isDown).toBe('changed');
});
