import type { Pieces } from '../jsonrpc/pieces.ts';

const MiB = 1024 * 1024;
interface CollectorOptions {
  readonly limitBytes?: number;
  /** How much will come, where that is known. */
  readonly expectedBytes?: number;
  /** Whether what begins with these pieces need not be joined: `takePieces` is called for it. */
  readonly mayKeep?: (pieces: Pieces) => boolean;
}

/** What is smaller is copied: a piece may be a view of much more memory than it takes itself. */
const SMALL_BYTES = 8 * 1024;
const SEGMENT_BYTES = 64 * 1024;
/** By then it shows whether a message is mostly long strings. */
const JUDGED_BYTES = 256 * 1024;

/**
 * Collects the pieces of a body up to a limit; what exceeds it is cut off. Pieces that are kept until
 * they are joined take twice the memory. So they are copied to one place as they come, from the second
 * on, except where `mayKeep` allows the first 256 KiB to stay as they are. Until then large pieces are
 * kept as they came, and small ones, and those that are views of something larger, are copied together.
 * The first one is always kept as it came.
 */
export class ByteCollector {
  readonly #limit: number;
  readonly #expected: number;
  readonly #mayKeep: ((pieces: Pieces) => boolean) | undefined;
  #pieces: Buffer[] = [];
  #length = 0;
  #isJudged = false;
  /** Where all is copied to, once it is. */
  #whole: Buffer | undefined;
  /** Where small pieces are copied to, and what of it is used and not among the pieces yet. */
  #segment = EMPTY;
  #from = 0;
  #used = 0;

  constructor({
    limitBytes = Number.POSITIVE_INFINITY,
    expectedBytes = 0,
    mayKeep,
  }: CollectorOptions = {}) {
    this.#limit = limitBytes;
    this.#expected = Math.min(expectedBytes, limitBytes);
    this.#mayKeep = mayKeep;
  }

  /** False once the limit is exceeded. */
  push(piece: Buffer): boolean {
    const room = this.#limit - this.#length;
    const kept = piece.length > room ? piece.subarray(0, room) : piece;
    if (this.#whole === undefined && this.#length > 0 && this.#mayKeep === undefined)
      this.#join(kept.length);
    if (this.#whole !== undefined) this.#append(kept);
    else if (this.#length === 0 || isLarge(kept)) {
      this.#closeRun();
      if (kept.length > 0) this.#pieces.push(kept);
    } else for (let at = 0; at < kept.length; ) at += this.#copy(kept, at);
    this.#length += kept.length;
    if (!this.#isJudged && this.#length >= JUDGED_BYTES) this.#judge();
    return kept === piece;
  }

  #judge(): void {
    this.#isJudged = true;
    this.#closeRun();
    if (this.#pieces.length > 1 && this.#mayKeep?.(this.#pieces) === false) this.#join(0);
  }

  /** Copies what there is to one place, with room for `more` bytes. */
  #join(more: number): void {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#whole = EMPTY;
    this.#grow(this.#length + more);
    let at = 0;
    for (const piece of pieces) at += piece.copy(this.#whole, at);
  }

  #append(piece: Buffer): void {
    const length = this.#length + piece.length;
    if ((this.#whole as Buffer).length < length) this.#grow(length);
    piece.copy(this.#whole as Buffer, this.#length);
  }

  #grow(length: number): void {
    // What is large grows in few steps: what it has outgrown is not free at once either. Room takes no
    // memory before it is used.
    const step = Math.min(length < MiB ? length : 7 * length, 64 * MiB);
    const size = this.#expected >= length ? this.#expected : length + step;
    const larger = Buffer.allocUnsafeSlow(size);
    (this.#whole as Buffer).copy(larger, 0, 0, this.#length);
    this.#whole = larger;
  }

  /** Copies what fits into the segment. Returns how much that was. */
  #copy(piece: Buffer, from: number): number {
    if (this.#used === this.#segment.length) {
      this.#closeRun();
      const bytes = Math.min(2 * (this.#length + piece.length), SEGMENT_BYTES);
      this.#segment = Buffer.allocUnsafeSlow(bytes);
      this.#from = 0;
      this.#used = 0;
    }
    const copied = piece.copy(this.#segment, this.#used, from);
    this.#used += copied;
    return copied;
  }

  #closeRun(): void {
    if (this.#used > this.#from) this.#pieces.push(this.#segment.subarray(this.#from, this.#used));
    this.#from = this.#used;
  }

  /** All of it, joined; what comes next begins another. */
  take(): Buffer {
    const pieces = this.takePieces();
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
  }

  /** As `take`, but not joined. */
  takePieces(): Pieces {
    this.#closeRun();
    const pieces =
      this.#whole === undefined ? this.#pieces : [this.#whole.subarray(0, this.#length)];
    this.#pieces = [];
    this.#length = 0;
    this.#isJudged = false;
    this.#whole = undefined;
    this.#segment = EMPTY;
    this.#from = 0;
    this.#used = 0;
    return pieces.length === 0 ? NOTHING : pieces;
  }
}

const EMPTY = Buffer.alloc(0);
const NOTHING: Pieces = [EMPTY];

function isLarge(piece: Buffer): boolean {
  return piece.length >= SMALL_BYTES && 2 * piece.length >= piece.buffer.byteLength;
}
