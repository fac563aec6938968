import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import {
  ConfigFileError,
  readConfigFile,
  replaceConfigFile,
} from '../../src/install/config-file.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'latchkey-config-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  path = join(folder, 'c.json');
});

const write = async (text: string, day: string) =>
  replaceConfigFile(await readConfigFile(path), text, new Date(`${day}T12:00:00`));

it('keeps the file as it was at the beginning of each day', async () => {
  writeFileSync(path, '0');
  expect(await write('1', '2026-01-02')).toBe(join(folder, 'c.json.2026-01-02.bak'));
  expect(await write('2', '2026-01-02')).toBeUndefined();
  expect(await write('3', '2026-01-03')).toBe(join(folder, 'c.json.2026-01-03.bak'));
  const texts = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]);
  expect(texts).toEqual([
    ['c.json', '3'],
    ['c.json.2026-01-02.bak', '0'],
    ['c.json.2026-01-03.bak', '2'],
  ]);
});

it('leaves a file alone that somebody has changed meanwhile', async () => {
  for (const before of ['{}', undefined]) {
    rmSync(path, { force: true });
    if (before !== undefined) writeFileSync(path, before);
    const file = await readConfigFile(path);
    writeFileSync(path, 'new');
    await expect(replaceConfigFile(file, 'mine')).rejects.toThrow(ConfigFileError);
    expect(readdirSync(folder)).toEqual(['c.json']);
    expect(readFileSync(path, 'utf8')).toBe('new');
  }
});

it('makes the folder of a new file, and no backup', async () => {
  path = join(folder, 'a b/ü/c.json');
  expect(await write('{}', '2026-01-02')).toBeUndefined();
  expect(readFileSync(path, 'utf8')).toBe('{}');
});

it('says why a file cannot be read or written', async () => {
  await expect(readConfigFile(folder)).rejects.toThrow('cannot be read (EISDIR)');
  writeFileSync(path, '');
  path = join(path, 'below a file.json');
  await expect(write('{}', '2026-01-02')).rejects.toThrow(/cannot be (?:read|written) \(\w+\)/);
});
