import { shownText } from './printer.ts';

const FRAMES = [...'⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'];
const FRAME_MS = 120;

/** One line that says what is being done, rewritten in place; nothing unless stdout and stderr are terminals. */
export class Progress {
  readonly #stream: NodeJS.WriteStream;
  readonly #moves: boolean;
  #timer: NodeJS.Timeout | undefined;
  #doing = '';
  #startedAt = 0;
  #frame = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.#moves =
      stream.isTTY === true && process.stdout.isTTY === true && process.env.TERM !== 'dumb';
  }

  show(doing: string): void {
    if (!this.#moves) return;
    this.#doing = doing;
    this.#startedAt = performance.now();
    this.#draw();
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS);
  }

  /** Takes the line away, for something else to be written. */
  clear(): void {
    if (!this.#moves) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#stream.write('\r\x1b[K');
  }

  #draw(): void {
    const seconds = Math.floor((performance.now() - this.#startedAt) / 1000);
    const frame = FRAMES[this.#frame++ % FRAMES.length];
    const line = shownText(`${frame} ${this.#doing} …${seconds > 0 ? ` ${seconds} s` : ''}`);
    this.#stream.write(`\r\x1b[K${line.slice(0, Math.max(1, (this.#stream.columns || 80) - 1))}`);
  }
}
