import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { AuditFile } from '../../../src/bridge/audit/audit-file.ts';
import { bundleScript, runScript } from '../../child-script.ts';

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-audit-file-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What is done to a file that is open, and to another path. */
type Change = (file: string, other: string) => void;

const CHANGES: [string, Change][] = [
  ['was moved', (file, other) => renameSync(file, other)],
  ['was removed', (file) => rmSync(file)],
  [
    'was replaced by another file',
    (file, other) => {
      writeFileSync(other, '', { mode: 0o644 });
      renameSync(other, file);
    },
  ],
];

/** Those of POSIX alone. */
const CHANGES_OF_POSIX: [string, Change][] = [
  [
    'was replaced by a link',
    (file, other) => {
      rmSync(file);
      symlinkSync(other, file);
    },
  ],
  ['was opened to others', (file) => chmodSync(file, 0o666)],
];

it.each(process.platform === 'win32' ? CHANGES : [...CHANGES, ...CHANGES_OF_POSIX])(
  'goes on where its path leads to if the file %s',
  (_, change) => {
    const folder = newFolder();
    const file = join(folder, 'audit.jsonl');
    const log = new AuditFile(file, false);
    expect(log.append('1\n')).toBeUndefined();
    change(file, join(folder, 'other'));
    expect(log.append('2\n')).toBeUndefined();
    expect(log.append('3\n')).toBeUndefined();
    expect(readFileSync(file, 'utf8')).toMatch(/^(?:1\n)?2\n3\n$/);
    if (process.platform !== 'win32') expect(statSync(file).mode & 0o077).toBe(0);
  },
);

it.skipIf(process.platform === 'win32')(
  'writes nothing to a file in a folder that others can write to, once it was replaced',
  () => {
    const folder = join(newFolder(), 'logs');
    mkdirSync(folder);
    const file = join(folder, 'audit.jsonl');
    const log = new AuditFile(file, false);
    log.append('1\n');
    chmodSync(folder, 0o777);
    rmSync(file);
    writeFileSync(file, '');
    expect(log.append('2\n')).toMatch(/others|write/);
    expect(readFileSync(file, 'utf8')).toBe('');
  },
);

it('has every line of processes that rotate it at the same time', async () => {
  const folder = newFolder();
  const script = await bundleScript(`
    import { AuditFile } from './src/bridge/audit/audit-file.ts';
    const [, , file, name] = process.argv;
    const log = new AuditFile(file, false, { limitBytes: 2000, files: 1000 });
    process.once('message', () => {
      const problems = new Set();
      for (let n = 0; n < 300; n++) problems.add(log.append(name + n + 'x'.repeat(90) + '\\n'));
      process.send([...problems].filter((problem) => problem !== undefined));
      process.disconnect();
    });
    process.send('ready');
  `);
  const children = ['a', 'b', 'c', 'd'].map((name) =>
    runScript(script, [join(folder, 'audit.jsonl'), name]),
  );
  await Promise.all(children.map((child) => once(child, 'message')));
  const reports = children.map((child) => once(child, 'message'));
  for (const child of children) child.send('go');
  const problems = (await Promise.all(reports)).map(([report]) => report);
  expect(problems).toEqual([[], [], [], []]);
  const lines = readdirSync(folder).flatMap((name) =>
    readFileSync(join(folder, name), 'utf8').split('\n').filter(Boolean),
  );
  expect(new Set(lines).size).toBe(1200);
  expect(lines).toHaveLength(1200);
}, 60_000);
