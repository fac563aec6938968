const MiB = 1024 * 1024;

/**
 * Collects the pieces of a body up to a limit; what exceeds it is cut off. A first piece is kept as
 * it came; from the second on they are copied as they come, so that what they are views of can be
 * freed: kept until they are joined they took twice the memory. Room that is not used yet is none.
 */
export class ByteCollector {
  readonly #limit: number;
  readonly #expected: number;
  #bytes: Buffer = EMPTY;
  #isOwn = false;
  #length = 0;

  /** `expectedBytes`: how much will come, where that is known. */
  constructor(limitBytes = Number.POSITIVE_INFINITY, expectedBytes = 0) {
    this.#limit = limitBytes;
    this.#expected = Math.min(expectedBytes, limitBytes);
  }

  /** False once the limit is exceeded. */
  push(piece: Buffer): boolean {
    const room = this.#limit - this.#length;
    const kept = piece.length > room ? piece.subarray(0, room) : piece;
    const length = this.#length + kept.length;
    if (this.#length === 0 && !this.#isOwn) this.#bytes = kept;
    else {
      if (!this.#isOwn || this.#bytes.length < length) this.#grow(length);
      kept.copy(this.#bytes, this.#length);
    }
    this.#length = length;
    return kept === piece;
  }

  #grow(length: number): void {
    // What is large grows in few steps: what it has outgrown is not free at once either.
    const step = Math.min(length < MiB ? length : 7 * length, 64 * MiB);
    const size = this.#expected >= length ? this.#expected : length + step;
    const larger = Buffer.allocUnsafeSlow(size);
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
    this.#isOwn = true;
  }

  /** All of it; what comes next begins another. */
  take(): Buffer {
    const bytes = this.#bytes;
    const whole = bytes.length === this.#length ? bytes : bytes.subarray(0, this.#length);
    this.#bytes = EMPTY;
    this.#isOwn = false;
    this.#length = 0;
    return whole;
  }
}

const EMPTY = Buffer.alloc(0);
