import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { programCopy } from '../../src/install/program-copy.ts';

/** A small package with keytar, and where its copies go. */
function makePackage() {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-copy-')));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const from = join(root, 'node_modules', 'mcp-latchkey');
  const files = {
    'package.json': '{"version":"1.2.3"}',
    LICENSE: 'MIT',
    'bin/mcp-latchkey.js': 'code',
    'dist/main.js': 'main',
    '../keytar/package.json': '{}',
    '../keytar/LICENSE.md': 'of keytar',
    '../keytar/node_modules/other/index.js': 'not needed',
  };
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(from, path)), { recursive: true });
    writeFileSync(join(from, path), text);
  }
  const copies = join(root, 'data', 'versions');
  return { root, from, copies, copy: () => programCopy(from, copies) };
}

it('copies the program, the keychain’s module and their licenses, into a folder named by content', async () => {
  const { from, copies, copy } = makePackage();
  const first = await copy();
  expect(first.version).toBe('1.2.3');
  expect(first.id).toMatch(/^1\.2\.3-[0-9a-f]{12}$/);
  await first.write();
  const folder = join(copies, first.id);
  expect(first.script).toBe(join(folder, 'bin/mcp-latchkey.js'));
  const copied = readdirSync(folder, { recursive: true, withFileTypes: true });
  expect(copied.flatMap((entry) => (entry.isFile() ? [entry.name] : [])).sort()).toEqual([
    ...['LICENSE', 'LICENSE.md', 'main.js', 'mcp-latchkey.js', 'package.json', 'package.json'],
  ]);
  // The copy's own copy is itself.
  expect(await programCopy(folder, copies)).toMatchObject({ id: first.id, script: first.script });

  writeFileSync(join(from, 'dist/main.js'), 'changed');
  const second = await copy();
  await second.write();
  expect(second.id).not.toBe(first.id);
  expect(readFileSync(join(folder, 'dist/main.js'), 'utf8')).toBe('main');
  expect(readdirSync(copies).sort()).toEqual([first.id, second.id].sort());
});

it('leaves an intact copy as it is, and replaces a damaged one', async () => {
  const { copies, copy } = makePackage();
  const { id, script, write } = await copy();
  await write();
  const { ino } = statSync(script);
  await write();
  expect(statSync(script).ino).toBe(ino);
  const main = join(copies, id, 'dist/main.js');
  for (const damage of [
    () => writeFileSync(main, 'm'),
    () => rmSync(main),
    () => writeFileSync(join(copies, id, 'dist/more.js'), ''),
    () => rmSync(join(copies, id, 'node_modules'), { recursive: true }),
  ]) {
    damage();
    await write();
    expect(readFileSync(main, 'utf8')).toBe('main');
    expect((await programCopy(join(copies, id), copies)).id).toBe(id);
  }
  expect(readdirSync(copies)).toEqual([id]);
});

it('is written by several at once', async () => {
  const { copies, copy } = makePackage();
  const all = await Promise.all([copy(), copy(), copy()]);
  await Promise.all(all.map(({ write }) => write()));
  expect(readdirSync(copies)).toEqual([all[0]?.id]);
  expect(readFileSync(all[0]?.script ?? '', 'utf8')).toBe('code');
});

it.skipIf(process.platform === 'win32')(
  'replaces what others could change, and refuses a folder that they could',
  async () => {
    const { root, from, copies, copy } = makePackage();
    chmodSync(join(from, 'bin/mcp-latchkey.js'), 0o777);
    const { script, write } = await copy();
    await write();
    expect(statSync(script).mode & 0o777).toBe(0o755);

    chmodSync(script, 0o666);
    await write();
    expect(statSync(script).mode & 0o777).toBe(0o755);
    chmodSync(dirname(script), 0o777);
    await write();
    expect(statSync(dirname(script)).mode & 0o777).toBe(0o755);

    const elsewhere = join(root, 'elsewhere');
    writeFileSync(elsewhere, 'code');
    chmodSync(elsewhere, 0o666);
    rmSync(script);
    symlinkSync(elsewhere, script);
    await write();
    chmodSync(elsewhere, 0o600);
    writeFileSync(elsewhere, 'other code');
    expect(readFileSync(script, 'utf8')).toBe('code');

    for (const folder of [dirname(copies), copies]) {
      chmodSync(folder, 0o777);
      await expect(write()).rejects.toThrow(`other users can write to the folder ${folder}`);
      chmodSync(folder, 0o755);
    }
  },
);
