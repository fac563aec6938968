import { closeSync, fstatSync, fsyncSync, writeFileSync } from 'node:fs';
import { UnusableFile } from '../../private-path.ts';
import { openRotated } from '../../rotated-file.ts';

/** How large an audit log gets, and how many of them there are. */
const ROTATION = { limitBytes: 10 * 1024 * 1024, files: 10 };

/** The file of `--audit-log`. Several processes may append to it at once. */
export class AuditFile {
  readonly #file: string;
  readonly #isRequired: boolean;

  /** `isRequired`: each line is on the disk before `append` returns. */
  constructor(file: string, isRequired: boolean) {
    this.#file = file;
    this.#isRequired = isRequired;
  }

  /** Appends a line. Returns why it could not, in words that fit before a full stop. */
  append(line: string): string | undefined {
    try {
      const fd = openRotated(this.#file, Buffer.byteLength(line), ROTATION);
      try {
        // What is written to a device or a pipe is not kept.
        if (this.#isRequired && !fstatSync(fd).isFile()) return `${this.#file} is not a file`;
        writeFileSync(fd, line);
        if (this.#isRequired) fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      return undefined;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (error instanceof UnusableFile) return message;
      return `${this.#file} cannot be written (${code ?? message})`;
    }
  }
}
