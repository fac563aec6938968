import {
  isMap,
  isScalar,
  type Pair,
  parseDocument,
  type Scalar,
  stringify,
  type YAMLMap,
} from 'yaml';
import {
  ConfigSyntaxError,
  type ConfigText,
  cutLines,
  lineEnd,
  nest,
  type Path,
  UneditableError,
} from './config-text.ts';

/** YAML 1.2, one document in block style. Flow style (`{a: b}`) is read but not changed. */
export const yamlText: ConfigText = { read, set, remove };

function parse(text: string) {
  const document = parseDocument(text, { prettyErrors: true });
  const [error] = document.errors;
  if (error) {
    const { line, col } = error.linePos?.[0] ?? { line: 1, col: 1 };
    const [what = ''] = error.message.split(/ at line \d/);
    throw new ConfigSyntaxError(what, line, col);
  }
  return document;
}

function read(text: string): unknown {
  return parse(text).toJS() ?? {};
}

const pairOf = (map: YAMLMap, key: string) =>
  map.items.find((pair): pair is Pair<Scalar> => isScalar(pair.key) && pair.key.value === key);

function set(text: string, path: Path, value: unknown): string {
  let node: unknown = parse(text).contents;
  let indent = 0;
  for (const [depth, key] of path.entries()) {
    const rest = path.slice(depth + 1);
    if (node === null) return `${endedLine(text)}${render(nest(path, value), text, 0)}`;
    if (!isMap(node)) throw new UneditableError(`${path.slice(0, depth).join(' › ')} is not a map`);
    if (node.flow)
      throw new UneditableError(`${path.slice(0, depth).join(' › ')} is in flow style`);
    const [first] = node.items;
    if (first && isScalar(first.key)) indent = columnOf(text, first.key.range?.[0] ?? 0);
    const pair = pairOf(node, key);
    if (pair === undefined) {
      const at = nextLine(text, endOf(text, node));
      const head = endedLine(text.slice(0, at));
      return `${head}${render({ [key]: nest(rest, value) }, text, indent)}${text.slice(at)}`;
    }
    const isEmpty = pair.value === null || (isMap(pair.value) && pair.value.items.length === 0);
    if (rest.length === 0 || isEmpty || (isScalar(pair.value) && pair.value.value === null)) {
      const from = pair.key.range?.[0] ?? 0;
      const rendered = render({ [key]: nest(rest, value) }, text, indent).slice(indent);
      const to = pair.value === null ? (pair.key.range?.[1] ?? from) + 1 : endOf(text, pair.value);
      const ending = lineEnd(text);
      return text.slice(0, from) + rendered.slice(0, -ending.length) + text.slice(to);
    }
    node = pair.value;
  }
  throw new UneditableError('nothing to set');
}

/** The end of a node's last line that holds more than a comment, without its line end. */
function endOf(text: string, node: unknown): number {
  const { range } = node as { range?: [number, number, number] | null };
  if (!range) throw new UneditableError('unknown position');
  const [, end] = range;
  return text[end - 1] === '\n' ? end - lineEnd(text).length : end;
}

const columnOf = (text: string, offset: number) =>
  offset - (text.lastIndexOf('\n', offset - 1) + 1);

const endedLine = (text: string) =>
  text === '' || text.endsWith('\n') ? text : text + lineEnd(text);

/** The offset of the next line, or of the end. */
function nextLine(text: string, offset: number): number {
  const end = text.indexOf('\n', offset);
  return end < 0 ? text.length : end + 1;
}

function render(value: unknown, text: string, indent: number): string {
  const eol = lineEnd(text);
  const lines = stringify(value, { lineWidth: 0 }).trimEnd().split('\n');
  return lines.map((line) => `${' '.repeat(indent)}${line}${eol}`).join('');
}

function remove(text: string, path: Path): string {
  const parent = parse(text).getIn(path.slice(0, -1), true);
  const pair = isMap(parent) && !parent.flow ? pairOf(parent, path.at(-1) ?? '') : undefined;
  if (!isMap(parent) || pair === undefined) {
    throw new UneditableError(`${path.join(' › ')} is in flow style`);
  }
  const from = pair.key.range?.[0] ?? 0;
  const to = endOf(text, pair.value);
  // A map without members would read as null.
  if (parent.items.length === 1) {
    const before = text.slice(0, from);
    const inLine = before.trimEnd().endsWith(':') ? `${before.trimEnd()} ` : before;
    return `${inLine}{}${text.slice(to)}`;
  }
  return cutLines(text, from, to);
}
