/** How many pieces are kept before they are joined: an object each may cost more than they hold. */
const MOST_LOOSE_PIECES = 1024;

/**
 * Collects the pieces of a body up to a limit; what exceeds it is cut off. Its memory is about that
 * of the bytes it holds, also when a peer sends each of them in a piece of its own.
 */
export class Collected {
  readonly #limit: number;
  #pieces: Buffer[] = [];
  /** How many of the pieces, from the first, are joined ones. */
  #joined = 0;
  #length = 0;

  constructor(limitBytes = Number.POSITIVE_INFINITY) {
    this.#limit = limitBytes;
  }

  /** False once the limit is exceeded. */
  push(piece: Buffer): boolean {
    const room = this.#limit - this.#length;
    const kept = piece.length > room ? piece.subarray(0, room) : piece;
    this.#length += kept.length;
    this.#pieces.push(kept);
    if (this.#pieces.length - this.#joined >= MOST_LOOSE_PIECES) {
      this.#pieces.push(Buffer.concat(this.#pieces.splice(this.#joined)));
      this.#joined++;
    }
    return kept === piece;
  }

  /** All of it; what comes next begins anew. */
  take(): Buffer {
    const [first] = this.#pieces;
    const whole =
      first !== undefined && this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#joined = 0;
    this.#length = 0;
    return whole;
  }
}
