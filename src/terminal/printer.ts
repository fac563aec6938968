import { type Paint, paintFor } from './colour.ts';
import { ownCommand, withOwnCommand } from './own-command.ts';
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

const ASCII: Readonly<Record<string, string>> = {
  '✓': '+',
  '✗': 'x',
  '–': '-',
  '●': '*',
  '…': '...',
  '›': '>',
  '·': '-',
  '█': '#',
};

/** Whether a terminal shows more than ASCII: unless the locale or an old Windows console rules it out. */
function showsUnicode({ LC_ALL, LC_CTYPE, LANG, WT_SESSION, TERM_PROGRAM }: NodeJS.ProcessEnv) {
  if (process.platform === 'win32') return Boolean(WT_SESSION || TERM_PROGRAM);
  const locale = LC_ALL || LC_CTYPE || LANG || 'UTF-8';
  return /utf-?8/i.test(locale);
}

/** `text` with the marks of this program as ASCII, where the terminal shows nothing else. */
export function shownText(text: string, env: NodeJS.ProcessEnv = process.env): string {
  if (showsUnicode(env)) return text;
  return text
    .replace(/[✓✗–●…›·█]/g, (sign) => ASCII[sign] ?? sign)
    .replace(/[\u2800-\u28ff]/g, '*')
    .replace(/[▏▎▍▌▋▊▉]/g, '');
}

/** What a command prints, in the parts that all commands are made of. */
export class Printer {
  readonly write: (text: string) => void;
  readonly paint: Paint;
  /** Width to wrap at. */
  readonly columns: number;

  constructor(stream: NodeJS.WriteStream) {
    this.write = (text) => void stream.write(shownText(text));
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
    const wrapped = wrapText(text, this.columns, 2).trimStart();
    this.write(this.paint('yellow', `! ${wrapped}\n`));
  }

  /** A result: its mark, then its text, wrapped and indented. */
  marked(mark: Mark, text: string): void {
    const wrapped = wrapText(text, this.columns, 2).trimStart();
    this.line(`${markText(mark, this.paint)} ${wrapped}`);
  }

  /** A result with what to do: `marked`, with each command in it on a line of its own. */
  result(mark: Mark, text: string): void {
    const words = remedyText(text, this.columns, 2, this.paint).trimStart();
    this.write(`${markText(mark, this.paint)} ${words}`);
  }

  /** Why nothing was done: `why` without a full stop, as an error's `message` has it. */
  failure(why: string): void {
    this.result('fail', withOwnCommand(asSentence(why)));
  }

  /** What is wrong with the command line. `help`: the words that ask this program for its help. */
  usageError(why: string, help: string): void {
    this.result('fail', usageWords(why, help));
  }

  /** A message and what to do, with each command in it on a line of its own, ready to copy. */
  remedy(text: string, indent = 2): void {
    this.write(remedyText(text, this.columns, indent, this.paint));
  }

  /** A command of this program to copy, on a line of its own. */
  command(words: readonly string[]): void {
    const line = [ownCommand(), ...words.map((word) => shellWord(word))].join(' ');
    this.line(`  ${this.paint('cyan', line)}`);
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value, null, 2));
  }
}

/** What is wrong with a command line and how to get help, with commands in backticks. */
export function usageWords(why: string, help: string): string {
  const hasCommand = why.includes('`');
  const more = hasCommand ? '' : ` For help, run \`mcp-latchkey ${help}\`.`;
  return withOwnCommand(`${asSentence(why)}${more}`);
}

/**
 * A clause as a sentence: "no key" becomes "No key.". A URL or a file at its start stays as it is, and
 * nothing follows a URL at its end, where it would be copied with it.
 */
export function asSentence(clause: string): string {
  const start = /^[a-z][a-z'-]*(?=,? |: |$)/.test(clause)
    ? clause.charAt(0).toUpperCase()
    : clause.charAt(0);
  const end = /[.?]$|\w:\/\/\S+$/.test(clause) ? '' : '.';
  return `${start}${clause.slice(1)}${end}`;
}

/** ` (ends in abcd)`, to follow where the key comes from; empty for a key that is too short for that. */
export function tailInWords({ tail }: { readonly tail?: string }): string {
  return tail === undefined ? '' : ` (ends in ${tail})`;
}

/** Text, wrapped and indented, in which `this command` stands for each command below it. */
export function remedyText(text: string, columns: number, indent: number, paint: Paint): string {
  const commands = [...text.matchAll(/`([^`]+)`/g)].map(([, command = '']) => command);
  const words = wrapText(text.replaceAll(/`[^`]+`/g, 'this command'), columns, indent);
  const lines = commands.map((command) => `${' '.repeat(indent + 2)}${paint('cyan', command)}`);
  return [words, ...lines].map((line) => `${line}\n`).join('');
}
