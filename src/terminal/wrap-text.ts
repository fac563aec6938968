import wrapAnsi from 'wrap-ansi';

/**
 * Text wrapped at spaces to lines of at most `columns`, each indented by `by`. A longer word stays
 * whole, so that a link can be copied.
 */
export function wrapText(text: string, columns: number, by = 0): string {
  return wrapAnsi(text, columns - by).replace(/^/gm, ' '.repeat(by));
}

/** The width of the terminal that stdout is, at most `most`; 80 where it is not a terminal. */
export function columns(most = 80): number {
  // A terminal that does not know its width reports 0.
  return Math.min(process.stdout.columns || 80, most);
}
