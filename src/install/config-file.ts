import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import {
  access,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { mayBeOpenElsewhere, renameOnto } from '../rename-onto.ts';
import { noteWrittenConfig } from './written-configs.ts';

/** A client's config file, as it stood when it was read. */
export interface ConfigFile {
  /** Where it is, links followed. */
  readonly path: string;
  /** Undefined when there is no such file yet. */
  readonly found?: { readonly bytes: Buffer; readonly stats: Stats };
  /** Without the byte order mark; empty when there is no file. */
  readonly text: string;
  readonly hasByteOrderMark: boolean;
}

/** The file cannot be read or written. The message says why, and what can be done. */
export class ConfigFileError extends Error {}

/** For a new file and for backups: the user's other servers may have keys in them. */
const PRIVATE_MODE = 0o600;

/** How many backups of one file are kept. */
const MAX_BACKUPS = 10;

/** As many as Linux follows. */
const MAX_LINKS = 40;

const BYTE_ORDER_MARK = '\ufeff';

/** Reads the file; one that does not exist is an empty one. Throws ConfigFileError. */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  try {
    const real = await realpath(path);
    const [bytes, stats] = await Promise.all([readFile(real), stat(real)]);
    const decoded = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
    if (!Buffer.from(decoded).equals(bytes)) {
      throw new ConfigFileError('it is not UTF-8. Save it as UTF-8 in an editor');
    }
    const hasByteOrderMark = decoded.startsWith(BYTE_ORDER_MARK);
    const text = hasByteOrderMark ? decoded.slice(1) : decoded;
    return { path: real, found: { bytes, stats }, text, hasByteOrderMark };
  } catch (error) {
    if (error instanceof ConfigFileError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      return { path: await linkTarget(path), text: '', hasByteOrderMark: false };
    }
    throw new ConfigFileError(`it cannot be read (${code})`);
  }
}

/** Where a link leads to that leads to nothing yet, such as into a folder of dotfiles. */
async function linkTarget(path: string): Promise<string> {
  let at = path;
  for (let links = 0; links < MAX_LINKS; links++) {
    const target = await readlink(at).catch(() => undefined);
    if (target === undefined) return at;
    at = resolve(dirname(at), target);
  }
  throw new ConfigFileError('it is a link that leads to itself');
}

/**
 * Puts `text` in the file's place, in one step, so that no reader ever sees half of it; mode,
 * owner and byte order mark stay. Returns the path of the backup, beside the file; undefined where
 * there was no file. The newest 10 backups are kept. With `backup`, one of this file that the same
 * command has made, no other is made.
 *
 * Throws ConfigFileError, and leaves the file as it is, when it is read-only, when another has
 * changed it since it was read, or when the folder cannot be written to.
 */
export async function replaceConfigFile(
  file: ConfigFile,
  text: string,
  { backup: earlier, now = new Date() }: { backup?: string | undefined; now?: Date } = {},
): Promise<string | undefined> {
  const { path, found } = file;
  // The owner bit is asked for as well: nothing is read-only to root, and to rename() neither.
  const isWritable =
    found === undefined ||
    ((found.stats.mode & 0o200) !== 0 &&
      (await access(path, constants.W_OK).then(
        () => true,
        () => false,
      )));
  if (!isWritable)
    throw new ConfigFileError('it is read-only. Make it writable, or edit it by hand');
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    if (found === undefined) await mkdir(dirname(path), { recursive: true });
    const mode = found ? found.stats.mode & 0o7777 : PRIVATE_MODE;
    const handle = await open(temporary, 'wx', mode);
    try {
      await handle.writeFile((file.hasByteOrderMark ? BYTE_ORDER_MARK : '') + text);
      // The umask takes bits from what open() was asked for.
      if (found) await handle.chmod(mode);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (found) await keepOwner(temporary, found.stats);
    const { found: current } = await readConfigFile(path);
    if (!(current ? found && current.bytes.equals(found.bytes) : found === undefined)) {
      throw new ConfigFileError('another program changed it just now. Run the command again');
    }
    const backup = earlier ?? (found && (await backUp(path, found, now)));
    // Before it is in place: once a config names a copy, that copy must not be removed.
    await noteWrittenConfig(path, text);
    await renameOnto(path, temporary);
    if (backup !== undefined) await removeOldBackups(path, backup);
    return backup;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    if (error instanceof ConfigFileError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    if (mayBeOpenElsewhere(error)) {
      throw new ConfigFileError(
        `another program has it open, or you may not change it (${code}). Close that program, then run the command again`,
      );
    }
    throw new ConfigFileError(`it cannot be written (${code}): ${message}`);
  }
}

/** Under sudo the new file would be root's, and the client could not read it. */
async function keepOwner(temporary: string, { uid, gid }: Stats): Promise<void> {
  const own = await stat(temporary);
  if (own.uid !== uid || own.gid !== gid) await chown(temporary, uid, gid).catch(() => {});
}

/**
 * Writes what was found beside the file, as `<file>.2026-01-31T13-45-59.bak` in local time, with a
 * counter where that name is taken. Only its owner can read it.
 */
async function backUp(
  path: string,
  { bytes, stats }: NonNullable<ConfigFile['found']>,
  now: Date,
): Promise<string> {
  const [year, ...others] = [
    ...[now.getFullYear(), now.getMonth() + 1, now.getDate()],
    ...[now.getHours(), now.getMinutes(), now.getSeconds()],
  ].map((part) => String(part).padStart(2, '0'));
  const [month, day, ...time] = others;
  const stem = `${path}.${year}-${month}-${day}T${time.join('-')}`;
  for (let count = 1; ; count++) {
    const backup = count === 1 ? `${stem}.bak` : `${stem}.${count}.bak`;
    try {
      // `x` also keeps it from writing through a link.
      await writeFile(backup, bytes, { flag: 'wx', mode: stats.mode & PRIVATE_MODE });
      await keepOwner(backup, stats);
      return backup;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue;
      await rm(backup, { force: true }).catch(() => {});
      throw error;
    }
  }
}

/** Removes all but the newest backups. `latest` stays: a clock that was set back misplaces it. */
async function removeOldBackups(path: string, latest: string): Promise<void> {
  const older = (await backupsOf(path)).filter((backup) => backup !== latest);
  for (const backup of older.slice(MAX_BACKUPS - 1)) {
    await rm(backup, { force: true }).catch(() => {});
  }
}

/** The paths of a config's backups, newest first. `path` as `readConfigFile` returns it. */
export async function backupsOf(path: string): Promise<string[]> {
  const [folder, stem] = [dirname(path), `${basename(path)}.`];
  const names = await readdir(folder).catch(() => []);
  const backups = names.flatMap((name) => {
    const rest = name.startsWith(stem) ? name.slice(stem.length) : '';
    const [, time, count = '1'] =
      /^(\d{4}(?:-\d\d){2}T\d\d(?:-\d\d){2})(?:\.(\d+))?\.bak$/.exec(rest) ?? [];
    if (time === undefined) return [];
    return [{ path: join(folder, name), order: `${time} ${count.padStart(9, '0')}` }];
  });
  return backups.sort((a, b) => (a.order < b.order ? 1 : -1)).map(({ path: own }) => own);
}
