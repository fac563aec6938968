import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { allClients } from './clients.ts';
import { backupsOf, readConfigFile } from './config-file.ts';
import { copiesFolder } from './program-copy.ts';
import { removeUnusedCopies } from './unused-copies.ts';
import { writtenConfigsFile } from './written-configs.ts';

/** What this program has written on this computer, beside the entries and the keys: absolute paths. */
export interface Leftovers {
  /** Clients' configs as they were. There may be keys of other servers in them. */
  readonly backups: readonly string[];
  /** Copies of the program that entries start. */
  readonly copies: readonly string[];
  /** What it can do without: caches, the newest version that it knows, what was migrated, sign-ins. */
  readonly caches: readonly string[];
}

/** `cacheFolder`: the program's own, where there is one. Rejects where a folder cannot be read. */
export async function leftovers(cacheFolder: string | undefined): Promise<Leftovers> {
  const copies = copiesFolder();
  const configs = await Promise.all(
    allClients().map(({ configPath }) =>
      readConfigFile(configPath).then(
        ({ path }) => path,
        () => configPath,
      ),
    ),
  );
  const backups = await Promise.all([...new Set(configs)].map(backupsOf));
  const names = existsSync(copies) ? await readdir(copies) : [];
  const caches = [
    ...['newest-version', 'migrations.json', 'sign-ins', 'locks'].map((name) =>
      join(dirname(copies), name),
    ),
    ...(cacheFolder === undefined
      ? []
      : ['compile-cache', 'gateways'].map((name) => join(cacheFolder, name))),
  ];
  return {
    backups: backups.flat(),
    copies: names.map((name) => join(copies, name)),
    caches: caches.filter((path) => existsSync(path)),
  };
}

/**
 * Removes them, but for copies that a config names or a program runs from, and the folders that are
 * empty then. Returns the paths that are still there. Never rejects.
 */
export async function removeLeftovers({ backups, copies, caches }: Leftovers): Promise<string[]> {
  for (const path of [...backups, ...caches]) {
    await rm(path, { recursive: true, force: true }).catch(() => {});
  }
  await removeUnusedCopies(copiesFolder());
  // What says which copies are still in use goes with the last of them.
  const isLast = ((await readdir(copiesFolder()).catch(() => [])) as string[]).length === 0;
  if (isLast) await rm(writtenConfigsFile(), { force: true }).catch(() => {});
  const folders = [copiesFolder(), dirname(copiesFolder()), ...caches.map((path) => dirname(path))];
  // Only an empty one can be removed like that.
  for (const folder of folders) await rmdir(folder).catch(() => {});
  return [...backups, ...copies, ...caches].filter((path) => existsSync(path));
}
