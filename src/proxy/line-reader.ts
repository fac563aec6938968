const LF = 0x0a;

/**
 * Cuts a byte stream into lines at LF (MCP 2025-11-25, Transports §stdio). A line that arrives in
 * many chunks is joined once, when it is whole, so that its cost stays linear. Bytes and not text:
 * a UTF-8 character may be split anywhere.
 */
export class LineReader {
  readonly #onLine: (line: Buffer) => void;
  #pieces: Buffer[] = [];

  /** `onLine` gets each line that is not blank, without its line end (a CR before LF is white space to JSON). */
  constructor(onLine: (line: Buffer) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
      const tail = chunk.subarray(start, end);
      start = end + 1;
      if (this.#pieces.length === 0) {
        this.#emit(tail);
        continue;
      }
      this.#pieces.push(tail);
      this.#emitPieces();
    }
    if (start < chunk.length) this.#pieces.push(chunk.subarray(start));
  }

  /** The input has ended: what stands after the last LF is a line as well. */
  end(): void {
    if (this.#pieces.length > 0) this.#emitPieces();
  }

  #emitPieces(): void {
    const line = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#emit(line);
  }

  #emit(line: Buffer): void {
    if (!isBlank(line)) this.#onLine(line);
  }
}

function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09);
}
