const LF = 0x0a;

/** How much of the beginning and of the end of a line over the limit is kept. */
const KEPT_BYTES = 4096;

export interface LineReaderOptions {
  readonly limitBytes: number;
  /** Gets each line that is not blank, without its LF; a CR before it is white space to JSON. */
  onLine(line: Buffer): void;
  /** Gets the first and the last bytes of a line over the limit, at most 4 KiB each. */
  onTooLong(head: Buffer, tail: Buffer): void;
}

/**
 * Cuts a byte stream into lines at LF (MCP 2025-11-25, Transports §stdio). A line that arrives in
 * many chunks is joined once, when it is whole, so that its cost stays linear. Bytes and not text:
 * a UTF-8 character may be split anywhere. Of a line over the limit only its ends are kept.
 */
export class LineReader {
  readonly #options: LineReaderOptions;
  #pieces: Buffer[] = [];
  #length = 0;
  /** The beginning of a line over the limit; its end is in the pieces. */
  #head: Buffer | undefined;

  constructor(options: LineReaderOptions) {
    this.#options = options;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
      this.#add(chunk.subarray(start, end));
      this.#finish();
      start = end + 1;
    }
    if (start < chunk.length) this.#add(chunk.subarray(start));
  }

  /** The input has ended: what stands after the last LF is a line as well. */
  end(): void {
    this.#finish();
  }

  #add(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length <= this.#options.limitBytes) return;
    const kept = this.#joined();
    // Copies, so that nothing larger is held.
    this.#head ??= Buffer.from(kept.subarray(0, KEPT_BYTES));
    this.#pieces = [Buffer.from(kept.subarray(-KEPT_BYTES))];
  }

  #finish(): void {
    const line = this.#joined();
    const head = this.#head;
    this.#pieces = [];
    this.#length = 0;
    this.#head = undefined;
    if (head !== undefined) this.#options.onTooLong(head, line);
    else if (!isBlank(line)) this.#options.onLine(line);
  }

  #joined(): Buffer {
    const [first] = this.#pieces;
    return first !== undefined && this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces);
  }
}

function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09);
}
