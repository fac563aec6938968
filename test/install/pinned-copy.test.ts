import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { copyPackage, lastingNode, pinnedScript } from '../../src/install/pinned-copy.ts';

it('prefers the link that Homebrew keeps to the version that it removes', () => {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-node-')));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const node = join(root, 'Cellar/node@20/20.1.0/bin/node');
  mkdirSync(join(node, '..'), { recursive: true });
  writeFileSync(node, '');
  expect(lastingNode(node)).toBe(node);
  mkdirSync(join(root, 'opt'));
  symlinkSync('../Cellar/node@20/20.1.0', join(root, 'opt/node@20'));
  expect(lastingNode(node)).toBe(join(root, 'opt/node@20/bin/node'));
  expect(lastingNode(process.execPath)).toBe(process.execPath);
});

it.skipIf(process.platform === 'win32')(
  'replaces what others could change, and refuses a folder that they could',
  async () => {
    const root = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-pin-')));
    onTestFinished(() => rmSync(root, { recursive: true }));
    const from = join(root, 'package');
    mkdirSync(join(from, 'bin'), { recursive: true });
    const own = join(from, 'bin/mcp-latchkey.js');
    writeFileSync(own, 'code');
    chmodSync(own, 0o777);
    const data = join(root, 'data');
    const script = pinnedScript(data, '1.2.3');
    const copy = () => copyPackage(from, script);
    await copy();
    const first = statSync(script);
    expect(first.mode & 0o777).toBe(0o755);
    await copy();
    expect(statSync(script).ino).toBe(first.ino);

    chmodSync(script, 0o666);
    await copy();
    expect(statSync(script).mode & 0o777).toBe(0o755);

    const elsewhere = join(root, 'elsewhere');
    writeFileSync(elsewhere, 'code');
    chmodSync(elsewhere, 0o666);
    rmSync(script);
    symlinkSync(elsewhere, script);
    await copy();
    chmodSync(elsewhere, 0o600);
    writeFileSync(elsewhere, 'other code');
    expect(readFileSync(script, 'utf8')).toBe('code');

    for (const folder of [data, join(script, '..')]) {
      chmodSync(folder, 0o777);
      await expect(copy()).rejects.toThrow(`other users can write to the folder ${folder}`);
      chmodSync(folder, 0o755);
    }
  },
);
