import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { bundleScript, runScript } from '../child-script.ts';

it('keeps the records of two processes that write at the same time', async () => {
  const home = mkdtempSync(join(tmpdir(), 'latchkey-records-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const data = ['HOME', 'XDG_DATA_HOME', 'APPDATA', 'LOCALAPPDATA', 'USERPROFILE'];
  const env = Object.fromEntries(data.map((name) => [name, home]));
  const script = await bundleScript(`
    import { recordMigration } from './src/install/migration-record.ts';
    const [own] = process.argv.slice(2);
    process.once('message', async () => {
      for (let count = 0; count < 20; count++) {
        const file = own + count;
        await recordMigration({ client: 'cursor', file, backup: '/b', text: '{}', paths: [] });
      }
      process.disconnect();
    });
    process.send('ready');
  `);
  const processes = ['a', 'b'].map((own) => runScript(script, [own], env));
  await Promise.all(processes.map((child) => once(child, 'message')));
  const ended = Promise.all(processes.map((child) => once(child, 'exit')));
  for (const child of processes) child.send('go');
  expect(await ended).toEqual(Array(2).fill([0, null]));
  const file =
    process.platform === 'darwin' ? 'Library/Application Support/mcp-latchkey' : 'mcp-latchkey';
  const records = JSON.parse(readFileSync(join(home, file, 'migrations.json'), 'utf8'));
  const files = records.map((record: { file: string }) => record.file).sort();
  const expected = ['a', 'b'].flatMap((own) => Array.from({ length: 20 }, (_, at) => own + at));
  expect(files).toEqual(expected.sort());
});
