import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { LockTimeout, withLock } from '../auth/oauth/process-lock.ts';
import { lockFolder } from '../auth/oauth/sign-in-file.ts';
import { dataFolder } from '../data-folder.ts';
import { readPrivate, UnusableFile } from '../private-path.ts';
import { renameOnto } from '../rename-onto.ts';
import { allClients } from './clients.ts';
import { ConfigFileError, readConfigFile, replaceConfigFile } from './config-file.ts';
import { configText } from './config-format.ts';
import { ConfigSyntaxError, type Path, UneditableError, valueAt } from './config-text.ts';
import { InstallError } from './planned-change.ts';

/** A config that `migrate` has changed, in the file that `migrate --undo` reads. */
interface MigrationRecord {
  /** The client's id. */
  readonly client: string;
  readonly file: string;
  readonly backup: string;
  /** SHA-256 of the text that was written. */
  readonly written: string;
  /** Where the entries are that were changed. */
  readonly paths: readonly Path[];
}

/** What became of a config that was to be as it was before. */
export interface UndoneConfig {
  readonly client: string;
  readonly file: string;
  /** `exactly`: byte for byte; `entries`: those alone, since the rest was changed meanwhile. */
  readonly outcome: 'exactly' | 'entries' | 'left';
  readonly backup: string;
  readonly why?: string;
}

/** Longer than another process takes to put every client's config back. */
const LOCK_LIMIT_MS = 20_000;

const data = () => dataFolder(process.platform, process.env, homedir());

const recordFile = () => join(data(), 'mcp-latchkey', 'migrations.json');

/** Runs `act` while no other process reads or writes the records. Rejects with UnusableFile as well. */
async function alone<Value>(act: () => Promise<Value>): Promise<Value> {
  try {
    return await withLock(lockFolder(data()), 'migrations', { limitMs: LOCK_LIMIT_MS }, act);
  } catch (error) {
    if (!(error instanceof LockTimeout)) throw error;
    throw new UnusableFile(`another process is using ${recordFile()}`, { cause: error });
  }
}

const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');

/** Notes what was changed. Rejects with UnusableFile, or the file system's error. */
export async function recordMigration(
  change: Omit<MigrationRecord, 'written'> & { readonly text: string },
): Promise<void> {
  const { text, ...record } = change;
  await alone(() => writeRecords([...readRecords(), { ...record, written: hashOf(text) }]));
}

/** The records so far, in the order they were made. Throws UnusableFile. */
function readRecords(): MigrationRecord[] {
  try {
    const records = JSON.parse(readPrivate(recordFile(), 'trusted', () => {}).toString());
    if (!Array.isArray(records)) throw new SyntaxError('not a list');
    return records;
  } catch (error) {
    const { code } = ((error as UnusableFile).cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    if (error instanceof SyntaxError) throw new UnusableFile(`${recordFile()} is damaged`);
    throw error;
  }
}

async function writeRecords(records: readonly MigrationRecord[]): Promise<void> {
  const path = recordFile();
  if (records.length === 0) return rm(path, { force: true });
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(temporary, `${JSON.stringify(records, null, 2)}\n`, { flag: 'wx', mode: 0o600 });
  await renameOnto(path, temporary);
}

/**
 * Puts back what `migrate` has changed, the newest first. Where a config was changed since, the entries
 * alone. Rejects with InstallError when the records are damaged, or another user can change them.
 */
export async function undoMigrations(): Promise<UndoneConfig[]> {
  if (!existsSync(recordFile())) return [];
  try {
    return await alone(undoRecords);
  } catch (error) {
    if (!(error instanceof UnusableFile)) throw error;
    throw new InstallError(
      `It is not known what migrate has changed: ${error.message}. The backups are beside the configs`,
    );
  }
}

async function undoRecords(): Promise<UndoneConfig[]> {
  const undone: UndoneConfig[] = [];
  let left: MigrationRecord[] = [];
  for (const record of readRecords().reverse()) {
    const { client, file, backup } = record;
    const result = await undo(record).catch((error: Error) => {
      const isKnown = [ConfigFileError, ConfigSyntaxError, UneditableError, UnusableFile].some(
        (known) => error instanceof known,
      );
      if (!isKnown) throw error;
      return { outcome: 'left', why: error.message } as const;
    });
    undone.push({ client, file, backup, ...result });
    if (result.outcome === 'left') left = [record, ...left];
  }
  await writeRecords(left);
  return undone;
}

async function undo(record: MigrationRecord): Promise<Pick<UndoneConfig, 'outcome'>> {
  // Its text becomes the config, which the client runs.
  readPrivate(record.backup, 'trusted', () => {});
  const before = await readConfigFile(record.backup);
  const file = await readConfigFile(record.file);
  if (hashOf(file.text) === record.written) {
    await replaceConfigFile({ ...file, hasByteOrderMark: before.hasByteOrderMark }, before.text);
    return { outcome: 'exactly' };
  }
  const client = allClients().find(({ id }) => id === record.client);
  if (client === undefined) throw new UneditableError(`the client ${record.client} is not known`);
  const edit = configText(client.format);
  const old = edit.read(before.text);
  const text = record.paths.reduce((next, path) => {
    const value = valueAt(old, path);
    const now = valueAt(edit.read(next), path);
    // What was removed meanwhile stays removed.
    return now === undefined || isDeepStrictEqual(now, value) ? next : edit.set(next, path, value);
  }, file.text);
  if (text !== file.text) await replaceConfigFile(file, text);
  return { outcome: 'entries' };
}
