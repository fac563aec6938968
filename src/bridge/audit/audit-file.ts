import { closeSync, fstatSync, fsyncSync, writeFileSync } from 'node:fs';
import { UnusableFile } from '../../private-path.ts';
import { openRotated, type Rotation } from '../../rotated-file.ts';

/** How large an audit log gets, and how many of them there are. */
const ROTATION = { limitBytes: 10 * 1024 * 1024, files: 10 };

/** The file of `--audit-log`. Several processes may append to it at once. */
export class AuditFile {
  readonly #file: string;
  readonly #isRequired: boolean;
  readonly #rotation: Rotation;
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
      const fd = openRotated(this.#file, Buffer.byteLength(text), this.#rotation);
      try {
        // What is written to a device or a pipe is not kept.
        if (this.#isRequired && !fstatSync(fd).isFile()) return `${this.#file} is not a file`;
        this.#isTorn = true;
        writeFileSync(fd, text);
        if (this.#isRequired) fsyncSync(fd);
        this.#isTorn = false;
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
