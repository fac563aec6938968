import type { Span } from './json-scanner.ts';
import * as scanner from './json-scanner.ts';

// Taken out once: between bundles, each use of an import calls two getters (esbuild 0.28).
const {
  BACKSLASH,
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COMMA,
  eachMember,
  endOfString,
  endOfValidValue,
  isNamed,
  OPEN_BRACE,
  OPEN_BRACKET,
  skipWhitespace,
} = scanner;

/**
 * Reading and changing JSON by its bytes, for text that is known to be valid (`readMessages` has
 * accepted it): what is not touched stays as it came, numbers beyond 2^53 and repeated members
 * included. Text that is not an object has no members. Time and memory are bounded by the length of
 * the text, whatever it consists of: no values are built but small ones.
 */

/** How many items or members are taken apart. */
export const MOST_ITEMS = 10_000;
/** The longest text that is made a value: whatever is read here is short where it is right. */
const MOST_VALUE_BYTES = 64 * 1024;

/** The value of a member; of a repeated one the last counts. A view on `object`, not a copy. */
export function memberOf(object: Buffer | undefined, name: string): Buffer | undefined {
  return membersOf(object, [name])[0];
}

/** The values of several members, in the order of the names, which differ; one pass for all. */
export function membersOf(
  object: Buffer | undefined,
  names: readonly string[],
): (Buffer | undefined)[] {
  const spans: Span[] = [];
  forEachMember(object, names, (index, _, start, end) => {
    if (index >= 0) spans[index] = { start, end };
  });
  return names.map((_, index) => {
    const span = spans[index];
    return span && object?.subarray(span.start, span.end);
  });
}

/**
 * As `membersOf`, but undefined where another program could read other values: where a name is
 * repeated, or written in another case, which Go's encoding/json takes for the same.
 */
export function plainMembersOf(
  object: Buffer | undefined,
  names: readonly string[],
): (Buffer | undefined)[] | undefined {
  const members = new PlainMembers(names);
  if (object !== undefined) members.read(object, skipWhitespace(object, 0));
  return members.isPlain
    ? names.map((_, index) => object && members.valueIn(object, index))
    : undefined;
}

/**
 * The members `outer` of an object, and the members `inner` of the one among them that `at` says, as
 * `plainMembersOf` finds them, in one pass: nothing is read twice.
 */
export function plainMembersWithin(
  object: Buffer,
  outer: readonly string[],
  at: number,
  inner: readonly string[],
): PlainMembers {
  const members = new PlainMembers(outer, at, new PlainMembers(inner));
  members.read(object, skipWhitespace(object, 0));
  return members;
}

/** Where the members of an object are, each of which is there once at most. */
export class PlainMembers {
  readonly #names: readonly string[];
  /** Where the values begin and end, by turns, in the order of the names; nothing for other members. */
  readonly #spans: number[] = [];
  readonly #at: number;
  /** The members of the value that `at` says. */
  readonly inner: PlainMembers | undefined;
  /** Whether every program reads the same values. */
  isPlain = true;

  constructor(names: readonly string[], at = -1, inner?: PlainMembers) {
    this.#names = names;
    this.#at = at;
    this.inner = inner;
  }

  /** Returns where the object at `start` ends; -1 where it is not an object. */
  read(json: Buffer, start: number): number {
    if (json[start] !== OPEN_BRACE) return -1;
    const names = this.#names;
    const spans = this.#spans;
    let at = skipWhitespace(json, start + 1);
    while (json[at] !== CLOSE_BRACE && at < json.length) {
      const nameEnd = endOfString(json, at);
      if (nameEnd < 0) return -1;
      const valueStart = skipWhitespace(json, skipWhitespace(json, nameEnd) + 1);
      let index = names.length - 1;
      while (index >= 0 && !isNamed(json, at, nameEnd, names[index] as string)) index--;
      let end = -1;
      if (index < 0) this.isPlain &&= !isAlmostNamed(json, at, nameEnd, names);
      else {
        this.isPlain &&= spans[2 * index] === undefined;
        if (index === this.#at) end = this.inner?.read(json, valueStart) ?? -1;
      }
      if (end < 0) end = endOfValidValue(json, valueStart);
      if (end < 0) return -1;
      if (index >= 0) {
        spans[2 * index] = valueStart;
        spans[2 * index + 1] = end;
      }
      at = skipWhitespace(json, end);
      if (json[at] === COMMA) at = skipWhitespace(json, at + 1);
    }
    return at + 1;
  }

  /** The value of the member that is named first, second and so on, as a view on `json`, which was read. */
  valueIn(json: Buffer, index: number): Buffer | undefined {
    const start = this.#spans[2 * index];
    return start === undefined ? undefined : json.subarray(start, this.#spans[2 * index + 1]);
  }
}

/** Whether the JSON string at `start` differs from one of the names in the case of letters only. */
function isAlmostNamed(
  json: Buffer,
  start: number,
  end: number,
  names: readonly string[],
): boolean {
  // An escaped character takes six bytes.
  const mostBytes = 2 + 6 * names.reduce((most, { length }) => Math.max(most, length), 0);
  if (end - start > mostBytes) return false;
  let isPlain = true;
  for (let at = start + 1; at < end - 1; at++) {
    isPlain &&= (json[at] as number) < 0x80 && json[at] !== BACKSLASH;
  }
  // Nearly always it is: then only a name of the same length can be almost the same.
  if (isPlain && !names.some(({ length }) => length === end - start - 2)) return false;
  const name = foldCase(JSON.parse(json.toString('utf8', start, end)));
  return names.some((wanted) => foldCase(wanted) === name);
}

/** Equal for texts that differ in case only, those with "ſ" or the Kelvin sign in them included. */
export function foldCase(text: string): string {
  return text.toUpperCase().toLowerCase();
}

/** The value of a member of a member, and so on. */
export function memberAt(object: Buffer | undefined, ...path: readonly string[]): typeof object {
  return path.reduce(memberOf, object);
}

/** A member's value where that is a string. */
export function stringOf(object: Buffer | undefined, name: string): string | undefined {
  return textIn(memberOf(object, name));
}

/** What a string says; undefined for anything else. */
export function textIn(json: Buffer | undefined): string | undefined {
  const value: unknown = valueIn(json);
  return typeof value === 'string' ? value : undefined;
}

/** What the text means; undefined for undefined, and for text of more than 64 KiB. */
export function valueIn(json: Buffer | undefined): unknown {
  if (json === undefined || json.length > MOST_VALUE_BYTES) return undefined;
  return JSON.parse(json.toString('utf8'));
}

/**
 * Whether the text may have the string `word` in it, escaped or not; false only where it has not.
 * For words of letters, digits and "-", which JSON can escape as \uXXXX alone.
 */
export function mayContain(json: Buffer, word: string): boolean {
  return json.includes(word) || json.includes('\\u');
}

/**
 * Members by name: JSON sets one, buffers make it an array of them, undefined removes it,
 * `Changes` change the object that it is.
 */
export interface Changes {
  readonly [name: string]: Change | undefined;
}

type Change = string | Buffer | readonly Buffer[] | Changes;

/**
 * A copy of the object with other members: JSON sets one, in its place or at the end. An object of
 * its own when `object` is not one. It is written once, whatever changes deep in it.
 */
export function withMembers(object: Buffer | undefined, changes: Changes): Buffer {
  const output = Buffer.allocUnsafe((object?.length ?? 0) + mostBytesOf(changes));
  return output.subarray(0, write(output, 0, object, changes));
}

/** Writes the changed object to `output` at `start`. Returns where it ends. */
function write(
  output: Buffer,
  start: number,
  object: Buffer | undefined,
  changes: Changes,
): number {
  let at = start;
  const copy = (from: number, to: number) => {
    at += (object as Buffer).copy(output, at, from, to);
  };
  const separate = () => {
    output[at] = at === start ? OPEN_BRACE : COMMA;
    at++;
  };
  const put = (name: string, value: Change) => {
    if (typeof value === 'string') at += output.write(value, at);
    else if (Buffer.isBuffer(value)) at += value.copy(output, at);
    else if (isList(value)) at = writeList(output, at, value);
    else at = write(output, at, memberOf(object, name), value);
  };
  const names = Object.keys(changes);
  const isDone: boolean[] = [];
  // Members that are separated by a comma alone are copied at once.
  let runStart = 0;
  let runEnd = -1;
  const endRun = () => {
    if (runEnd < 0) return;
    separate();
    copy(runStart, runEnd);
    runEnd = -1;
  };
  forEachMember(object, names, (index, nameStart, valueStart, end) => {
    if (index < 0) {
      if (runEnd + 1 !== nameStart) {
        endRun();
        runStart = nameStart;
      }
      runEnd = end;
      return;
    }
    const name = names[index] as string;
    const value = changes[name];
    endRun();
    if (value !== undefined && isDone[index] !== true) {
      separate();
      copy(nameStart, valueStart);
      put(name, value);
    }
    isDone[index] = true;
  });
  endRun();
  for (const [index, name] of names.entries()) {
    const value = changes[name];
    if (value === undefined || isDone[index] === true) continue;
    separate();
    at += output.write(`${JSON.stringify(name)}:`, at);
    put(name, value);
  }
  if (at === start) output[at++] = OPEN_BRACE;
  output[at++] = CLOSE_BRACE;
  return at;
}

function writeList(output: Buffer, start: number, items: readonly Buffer[]): number {
  let at = start;
  for (const [index, item] of items.entries()) {
    output[at++] = index === 0 ? OPEN_BRACKET : COMMA;
    at += item.copy(output, at);
  }
  if (at === start) output[at++] = OPEN_BRACKET;
  output[at++] = CLOSE_BRACKET;
  return at;
}

/** The most that the changes may add to an object. */
function mostBytesOf(changes: Changes): number {
  let bytes = '{}'.length;
  for (const [name, value] of Object.entries(changes)) {
    bytes += Buffer.byteLength(JSON.stringify(name)) + ',:'.length;
    if (value === undefined) continue;
    if (typeof value === 'string') bytes += Buffer.byteLength(value);
    else if (Buffer.isBuffer(value)) bytes += value.length;
    else if (isList(value)) bytes += value.reduce((sum, { length }) => sum + length + 1, 2);
    else bytes += mostBytesOf(value);
  }
  return bytes;
}

const isList: (value: Change) => value is readonly Buffer[] = Array.isArray as never;

/** The items of an array, the first `most` of them, as views on it; undefined when it is not an array. */
export function itemsOf(array: Buffer | undefined, most = MOST_ITEMS): Buffer[] | undefined {
  if (array === undefined) return undefined;
  let at = skipWhitespace(array, 0);
  if (array[at] !== OPEN_BRACKET) return undefined;
  const items: Buffer[] = [];
  at = skipWhitespace(array, at + 1);
  while (array[at] !== CLOSE_BRACKET && items.length < most) {
    const end = endOfValidValue(array, at);
    if (end < 0) return undefined;
    items.push(array.subarray(at, end));
    at = skipWhitespace(array, end);
    if (array[at] === COMMA) at = skipWhitespace(array, at + 1);
  }
  return items;
}

/** The members' names and values, the first `most` of them, as views on the object. */
export function entriesOf(object: Buffer | undefined, most = MOST_ITEMS): [string, Buffer][] {
  const entries: [string, Buffer][] = [];
  forEachMember(object, [], (_, start, valueStart, end) => {
    if (object === undefined || entries.length === most) return false;
    const name = textIn(object.subarray(start, endOfString(object, start)));
    if (name !== undefined) entries.push([name, object.subarray(valueStart, end)]);
    return true;
  });
  return entries;
}

function forEachMember(
  object: Buffer | undefined,
  names: readonly string[],
  visit: Parameters<typeof eachMember>[4],
): void {
  if (object === undefined) return;
  eachMember(object, skipWhitespace(object, 0), names, endOfValidValue, visit);
}
