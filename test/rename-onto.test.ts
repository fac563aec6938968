import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { renameOnto } from '../src/rename-onto.ts';

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-rename-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

it('replaces a file', async () => {
  const folder = makeFolder();
  writeFileSync(join(folder, 'a'), 'old');
  writeFileSync(join(folder, 'b'), 'new');
  await renameOnto(join(folder, 'a'), join(folder, 'b'));
  expect(readFileSync(join(folder, 'a'), 'utf8')).toBe('new');
});

it('rejects at once where another try would not help', async () => {
  const folder = makeFolder();
  const missing = renameOnto(join(folder, 'a'), join(folder, 'b'), 'win32');
  await expect(missing).rejects.toMatchObject({ code: 'ENOENT' });
});

/**
 * In a process that file modes apply to, in a folder that is made writable after its first try: POSIX refuses a rename there with EACCES, as Windows does while a file is open.
 */
async function renameInRefusingFolder(platform: string, writableAfterMs?: number): Promise<string> {
  const folder = makeFolder();
  chmodSync(folder, 0o755);
  const inner = join(folder, 'inner');
  mkdirSync(inner);
  writeFileSync(join(inner, 'b'), 'new');
  chmodSync(inner, 0o555);
  const { build } = await import('esbuild');
  const bundle = join(folder, 'rename-onto.mjs');
  const entryPoints = [fileURLToPath(new URL('../src/rename-onto.ts', import.meta.url))];
  await build({ entryPoints, outfile: bundle, format: 'esm', platform: 'node' });
  chmodSync(bundle, 0o644);
  const script = `import { renameOnto } from ${JSON.stringify(bundle)};
    const renamed = renameOnto('a', 'b', '${platform}').then(() => 'done', (error) => error.code);
    console.log('tried');
    console.log(await renamed);`;
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    cwd: inner,
    ...user,
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await once(child.stdout, 'data');
  const closed = once(child, 'close');
  if (writableAfterMs !== undefined) {
    await sleep(writableAfterMs);
    chmodSync(inner, 0o777);
  }
  await closed;
  return said;
}

it.skipIf(process.platform === 'win32')('tries again where Windows refuses', async () => {
  expect(await renameInRefusingFolder('win32', 60)).toBe('tried\ndone\n');
});

it.skipIf(process.platform === 'win32')('rejects at once where POSIX refuses', async () => {
  expect(await renameInRefusingFolder('linux')).toBe('tried\nEACCES\n');
});
