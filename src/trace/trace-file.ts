import { close, write } from 'node:fs';
import { promisify } from 'node:util';
import { SecretMatcher } from '../failures/secret-matcher.ts';
import type { Secrets } from '../failures/secrets.ts';
import type { Log } from '../log.ts';
import { UnusableFile } from '../private-path.ts';
import { openRotated } from '../rotated-file.ts';
import { type Chunk, LineBytes } from './line-bytes.ts';

/** How long lines are gathered before they are written. */
const GATHER_MS = 100;
/** What may wait to be written while the disk is slow. */
const MOST_QUEUED_BYTES = 16 * 1024 * 1024;
/** How many bytes of a message `heads` records. */
const HEAD_BYTES = 4096;
const MOST_SESSIONS = 32;
/** How long the last lines may take. */
const END_LIMIT_MS = 500;

const LF = 0x0a;
const BEGIN = Buffer.from('{"n":');
const MESSAGE = Buffer.from(',"message":');
const HEAD = Buffer.from(',"head":');

export interface TraceFileOptions {
  readonly file: string;
  readonly bodies: 'none' | 'heads' | 'all';
  /** Of FILE and FILE.1 together. */
  readonly maxBytes: number;
  /** The process that writes. */
  readonly run: number;
  /** Called before lines are written: adds those that are not there yet. */
  readonly complete: () => void;
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
  readonly #lines = new LineBytes();
  #dropped = 0;
  #count = 0;
  /** Of the lines in the newest chunk, the first. */
  #oldest = 1;
  /** What is recorded of the message of the line that is begun, and the name of that member. */
  #content: Buffer | undefined;
  #contentName = MESSAGE;
  /** The member `run` of each line, and the beginning of the next one. */
  readonly #run: Buffer;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #isBroken = false;
  #isHeld = true;
  /** Finds ids of sessions: whoever has one can use it. */
  #sessions = new SecretMatcher([]);
  readonly #sessionIds = new Set<string>();

  constructor(options: TraceFileOptions) {
    this.#options = options;
    const { bodies, maxBytes, run } = options;
    this.#run = Buffer.from(`,"run":${run},`);
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
    this.writeLater();
  }

  /** Lets lines be written: the credential is known now, or known to be missing. */
  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.writeLater();
  }

  /** Masks the id of a session from now on: the newest 32. */
  hideSession(id: string): void {
    this.#sessionIds.add(id);
    const [oldest] = this.#sessionIds;
    if (this.#sessionIds.size > MOST_SESSIONS) this.#sessionIds.delete(oldest as string);
    this.#sessions = new SecretMatcher(this.#sessionIds);
  }

  /** The number of the newest line. */
  get count(): number {
    return this.#count;
  }

  /** Adds a line with `members`, JSON without its braces. */
  add(members: string): void {
    const lines = this.beginLine(3 * members.length);
    if (lines === undefined) return;
    lines.text(members);
    this.endLine();
  }

  /**
   * Begins a line, which the caller fills with the members that it has, a comma between them, and then
   * ends with `endLine`: at most `mostForeignBytes` that are not its own, and the message, if any, which is valid JSON
   * and has no line end. Undefined where the line is not recorded: it counts all the same.
   */
  beginLine(mostForeignBytes: number, message?: Buffer): LineBytes | undefined {
    const n = ++this.#count;
    if (this.#isBroken) return undefined;
    const lines = this.#lines;
    if (lines.fullBytes > MOST_QUEUED_BYTES) {
      this.#dropped++;
      this.#oldest = n + 1;
      return undefined;
    }
    this.#content = message && this.#contentOf(message);
    if (lines.begin(mostForeignBytes + (this.#content?.length ?? 0))) this.#oldest = n;
    lines.own(BEGIN);
    lines.integer(n);
    lines.own(this.#run);
    return lines;
  }

  /** Ends the line with the message, or as much of it as is recorded. */
  endLine(): void {
    const lines = this.#lines;
    if (this.#content !== undefined) {
      lines.own(this.#contentName);
      lines.foreign(this.#content);
      this.#content = undefined;
    }
    lines.end();
    if (lines.fullBytes > MOST_QUEUED_BYTES / 4) this.#flush();
    else this.writeLater();
  }

  #contentOf(message: Buffer): Buffer | undefined {
    const most = this.#mostBodyBytes;
    if (most === 0) return undefined;
    const isWhole = message.length <= most;
    this.#contentName = isWhole ? MESSAGE : HEAD;
    if (isWhole) return message;
    // By the mark of what was cut off, the beginning of a secret before it is known as one.
    return Buffer.from(JSON.stringify(`${message.toString('utf8', 0, most)}…`));
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

  /** Has all lines written a little later, where they may be. */
  writeLater(): void {
    if (this.#secrets === undefined || this.#isHeld || this.#writing !== undefined) return;
    this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#options.complete();
    if (this.#secrets === undefined || this.#isHeld || this.#writing !== undefined) return;
    const chunks = this.#lines.take();
    if (this.#dropped > 0) {
      const lines = this.#dropped;
      this.#dropped = 0;
      this.add(`"type":"dropped","ms":0,"lines":${lines}`);
    }
    this.#oldest = this.#count + 1;
    if (chunks.length === 0) return;
    this.#writing = this.#write(chunks).finally(() => {
      this.#writing = undefined;
      this.writeLater();
    });
  }

  async #write(chunks: readonly Chunk[]): Promise<void> {
    const limitBytes = Math.floor(this.#options.maxBytes / 2);
    try {
      const clean = chunks.map((chunk) => this.#masked(chunk));
      for (const part of partsOf(clean, limitBytes)) await this.#append(part, limitBytes);
    } catch (error) {
      this.#isBroken = true;
      this.#lines.take();
      const { code, message } = error as NodeJS.ErrnoException;
      const { file } = this.#options;
      const why = error instanceof UnusableFile ? message : `${file} cannot be written (${code})`;
      this.#log?.warn(`--trace: ${why}, so nothing more is recorded`);
    }
  }

  /** The lines less what is secret in them. */
  #masked({ bytes, foreign }: Chunk): Buffer {
    const pieces: Buffer[] = [];
    let done = 0;
    for (let at = 0; at < foreign.length; at += 2) {
      const start = foreign[at] as number;
      const end = foreign[at + 1] as number;
      if (start < done || !this.#mayFind(bytes, start, end)) continue;
      const lineStart = bytes.lastIndexOf(LF, start) + 1;
      const lineEnd = bytes.indexOf(LF, end) + 1;
      const line = bytes.toString('utf8', lineStart, lineEnd);
      const masked = (this.#secrets as Secrets).mask(line, true);
      pieces.push(bytes.subarray(done, lineStart), Buffer.from(this.#sessions.mask(masked, true)));
      done = lineEnd;
    }
    return done === 0 ? bytes : Buffer.concat([...pieces, bytes.subarray(done)]);
  }

  #mayFind(text: Buffer, start: number, end: number): boolean {
    return this.#secrets?.mayFind(text, this.#sessions, start, end) !== false;
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

/**
 * What is written at once, since the file is opened for each: all chunks where they fit into the limit,
 * or else as many whole lines as do. A line that is longer is a part of its own.
 */
function partsOf(chunks: readonly Buffer[], limitBytes: number): Buffer[] {
  const all = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  const parts: Buffer[] = [];
  for (let start = 0; start < all.length; ) {
    let end = start + limitBytes;
    if (end >= all.length) end = all.length;
    else {
      const lastLine = all.lastIndexOf(LF, end - 1) + 1;
      end = lastLine > start ? lastLine : all.indexOf(LF, start) + 1;
    }
    parts.push(all.subarray(start, end));
    start = end;
  }
  return parts;
}
