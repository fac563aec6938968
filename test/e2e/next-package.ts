import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { npmCommand } from '../environment.ts';

const root = resolve(import.meta.dirname, '../..');
export const { version, ...manifest } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
);
export const NEXT = '0.999.0';

/** The built package as version `NEXT`, packed into `folder`. */
export function packNext(folder: string, change = (_: string) => {}): string {
  const from = join(folder, 'next');
  for (const part of ['bin', 'dist', 'LICENSE', 'README.md']) {
    cpSync(join(root, part), join(from, part), { recursive: true });
  }
  writeFileSync(join(from, 'package.json'), JSON.stringify({ ...manifest, version: NEXT }));
  for (const name of readdirSync(join(from, 'dist'))) {
    const file = join(from, 'dist', name);
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(version, NEXT));
  }
  change(from);
  const pack = ['pack', from, '--json', '--ignore-scripts', '--pack-destination', folder];
  const env = { ...process.env, npm_config_cache: join(folder, 'pack') };
  const [npm, ...words] = npmCommand();
  const [{ filename }] = JSON.parse(
    execFileSync(npm, [...words, ...pack], { encoding: 'utf8', env }),
  );
  return join(folder, filename);
}
