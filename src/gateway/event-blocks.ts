import { Collected } from './collected.ts';

const LF = 0x0a;
const CR = 0x0d;

/**
 * Cuts an event stream (WHATWG HTML §9.2.5) behind its blank lines, so that the parser only gets
 * whole events: what it has of half of one costs it many times the bytes when a hostile peer sends
 * it a line or a byte at a time.
 */
export class EventBlocks {
  readonly #held: Collected;
  readonly #onBlocks: (text: string) => void;
  #last: number | undefined;
  /** Whether CR was among the bytes held: few streams have it, and a 20 MB event is long to search. */
  #hasCr = false;

  /**
   * `onBlocks` gets each byte as one character, line ends as LF: nothing is decoded, no character
   * can be split between two pieces, and 20 MB of text costs one byte a character.
   */
  constructor(limitBytes: number, onBlocks: (text: string) => void) {
    this.#held = new Collected(limitBytes);
    this.#onBlocks = onBlocks;
  }

  /** False when one block exceeds the limit. */
  push(chunk: Buffer): boolean {
    const end = endOfLastBlock(chunk, this.#last);
    this.#last = chunk.at(-1) ?? this.#last;
    this.#hasCr ||= chunk.includes(CR);
    if (end === 0) return this.#held.push(chunk);
    if (!this.#held.push(chunk.subarray(0, end))) return false;
    const text = this.#held.take().toString('latin1');
    this.#onBlocks(this.#hasCr ? text.replace(/\r\n?/g, '\n') : text);
    const rest = chunk.subarray(end);
    this.#hasCr = rest.includes(CR);
    return this.#held.push(rest);
  }
}

/** Behind the last line end that follows another; 0 when there is none. `before` the chunk came this byte. */
function endOfLastBlock(chunk: Buffer, before: number | undefined): number {
  if (before !== CR && !chunk.includes(CR)) {
    const at = chunk.lastIndexOf('\n\n');
    if (at >= 0) return at + 2;
    return before === LF && chunk[0] === LF ? 1 : 0;
  }
  for (let at = chunk.length - 1; at >= 0; at--) {
    const byte = chunk[at] as number;
    if (byte !== LF && byte !== CR) continue;
    const previous = at === 0 ? before : chunk[at - 1];
    if (previous === LF || (previous === CR && byte === CR)) return at + 1;
  }
  return 0;
}
