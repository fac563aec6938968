/** Where a value stands in a document: the keys that lead to it. */
export type Path = readonly string[];

/**
 * How one format is read, and changed in place: what does not stand at the path keeps its bytes,
 * comments and line ends.
 */
export interface ConfigText {
  /** The document as plain values, `{}` for an empty one. Throws ConfigSyntaxError. */
  read(text: string): unknown;
  /** The text with `value` at `path`, on whose way tables are made. Throws UneditableError. */
  set(text: string, path: Path, value: unknown): string;
  /** The text without what stands at `path`, which must exist. Throws UneditableError. */
  remove(text: string, path: Path): string;
}

/** The text does not follow its format. */
export class ConfigSyntaxError extends Error {
  /** Both from 1; the column in UTF-16 code units. */
  readonly line: number;
  readonly column: number;

  constructor(what: string, line: number, column: number) {
    super(what);
    this.line = line;
    this.column = column;
  }
}

/** The text is fine, but written in a way that cannot be changed without touching the rest. */
export class UneditableError extends Error {}

/** What stands at a path; undefined when nothing does. */
export function valueAt(document: unknown, path: Path): unknown {
  let value = document;
  for (const key of path) {
    if (!isTable(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `{ b: { c: value } }` for the path `['b', 'c']`. */
export function nest(path: Path, value: unknown): unknown {
  return path.reduceRight((inner, key) => ({ [key]: inner }), value);
}

/** The text's own line end; `\n` when it has none. */
export function lineEnd(text: string): string {
  return /\r?\n/.exec(text)?.[0] ?? '\n';
}

/** The white space that the line of this offset begins with. */
export function indentAt(text: string, offset: number): string {
  const start = text.lastIndexOf('\n', offset - 1) + 1;
  return /^[ \t]*/.exec(text.slice(start, offset))?.[0] ?? '';
}

/**
 * Cuts `[from, to)` out, and the whole line with it where nothing but white space is left of it.
 */
export function cutLines(text: string, from: number, to: number): string {
  const before = /(?:^|\n)[ \t]*$/.test(text.slice(0, from));
  const after = /^[ \t]*(?:\r?\n|$)/.exec(text.slice(to))?.[0];
  if (!before || after === undefined) return text.slice(0, from) + text.slice(to);
  return text.slice(0, from - indentAt(text, from).length) + text.slice(to + after.length);
}
