import { isDeepStrictEqual } from 'node:util';
import { type ConfigText, isTable, type Path, UneditableError } from './config-text.ts';
import { jsonText } from './json-text.ts';
import { tomlText } from './toml-text.ts';
import { yamlText } from './yaml-text.ts';

const FORMATS: Readonly<Record<'json' | 'toml' | 'yaml', ConfigText>> = {
  json: jsonText,
  toml: tomlText,
  yaml: yamlText,
};

/**
 * The format, with each change checked: the changed text is read again and must say what the old
 * one said, but for the one value. Otherwise `set` and `remove` throw UneditableError.
 */
export function configText(format: keyof typeof FORMATS): ConfigText {
  const { read, set, remove } = FORMATS[format];
  const checked = (text: string, path: Path, edit: () => string, value?: unknown) => {
    const expected = withoutEmpty(withValue(read(text), path, value), path);
    const result = edit();
    if (!isDeepStrictEqual(withoutEmpty(readAgain(read, result), path), expected)) {
      throw new UneditableError(`${path.join(' › ')} is written in a way that is not understood`);
    }
    return result;
  };
  return {
    read,
    set: (text, path, value) => checked(text, path, () => set(text, path, value), value),
    remove: (text, path) => checked(text, path, () => remove(text, path)),
  };
}

function readAgain(read: ConfigText['read'], text: string): unknown {
  try {
    return read(text);
  } catch {
    return undefined;
  }
}

/** A copy of the document with `value` at the path; without it when `value` is undefined. */
function withValue(document: unknown, [key, ...rest]: Path, value: unknown): unknown {
  if (key === undefined) return value;
  const { [key]: old, ...others } = isTable(document) ? document : {};
  const changed = withValue(old, rest, value);
  return changed === undefined ? others : { ...others, [key]: changed };
}

/** A copy without the empty tables on the path: in TOML, such a table may as well be absent. */
function withoutEmpty(document: unknown, [key, ...rest]: Path): unknown {
  if (key === undefined || !isTable(document)) return document;
  const { [key]: value, ...others } = document;
  const inner = withoutEmpty(value, rest);
  const isEmpty = inner === undefined || (isTable(inner) && Object.keys(inner).length === 0);
  return isEmpty ? others : { ...others, [key]: inner };
}
