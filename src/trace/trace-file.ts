import { close, write } from 'node:fs';
import { promisify } from 'node:util';
import { SecretMatcher } from '../failures/secret-matcher.ts';
import type { Secrets } from '../failures/secrets.ts';
import type { Log } from '../log.ts';
import { UnusableFile } from '../private-path.ts';
import { openRotated } from '../rotated-file.ts';

/** How long lines are gathered before they are written. */
const GATHER_MS = 100;
/** How much room for lines is made at a time. */
const CHUNK_BYTES = 256 * 1024;
/** What may wait to be written while the disk is slow. */
const MOST_QUEUED_BYTES = 16 * 1024 * 1024;
/** How many bytes of a message `heads` records. */
const HEAD_BYTES = 4096;
const MOST_SESSIONS = 32;
/** How long the last lines may take. */
const END_LIMIT_MS = 500;

const LF = 0x0a;

export interface TraceFileOptions {
  readonly file: string;
  readonly bodies: 'none' | 'heads' | 'all';
  /** Of FILE and FILE.1 together. */
  readonly maxBytes: number;
  /** The process that writes. */
  readonly run: number;
}

/**
 * Appends lines to a trace, some time later and not in the way of what they are about. Secrets are
 * masked just before they are written, and the first of them only after `release`: by then every key
 * that was used is known. The oldest lines give
 * way: when FILE has half of what is allowed, it becomes FILE.1.
 */
export class TraceFile {
  readonly #options: TraceFileOptions;
  readonly #mostBodyBytes: number;
  #secrets: Secrets | undefined;
  #log: Log | undefined;
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  #used = 0;
  #full: Buffer[] = [];
  #fullBytes = 0;
  #dropped = 0;
  #count = 0;
  /** Of the lines in `#chunk`, the first. */
  #oldest = 1;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #isBroken = false;
  #isHeld = true;
  /** Finds ids of sessions: whoever has one can use it. */
  #sessions = new SecretMatcher([]);
  readonly #sessionIds = new Set<string>();

  constructor(options: TraceFileOptions) {
    this.#options = options;
    const { bodies, maxBytes } = options;
    // One message must not push everything else out.
    const most = Math.floor(maxBytes / 16);
    this.#mostBodyBytes =
      bodies === 'none' ? 0 : bodies === 'all' ? most : Math.min(HEAD_BYTES, most);
  }

  /** The number of the oldest line that is written together with the next one, if any. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Begins to write: from now on it is known what is secret. */
  begin(secrets: Secrets, log: Log): void {
    this.#secrets = secrets;
    this.#log = log;
    this.#flushLater();
  }

  /** Lets lines be written: the credential is known now, or known to be missing. */
  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#flushLater();
  }

  /** Masks the id of a session from now on: the newest 32. */
  hideSession(id: string): void {
    this.#sessionIds.add(id);
    const [oldest] = this.#sessionIds;
    if (this.#sessionIds.size > MOST_SESSIONS) this.#sessionIds.delete(oldest as string);
    this.#sessions = new SecretMatcher(this.#sessionIds);
  }

  /**
   * Adds a line with `members`, JSON without its braces, and the message `json`, if any, which is valid
   * and has no line end. Returns the line's number.
   */
  add(members: string, json?: Buffer): number {
    const n = ++this.#count;
    if (this.#isBroken) return n;
    if (this.#fullBytes > MOST_QUEUED_BYTES) {
      this.#dropped++;
      this.#oldest = n + 1;
      return n;
    }
    const text = `{"n":${n},"run":${this.#options.run},${members}`;
    const most = this.#mostBodyBytes;
    if (json === undefined || most === 0) this.#put(`${text}}\n`, undefined);
    else if (json.length <= most) this.#put(`${text},"message":`, json);
    else {
      // By the mark of what was cut off, the beginning of a secret before it is known as one.
      const head = JSON.stringify(`${json.toString('utf8', 0, most)}…`);
      this.#put(`${text},"head":${head}}\n`, undefined);
    }
    if (this.#fullBytes > MOST_QUEUED_BYTES / 4) this.#flush();
    else this.#flushLater();
    return n;
  }

  /** Writes what is left, within 0.5 s. Never rejects. */
  async end(): Promise<void> {
    const late = new Promise<void>((resolve) => setTimeout(resolve, END_LIMIT_MS));
    this.#isHeld = false;
    const all = async () => {
      do {
        await this.#writing;
        this.#flush();
      } while (this.#writing !== undefined);
    };
    await Promise.race([all(), late]);
  }

  #put(text: string, json: Buffer | undefined): void {
    const most = 3 * text.length + (json === undefined ? 0 : json.length + 2);
    if (this.#used + most > this.#chunk.length) {
      this.#endChunk();
      this.#oldest = this.#count;
      if (most > this.#chunk.length) this.#chunk = Buffer.allocUnsafe(most);
    }
    this.#used += this.#chunk.write(text, this.#used);
    if (json === undefined) return;
    this.#used += json.copy(this.#chunk, this.#used);
    this.#chunk[this.#used++] = 0x7d;
    this.#chunk[this.#used++] = LF;
  }

  #endChunk(): void {
    if (this.#used === 0) return;
    this.#full.push(this.#chunk.subarray(0, this.#used));
    this.#fullBytes += this.#used;
    this.#chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    this.#used = 0;
  }

  #flushLater(): void {
    if (this.#secrets === undefined || this.#isHeld || this.#writing !== undefined) return;
    this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#secrets === undefined || this.#isHeld || this.#writing !== undefined) return;
    if (this.#dropped > 0) {
      const lines = this.#dropped;
      this.#dropped = 0;
      this.#fullBytes = 0;
      this.add(`"type":"dropped","ms":0,"lines":${lines}`);
    }
    this.#endChunk();
    this.#oldest = this.#count + 1;
    const chunks = this.#full;
    if (chunks.length === 0) return;
    this.#full = [];
    this.#fullBytes = 0;
    this.#writing = this.#write(chunks).finally(() => {
      this.#writing = undefined;
      if (this.#used > 0 || this.#full.length > 0) this.#flushLater();
    });
  }

  async #write(chunks: readonly Buffer[]): Promise<void> {
    const limitBytes = Math.floor(this.#options.maxBytes / 2);
    try {
      const clean = chunks.map((chunk) => this.#masked(chunk));
      const bytes = clean.reduce((sum, { length }) => sum + length, 0);
      // The file is opened once for all of them, where they fit into it.
      const pieces =
        bytes <= limitBytes
          ? [Buffer.concat(clean, bytes)]
          : clean.flatMap((own) => (own.length > limitBytes ? linesOf(own) : [own]));
      for (const piece of pieces) await this.#append(piece, limitBytes);
    } catch (error) {
      this.#isBroken = true;
      this.#full = [];
      const { code, message } = error as NodeJS.ErrnoException;
      const { file } = this.#options;
      const why = error instanceof UnusableFile ? message : `${file} cannot be written (${code})`;
      this.#log?.warn(`--trace: ${why}, so nothing more is recorded`);
    }
  }

  #masked(chunk: Buffer): Buffer {
    if (!this.#mayFind(chunk)) return chunk;
    const lines = linesOf(chunk).map((line) => {
      if (!this.#mayFind(line)) return line;
      const masked = (this.#secrets as Secrets).mask(line.toString('utf8'), true);
      return Buffer.from(this.#sessions.mask(masked, true));
    });
    return Buffer.concat(lines);
  }

  #mayFind(text: Buffer): boolean {
    return this.#secrets?.mayFind(text, this.#sessions) !== false;
  }

  async #append(bytes: Buffer, limitBytes: number): Promise<void> {
    if (bytes.length > limitBytes) {
      this.#dropped++;
      return;
    }
    const fd = openRotated(this.#options.file, bytes.length, { limitBytes, files: 2 });
    try {
      for (let at = 0; at < bytes.length; ) {
        at += (await promisify(write)(fd, bytes, at)).bytesWritten;
      }
    } finally {
      await promisify(close)(fd);
    }
  }
}

/** Each with its line end. */
function linesOf(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(LF, at) + 1;
    lines.push(bytes.subarray(at, end));
    at = end;
  }
  return lines;
}
