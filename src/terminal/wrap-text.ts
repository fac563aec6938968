/**
 * Text wrapped at spaces to lines of at most `columns`, each indented by `by`. A longer word stays
 * whole, so that a link can be copied.
 */
export function wrapText(text: string, columns: number, by = 0): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns - by) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.map((own) => ' '.repeat(by) + own).join('\n');
}
