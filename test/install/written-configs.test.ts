import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { copiesFolder } from '../../src/install/program-copy.ts';
import { removeUnusedCopies } from '../../src/install/unused-copies.ts';
import {
  noteWrittenConfig,
  writtenConfigs,
  writtenConfigsFile,
} from '../../src/install/written-configs.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'latchkey-written-'));
  for (const name of ['HOME', 'USERPROFILE', 'XDG_DATA_HOME', 'LOCALAPPDATA', 'APPDATA']) {
    vi.stubEnv(name, home);
  }
  vi.stubEnv('XDG_CONFIG_HOME', undefined);
  onTestFinished(() => {
    vi.unstubAllEnvs();
    rmSync(home, { recursive: true });
  });
  mkdirSync(join(copiesFolder(), '0.0.1-0123456789ab'), { recursive: true });
});

const NAMES_COPY = '{"args": ["/home/me/.local/share/mcp-latchkey/versions/0.0.1-0123456789ab"]}';
const lines = (count: number) =>
  Array.from({ length: count }, (_, at) => `${JSON.stringify(join(home, `${at}`))}\n`).join('');

it('notes a config once, also after a line that was cut off', async () => {
  writeFileSync(writtenConfigsFile(), '"/cut o', { mode: 0o600 });
  for (const path of ['/a', '/b', '/a']) await noteWrittenConfig(path, NAMES_COPY);
  await noteWrittenConfig('/c', '{}');
  expect(await writtenConfigs()).toEqual(['/a', '/b']);
});

it('removes a copy that none of many configs names', async () => {
  writeFileSync(writtenConfigsFile(), lines(1_000), { mode: 0o600 });
  expect(await removeUnusedCopies(copiesFolder())).toHaveLength(1);
});

it.skipIf(process.platform === 'win32')(
  'removes no copy where PowerShell may not list the processes',
  async () => {
    const { platform } = process;
    onTestFinished(() => void Object.defineProperty(process, 'platform', { value: platform }));
    const copies = copiesFolder();
    writeFileSync(join(home, 'powershell.exe'), '#!/bin/sh\n', { mode: 0o755 });
    vi.stubEnv('PATH', `${home}:${process.env.PATH}`);
    Object.defineProperty(process, 'platform', { value: 'win32' });
    expect(await removeUnusedCopies(copies)).toEqual([]);
    writeFileSync(join(home, 'powershell.exe'), '#!/bin/sh\necho node.exe\n', { mode: 0o755 });
    expect(await removeUnusedCopies(copies)).toHaveLength(1);
  },
);

it.each([
  ['more lines', () => lines(1_001)],
  ['more bytes', () => '\n'.repeat(1024 * 1024 + 1)],
])('with %s than can be, notes no more, and removes no copy', async (_, text) => {
  writeFileSync(writtenConfigsFile(), text(), { mode: 0o600 });
  await noteWrittenConfig('/a', NAMES_COPY);
  expect(readFileSync(writtenConfigsFile(), 'utf8')).toBe(text());
  await expect(writtenConfigs()).rejects.toThrow(/too many lines|too large/);
  expect(await removeUnusedCopies(copiesFolder())).toEqual([]);
  expect(existsSync(join(dirname(writtenConfigsFile()), 'versions/0.0.1-0123456789ab'))).toBe(true);
});
