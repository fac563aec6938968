import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { bundleScript, runScript } from '../../child-script.ts';

it('has every line of processes that rotate it at the same time', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-audit-file-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
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
