import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { keychainModule } from '../auth/keychain-module.ts';
import { dataFolder } from '../data-folder.ts';
import { checkPath, readPrivate } from '../private-path.ts';
import { renameOnto } from '../rename-onto.ts';

/** What a copy needs of the package, beside the keychain's native module. */
const PACKAGE_PARTS = ['bin', 'dist', 'package.json', 'LICENSE'];

const LAUNCHER = ['bin', 'mcp-latchkey.js'];

/** A file of the package: its path in a copy, with slashes, and what it contains. */
interface PackageFile {
  readonly path: string;
  readonly content: Buffer;
  readonly mode: number;
}

/** The folder that contains every copy of the program which entries start. */
export function copiesFolder(): string {
  const data = dataFolder(process.platform, process.env, homedir());
  return join(data, 'mcp-latchkey', 'versions');
}

/** A copy of the program that entries start. What is in it never changes: its name has its hash. */
export interface ProgramCopy {
  /** `0.1.0-3f2a9c81d04b`: the version, and the first 48 bits of the content's SHA-256. */
  readonly id: string;
  readonly version: string;
  /** Absolute path of its launcher. */
  readonly script: string;
  /**
   * Writes the copy and reads it again, unless an intact one is in place. Rejects with the file
   * system's error, and with UnusableFile when another user could change the copy.
   */
  write(): Promise<void>;
}

/**
 * The copy of the package at `packageRoot` in the folder `copies`, with the keychain's module where
 * that is installed. Nothing is written yet. Rejects with the file system's error.
 */
export async function programCopy(packageRoot: string, copies: string): Promise<ProgramCopy> {
  const files = await packageFiles(packageRoot);
  const { version } = JSON.parse(String(contentOf(files, 'package.json')));
  const id = idOf(version, files);
  const folder = join(copies, id);
  return {
    id,
    version,
    script: join(folder, ...LAUNCHER),
    write: () => writeCopy(files, copies, id),
  };
}

const contentOf = (files: readonly PackageFile[], path: string) =>
  files.find((file) => file.path === path)?.content ?? '{}';

/**
 * The files that the program needs of its package, with the keychain's module where that is installed.
 * Rejects with the file system's error.
 */
export async function packageFiles(packageRoot: string): Promise<PackageFile[]> {
  const files: PackageFile[] = [];
  const add = async (from: string, path: string): Promise<void> => {
    if (!existsSync(from)) return;
    const stats = await stat(from);
    if (!stats.isDirectory()) {
      files.push({ path, content: await readFile(from), mode: stats.mode });
      return;
    }
    for (const name of (await readdir(from)).sort()) {
      if (name !== 'node_modules') await add(join(from, name), `${path}/${name}`);
    }
  };
  for (const part of PACKAGE_PARTS) await add(join(packageRoot, part), part);
  const keychain = keychainModule(packageRoot);
  if (keychain) await add(keychain, 'node_modules/keytar');
  return files;
}

function idOf(version: string, files: readonly PackageFile[]): string {
  const hash = createHash('sha256');
  for (const { path, content } of files)
    hash.update(`${path}\0${content.length}\0`).update(content);
  return `${version}-${hash.digest('hex').slice(0, 12)}`;
}

/** More than there are installations at once. */
const MOST_MOVES = 10;

async function writeCopy(files: readonly PackageFile[], copies: string, id: string): Promise<void> {
  const folder = join(copies, id);
  await makeFolder(copies);
  if (await isIntact(folder, id)) return;
  // Beside its place, so that no client can start half of it.
  const temporary = join(copies, `.${id}.${randomBytes(6).toString('hex')}`);
  try {
    for (const { path, content, mode } of files) {
      const file = join(temporary, path);
      await makeFolder(dirname(file));
      // Others must not be able to write here what they can write in the original.
      const handle = await open(file, 'wx', (mode & 0o755) | 0o200);
      try {
        await handle.writeFile(content);
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
    if (!(await isIntact(temporary, id))) {
      throw new Error(`what was written to ${temporary} reads differently`);
    }
    await moveInto(temporary, folder, id);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Moves a copy into its place, unless an intact one is there by then: others may do the same now. */
async function moveInto(temporary: string, folder: string, id: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await renameOnto(folder, temporary);
      return;
    } catch (error) {
      // Another installation may have been faster.
      if (await isIntact(folder, id)) return;
      if (tries === MOST_MOVES) throw error;
    }
    // A damaged one is in the way. Moved, not removed in place: half of it must not be started.
    const damaged = `${temporary}.damaged`;
    await rename(folder, damaged).catch(() => {});
    await rm(damaged, { recursive: true, force: true });
  }
}

/** Clients will run what is in it. Throws UnusableFile when another user can write to it. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o755 });
  checkPath(path, 'trusted');
}

/** Whether the folder has exactly what its id says, and others cannot change it. */
async function isIntact(folder: string, id: string): Promise<boolean> {
  try {
    const files = await packageFiles(folder);
    for (const { path } of files) readPrivate(join(folder, path), 'trusted', () => {});
    return idOf(id.replace(/-[^-]*$/, ''), files) === id;
  } catch {
    return false;
  }
}
