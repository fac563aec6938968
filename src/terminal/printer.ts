import { type Paint, paintFor } from './colour.ts';
import { shellWord } from './shell-word.ts';
import { columns, wrapText } from './wrap-text.ts';

const MARKS = {
  ok: ['✓', 'green'],
  warn: ['!', 'yellow'],
  fail: ['✗', 'red'],
  skipped: ['–', 'dim'],
} as const;

export type Mark = keyof typeof MARKS;

/** A mark in its color. */
export function markText(mark: Mark, paint: Paint): string {
  const [sign, style] = MARKS[mark];
  return paint(style, sign);
}

/** What a command prints, in the parts that all commands are made of. */
export class Printer {
  readonly write: (text: string) => void;
  readonly paint: Paint;
  /** Width to wrap at. */
  readonly columns: number;

  constructor(stream: NodeJS.WriteStream) {
    this.write = (text) => void stream.write(text);
    this.paint = paintFor(stream);
    this.columns = columns();
  }

  /** As it is, in one line. */
  line(text = ''): void {
    this.write(`${text}\n`);
  }

  title(text: string): void {
    this.line(this.paint('bold', text));
  }

  /** Wrapped, each line indented by `indent`. */
  text(text: string, indent = 0, style?: Parameters<Paint>[0]): void {
    const wrapped = wrapText(text, this.columns, indent);
    this.line(style === undefined ? wrapped : this.paint(style, wrapped));
  }

  /** Something to know, in yellow. */
  note(text: string): void {
    this.write(this.paint('yellow', `${wrapText(`! ${text}`, this.columns)}\n`));
  }

  marked(mark: Mark, text: string): void {
    this.line(`${markText(mark, this.paint)} ${text}`);
  }

  /** A command of this program to copy, on a line of its own. */
  command(words: readonly string[]): void {
    const line = ['npx mcp-latchkey', ...words.map((word) => shellWord(word))].join(' ');
    this.line(`  ${this.paint('cyan', line)}`);
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value, null, 2));
  }
}

/** ` (…abcd)`, to follow where the key comes from; empty for a key that is too short to show its end. */
export function tailInWords({ tail }: { readonly tail?: string }): string {
  return tail === undefined ? '' : ` (…${tail})`;
}
