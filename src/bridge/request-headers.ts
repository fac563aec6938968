import {
  itemsOf,
  mayContain,
  memberAt,
  memberOf,
  membersOf,
  stringOf,
  textIn,
  valueIn,
} from '../jsonrpc/json-members.ts';
import type { HttpHeaders, Notification, Request } from '../jsonrpc/message.ts';
import { META } from './revisions.ts';

/** An argument that a tool requires as a header: the header's name and the path to the value. */
export interface MirroredArgument {
  readonly header: string;
  readonly path: readonly string[];
}

/** A tool of `tools/list`, read for its `x-mcp-header` annotations. */
export type AnnotatedTool =
  | { readonly name: string; readonly mirrored: readonly MirroredArgument[] }
  | { readonly name: string; readonly why: string };

// RFC 9110 §5.6.2.
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const ANNOTATION = 'x-mcp-header';
const MIRRORED_TYPES: readonly unknown[] = ['string', 'integer', 'boolean'];

/** The member of the params that the `Mcp-Name` header repeats. */
const NAMED_BY: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
]);

/**
 * The headers that repeat parts of a modern message (MCP 2026-07-28, Streamable HTTP §Request
 * Metadata). `mirrored` are the annotated arguments of the called tool.
 */
export function headersOf(
  message: Request | Notification,
  mirrored: readonly MirroredArgument[] = [],
): HttpHeaders {
  const params = memberOf(message.bytes, 'params');
  const headers: string[] = [];
  const version = stringOf(memberOf(params, '_meta'), META.protocolVersion);
  // A value that no header can carry is left out: the gateway then answers with an error.
  if (version !== undefined && /^[\x21-\x7e]+$/.test(version)) {
    headers.push('mcp-protocol-version', version);
  }
  headers.push('mcp-method', headerValue(message.method));
  const source = NAMED_BY.get(message.method);
  const name = source === undefined ? undefined : stringOf(params, source);
  if (name !== undefined) headers.push('mcp-name', headerValue(name));
  if (mirrored.length > 0) mirror(memberOf(params, 'arguments'), mirrored, 0, headers);
  return headers;
}

/** Adds the headers of the arguments at or below `depth`, reading each level once. */
function mirror(
  object: Buffer | undefined,
  mirrored: readonly MirroredArgument[],
  depth: number,
  headers: string[],
): void {
  const names = [...new Set(mirrored.map(({ path }) => path[depth] as string))];
  const values = membersOf(object, names);
  for (const [index, name] of names.entries()) {
    const atName = mirrored.filter(({ path }) => path[depth] === name);
    const deeper = atName.filter(({ path }) => path.length > depth + 1);
    if (deeper.length > 0) mirror(values[index], deeper, depth + 1, headers);
    const value = valueIn(values[index]);
    if (!['string', 'number', 'boolean'].includes(typeof value)) continue;
    for (const { header, path } of atName) {
      if (path.length === depth + 1)
        headers.push(`mcp-param-${header}`, headerValue(String(value)));
    }
  }
}

/**
 * The text itself, or in Base64 if a header could not carry it or it looks like Base64 already
 * (MCP 2026-07-28, Streamable HTTP §Value Encoding).
 */
function headerValue(text: string): string {
  const isPlain = /^(?![ \t])[\x20-\x7e\t]*(?<![ \t])$/.test(text);
  if (isPlain && !/^=\?base64\?.*\?=$/.test(text)) return text;
  return `=?base64?${Buffer.from(text).toString('base64')}?=`;
}

/**
 * The tools of a reply to `tools/list`, the first 10,000 of them, each with the arguments to mirror
 * or with why its annotations are invalid; undefined if no tool has an annotation.
 */
export function annotatedTools(reply: Buffer): AnnotatedTool[] | undefined {
  if (!mayContain(reply, ANNOTATION)) return undefined;
  let left = MOST_SCHEMA_BYTES;
  return itemsOf(memberAt(reply, 'result', 'tools'))?.map((tool) => {
    const [named, schema] = membersOf(tool, ['name', 'inputSchema']);
    const name = textIn(named) ?? '';
    const mirrored: MirroredArgument[] = [];
    if (schema === undefined || !mayContain(tool, ANNOTATION)) return { name, mirrored };
    left -= schema.length;
    // Parsed, they are many times as large.
    if (left < 0) return { name, why: 'the schema is too large' };
    const why = collectMirrored(JSON.parse(schema.toString('utf8')), mirrored);
    return why === undefined ? { name, mirrored } : { name, why };
  });
}

/** How much of one reply's schemas is parsed. */
const MOST_SCHEMA_BYTES = 4 * 1024 * 1024;

/**
 * Fills `mirrored`; returns what is wrong, if anything (MCP 2026-07-28, Streamable HTTP §Schema
 * Extension). Without recursion: the schema is the gateway's.
 */
function collectMirrored(schema: unknown, mirrored: MirroredArgument[]): string | undefined {
  const taken = new Set<string>();
  // `path` is undefined where a chain of `properties` does not lead.
  const open: { at: unknown; path: string[] | undefined }[] = [{ at: schema, path: [] }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { at, path } = next;
    if (typeof at !== 'object' || at === null) continue;
    if (Array.isArray(at)) {
      for (const item of at) open.push({ at: item, path: undefined });
      continue;
    }
    for (const [keyword, value] of Object.entries(at)) {
      if (keyword === ANNOTATION) {
        const why = invalidity(value, (at as { type?: unknown }).type, path, taken);
        if (why !== undefined) return why;
        mirrored.push({ header: value as string, path: path as string[] });
      } else if (keyword === 'properties' && isTable(value)) {
        for (const [name, property] of Object.entries(value)) {
          open.push({ at: property, path: deeper(path, name) });
        }
      } else if (!HOLDS_VALUES.has(keyword)) open.push({ at: value, path: undefined });
    }
  }
  return undefined;
}

/** Stops at a depth that no arguments have: copying longer paths would take quadratic time. */
function deeper(path: string[] | undefined, name: string): string[] | undefined {
  return path === undefined || path.length === DEEPEST ? undefined : [...path, name];
}

const DEEPEST = 100;

/** Keywords that contain data, in which an annotation has no meaning. */
const HOLDS_VALUES = new Set(['default', 'examples', 'const', 'enum']);

function invalidity(
  header: unknown,
  type: unknown,
  path: readonly string[] | undefined,
  taken: Set<string>,
): string | undefined {
  if (typeof header !== 'string' || !TOKEN.test(header)) return 'it is not a header name';
  if (path === undefined || path.length === 0) return 'it is not on an argument';
  if (!MIRRORED_TYPES.includes(type)) return 'the argument is not a string, integer or boolean';
  const name = header.toLowerCase();
  if (taken.has(name)) return 'two arguments share the header';
  taken.add(name);
  return undefined;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
