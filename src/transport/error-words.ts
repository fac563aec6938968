/** The longest text that is read for its words. */
const MOST_BYTES = 64 * 1024;
const MOST_STRINGS = 50;

/** What the usual formats call their sentence, the best first. */
const SENTENCES = ['message', 'error_description', 'detail', 'title', 'error'];

/** The one sentence in the body of an error, wherever the usual formats put it. HTML has none. */
export function sentenceIn(body: Buffer): string | undefined {
  const text = textOf(body);
  if (text === '' || text.startsWith('<')) return undefined;
  if (!text.startsWith('{')) return text;
  const value = parsed(text) as Record<string, unknown> | undefined;
  for (const name of SENTENCES) {
    const member = value?.[name];
    if (typeof member === 'string' && member !== '') return member;
    if (typeof member === 'object' && member !== null) {
      const nested = (member as Record<string, unknown>).message;
      if (typeof nested === 'string' && nested !== '') return nested;
    }
  }
  return undefined;
}

/** Everything that the body of an error says: the first 50 strings of JSON, or text without tags. */
export function stringsIn(body: Buffer): string[] {
  const text = textOf(body);
  const value = parsed(text);
  if (value === undefined) return text.slice(0, 4096).split(/<[^<>]*>/, MOST_STRINGS);
  const strings: string[] = [];
  const collect = (from: unknown): void => {
    if (strings.length === MOST_STRINGS) return;
    if (typeof from === 'string') strings.push(from);
    else if (typeof from === 'object' && from !== null) Object.values(from).forEach(collect);
  };
  try {
    collect(value);
  } catch {
    // Nested more deeply than the stack goes.
  }
  return strings;
}

/** Whether the body is a JSON object with an error in it, in words. */
export function isErrorObject(body: Buffer): boolean {
  const text = textOf(body);
  const value = text.startsWith('{') ? parsed(text) : undefined;
  const { error, result } = (value ?? {}) as Record<string, unknown>;
  if (result !== undefined) return false;
  const said = typeof error === 'object' ? (error as { message?: unknown } | null)?.message : error;
  return typeof said === 'string' && said !== '';
}

/** The data lines of an event stream; none in any other text. */
export function dataOf(text: string): string[] {
  if (!/^\s*(?:event|data|id|retry)?:/.test(text)) return [];
  return Array.from(text.matchAll(/^data:(.*)$/gm), ([, data = '']) => data.trim());
}

/** Of an event stream, its data. */
function textOf(body: Buffer): string {
  const text = body.toString('utf8', 0, MOST_BYTES).trim();
  const [data] = dataOf(text);
  return data ?? text;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
