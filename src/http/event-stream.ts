import { joined, mayStayInPieces, type Pieces } from '../jsonrpc/pieces.ts';
import { ByteCollector } from './byte-collector.ts';

/** One event as its bytes came: nothing is decoded. A field that was not sent is empty. */
interface StreamEvent {
  /** The data lines, joined with LF, in the pieces in which they came. */
  readonly data: Pieces;
  /** Empty for `message`, which is the type of an event without one. */
  readonly type: Buffer;
  /** Undefined when the event had no `id`, which is not the same as an empty one. */
  readonly id: Buffer | undefined;
}

export interface EventStreamOptions {
  /** The most that one event may take with all that stands around its data. */
  readonly limitBytes: number;
  /** Gets each event that a blank line ended and that has data or an id. */
  onEvent(event: StreamEvent): void;
  /** Gets the digits of a `retry` field as a number, which may be Infinity. */
  onRetry(milliseconds: number): void;
}

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COLON = 0x3a;
const BYTE_ORDER_MARK = Buffer.from('\ufeff');
const [DATA, EVENT, ID, RETRY] = ['data', 'event', 'id', 'retry'].map((name) =>
  Buffer.from(name),
) as [Buffer, Buffer, Buffer, Buffer];
const LONGEST_NAME = EVENT.length;
/** The type of an event that names none (WHATWG HTML §9.2.6). */
const MESSAGE = Buffer.from('message');
const LINE_FEED = Buffer.of(LF);
const EMPTY = Buffer.alloc(0);
const NOTHING: Pieces = [EMPTY];

/**
 * Parses an event stream (WHATWG HTML §9.2.5, §9.2.6) without making text of it. The data of an
 * event is views of the chunks it came in; only small pieces of it are copied, once. Time and memory
 * grow with the bytes alone, however a hostile peer cuts them.
 */
export class EventStream {
  readonly #options: EventStreamOptions;
  /** What came of a line whose end has not come. */
  readonly #line = new ByteCollector({ mayKeep: mayStayInPieces });
  readonly #data = new ByteCollector({ mayKeep: mayStayInPieces });
  #hasLine = false;
  #hasData = false;
  #type: Buffer = EMPTY;
  #id: Buffer | undefined;
  /** The bytes since the last blank line. */
  #size = 0;
  #isFirstLine = true;
  /** The chunk before ended with CR: an LF now belongs to it. */
  #isAfterCr = false;

  constructor(options: EventStreamOptions) {
    this.#options = options;
  }

  /** False when an event exceeds the limit: then nothing more may be pushed. */
  push(chunk: Buffer): boolean {
    if (chunk.length === 0) return true;
    let start = this.#isAfterCr && chunk[0] === LF ? 1 : 0;
    this.#isAfterCr = false;
    let lf = next(chunk, LF, start);
    let cr = next(chunk, CR, start);
    while (lf >= 0 || cr >= 0) {
      const isLf = cr < 0 || (lf >= 0 && lf < cr);
      const end = isLf ? lf : cr;
      if (!this.#endLine(chunk, start, end)) return false;
      start = !isLf && lf === cr + 1 ? end + 2 : end + 1;
      this.#isAfterCr = !isLf && start === chunk.length && end + 1 === start;
      // Each of the two is only searched for again once it is passed: a stream that ends its lines
      // with one of them would be searched to its end for the other at every line.
      if (lf >= 0 && lf < start) lf = next(chunk, LF, start);
      if (cr >= 0 && cr < start) cr = next(chunk, CR, start);
    }
    if (start === chunk.length) return true;
    this.#hasLine = true;
    this.#line.push(start === 0 ? chunk : chunk.subarray(start));
    return this.#grow(chunk.length - start);
  }

  #grow(bytes: number): boolean {
    this.#size += bytes;
    return this.#size <= this.#options.limitBytes;
  }

  #endLine(chunk: Buffer, start: number, end: number): boolean {
    if (!this.#grow(end - start + 1)) return false;
    if (!this.#hasLine) {
      this.#takeLine(chunk, start, end);
      return true;
    }
    this.#hasLine = false;
    if (end > start) this.#line.push(chunk.subarray(start, end));
    const pieces = this.#line.takePieces();
    const [first, ...others] = pieces as [Buffer, ...Buffer[]];
    // Data that came in many chunks is not joined. The first of them has the name of the field in it,
    // and the space that may follow it.
    const nameEnd = DATA.length;
    if (first.length > nameEnd + 1 && first[nameEnd] === COLON && isAt(first, 0, nameEnd, DATA)) {
      this.#takeLine(first, 0, first.length);
      for (const piece of others) this.#data.push(piece);
    } else {
      const line = joined(pieces);
      this.#takeLine(line, 0, line.length);
    }
    return true;
  }

  #takeLine(bytes: Buffer, lineStart: number, end: number): void {
    let start = lineStart;
    if (this.#isFirstLine) {
      this.#isFirstLine = false;
      const head = bytes.subarray(start, Math.min(start + BYTE_ORDER_MARK.length, end));
      if (head.equals(BYTE_ORDER_MARK)) start += BYTE_ORDER_MARK.length;
    }
    if (start === end) {
      this.#dispatch();
      return;
    }
    let nameEnd = start;
    while (nameEnd < end && bytes[nameEnd] !== COLON) {
      if (nameEnd - start === LONGEST_NAME) return;
      nameEnd++;
    }
    let valueStart = Math.min(nameEnd + 1, end);
    if (valueStart < end && bytes[valueStart] === SPACE) valueStart++;
    // A comment is a field without a name.
    if (isAt(bytes, start, nameEnd, DATA)) {
      if (this.#hasData) this.#data.push(LINE_FEED);
      this.#hasData = true;
      this.#data.push(bytes.subarray(valueStart, end));
    } else if (isAt(bytes, start, nameEnd, EVENT)) {
      const isDefault = isAt(bytes, valueStart, end, MESSAGE);
      this.#type = isDefault ? EMPTY : bytes.subarray(valueStart, end);
    } else if (isAt(bytes, start, nameEnd, ID)) {
      const id = bytes.subarray(valueStart, end);
      if (!id.includes(0)) this.#id = id;
    } else if (isAt(bytes, start, nameEnd, RETRY)) this.#retry(bytes.subarray(valueStart, end));
  }

  #retry(digits: Buffer): void {
    if (digits.length === 0 || !digits.every((byte) => byte >= 0x30 && byte <= 0x39)) return;
    this.#options.onRetry(Number(digits.toString('latin1')));
  }

  #dispatch(): void {
    const type = this.#type;
    const id = this.#id;
    const data = this.#hasData ? this.#data.takePieces() : NOTHING;
    this.#size = 0;
    this.#hasData = false;
    this.#type = EMPTY;
    this.#id = undefined;
    const hasData = (data[0] as Buffer).length > 0;
    if (hasData || id !== undefined) this.#options.onEvent({ data, type, id });
  }
}

/** Where this byte comes next, or -1. Looks itself first: the call is dear where it comes at once. */
function next(chunk: Buffer, byte: number, from: number): number {
  return chunk[from] === byte ? from : chunk.indexOf(byte, from);
}

/** Compares byte by byte, since a string of each name costs more than everything else here. */
function isAt(bytes: Buffer, start: number, end: number, text: Buffer): boolean {
  if (end - start !== text.length) return false;
  for (let at = 0; at < text.length; at++) if (bytes[start + at] !== text[at]) return false;
  return true;
}
