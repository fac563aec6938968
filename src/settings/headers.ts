import { environmentValue, MAX_FILE_BYTES, textOf, unquotedHeader } from '../auth/key.ts';
import { readPrivate, UnusableFile } from '../private-path.ts';
import { UsageError } from './options.ts';

/** What this program sends itself, or what is for one connection (RFC 9110 §7.6.1). */
const OWN_HEADERS =
  /^(?:accept|connection|content-(?:encoding|length|type)|expect|keep-alive|last-event-id|mcp-(?:method|name|param-.*|protocol-version|session-id)|proxy-.*|te|trailer|transfer-encoding|upgrade)$/;

const HEADER_NAME = /^[!#$%&'*+.^_`|~\w-]+$/;

/** The name for `--key-header`, in lower case. Throws UsageError. */
export function checkedKeyHeader(given: string | undefined): string | undefined {
  const name = given?.toLowerCase();
  if (name === undefined) return undefined;
  if (!HEADER_NAME.test(name)) throw new UsageError('--key-header needs the name of a header');
  if (OWN_HEADERS.test(name) || name === 'host' || name === 'user-agent') {
    throw new UsageError(`the header ${name} cannot carry the key`);
  }
  return name;
}

/** The lines of a file of headers, without the empty ones and the comments. Throws UsageError. */
export function headerLines(path: string | undefined, warn: (words: string) => void): string[] {
  if (path === undefined) return [];
  try {
    return textOf(readPrivate(path, 'secret', warn, MAX_FILE_BYTES))
      .split('\n')
      .filter((line) => !/^\s*(?:#|$)/.test(line));
  } catch (error) {
    throw error instanceof UnusableFile ? new UsageError(error.message) : error;
  }
}

/**
 * The headers in `lines`, by lower-case name, with the variables of `env` in their values. `carriers`:
 * the names of those that carry a key. Throws UsageError.
 */
export function readHeaders(
  lines: readonly string[],
  env: NodeJS.ProcessEnv,
  carriers: readonly string[],
): ReadonlyMap<string, string> {
  const result = new Map<string, string>();
  for (const line of lines) {
    const [, name, template] = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*:(.*)$/s.exec(line) ?? [];
    if (name === undefined || template === undefined) {
      throw new UsageError("a header must have the form 'Name: value'");
    }
    const key = name.toLowerCase();
    if (OWN_HEADERS.test(key)) {
      throw new UsageError(`the header ${key} is set by mcp-latchkey itself`);
    }
    const value = template
      .replace(/[$@]\{(\w+)\}/g, (_, variable: string) => {
        const expanded = environmentValue(variable, env);
        if (expanded === undefined) {
          throw new UsageError(`the header ${key} uses the variable ${variable}, which is not set`);
        }
        return expanded;
      })
      .trim();
    // A key with characters that cannot be sent is a malformed_api_key, said to the client.
    if (!carriers.includes(key) && !/^[\t\x20-\x7e]*$/.test(value)) {
      throw new UsageError(`the header ${key} contains invalid characters`);
    }
    result.set(key, carriers.includes(key) ? unquotedHeader(value) : value);
  }
  return result;
}
