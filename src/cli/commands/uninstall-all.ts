import type { KeychainEntry } from '../../auth/keychain.ts';
import type { SignInEntry } from '../../auth/oauth/stored-sign-in.ts';
import type { Leftovers, PlannedChange } from '../../install/install.ts';
import { createLog } from '../../log.ts';
import { UsageError } from '../../settings/options.ts';
import { type ProxySettings, toSettings } from '../../settings/settings.ts';
import { canAsk, confirms } from '../../terminal/ask.ts';
import { asSentence, type Printer } from '../../terminal/printer.ts';
import { ownCacheFolder } from '../compile-cache.ts';
import { withSlowNotice } from '../keychain-io.ts';
import { changeAsJson, sayDone, sayPlan, tildePath } from './install-text.ts';
import { surroundingsOf } from './login-sign-in.ts';

interface Options {
  readonly purge: boolean | undefined;
  readonly yes: boolean | undefined;
  readonly json: boolean | undefined;
  readonly 'dry-run': boolean | undefined;
}

/** What `--purge` removes beside the entries. */
interface Purge extends Leftovers {
  readonly keys: readonly KeychainEntry[];
  readonly signIns: readonly SignInEntry[];
  /** Why the keychain could not be read, in a sentence. */
  readonly keychainError?: string;
}

/** What is still there afterwards, in words, one for each thing. */
type Left = string[];

/**
 * Removes every entry that runs this program, and with `purge` all else that it has stored, each shown
 * before. Sets exit code 1 where something is left. Rejects with UsageError where no one can be asked.
 */
export async function uninstallAll(options: Options, out: Printer): Promise<void> {
  const { json = false, 'dry-run': isDryRun = false } = options;
  const isAnswered = options.yes === true || isDryRun;
  if (!isAnswered && (json || !canAsk())) {
    throw new UsageError('without a terminal, --all removes only with --yes');
  }
  const { plans, left } = await plannedRemovals();
  const purge = options.purge ? await found() : undefined;
  if (!json) {
    for (const plan of plans) sayPlan(out, plan);
    if (purge) sayPurge(out, purge);
    for (const why of left) out.marked('fail', why);
  }
  const isNothing = plans.length === 0 && countOf(purge) === 0;
  if (isNothing && !json) out.marked('ok', 'Nothing to remove.');
  if (!isNothing && !isAnswered && !(await confirms('Remove all of this?'))) {
    return out.line('Nothing was removed.');
  }
  const notes: string[] = [];
  const backups = isDryRun
    ? []
    : await remove(plans, left, json ? undefined : out, purge !== undefined);
  if (purge && !isDryRun) left.push(...(await removePurged(purge, notes)));
  if (purge?.keychainError !== undefined) left.push(purge.keychainError);
  if (left.length > 0) process.exitCode = 1;
  if (json) {
    const { keys = [], signIns = [], backups: files = [], copies = [], caches = [] } = purge ?? {};
    const stored = keys.map(({ gateway, account }) => ({ gateway, account }));
    return out.json({
      removed: !isDryRun,
      entries: plans.map((plan, index) => changeAsJson(plan, !isDryRun, backups[index], {})),
      ...(purge && { keys: stored, signIns, files: [...files, ...copies, ...caches] }),
      left,
    });
  }
  if (isDryRun) return out.line('Nothing was removed (--dry-run).');
  if (purge && countOf(purge) > 0) out.marked('ok', 'Removed what was stored.');
  for (const what of [...left, ...notes]) out.note(what);
  const clients = [...new Set(plans.map(({ client }) => client.displayName))];
  if (clients.length > 0)
    out.text(`Restart ${clients.join(', ')}. Until then, the entries run on.`);
}

const countOf = (purge: Purge | undefined) =>
  purge === undefined
    ? 0
    : purge.keys.length +
      purge.signIns.length +
      purge.backups.length +
      purge.copies.length +
      purge.caches.length;

async function plannedRemovals(): Promise<{ plans: PlannedChange[]; left: Left }> {
  const { EntryError, InstallError, ownEntries, planUninstall } = await import(
    '../../install/install.ts'
  );
  const { entries, unread } = await ownEntries();
  const left = unread.map(({ client, file, why }) => `${client}: ${file} cannot be read: ${why}.`);
  const plans: PlannedChange[] = [];
  for (const { client, place, name } of entries) {
    try {
      plans.push(await planUninstall(place, name));
    } catch (error) {
      if (!(error instanceof InstallError || error instanceof EntryError)) throw error;
      left.push(`${client}: ${error.message}.`);
    }
  }
  return { plans, left };
}

/** Resolves with the paths of the backups that stay: a purge removes them too. */
async function remove(
  plans: readonly PlannedChange[],
  left: Left,
  out: Printer | undefined,
  isPurge: boolean,
): Promise<(string | undefined)[]> {
  const { copiesFolder, EntryError, InstallError, planUninstall, removeUnusedCopies } =
    await import('../../install/install.ts');
  const backups: (string | undefined)[] = [];
  const backupOf = new Map<string, string>();
  for (const { client, place, name } of plans) {
    try {
      // Planned again: the entry before it may have been in the same file.
      const plan = await planUninstall(place, name);
      const earlier = backupOf.get(plan.file);
      const backup = await plan.apply(earlier);
      if (backup !== undefined) backupOf.set(plan.file, backup);
      backups.push(isPurge ? undefined : backup);
      if (out) sayDone(out, plan, isPurge || earlier !== undefined ? undefined : backup);
    } catch (error) {
      if (!(error instanceof InstallError || error instanceof EntryError)) throw error;
      backups.push(undefined);
      left.push(`${client.displayName}: ${error.message}.`);
    }
  }
  await removeUnusedCopies(copiesFolder());
  return backups;
}

async function found(): Promise<Purge> {
  const { leftovers } = await import('../../install/install.ts');
  const { listKeys } = await import('../../auth/keychain.ts');
  const { listSignIns } = await import('../../auth/oauth/user-sign-in.ts');
  const { oauth } = settingsOf({ gateway: 'http://localhost', account: '' });
  const [files, answer, listed] = await Promise.all([
    leftovers(ownCacheFolder(process.env)),
    withSlowNotice(listKeys()),
    listSignIns(
      oauth,
      process.env,
      createLog('error', () => {}),
    ),
  ]);
  const stored = { ...files, signIns: listed.map(({ entry }) => entry) };
  if ('value' in answer) return { ...stored, keys: answer.value };
  // Where there is no keychain, there are no keys in it.
  const { isAbsent, words } = answer.error;
  return { ...stored, keys: [], ...(isAbsent ? {} : { keychainError: asSentence(words) }) };
}

/** For what is stored of a gateway: no policy keeps it from being removed. */
function settingsOf({ gateway, account }: SignInEntry): ProxySettings {
  const given = { 'allow-http': true, ...(account === '' ? {} : { account }) };
  return toSettings(gateway, given, process.env, null);
}

function sayPurge(out: Printer, { keys, signIns, backups, copies, caches }: Purge): void {
  const section = (title: string, lines: readonly string[]) => {
    if (lines.length === 0) return;
    out.title(title);
    for (const line of lines) out.line(`  ${line}`);
    out.line();
  };
  section(
    'Keys in the keychain',
    keys.map(({ gateway, account }) => `${gateway}  ${account}`),
  );
  section(
    'Sign-ins',
    signIns.map(({ gateway, account }) => `${gateway}  ${account}`),
  );
  section('Copies of the program', copies.map(tildePath));
  section('Backups of configs, which may contain keys', backups.map(tildePath));
  section('Other files', caches.map(tildePath));
}

/** Also the backups that the removal of the entries has made. Adds to `notes` what cannot be removed here. */
async function removePurged({ keys, signIns }: Purge, notes: string[]): Promise<Left> {
  const { leftovers, removeLeftovers } = await import('../../install/install.ts');
  const { removeEntry, removeStoreKey } = await import('../../auth/keychain.ts');
  const left: Left = [];
  for (const entry of keys) {
    const { gateway } = entry;
    const answer = await withSlowNotice(removeEntry(entry));
    if ('error' in answer)
      left.push(`The key for ${gateway} is still stored: ${answer.error.words}.`);
  }
  const { signOut } = await import('../../auth/oauth/user-sign-in.ts');
  for (const entry of signIns) {
    const { isRevoked } = await signOut(surroundingsOf(settingsOf(entry)));
    if (!isRevoked) {
      notes.push(
        `The tokens for ${entry.gateway} were not revoked: they may be good until they expire.`,
      );
    }
  }
  if (signIns.length > 0) await withSlowNotice(removeStoreKey());
  const files = await removeLeftovers(await leftovers(ownCacheFolder(process.env)));
  const why = 'A program that runs now may use it';
  return [...left, ...files.map((path) => `${tildePath(path)} is still there. ${why}.`)];
}
