import { randomBytes } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { keychainModule } from '../auth/keychain-module.ts';
import { checkPath, readPrivate } from '../private-path.ts';

/** What a copy needs of the package, beside the keychain's native module. */
const PACKAGE_PARTS = ['bin', 'dist', 'package.json', 'LICENSE'];

/** Where a version's copy starts: `<data>/mcp-latchkey/<version>/bin/mcp-latchkey.js`. */
export function pinnedScript(data: string, version: string): string {
  return join(data, 'mcp-latchkey', version, 'bin', 'mcp-latchkey.js');
}

/**
 * Copies the package at `packageRoot` to the script's folder, with the keychain's module when it is
 * installed. Files that are there already, byte for byte, are left as they are. Each file is put in
 * place in one step, since a proxy may be starting from the copy. Rejects with the file system's
 * error, and with UnusableFile when another user could change the copy.
 */
export async function copyPackage(packageRoot: string, script: string): Promise<void> {
  const target = dirname(dirname(script));
  for (const part of PACKAGE_PARTS) await copyTree(join(packageRoot, part), join(target, part));
  const keychain = keychainModule(packageRoot);
  if (keychain) await copyTree(keychain, join(target, 'node_modules', 'keytar'));
}

async function copyTree(from: string, to: string): Promise<void> {
  if (!existsSync(from)) return;
  if ((await stat(from)).isDirectory()) {
    await makeFolder(to);
    for (const name of await readdir(from)) {
      if (name !== 'node_modules') await copyTree(join(from, name), join(to, name));
    }
    return;
  }
  const wanted = await readFile(from);
  if (isThere(to, wanted)) return;
  const temporary = `${to}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await makeFolder(dirname(to));
    await copyFile(from, temporary);
    // What is read-only in npm's cache shall not be so here: the next copy has to replace it. What
    // others can write there, they must not be able to write here.
    await chmod(temporary, ((await stat(from)).mode & 0o755) | 0o200);
    await rename(temporary, to);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Clients will run what is in it. Throws UnusableFile when another user can write to it. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o755 });
  checkPath(path, 'trusted');
}

/** Whether there is such a file, which others cannot change. */
function isThere(path: string, wanted: Buffer): boolean {
  try {
    return readPrivate(path, 'trusted', () => {}).equals(wanted);
  } catch {
    return false;
  }
}

/**
 * The path of this Node.js that lasts: Homebrew removes the versioned one with the next upgrade,
 * and links the current one from `opt`.
 */
export function lastingNode(execPath: string): string {
  const linked = execPath.replace(/\/Cellar\/([^/]+)\/[^/]+\//, '/opt/$1/');
  try {
    return realpathSync(linked) === realpathSync(execPath) ? linked : execPath;
  } catch {
    return execPath;
  }
}
