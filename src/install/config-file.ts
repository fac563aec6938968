import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import {
  access,
  chown,
  copyFile,
  mkdir,
  open,
  readFile,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

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

/** A new file holds what the user's other servers will need: keys, in many cases. */
const NEW_FILE_MODE = 0o600;

const BYTE_ORDER_MARK = '\ufeff';

/** Reads the file; one that does not exist is an empty one. Throws ConfigFileError. */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  try {
    const real = await realpath(path);
    const [bytes, stats] = await Promise.all([readFile(real), stat(real)]);
    const decoded = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
    if (!Buffer.from(decoded).equals(bytes)) {
      throw new ConfigFileError('it is not written in UTF-8. Save it as UTF-8 in an editor');
    }
    const hasByteOrderMark = decoded.startsWith(BYTE_ORDER_MARK);
    const text = hasByteOrderMark ? decoded.slice(1) : decoded;
    return { path: real, found: { bytes, stats }, text, hasByteOrderMark };
  } catch (error) {
    if (error instanceof ConfigFileError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { path, text: '', hasByteOrderMark: false };
    throw new ConfigFileError(`it cannot be read (${code})`);
  }
}

/**
 * Puts `text` in the file's place, in one step, so that no reader ever sees half of it; mode,
 * owner and byte order mark stay. Returns the backup's path, beside the file, or undefined where
 * none was made: there was no file, or today's backup exists already.
 *
 * Throws ConfigFileError, and leaves the file as it is, when it is read-only, when somebody has
 * changed it since it was read, or when the folder cannot be written to.
 */
export async function replaceConfigFile(
  file: ConfigFile,
  text: string,
  now = new Date(),
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
    const mode = found ? found.stats.mode & 0o7777 : NEW_FILE_MODE;
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
      throw new ConfigFileError(
        'it was changed by another program just now. Run the command again',
      );
    }
    const backup = found && (await backUp(path, now));
    await rename(temporary, path);
    return backup;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    if (error instanceof ConfigFileError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new ConfigFileError(`it cannot be written (${code}): ${message}`);
  }
}

/** Under sudo the new file would be root's, and the client could not read it. */
async function keepOwner(temporary: string, { uid, gid }: Stats): Promise<void> {
  const own = await stat(temporary);
  if (own.uid !== uid || own.gid !== gid) await chown(temporary, uid, gid).catch(() => {});
}

/** Copies the file beside itself, unless that was done today. */
async function backUp(path: string, now: Date): Promise<string | undefined> {
  const day = [
    now.getFullYear(),
    `${now.getMonth() + 1}`.padStart(2, '0'),
    `${now.getDate()}`.padStart(2, '0'),
  ].join('-');
  const backup = `${path}.${day}.bak`;
  try {
    await copyFile(path, backup, constants.COPYFILE_EXCL);
    return backup;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
    throw error;
  }
}
