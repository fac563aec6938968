import { joined, type Pieces } from '../jsonrpc/pieces.ts';

/** What is smaller is copied: a piece may be a view of much more memory than it takes itself. */
const SMALL_BYTES = 8 * 1024;
const SEGMENT_BYTES = 64 * 1024;

/**
 * Collects the pieces of a body up to a limit; what exceeds it is cut off. Large pieces are kept as they
 * came. Small ones, and those that are views of something larger, are copied together, so that what
 * they are views of can be freed. The first one is always kept as it came.
 */
export class ByteCollector {
  readonly #limit: number;
  #pieces: Buffer[] = [];
  #length = 0;
  /** Where small pieces are copied to, and what of it is used and not among the pieces yet. */
  #segment = EMPTY;
  #from = 0;
  #used = 0;

  constructor(limitBytes = Number.POSITIVE_INFINITY) {
    this.#limit = limitBytes;
  }

  /** False once the limit is exceeded. */
  push(piece: Buffer): boolean {
    const room = this.#limit - this.#length;
    const kept = piece.length > room ? piece.subarray(0, room) : piece;
    if (this.#length === 0 || isLarge(kept)) {
      this.#closeRun();
      if (kept.length > 0) this.#pieces.push(kept);
    } else for (let at = 0; at < kept.length; ) at += this.#copy(kept, at);
    this.#length += kept.length;
    return kept === piece;
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
    return joined(this.takePieces());
  }

  /** As `take`, but not joined. */
  takePieces(): Pieces {
    this.#closeRun();
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#length = 0;
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
