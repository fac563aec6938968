import {
  CLOSE_BRACE,
  CLOSE_BRACKET,
  endOfString,
  endOfValue,
  OPEN_BRACE,
  OPEN_BRACKET,
  skipWhitespace,
} from './json-scanner.ts';

/**
 * Reading and changing JSON by its bytes, for text that is known to be valid (`readMessages` has
 * accepted it): what is not touched stays as it came, numbers beyond 2^53 and repeated members
 * included. Text that is no object has no members.
 */

interface Member {
  readonly name: string;
  /** From its name to the end of its value. */
  readonly start: number;
  readonly valueStart: number;
  readonly end: number;
}

/** The value of a member; of a repeated one the last counts. A view on `object`, not a copy. */
export function memberOf(object: Buffer | undefined, name: string): Buffer | undefined {
  if (object === undefined) return undefined;
  const found = membersOf(object).findLast((member) => member.name === name);
  return found && object.subarray(found.valueStart, found.end);
}

/** The value of a member of a member, and so on. */
export function memberAt(object: Buffer, ...path: readonly string[]): Buffer | undefined {
  return path.reduce<Buffer | undefined>(memberOf, object);
}

/** A member's value where that is a string. */
export function stringOf(object: Buffer | undefined, name: string): string | undefined {
  const value: unknown = valueIn(memberOf(object, name));
  return typeof value === 'string' ? value : undefined;
}

/** What the text means; undefined for undefined. */
export function valueIn(json: Buffer | undefined): unknown {
  return json === undefined ? undefined : JSON.parse(json.toString('utf8'));
}

/**
 * A copy of the object with other members: text sets one, in its place or at the end, undefined
 * takes it out. An object of its own when `object` is none.
 */
export function withMembers(
  object: Buffer | undefined,
  changes: Readonly<Record<string, string | Buffer | undefined>>,
): Buffer {
  const parts: Buffer[] = [];
  const add = (text: Buffer, value?: string | Buffer) => {
    parts.push(parts.length === 0 ? OPENING : SEPARATOR, text);
    if (value !== undefined) parts.push(typeof value === 'string' ? Buffer.from(value) : value);
  };
  const left = new Map(Object.entries(changes));
  for (const { name, start, valueStart, end } of object === undefined ? [] : membersOf(object)) {
    if (!Object.hasOwn(changes, name)) add((object as Buffer).subarray(start, end));
    else {
      const value = left.get(name);
      left.delete(name);
      if (value !== undefined) add((object as Buffer).subarray(start, valueStart), value);
    }
  }
  for (const [name, value] of left) {
    if (value !== undefined) add(Buffer.from(`${JSON.stringify(name)}:`), value);
  }
  return parts.length === 0 ? Buffer.from('{}') : Buffer.concat([...parts, CLOSING]);
}

const OPENING = Buffer.from('{');
const SEPARATOR = Buffer.from(',');
const CLOSING = Buffer.from('}');

/** The items of an array, as views on it; undefined when it is none. */
export function itemsOf(array: Buffer | undefined): Buffer[] | undefined {
  if (array === undefined) return undefined;
  let at = skipWhitespace(array, 0);
  if (array[at] !== OPEN_BRACKET) return undefined;
  const items: Buffer[] = [];
  at = skipWhitespace(array, at + 1);
  while (array[at] !== CLOSE_BRACKET) {
    const end = endOfValue(array, at);
    if (end < 0) return undefined;
    items.push(array.subarray(at, end));
    at = behindSeparator(array, end);
  }
  return items;
}

/** The members' names and values, as views on the object. */
export function entriesOf(object: Buffer | undefined): [string, Buffer][] {
  if (object === undefined) return [];
  return membersOf(object).map(({ name, valueStart, end }) => [
    name,
    object.subarray(valueStart, end),
  ]);
}

function membersOf(object: Buffer): Member[] {
  const members: Member[] = [];
  let at = skipWhitespace(object, 0);
  if (object[at] !== OPEN_BRACE) return members;
  at = skipWhitespace(object, at + 1);
  while (object[at] !== CLOSE_BRACE) {
    const start = at;
    const nameEnd = endOfString(object, start);
    if (nameEnd < 0) return members;
    const valueStart = skipWhitespace(object, skipWhitespace(object, nameEnd) + 1);
    const end = endOfValue(object, valueStart);
    if (end < 0) return members;
    members.push({
      name: JSON.parse(object.toString('utf8', start, nameEnd)),
      start,
      valueStart,
      end,
    });
    at = behindSeparator(object, end);
  }
  return members;
}

function behindSeparator(json: Buffer, end: number): number {
  const at = skipWhitespace(json, end);
  return json[at] === CLOSE_BRACE || json[at] === CLOSE_BRACKET ? at : skipWhitespace(json, at + 1);
}
