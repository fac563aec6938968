import { type AST, getStaticTOMLValue, type ParseError, parseTOML } from 'toml-eslint-parser';
import {
  ConfigSyntaxError,
  type ConfigText,
  cutLines,
  indentAt,
  isTable,
  lineEnd,
  type Path,
  UneditableError,
} from './config-text.ts';

/** TOML 1.0. */
export const tomlText: ConfigText = { read, set, remove };

function parse(text: string): AST.TOMLTopLevelTable {
  try {
    return parseTOML(text).body[0];
  } catch (error) {
    const { message, lineNumber, column } = error as ParseError;
    if (lineNumber === undefined) throw error;
    throw new ConfigSyntaxError(message, lineNumber, column + 1);
  }
}

function read(text: string): unknown {
  return getStaticTOMLValue(parse(text));
}

interface Located<Node> {
  readonly path: readonly (string | number)[];
  readonly node: Node;
}

function tablesOf(top: AST.TOMLTopLevelTable): Located<AST.TOMLTable>[] {
  return top.body
    .filter((node) => node.type === 'TOMLTable')
    .map((node) => ({ path: node.resolvedKey, node }));
}

/** Every `key = value`, those in inline tables too, with the keys that lead to it. */
function keyValuesOf(top: AST.TOMLTopLevelTable): Located<AST.TOMLKeyValue>[] {
  const found: Located<AST.TOMLKeyValue>[] = [];
  const collect = (nodes: readonly AST.TOMLNode[], base: Located<unknown>['path']) => {
    for (const node of nodes) {
      if (node.type === 'TOMLTable') collect(node.body, node.resolvedKey);
      if (node.type !== 'TOMLKeyValue') continue;
      const path = [...base, ...getStaticTOMLValue(node.key)];
      found.push({ path, node });
      if (node.value.type === 'TOMLInlineTable') collect(node.value.body, path);
    }
  };
  collect(top.body, []);
  return found;
}

const startsWith = (path: Located<unknown>['path'], start: Path) =>
  start.every((key, index) => path[index] === key);
const isAt = (path: Located<unknown>['path'], other: Path) =>
  path.length === other.length && startsWith(path, other);

function set(text: string, path: Path, value: unknown): string {
  const top = parse(text);
  if (isTable(value)) {
    const isThere = [...tablesOf(top), ...keyValuesOf(top)].some((at) => startsWith(at.path, path));
    return append(isThere ? remove(text, path) : text, path, value);
  }
  const existing = keyValuesOf(top).find((at) => isAt(at.path, path));
  if (existing) {
    const [from, to] = existing.node.value.range;
    return text.slice(0, from) + render(value) + text.slice(to);
  }
  const table = tablesOf(top).find((at) => isAt(at.path, path.slice(0, -1)))?.node;
  if (!table) throw new UneditableError(`[${path.slice(0, -1).join('.')}] is not a table`);
  const last = table.body.at(-1) ?? table.key;
  const lineStops = text.indexOf('\n', last.range[1]);
  const eol = lineEnd(text);
  const line = `${indentAt(text, last.range[0])}${renderKey(path.at(-1) ?? '')} = ${render(value)}`;
  return lineStops < 0
    ? `${text}${eol}${line}${eol}`
    : `${text.slice(0, lineStops + 1)}${line}${eol}${text.slice(lineStops + 1)}`;
}

/** A table at the end: there it can cut no other table in two. */
function append(text: string, path: Path, table: Record<string, unknown>): string {
  const eol = lineEnd(text);
  const lines = renderTable(path, table);
  const ending = text === '' || text.endsWith('\n') ? '' : eol;
  const blank = text.trim() === '' || /\n\r?\n$/.test(text + ending) ? '' : eol;
  return `${text}${ending}${blank}${lines.join(eol)}${eol}`;
}

function renderTable(path: Path, table: Record<string, unknown>): string[] {
  const members = Object.entries(table).filter(([, value]) => value !== undefined);
  const inner = members.filter(([, value]) => isTable(value));
  return [
    `[${path.map(renderKey).join('.')}]`,
    ...members
      .filter(([, value]) => !isTable(value))
      .map(([key, value]) => `${renderKey(key)} = ${render(value)}`),
    ...inner.flatMap(([key, value]) => [
      '',
      ...renderTable([...path, key], value as Record<string, unknown>),
    ]),
  ];
}

const renderKey = (key: string) => (/^[\w-]+$/.test(key) ? key : renderString(key));

// A JSON string is a basic string of TOML, except that TOML requires DEL to be escaped (TOML 1.0, String).
const renderString = (text: string) => JSON.stringify(text).replaceAll('\x7f', '\\u007F');

function render(value: unknown): string {
  if (typeof value === 'string') return renderString(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return `[${value.map(render).join(', ')}]`;
  throw new UneditableError('TOML cannot express a value that the client requires');
}

/** Cuts tables, dotted keys and inline members out until nothing stands at the path. */
function remove(text: string, path: Path): string {
  let rest = text;
  for (;;) {
    const top = parse(rest);
    const table = tablesOf(top).findLast((at) => startsWith(at.path, path))?.node;
    const member = keyValuesOf(top).findLast((at) => startsWith(at.path, path))?.node;
    if (table) rest = cutTable(rest, table);
    else if (member) rest = cutMember(rest, member);
    else return rest;
  }
}

function cutMember(text: string, node: AST.TOMLKeyValue): string {
  const [from, to] = node.range;
  if (node.parent.type !== 'TOMLInlineTable') return cutLines(text, from, to + comment(text, to));
  const siblings = node.parent.body;
  const index = siblings.indexOf(node);
  const next = siblings[index + 1]?.range[0];
  const previous = siblings[index - 1]?.range[1];
  return next === undefined
    ? text.slice(0, previous ?? from) + text.slice(to)
    : text.slice(0, from) + text.slice(next);
}

/** The length of the comment behind an offset, on the same line. */
function comment(text: string, offset: number): number {
  return /^[ \t]*#[^\r\n]*/.exec(text.slice(offset))?.[0].length ?? 0;
}

/** Cuts whole lines, and of the blank lines around them the one that came with the table. */
function cutTable(text: string, { range }: AST.TOMLTable): string {
  const lineStops = text.indexOf('\n', range[1]);
  const before = text.slice(0, range[0] - indentAt(text, range[0]).length);
  const after = lineStops < 0 ? '' : text.slice(lineStops + 1);
  const blank = /(?<=\n)\r?\n$/.exec(before)?.[0].length ?? 0;
  const isSeparated = after === '' || /^\r?\n/.test(after);
  return before.slice(0, before.length - (isSeparated ? blank : 0)) + after;
}
