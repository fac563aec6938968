import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { onTestFinished } from 'vitest';

const root = join(import.meta.dirname, '..');

/**
 * Bundles a script that imports modules of src/, to be run as a process of its own: the path of the
 * file. `code` is TypeScript, and its imports start at the root, as in './src/log.ts'. The programs
 * that the modules start are those in dist/.
 */
export async function bundleScript(code: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-script-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: root, loader: 'ts' },
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['keytar'],
    // As in build.mjs.
    alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
    define: {
      __VERSION__: '"0.0.0"',
      'import.meta.url': JSON.stringify(pathToFileURL(join(root, 'dist', 'script.js')).href),
    },
  });
  const file = join(folder, 'script.cjs');
  writeFileSync(file, outputFiles[0]?.contents ?? '');
  return file;
}

/** Runs it, with a channel for messages. It is killed when the test is over. */
export function runScript(
  file: string,
  args: readonly string[],
  env: Record<string, string> = {},
): ChildProcess {
  const child = spawn(process.execPath, [file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: { ...process.env, ...env },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}
