import type { Writable } from 'node:stream';
import type { Pieces } from '../jsonrpc/pieces.ts';

const LF = Buffer.from('\n');
const COPY_LIMIT_BYTES = 16 * 1024;
const BATCH_LIMIT_BYTES = 64 * 1024;

/**
 * Writes messages to stdout, one a line. Whoever produces them asks `congested()` after each and
 * waits: a client that reads slowly then slows the gateway down instead of filling the heap.
 */
export class MessageWriter {
  readonly #output: Writable;
  #drained: Promise<void> | undefined;
  #isCollecting = false;
  /** Small messages and line ends of this turn of the event loop that are not written yet. */
  #batch: Buffer[] = [];
  #batchBytes = 0;

  constructor(output: Writable) {
    this.#output = output;
  }

  /**
   * Writes a message that has no line end in it. The first message of a turn of the event loop leaves at
   * once, the small ones that follow in the same turn as one buffer: a system call for each is a fifth
   * of all time with 64 replies in flight, and a buffer for each a third with 10,000 notifications.
   */
  write(pieces: Pieces): void {
    const [message] = pieces as [Buffer];
    if (pieces.length > 1 || message.length >= COPY_LIMIT_BYTES) {
      this.#writeBatch();
      for (const piece of pieces) this.#send(piece);
      this.#send(LF);
      return;
    }
    this.#batch.push(message, LF);
    this.#batchBytes += message.length + 1;
    if (!this.#isCollecting || this.#batchBytes >= BATCH_LIMIT_BYTES) this.#writeBatch();
    if (this.#isCollecting) return;
    this.#isCollecting = true;
    setImmediate(() => {
      this.#isCollecting = false;
      this.#writeBatch();
    });
  }

  #writeBatch(): void {
    if (this.#batchBytes === 0) return;
    const bytes = Buffer.concat(this.#batch, this.#batchBytes);
    this.#batch = [];
    this.#batchBytes = 0;
    this.#send(bytes);
  }

  #send(bytes: Buffer): void {
    if (this.#output.write(bytes) || this.#drained !== undefined) return;
    this.#drained = new Promise((resolve) => {
      this.#output.once('drain', () => {
        this.#drained = undefined;
        resolve();
      });
    });
  }

  /** Resolves when more may be written; undefined when that is now. */
  congested(): Promise<void> | undefined {
    return this.#drained;
  }

  /** Resolves when everything written so far has left the process. Does not reject. */
  flush(): Promise<void> {
    this.#writeBatch();
    return new Promise((resolve) => {
      this.#output.write('', () => resolve());
    });
  }
}
