import * as scanner from './json-scanner.ts';

// Taken out once: see json-members.ts.
const {
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

/** Gets the members of an item, in the order of their names; of a repeated one the last. */
type Keeps = (values: readonly (Buffer | undefined)[]) => boolean;

/**
 * A copy of a JSON object with only those items of the array at `path` that `keeps` accepts; `names`
 * are the members of an item that it gets. Items that are not objects are left out. All else stays as
 * it was, byte for byte. Returns `json` itself, where nothing is left out.
 *
 * Takes one pass over valid JSON, and a buffer for what is left of it. A member of `path` that is
 * repeated is filtered each time.
 */
export function filterItems(
  json: Buffer,
  path: readonly string[],
  names: readonly string[],
  keeps: Keeps,
): Buffer {
  return new ItemFilter(json, path, names, keeps).run();
}

class ItemFilter {
  readonly #json: Buffer;
  readonly #path: readonly string[];
  readonly #names: readonly string[];
  readonly #keeps: Keeps;
  /** What is kept: where each piece begins and ends, by turns. Empty until an item is left out. */
  readonly #kept: number[] = [];
  #keptBytes = 0;
  /** Up to where it is known what is kept. */
  #doneTo = 0;

  constructor(json: Buffer, path: readonly string[], names: readonly string[], keeps: Keeps) {
    this.#json = json;
    this.#path = path;
    this.#names = names;
    this.#keeps = keeps;
  }

  run(): Buffer {
    this.#value(skipWhitespace(this.#json, 0), 0);
    const json = this.#json;
    const kept = this.#kept;
    if (kept.length === 0) return json;
    this.#leaveOut(json.length, json.length);
    const output = Buffer.allocUnsafe(this.#keptBytes);
    let length = 0;
    for (let at = 0; at < kept.length; at += 2) {
      length += json.copy(output, length, kept[at], kept[at + 1]);
    }
    return output;
  }

  /** Returns where the value at `start` ends. The first `depth` names of the path lead there. */
  #value(start: number, depth: number): number {
    const first = this.#json[start];
    if (depth === this.#path.length && first === OPEN_BRACKET) return this.#array(start);
    if (depth < this.#path.length && first === OPEN_BRACE) return this.#object(start, depth);
    return endOfValidValue(this.#json, start);
  }

  #object(start: number, depth: number): number {
    const json = this.#json;
    const name = this.#path[depth] as string;
    let at = skipWhitespace(json, start + 1);
    while (json[at] !== CLOSE_BRACE && at < json.length) {
      const nameEnd = endOfString(json, at);
      const valueStart = skipWhitespace(json, skipWhitespace(json, nameEnd) + 1);
      const isOnPath = isNamed(json, at, nameEnd, name);
      at = isOnPath ? this.#value(valueStart, depth + 1) : endOfValidValue(json, valueStart);
      at = skipWhitespace(json, at);
      if (json[at] === COMMA) at = skipWhitespace(json, at + 1);
    }
    return at + 1;
  }

  #array(start: number): number {
    const json = this.#json;
    let previousEnd = -1;
    let hasKept = false;
    let at = skipWhitespace(json, start + 1);
    while (json[at] !== CLOSE_BRACKET && at < json.length) {
      const values: (Buffer | undefined)[] = [];
      let end = eachMember(json, at, this.#names, endOfValidValue, (index, _, from, to) => {
        if (index >= 0) values[index] = json.subarray(from, to);
      });
      const isKept = end >= 0 && this.#keeps(values);
      if (end < 0) end = endOfValidValue(json, at);
      let next = skipWhitespace(json, end);
      const isLast = json[next] !== COMMA;
      if (!isLast) next = skipWhitespace(json, next + 1);
      // With the comma before it, or, where all before it is left out too, with the one after it.
      if (!isKept) this.#leaveOut(hasKept ? previousEnd : at, hasKept || isLast ? end : next);
      hasKept ||= isKept;
      previousEnd = end;
      at = next;
    }
    return at + 1;
  }

  #leaveOut(start: number, end: number): void {
    if (start > this.#doneTo) this.#kept.push(this.#doneTo, start);
    this.#keptBytes += start - this.#doneTo;
    this.#doneTo = end;
  }
}
