import {
  createScanner,
  findNodeAtLocation,
  getNodeValue,
  type Node,
  type ParseError,
  parseTree,
  stripComments,
} from 'jsonc-parser';
import {
  ConfigSyntaxError,
  type ConfigText,
  indentAt,
  lineEnd,
  nest,
  type Path,
  UneditableError,
} from './config-text.ts';

const LENIENT = { allowTrailingComma: true };

/** jsonc-parser's SyntaxKind, whose `const enum` cannot be imported file by file. */
const COMMA = 5;
const END_OF_FILE = 17;
const CLOSING = new Set([2, 4]);
const COMMENTS = new Set([12, 13]);
/** With line breaks and white space. */
const TRIVIA = new Set([12, 13, 14, 15]);

/** By jsonc-parser's ParseErrorCode, whose enum is `const` as well. */
const ERRORS: Readonly<Record<number, string>> = {
  1: 'invalid JSON',
  2: 'not a number',
  3: 'expected a name in double quotes',
  4: 'expected a value',
  5: 'a colon is missing before this',
  6: 'a comma is missing before this',
  7: 'a closing brace } is missing',
  8: 'a closing bracket ] is missing',
  9: 'unexpected text after the end',
  11: 'unterminated comment',
  12: 'this string has no closing quote',
  13: 'incomplete number',
  14: 'this \\u escape is wrong',
  15: 'this \\ escape is wrong',
  16: 'this character is not allowed here',
};

/** JSON, with comments and trailing commas: VS Code and Zed write both. */
export const jsonText: ConfigText = { read, set, remove };

function read(text: string): unknown {
  if (isBlank(text)) return {};
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, LENIENT);
  const [first] = errors;
  if (first) throw syntaxError(text, first.offset, ERRORS[first.error] ?? 'invalid JSON');
  // jsonc-parser's `parse` makes a member "__proto__" the prototype; JSON.parse makes it a member.
  return JSON.parse(JSON.stringify(tree && getNodeValue(tree)));
}

function syntaxError(text: string, offset: number, what: string): ConfigSyntaxError {
  const before = text.slice(0, offset).split(/\r\n|\r|\n/);
  return new ConfigSyntaxError(what, before.length, (before.at(-1)?.length ?? 0) + 1);
}

/** A comment or trailing comma, where a strict reader of JSON stops. */
interface BeyondJson {
  /** `a comment`, `a trailing comma`. */
  readonly what: string;
  readonly line: number;
  readonly column: number;
  readonly offset: number;
  readonly length: number;
}

/** The comments, unless those are allowed, and the trailing commas. The text must be readable. */
export function beyondJson(text: string, { allowsComments = false } = {}): BeyondJson[] {
  if (text.trim() === '') return [];
  const scanner = createScanner(text, false);
  const found: BeyondJson[] = [];
  let comma: BeyondJson | undefined;
  for (let token = scanner.scan(); token !== END_OF_FILE; token = scanner.scan()) {
    const [offset, length] = [scanner.getTokenOffset(), scanner.getTokenLength()];
    const at = (what: string) => {
      const { line, column } = syntaxError(text, offset, '');
      return { what, line, column, offset, length };
    };
    if (TRIVIA.has(token)) {
      if (COMMENTS.has(token) && !allowsComments) found.push(at('a comment'));
      continue;
    }
    if (comma !== undefined && CLOSING.has(token)) found.push(comma);
    comma = token === COMMA ? at('a trailing comma') : undefined;
  }
  return found.sort((a, b) => a.offset - b.offset);
}

/** The text without what is beyond JSON; a line of which nothing is left goes with it. */
export function strictJson(text: string, options?: { readonly allowsComments?: boolean }): string {
  return beyondJson(text, options).reduceRight((left, { offset, length, what }) => {
    const [before, after] = [left.slice(0, offset), left.slice(offset + length)];
    if (what !== 'a comment') return before + after;
    const lineAt = Math.max(before.lastIndexOf('\n'), before.lastIndexOf('\r')) + 1;
    const line = before.slice(lineAt);
    const [, end] = /^[ \t]*(\r\n|\n|\r|$)/.exec(after) ?? [];
    if (line.trim() !== '' || end === undefined) {
      return before.slice(0, lineAt) + (end === undefined ? line : line.trimEnd()) + after;
    }
    return before.slice(0, lineAt) + after.slice(after.indexOf(end) + end.length);
  }, text);
}

const isBlank = (text: string) => stripComments(text).trim() === '';

function set(text: string, path: Path, value: unknown): string {
  if (isBlank(text)) {
    const eol = lineEnd(text);
    const start = text.trim() === '' ? '' : text.replace(/\s*$/, eol);
    return start + render(nest(path, value), eol, '  ') + eol;
  }
  let node = parseTree(text, [], LENIENT);
  for (const [depth, key] of path.entries()) {
    if (node?.type === 'null') {
      return replace(text, node, nest(path.slice(depth), value));
    }
    if (node?.type !== 'object') {
      throw new UneditableError(
        `${path.slice(0, depth).join(' › ') || 'the file'} is not an object`,
      );
    }
    const member = lastMember(node, key);
    if (member === undefined) return insert(text, node, key, nest(path.slice(depth + 1), value));
    node = member.children?.[1];
  }
  return node === undefined ? text : replace(text, node, value);
}

/** Of members with the same name, the last one counts: every reader of JSON takes that. */
function lastMember(object: Node, key: string): Node | undefined {
  return object.children?.findLast((member) => member.children?.[0]?.value === key);
}

function render(value: unknown, eol: string, unit: string, indent = ''): string {
  return JSON.stringify(value, null, unit).replaceAll('\n', eol + indent);
}

function replace(text: string, node: Node, value: unknown): string {
  const isOneLine = !text.trim().includes('\n');
  const rendered = isOneLine
    ? JSON.stringify(value)
    : render(value, lineEnd(text), indentUnit(text), indentAt(text, node.offset));
  return text.slice(0, node.offset) + rendered + text.slice(node.offset + node.length);
}

/** One step of indentation, as the first member of the outermost object has it. */
function indentUnit(text: string): string {
  const first = parseTree(text, [], LENIENT)?.children?.[0];
  return (first && indentAt(text, first.offset)) || '  ';
}

function insert(text: string, object: Node, key: string, value: unknown): string {
  const eol = lineEnd(text);
  const unit = indentUnit(text);
  const close = object.offset + object.length - 1;
  const last = object.children?.at(-1);
  const lastEnd = last ? last.offset + last.length : object.offset + 1;
  const comma = last && commaBetween(text, lastEnd, close);
  // After the comments that follow the last member, before the white space ahead of the brace.
  const at = Math.max(lastEnd, text.slice(0, close).trimEnd().length);
  const commaAfterLast = last && comma === undefined ? ',' : '';
  const head = text.slice(0, lastEnd) + commaAfterLast + text.slice(lastEnd, at);
  const tail = text.slice(at);
  const commaAfterNew = comma === undefined ? '' : ',';

  const isOneLine = !text.slice(object.offset, close).includes('\n');
  if (isOneLine && (last || !text.trim().includes('\n')) && text.trim() !== '{}') {
    const member = `${JSON.stringify(key)}: ${JSON.stringify(value)}`;
    return `${head}${last ? ' ' : ''}${member}${commaAfterNew}${tail}`;
  }
  const ownIndent = indentAt(text, object.offset);
  const ledBy = last && /^[ \t]*$/.test(lineStart(text, last.offset)) ? last : undefined;
  const indent = ledBy ? indentAt(text, ledBy.offset) : ownIndent + unit;
  const member = `${JSON.stringify(key)}: ${render(value, eol, unit, indent)}`;
  if (last || text.slice(at, close).includes('\n')) {
    return `${head}${eol}${indent}${member}${commaAfterNew}${tail}`;
  }
  return `${head}${eol}${indent}${member}${eol}${ownIndent}${tail.trimStart()}`;
}

function lineStart(text: string, offset: number): string {
  return text.slice(text.lastIndexOf('\n', offset - 1) + 1, offset);
}

/** The offset of the first comma that is no part of a comment. */
function commaBetween(text: string, from: number, to: number): number | undefined {
  const scanner = createScanner(text.slice(from, to));
  for (;;) {
    const token: number = scanner.scan();
    if (token === COMMA) return from + scanner.getTokenOffset();
    if (token === END_OF_FILE) return undefined;
  }
}

function remove(text: string, path: Path): string {
  const root = parseTree(text, [], LENIENT);
  const object = root && findNodeAtLocation(root, path.slice(0, -1) as string[]);
  const member = object && lastMember(object, path.at(-1) ?? '');
  if (object?.children === undefined || member === undefined) {
    throw new UneditableError(`${path.join(' › ')} does not exist`);
  }
  const index = object.children.indexOf(member);
  const previous = object.children[index - 1];
  const next = object.children[index + 1];
  const from = member.offset;
  const to = from + member.length;
  const close = object.offset + object.length - 1;

  const commaAfter = commaBetween(text, to, next?.offset ?? close);
  if (commaAfter !== undefined) {
    const rest = text.slice(0, commaAfter) + text.slice(commaAfter + 1);
    return cutMember(rest, from, to, next === undefined && previous === undefined);
  }
  if (previous === undefined) return cutMember(text, from, to, true);
  const commaBefore = commaBetween(text, previous.offset + previous.length, from);
  if (commaBefore === undefined) throw new UneditableError('a comma is missing');
  // With nothing but white space since the comma, the object closes as it did before the member
  // came.
  if (text.slice(commaBefore + 1, from).trim() === '') {
    return text.slice(0, commaBefore) + text.slice(to);
  }
  const rest = text.slice(0, commaBefore) + text.slice(commaBefore + 1);
  return cutMember(rest, from - 1, to - 1, false);
}

/** Cuts a member out that has no comma any more, and the white space that only it called for. */
function cutMember(text: string, from: number, to: number, isOnly: boolean): string {
  const before = text.slice(0, from);
  const after = text.slice(to);
  if (isOnly && before.trimEnd().endsWith('{') && after.trimStart().startsWith('}')) {
    return before.trimEnd() + after.trimStart();
  }
  const lead = lineStart(text, from);
  const rest = /^[ \t]*(?:\r?\n|$)/.exec(after)?.[0];
  if (lead.trim() === '' && rest !== undefined) {
    return text.slice(0, from - lead.length) + after.slice(rest.length);
  }
  return before + after.replace(/^[ \t]+/, '');
}
