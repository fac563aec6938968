import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { program } from './running-proxy.ts';

/** Two users, neither of them root: the one who runs the program, and another one. */
export const USER = 65_534;
export const OTHER = 54_321;

/** Why tests with several users are skipped: only root can start programs as another one. */
export const NEEDS_ROOT = 'skipped unless root: starts programs as other users';
export const isRoot = process.geteuid?.() === 0;

/** A folder that everyone can read, deleted after the test. */
export function publicFolder(): string {
  const folder = makePublic();
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function makePublic(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-users-')));
  chmodSync(folder, 0o755);
  return folder;
}

/** Makes a folder with this owner and mode below another one; returns its path. */
export function folderOf(owner: number, parent: string, name: string, mode = 0o755): string {
  const folder = join(parent, name);
  mkdirSync(folder);
  chownSync(folder, owner, owner);
  chmodSync(folder, mode);
  return folder;
}

/** The built program where every user can read it: its launcher, and what removes it. */
export function publicCopy(): { script: string; remove: () => void } {
  const folder = makePublic();
  for (const part of ['bin', 'dist', 'package.json']) {
    cpSync(join(dirname(program), '..', part), join(folder, part), { recursive: true });
  }
  return {
    script: join(folder, 'bin', 'mcp-latchkey.js'),
    remove: () => rmSync(folder, { recursive: true }),
  };
}
