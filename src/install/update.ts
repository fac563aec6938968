import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { Launch } from './clients.ts';
import { type EntryTrial, tryEntry } from './entry-trial.ts';
import { lastingNode } from './lasting-node.ts';
import { isNewer, unpackPackage } from './newer-version.ts';
import { type OwnEntry, ownEntries, type UnreadConfig } from './own-entries.ts';
import { InstallError, planInstall } from './planned-change.ts';
import { copiesFolder, type ProgramCopy, programCopy } from './program-copy.ts';
import { removeUnusedCopies } from './unused-copies.ts';

/** What became of an entry. All texts are one line. */
export interface EntryUpdate {
  readonly client: string;
  readonly name: string;
  readonly file: string;
  /** `kept`: it works worse with the new version. `left`: it starts neither a copy nor a version. */
  readonly outcome: 'moved' | 'kept' | 'left' | 'unchanged';
  /** How it went with the new version. */
  readonly check?: EntryTrial;
  /** Why it was kept or left, as a clause. */
  readonly why?: string;
}

/**
 * The package of a version of the registry, or of a file, as a copy that entries can start. Rejects
 * with NpmError, and as `write` does.
 */
export async function fetchCopy(
  from: { readonly version: string } | { readonly file: string },
  ownRoot: string,
): Promise<ProgramCopy> {
  const copies = copiesFolder();
  await mkdir(copies, { recursive: true, mode: 0o755 });
  const folder = await mkdtemp(join(copies, '.update-'));
  try {
    const copy = await programCopy(await unpackPackage(from, folder, ownRoot), copies);
    await copy.write();
    return copy;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Moves each entry of the installed clients to the copy, or to its version where npx starts it and
 * `isPublished`, unless the entry works worse then: both are started as the client does. In the end
 * removes the copies that nothing uses. Never rejects.
 */
export async function moveEntries(
  copy: ProgramCopy,
  isPublished: boolean,
  onEntry: (entry: EntryUpdate) => void,
): Promise<{ entries: EntryUpdate[]; unread: UnreadConfig[] }> {
  const { entries, unread } = await ownEntries();
  const updates: EntryUpdate[] = [];
  const backups = new Map<string, string>();
  for (const entry of entries) {
    const update = { ...pick(entry), ...(await moveEntry(entry, copy, isPublished, backups)) };
    updates.push(update);
    onEntry(update);
  }
  await removeUnusedCopies(copiesFolder());
  return { entries: updates, unread };
}

const pick = ({ client, name, file }: OwnEntry) => ({ client, name, file });

async function moveEntry(
  entry: OwnEntry,
  copy: ProgramCopy,
  isPublished: boolean,
  backups: Map<string, string>,
): Promise<Omit<EntryUpdate, 'client' | 'name' | 'file'>> {
  const { place, file, name, launch } = entry;
  const next = movedLaunch(launch, copy, isPublished);
  if (next === undefined) {
    return { outcome: 'left', why: 'it does not start a copy that install has made' };
  }
  if (JSON.stringify(next) === JSON.stringify(launch)) return { outcome: 'unchanged' };
  const check = await tryEntry(next);
  if (check.outcome !== 'connected' && rank(check) < rank(await tryEntry(launch))) {
    return { outcome: 'kept', check, why: `it does not work with ${copy.version}` };
  }
  try {
    if (!(await isAsItWas(entry))) {
      throw new InstallError('it was changed meanwhile. Run the command again');
    }
    const plan = await planInstall(place, name, next);
    const backup = await plan.apply(backups.get(file));
    if (backup !== undefined) backups.set(file, backup);
    // Another command may have removed the copy while no config named it.
    await copy.write();
    return { outcome: 'moved', check };
  } catch (error) {
    return { outcome: 'kept', check, why: (error as Error).message };
  }
}

/** Whether the entry is there and starts what it started: the trial may take a minute. */
async function isAsItWas({ place, file, name, launch }: OwnEntry): Promise<boolean> {
  const { entries } = await ownEntries();
  const now = entries.find(
    (entry) => entry.file === file && entry.place.project === place.project && entry.name === name,
  );
  return JSON.stringify(now?.launch) === JSON.stringify(launch);
}

/** An entry that only lacks its key or its gateway works as well as it can. */
const rank = ({ outcome }: EntryTrial) =>
  outcome === 'connected' ? 2 : outcome === 'refused' ? 1 : 0;

/** The entry's start with the new version; undefined when it starts no version in particular. */
function movedLaunch(
  { command, args, env = {} }: Launch,
  copy: ProgramCopy,
  isPublished: boolean,
): Launch | undefined {
  const [, copied, id] =
    /[\\/](versions[\\/](\d[^\\/]+))[\\/]bin[\\/]mcp-latchkey\.js$/.exec(args[0] ?? '') ?? [];
  if (copied !== undefined && id !== undefined && args[0]?.startsWith(copiesFolder())) {
    // One that is newer than the newest of the registry was installed on purpose.
    const isAhead = isPublished && isNewer(id.replace(/-[^-]*$/, ''), copy.version);
    const isGone = isAbsolute(command) && !existsSync(command);
    const node = lastingNode(process.execPath, process.env, process.platform).path;
    const script = isAhead ? (args[0] as string) : copy.script;
    return { command: isGone ? node : command, args: [script, ...args.slice(1)], env };
  }
  const at = args.findIndex((word) => /^mcp-latchkey@\d/.test(word));
  if (at < 0) return undefined;
  const [, version = ''] = (args[at] as string).split('@');
  if (!isPublished || isNewer(version, copy.version)) return { command, args, env };
  return { command, args: args.with(at, `mcp-latchkey@${copy.version}`), env };
}
