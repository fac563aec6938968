import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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

const write = async (text: string, time: string) =>
  replaceConfigFile(await readConfigFile(path), text, { now: new Date(time) });

/** Names and texts of the backups, by name. */
const backups = () =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.bak'))
    .map((name) => [name, readFileSync(join(folder, name), 'utf8')]);

it('keeps the file as it was before each change, also of one second', async () => {
  writeFileSync(path, '0');
  const name = (rest: string) => `c.json.2026-01-02T${rest}.bak`;
  const made = [
    await write('1', '2026-01-02T03:04:05.678'),
    await write('2', '2026-01-02T03:04:05.999'),
    await write('3', '2026-01-02T03:04:05'),
    await write('4', '2026-01-02T13:04:05'),
  ];
  const names = ['03-04-05', '03-04-05.2', '03-04-05.3', '13-04-05'].map(name);
  expect(made).toEqual(names.map((own) => join(folder, own)));
  expect(readFileSync(path, 'utf8')).toBe('4');
  expect(new Map(backups() as [string, string][])).toEqual(
    new Map(names.map((own, index) => [own, String(index)])),
  );
});

it('keeps the newest ten backups of the file, and what else is there', async () => {
  writeFileSync(path, '0');
  const others = ['d.json.2020-01-01T00-00-00.bak', 'c.json.mine.bak', 'c.json.2020-01-01.bak'];
  for (const name of others) writeFileSync(join(folder, name), 'other');
  // Before the first one, by name: a clock that was set back must not cost the last change.
  for (let change = 1; change <= 24; change++) {
    const second = change < 24 ? String(change >> 1).padStart(2, '0') : '00';
    await write(String(change), `2026-01-02T03:04:${second}`);
  }
  const texts = backups().flatMap(([name = '', text]) => (others.includes(name) ? [] : [text]));
  expect(texts.map(Number).sort((a, b) => a - b)).toEqual([14, 15, 16, 17, 18, 19, 20, 21, 22, 23]);
  expect(readdirSync(folder)).toEqual(expect.arrayContaining(others));
});

it.skipIf(process.platform === 'win32').each([0o644, 0o660, 0o600])(
  'makes the backup of a file with mode %o readable by its owner alone',
  async (mode) => {
    writeFileSync(path, '{"key":"hunter2"}');
    chmodSync(path, mode);
    const backup = await write('{}', '2026-01-02T03:04:05');
    expect(statSync(backup as string).mode & 0o7777).toBe(0o600);
    expect(statSync(path).mode & 0o777).toBe(mode);
  },
);

it('writes no backup through a link or over a folder of its name', async () => {
  writeFileSync(path, '0');
  const target = join(folder, 'target');
  symlinkSync(target, `${path}.2026-01-02T03-04-05.bak`);
  mkdirSync(`${path}.2026-01-02T03-04-05.2.bak`);
  expect(await write('1', '2026-01-02T03:04:05')).toBe(`${path}.2026-01-02T03-04-05.3.bak`);
  expect(() => statSync(target)).toThrow('ENOENT');
});

it('does not touch a file that was changed meanwhile', async () => {
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
  expect(await write('{}', '2026-01-02T03:04:05')).toBeUndefined();
  expect(readFileSync(path, 'utf8')).toBe('{}');
});

it('says why a file cannot be read or written', async () => {
  await expect(readConfigFile(folder)).rejects.toThrow('cannot be read (EISDIR)');
  writeFileSync(path, '');
  path = join(path, 'below a file.json');
  await expect(write('{}', '2026-01-02T03:04:05')).rejects.toThrow(
    /cannot be (?:read|written) \(\w+\)/,
  );
});
