import type { Launch } from './clients.ts';
import { nameOfKeyIn } from './entry.ts';

/** A variable that is a key by its name, and what begins like the value of an Authorization header. */
const KEY_VARIABLE = /(?:key|token|secret|password)$/i;
const CREDENTIAL = /^(?:bearer |\S*auth\S*:)/i;
/** Put in place by the client or by this program: `${input:key}`, `@{VAR}`. */
const PLACEHOLDER = /[$@]\{[^}]*\}/;

/** The names of the variables and headers of an entry that have a key in plain text. Never the keys. */
export function plainKeysIn({ args, env = {} }: Launch): string[] {
  const variables = Object.entries(env).filter(
    ([name, value]) =>
      value !== '' &&
      !PLACEHOLDER.test(value) &&
      (KEY_VARIABLE.test(name) || CREDENTIAL.test(value)),
  );
  const keyHeader = optionValues(args, /^--key-header(?:=(.*))?$/s)[0];
  const headers = optionValues(args, /^(?:-H(.+)?|--header(?:=(.*))?)$/s);
  return [
    ...variables.map(([name]) => name),
    ...headers.flatMap((header) => nameOfKeyIn(header, keyHeader) ?? []),
  ];
}

/** An option's values, after `=`, which `option` captures, or as the next word. */
export function optionValues(words: readonly string[], option: RegExp): string[] {
  return words.flatMap((word, at) => {
    const found = option.exec(word);
    return found === null
      ? []
      : (found.slice(1).find((own) => own !== undefined) ?? words[at + 1] ?? []);
  });
}
