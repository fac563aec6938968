// What another user of this computer can write must not be run, loaded or trusted here, and a key
// that others can read is not a secret. As OpenSSH's StrictModes does, the whole path is looked at:
// who can write to one folder of it can replace all that is below.
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  type Stats,
  statSync,
} from 'node:fs';
import { shellWord } from './terminal/shell-word.ts';

/**
 * What is at a path cannot be used, or another user may have a hand in it. `message`: why, in words
 * that fit after a colon; `cause`: the file system's error, where that is the reason.
 */
export class UnusableFile extends Error {}

/** Another process put a file in its place while it was opened. The next try may open that one. */
export class ReplacedFile extends UnusableFile {}

/**
 * `trusted`: others must not be able to change it. `secret`: nor to read it. `output`: as `trusted`,
 * but it may be missing, and a file that is open to others is closed to them. `managed`: only root
 * can change it, so not even this user.
 */
type Purpose = 'trusted' | 'secret' | 'output' | 'managed';

interface PrivatePath {
  /** Absolute, with every link followed. */
  readonly path: string;
  /** Undefined when there is nothing yet in the folder that it would be in. */
  readonly stats: Stats | undefined;
  /** It is a descriptor of this process, such as `/dev/fd/63`: whoever started it chose the file. */
  readonly isHandedOver: boolean;
  /** What others can do, but the user cannot change, in words that fit after a colon. */
  readonly warning: string | undefined;
}

/** As many as Linux follows. */
const MAX_LINKS = 40;

/**
 * Looks at each folder and link of a path, and at what it leads to. Each must be owned by this user
 * or by root, and others must not be able to write to it, so that no other user can change afterwards
 * what was found. In a sticky folder such as /tmp others can add names, but cannot replace those of
 * this user and of root. On Windows, where there are no POSIX modes, it only follows the path.
 *
 * What cannot be changed gives a warning only: anything on a read-only mount, and a secret of root's
 * that others can read, unless this is root. Containers get their secrets like that.
 *
 * Throws UnusableFile, or the file system's error when a folder is missing or closed.
 */
export function checkPath(path: string, purpose: Purpose): PrivatePath {
  if (process.platform === 'win32') {
    const stats = statSync(path, { throwIfNoEntry: false });
    return { path, stats, isHandedOver: false, warning: undefined };
  }
  let warning: string | undefined;
  const own = process.geteuid?.();
  const judge = (at: string, stats: Stats, isShared: boolean) => {
    // Most are like this, and a start has no time to lose.
    const isOwner = stats.uid === 0 || (stats.uid === own && purpose !== 'managed');
    const isClosed = (stats.mode & 0o022) === 0 && isOwner;
    if (isClosed && stats.isDirectory()) return;
    const problem = problemOf(at, stats, purpose, isShared);
    if (problem === undefined) return;
    const { isFixed, words, remedy } = problem;
    const isLasting = purpose !== 'managed' && isOnReadOnlyMount(at);
    if (!isFixed && !isLasting) throw new UnusableFile(`${words}. ${remedy}`);
    warning ??= words;
  };
  const rest = (path.startsWith('/') ? path : `${process.cwd()}/${path}`).split('/');
  let at = '';
  let stats: Stats | undefined = lstatSync('/');
  judge('/', stats, false);
  for (let links = 0; rest.length > 0; ) {
    const name = rest.shift();
    if (name === '' || name === '.') continue;
    if (name === '..') {
      at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
      stats = lstatSync(at || '/');
      continue;
    }
    const isShared = isSharedFolder(stats);
    const next = `${at}/${name}`;
    // A regular expression alone would cost a start 0.1 ms.
    if (at.endsWith('/fd') && (at === '/dev/fd' || at.startsWith('/proc/'))) {
      return { path, stats: statSync(path), isHandedOver: true, warning };
    }
    const isLast = rest.every((other) => other === '');
    const found = lstatSync(next, { throwIfNoEntry: !isLast });
    if (found !== undefined) judge(next, found, isShared);
    if (found?.isSymbolicLink()) {
      if (++links > MAX_LINKS) throw new UnusableFile(`the path ${path} has too many links`);
      const target = readlinkSync(next);
      if (target.startsWith('/')) {
        at = '';
        stats = lstatSync('/');
      }
      rest.unshift(...target.split('/'));
      continue;
    }
    at = next;
    stats = found;
  }
  return { path: at || '/', stats, isHandedOver: false, warning };
}

/**
 * Opens a file that passes `checkPath`, for reading or (`output`) for appending, and looks once more
 * at what was opened. An `output` file gets the mode 0600. The caller closes `fd`.
 * Throws as `checkPath` does, and the file system's error when it cannot be opened.
 */
export function openPrivate(
  path: string,
  purpose: Purpose,
): { fd: number; stats: Stats; warning: string | undefined } {
  const found = checkPath(path, purpose);
  const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
  // A pipe that was put in the file's place must not block this process.
  const how = purpose === 'output' ? O_WRONLY | O_APPEND | O_CREAT : O_RDONLY | O_NONBLOCK;
  // A new file must be new: neither a file nor a link that another user has just put there.
  const isNew = found.stats === undefined && purpose === 'output';
  const fd = openSync(
    found.path,
    how | (isNew ? O_EXCL : 0) | (found.isHandedOver ? 0 : O_NOFOLLOW),
    0o600,
  );
  try {
    const stats = fstatSync(fd);
    if (process.platform === 'win32' || found.isHandedOver || isNew) {
      return { fd, stats, warning: found.warning };
    }
    if (stats.ino !== found.stats?.ino || stats.dev !== found.stats.dev) {
      throw new ReplacedFile(`the file ${path} was replaced while it was opened`);
    }
    if (purpose === 'output' && stats.isFile() && (stats.mode & 0o077) !== 0) {
      fchmodSync(fd, 0o600);
    }
    return { fd, stats, warning: found.warning };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Makes a folder that this user alone can look into, where there is none yet, with those above it,
 * and closes it to others where it is open to them. Throws UnusableFile when another user could
 * change it, and the file system's error when it cannot be made.
 */
export function makePrivateFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const { stats } = checkPath(path, 'trusted');
  const isOwn = stats?.uid === process.geteuid?.();
  if (stats !== undefined && isOwn && (stats.mode & 0o077) !== 0) chmodSync(path, 0o700);
}

/**
 * What a file or pipe that passes `checkPath` contains, of at most `limitBytes`; waits for a pipe's
 * writer. `warn` gets what others can do to it, in words that fit after a colon.
 * Throws UnusableFile.
 */
export function readPrivate(
  path: string,
  purpose: Exclude<Purpose, 'output'>,
  warn: (words: string) => void,
  limitBytes = Number.POSITIVE_INFINITY,
): Buffer {
  try {
    // To open a pipe for a look would take from its writer the one reader that it waits for.
    if (isPipe(path, purpose)) return readFileSync(path);
    const { fd, stats, warning } = openPrivate(path, purpose);
    try {
      if (!stats.isFile()) throw new UnusableFile(`${path} is not a file`);
      if (stats.size > limitBytes) throw new UnusableFile(`the file ${path} is too large`);
      if (warning !== undefined) warn(warning);
      return readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw unusable(path, error);
  }
}

/** Whether it is a pipe, whose reading may wait for what writes it. Throws UnusableFile. */
export function isPipe(path: string, purpose: Exclude<Purpose, 'output'>): boolean {
  try {
    return checkPath(path, purpose).stats?.isFIFO() ?? false;
  } catch (error) {
    throw unusable(path, error);
  }
}

function unusable(path: string, error: unknown): UnusableFile {
  if (error instanceof UnusableFile) return error;
  const { code } = error as NodeJS.ErrnoException;
  return new UnusableFile(`the file ${path} could not be read: ${code}`, { cause: error });
}

interface PathProblem {
  readonly words: string;
  readonly remedy: string;
  /** The user cannot change it, and it is common: a warning will do. */
  readonly isFixed?: boolean;
}

function problemOf(
  at: string,
  stats: Stats,
  purpose: Purpose,
  isShared: boolean,
): PathProblem | undefined {
  const { mode, uid } = stats;
  const isFolder = stats.isDirectory();
  const kind = isFolder ? 'folder' : stats.isSymbolicLink() ? 'link' : 'file';
  const own = process.geteuid?.();
  const isManaged = purpose === 'managed';
  const move = isManaged
    ? 'Ask your administrator to give it to root, and to no one else'
    : 'Use a path that only you can write to';
  if ((isManaged || uid !== own) && !isTrustedUser(uid)) {
    const owner = uid === own ? 'you' : 'another user';
    return { words: `the ${kind} ${at} belongs to ${owner} (uid ${uid})`, remedy: move };
  }
  const isOpen = isManaged ? (mode & 0o022) !== 0 : othersCanWrite(stats);
  const chmod = (change: string) =>
    uid === own || own === 0 ? `Run \`chmod ${change} ${shellWord(at)}\`` : move;
  if (isFolder) {
    if (!isOpen || (isSharedFolder(stats) && !isManaged)) return undefined;
    return { words: `other users can write to the folder ${at}`, remedy: chmod('go-w') };
  }
  if (stats.isFile() && isShared && stats.nlink > 1) {
    // A hard link to a file of this user's can be made by any other (unless Linux protects them).
    return { words: `the file ${at} has a second name, by a hard link`, remedy: move };
  }
  // A device such as /dev/null is open to all.
  if (purpose === 'output' || !(stats.isFile() || stats.isFIFO())) return undefined;
  const words = `other users can open the file ${at}`;
  if (isOpen) {
    return { words, remedy: chmod(purpose === 'secret' ? '600' : 'go-w') };
  }
  // A pipe is made for one reader, with the mode of any file.
  if (purpose !== 'secret' || (mode & 0o077) === 0 || stats.isFIFO()) return undefined;
  return { words, remedy: chmod('600'), isFixed: uid !== own };
}

/** Others can add names, but cannot replace those of this user or of root. */
const isSharedFolder = (stats: Stats | undefined) =>
  stats !== undefined && (stats.mode & 0o1000) !== 0 && othersCanWrite(stats);

function othersCanWrite({ mode, gid }: Stats): boolean {
  if ((mode & 0o002) !== 0) return true;
  return (mode & 0o020) !== 0 && gid !== 0 && !isGroupOfThisUserAlone(gid);
}

/** Many Linux systems give each user a group and the umask 002: all their folders are 775 then. */
function isGroupOfThisUserAlone(gid: number): boolean {
  if (process.platform !== 'linux' || gid !== process.getegid?.()) return false;
  try {
    const rows = (file: string) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .map((line) => line.split(':'));
    const users = rows('/etc/passwd').filter(([, , , own]) => own === String(gid));
    const groups = rows('/etc/group').filter(([, , own]) => own === String(gid));
    const [[name, , uid] = [], [, , , members] = []] = [users[0], groups[0]];
    return (
      users.length === 1 &&
      groups.length === 1 &&
      uid === String(process.geteuid?.()) &&
      (members === '' || members === name)
    );
  } catch {
    return false;
  }
}

/** Root, which can do anything anyway. */
function isTrustedUser(uid: number): boolean {
  if (uid === 0) return true;
  // In a user namespace, as in a Flatpak, root's own folders seem to be those of the overflow user.
  if (uid !== 65534 || process.platform !== 'linux') return false;
  try {
    return !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
  } catch {
    return false;
  }
}

function isOnReadOnlyMount(path: string): boolean {
  try {
    // Where the mode allows no writing, access() answers with EACCES: only the table can tell.
    let last = { point: '', options: '' };
    for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
      const [, , , , escaped = '', options = ''] = line.split(' ');
      const point = escaped.replace(/\\([0-7]{3})/g, (_, code) =>
        String.fromCharCode(Number.parseInt(code, 8)),
      );
      const isAbove = point === '/' || path === point || path.startsWith(`${point}/`);
      if (isAbove && point.length >= last.point.length) last = { point, options };
    }
    return last.options.split(',').includes('ro');
  } catch {
    // Not Linux.
  }
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS';
  }
}
