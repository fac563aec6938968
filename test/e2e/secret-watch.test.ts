import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { startWatch } from './secret-watch.ts';

const SECRET = 'refresh-token/with+signs=0123456789';

/** Runs a script of Node.js in the folder of a watch, and says what the watch has found. */
async function leaksOf(script: string): Promise<string[]> {
  const watch = startWatch();
  watch.add(SECRET);
  const child = spawn(process.execPath, ['-e', script], {
    env: { PATH: process.env.PATH, ...watch.env, SECRET },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  child.stdout.on('data', (chunk) => watch.wrote(String(chunk)));
  await once(child, 'close');
  return watch.end();
}

/** A child of the script that lives long enough to be seen, detached from it. */
const spawned = (args: string, env: string) =>
  `require('child_process').spawn(process.execPath, ['-e', 'setTimeout(() => {}, 300)', ${args}],
    { env: ${env}, detached: true, stdio: 'ignore' }); setTimeout(() => {}, 300)`;

it.each([
  ['output', 'process.stdout.write(process.env.SECRET)', /^output: refresh-token/],
  ['output in base64', `process.stdout.write(btoa('Basic me:' + process.env.SECRET))`, /^output: /],
  [
    'a file',
    `require('fs').writeFileSync(process.env.HOME + '/x', encodeURIComponent(process.env.SECRET))`,
    /^[\\/]x: /,
  ],
])('a secret is found in %s', async (_, script, leak) => {
  expect(await leaksOf(script)).toEqual([expect.stringMatching(leak)]);
});

it.skipIf(process.platform !== 'linux').each([
  ['the arguments', spawned('process.env.SECRET', '{}'), /^arguments of /],
  ['the environment', spawned("''", '{ X: process.env.SECRET }'), /^environment of /],
])('a secret is found in %s of a child', async (_, script, leak) => {
  expect(await leaksOf(script)).toEqual([expect.stringMatching(leak)]);
});

it('finds nothing where the secret is only in the environment that the test gave', async () => {
  expect(await leaksOf('')).toEqual([]);
});
