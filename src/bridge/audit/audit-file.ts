import { closeSync, fdatasyncSync, fstatSync, type Stats, statSync, writeFileSync } from 'node:fs';
import { UnusableFile } from '../../private-path.ts';
import { openRotated, type Rotation } from '../../rotated-file.ts';

/** How large an audit log gets, and how many of them there are. */
const ROTATION = { limitBytes: 10 * 1024 * 1024, files: 10 };

/** A file that is open, and what it was when it was opened. */
interface OpenFile {
  readonly fd: number;
  readonly stats: Stats;
}

/**
 * The file of `--audit-log`. Several processes may append to it at once. It stays open, and is opened
 * again as soon as something else is at its path: it was rotated, moved, replaced or removed.
 */
export class AuditFile {
  readonly #file: string;
  readonly #isRequired: boolean;
  readonly #rotation: Rotation;
  #open: OpenFile | undefined;
  /** Whether the last line may be there in part, as where the disk is full. */
  #isTorn = false;

  /** `isRequired`: each line is on the disk before `append` returns. */
  constructor(file: string, isRequired: boolean, rotation = ROTATION) {
    this.#file = file;
    this.#isRequired = isRequired;
    this.#rotation = rotation;
  }

  /** Appends a line. Returns why it could not, in words that fit before a full stop. */
  append(line: string): string | undefined {
    const text = this.#isTorn ? `\n${line}` : line;
    try {
      const { fd, stats } = this.#opened(Buffer.byteLength(text));
      // What is written to a device or a pipe is not kept.
      if (this.#isRequired && !stats.isFile()) return `${this.#file} is not a file`;
      this.#isTorn = true;
      writeFileSync(fd, text);
      if (this.#isRequired) fdatasyncSync(fd);
      this.#isTorn = false;
      // Windows replaces no file that is open, and so could not remove the oldest one.
      if (process.platform === 'win32') this.#close();
      return undefined;
    } catch (error) {
      this.#close();
      const { code, message } = error as NodeJS.ErrnoException;
      if (error instanceof UnusableFile) return message;
      return `${this.#file} cannot be written (${code ?? message})`;
    }
  }

  /** The file at the path with space for `moreBytes`. Its folders are looked at only to open it. */
  #opened(moreBytes: number): OpenFile {
    if (this.#open !== undefined && this.#isCurrent(this.#open.stats, moreBytes)) return this.#open;
    this.#close();
    const fd = openRotated(this.#file, moreBytes, this.#rotation);
    this.#open = { fd, stats: fstatSync(fd) };
    return this.#open;
  }

  #isCurrent({ dev, ino }: Stats, moreBytes: number): boolean {
    const now = statSync(this.#file, { throwIfNoEntry: false });
    if (now?.ino !== ino || now.dev !== dev) return false;
    if (!now.isFile()) return true;
    return (now.mode & 0o077) === 0 && now.size + moreBytes <= this.#rotation.limitBytes;
  }

  #close(): void {
    if (this.#open !== undefined) closeSync(this.#open.fd);
    this.#open = undefined;
  }
}
