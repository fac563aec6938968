/** How much room for lines is made at a time. */
const CHUNK_BYTES = 256 * 1024;
/** The most that the fixed parts and the numbers of one line take. */
const OWN_BYTES = 1024;

/** Whole lines, as they will be in the file. */
export interface Chunk {
  readonly bytes: Buffer;
  /** Where text from outside begins and ends, by turns: only there may be a secret. */
  readonly foreign: readonly number[];
}

/**
 * Lines that wait to be written, put together as bytes: as strings, which stay in memory until then,
 * they took four times as long.
 */
export class LineBytes {
  #bytes = Buffer.allocUnsafe(CHUNK_BYTES);
  #used = 0;
  #lineStart = 0;
  #foreign: number[] = [];
  /** How many of `#foreign` are of whole lines. */
  #marks = 0;
  #full: Chunk[] = [];
  /** How many bytes wait in whole chunks. */
  fullBytes = 0;

  /**
   * Begins a line whose `foreign` parts have at most so many bytes. A line before it that has no end
   * is dropped. Returns whether it is the first of its chunk.
   */
  begin(mostForeignBytes: number): boolean {
    this.#used = this.#lineStart;
    this.#foreign.length = this.#marks;
    const most = this.#used + OWN_BYTES + mostForeignBytes;
    if (most > this.#bytes.length) this.#newChunk(OWN_BYTES + mostForeignBytes);
    return this.#used === 0;
  }

  /** Puts ASCII that this program has written. Throws a RangeError where there is no room. */
  own(part: Uint8Array): void {
    this.#bytes.set(part, this.#used);
    this.#used += part.length;
  }

  /** Puts UTF-8 from outside. Throws a RangeError where there is no room. */
  foreign(part: Uint8Array): void {
    this.#foreign.push(this.#used, this.#used + part.length);
    this.own(part);
  }

  /** Puts text from outside, of which each code unit may need three bytes of room. */
  text(text: string): void {
    const start = this.#used;
    this.#used += this.#bytes.write(text, start);
    this.#foreign.push(start, this.#used);
  }

  /** Puts a number, which is 0 or above and whole. */
  integer(value: number): void {
    this.#used = putInteger(this.#bytes, this.#used, value);
  }

  /** Puts milliseconds, to a hundredth of one. */
  ms(value: number): void {
    const hundredths = Math.round(value * 100);
    const whole = Math.floor(hundredths / 100);
    const rest = hundredths - 100 * whole;
    this.integer(whole);
    if (rest === 0) return;
    this.#bytes[this.#used++] = POINT;
    this.#bytes[this.#used++] = ZERO + Math.floor(rest / 10);
    if (rest % 10 !== 0) this.#bytes[this.#used++] = ZERO + (rest % 10);
  }

  /** Ends the line. */
  end(): void {
    this.own(END);
    this.#lineStart = this.#used;
    this.#marks = this.#foreign.length;
  }

  /** Whether no line has an end. */
  get isEmpty(): boolean {
    return this.#lineStart === 0 && this.#full.length === 0;
  }

  /** Takes all lines that have an end. */
  take(): readonly Chunk[] {
    if (this.#lineStart > 0) this.#newChunk(0);
    const chunks = this.#full;
    this.#full = [];
    this.fullBytes = 0;
    return chunks;
  }

  #newChunk(mostBytes: number): void {
    const end = this.#lineStart;
    if (end > 0) {
      this.#foreign.length = this.#marks;
      this.#full.push({ bytes: this.#bytes.subarray(0, end), foreign: this.#foreign });
      this.fullBytes += end;
    }
    this.#bytes = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, mostBytes));
    this.#foreign = [];
    this.#used = this.#lineStart = this.#marks = 0;
  }
}

const END = Buffer.from('}\n');
const POINT = 0x2e;
const ZERO = 0x30;
/** Below it, whole numbers are divided without fractions. */
const LARGE = 2 ** 31;

/** Returns where the text of the number ends. */
function putInteger(bytes: Buffer, start: number, value: number): number {
  if (value >= LARGE) return start + bytes.write(String(value), start, 'latin1');
  let end = start + 1;
  for (let rest = value; rest >= 10; rest = (rest / 10) | 0) end++;
  let rest = value | 0;
  for (let at = end - 1; at >= start; at--) {
    const more = (rest / 10) | 0;
    bytes[at] = ZERO + rest - 10 * more;
    rest = more;
  }
  return end;
}
