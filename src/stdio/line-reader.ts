import { ByteCollector } from '../http/byte-collector.ts';
import { skipWhitespace } from '../jsonrpc/json-scanner.ts';

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
  readonly #pieces = new ByteCollector();
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
    const kept = this.#pieces.take();
    // Copies, so that nothing larger is held.
    this.#head ??= Buffer.from(kept.subarray(0, KEPT_BYTES));
    this.#pieces.push(Buffer.from(kept.subarray(-KEPT_BYTES)));
  }

  #finish(): void {
    const line = this.#pieces.take();
    const head = this.#head;
    this.#length = 0;
    this.#head = undefined;
    if (head !== undefined) this.#options.onTooLong(head, line);
    else if (skipWhitespace(line, 0) < line.length) this.#options.onLine(line);
  }
}
