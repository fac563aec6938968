/** A line that is only in the old text, or only in the new one. */
export interface ChangedLine {
  readonly sign: '-' | '+';
  readonly text: string;
}

/**
 * The lines that differ, old ones first, from the first difference to the last. Of the values in
 * them only `shown` are readable: the file is the user's, and the rest of it may be keys.
 */
export function changedLines(
  before: string,
  after: string,
  shown: readonly string[],
): ChangedLine[] {
  const [old, now] = [linesOf(before), linesOf(after)];
  const same = (a: string | undefined, b: string | undefined) => a !== undefined && a === b;
  let start = 0;
  while (same(old[start], now[start])) start += 1;
  let end = 0;
  while (
    end < Math.min(old.length, now.length) - start &&
    same(old[old.length - 1 - end], now[now.length - 1 - end])
  ) {
    end += 1;
  }
  // JSON puts the comma on the line of the neighbour, which is no change to it.
  const [lastOld, lastNow] = [old[start], now[start]];
  if (lastOld?.replaceAll(',', '') === lastNow?.replaceAll(',', '')) start += 1;
  const known = new Set(shown);
  const changed = (sign: ChangedLine['sign'], lines: string[]): ChangedLine[] =>
    lines
      .slice(start, lines.length - end)
      .map((text) => ({ sign, text: withoutSecrets(text, known) }));
  return [...changed('-', old), ...changed('+', now)];
}

function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

const DOUBLE = String.raw`"(?:[^"\\]|\\.)*"?`;
const SINGLE = `'[^']*'?`;
const COMMENT = String.raw`(?:#|//).*|/\*.*?(?:\*/|$)`;
const BARE = String.raw`[^\s"',:=#[\]{}]+`;
const TOKENS = new RegExp(`(?:${DOUBLE}|${SINGLE}|${COMMENT}|${BARE})`, 'g');

/** Leaves names, numbers and the known words of a line; every other word becomes `…`. */
function withoutSecrets(line: string, shown: ReadonlySet<string>): string {
  const [, head = '', value = ''] = /^(\s*(?:- )?(?:[\w-]+: +)?)(.*)$/.exec(line) ?? [];
  if (head !== '' && shown.has(value)) return line;
  return line.replace(TOKENS, (token, offset: number) => {
    const quote = /^["']/.exec(token)?.[0] ?? '';
    const isName = /^\s*[:=]/.test(line.slice(offset + token.length));
    const isFirst = /^\s*(?:- )?$/.test(line.slice(0, offset));
    if ((isName && (quote || isFirst)) || /^(?:true|false|null|-|\d{1,6})$/.test(token)) {
      return token;
    }
    const bare = quote ? token.slice(1, token.endsWith(quote) ? -1 : undefined) : token;
    if (shown.has(quote === '"' ? unescaped(token) : bare)) return token;
    return `${quote}…${quote}`;
  });
}

function unescaped(token: string): string {
  try {
    return String(JSON.parse(token));
  } catch {
    return token;
  }
}
