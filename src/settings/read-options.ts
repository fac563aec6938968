import { parseArgs } from 'node:util';
import { nearestNames } from '../failures/nearest-name.ts';
import { fromMcpRemote } from './mcp-remote.ts';
import { type Option, type OptionName, PROXY_OPTIONS, UsageError } from './options.ts';

const PARSER_OPTIONS = Object.fromEntries(
  Object.entries<Option>(PROXY_OPTIONS).map(([name, { type, alias, array }]) => [
    name,
    { type, multiple: array === true, ...(alias === undefined ? {} : { short: alias }) },
  ]),
);

/** The URL, and the options by name. */
interface CommandLine {
  readonly url: string;
  readonly given: Readonly<Record<string, unknown>>;
  /** Clauses on options of mcp-remote. */
  readonly notes: readonly string[];
}

/**
 * Reads the proxy's command line, `<url> [options]`, or what mcp-remote would read so. Throws
 * UsageError.
 */
export function readCommandLine(argv: readonly string[]): CommandLine {
  try {
    return parseCommandLine(argv);
  } catch (error) {
    const own = fromMcpRemote(argv);
    if (own === undefined) throw error;
    return { ...parseCommandLine(own.words), notes: own.notes };
  }
}

/**
 * Not with yargs, as the commands do, which takes 24 ms to load; and not with parseArgs, which takes
 * 0.5 ms, for the URL alone that most configs have.
 */
function parseCommandLine(argv: readonly string[]): CommandLine {
  const { values, positionals, tokens } = argv.some((word) => word.startsWith('-'))
    ? parseArgs({
        args: [...argv],
        options: PARSER_OPTIONS,
        allowPositionals: true,
        strict: false,
        tokens: true,
      })
    : { values: {}, positionals: argv, tokens: [] };
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const { name, rawName, value, inlineValue } = token;
    if (!Object.hasOwn(PROXY_OPTIONS, name)) {
      throw new UsageError(unknownOption(rawName, Object.keys(PROXY_OPTIONS)));
    }
    const isMissing = value === undefined || (!inlineValue && value.startsWith('-'));
    if (PROXY_OPTIONS[name as OptionName].type === 'string' && isMissing) {
      throw new UsageError(`${rawName} needs a value`);
    }
    if (name === 'transport' && /^(?:http|sse)-(?:first|only)$/.test(value ?? '')) {
      throw new UsageError('--transport has a name that only mcp-remote uses');
    }
  }
  const [url, ...rest] = positionals;
  if (url === undefined) throw new UsageError('missing gateway URL');
  if (rest.length > 0) throw new UsageError(ONE_URL_ONLY);
  return { url, given: values, notes: [] };
}

// The other word may be a key, so it is not quoted.
const ONE_URL_ONLY =
  'expected one URL. Keys are not accepted here. Store a key with `mcp-latchkey login URL`';

/**
 * An option's value in `MCP_LATCHKEY_…`, one a line where it can be repeated; undefined when that is
 * empty or not set.
 */
export function fromEnvironment(
  name: OptionName,
  env: NodeJS.ProcessEnv,
): string | string[] | undefined {
  const value = env[`MCP_LATCHKEY_${name.toUpperCase().replaceAll('-', '_')}`];
  if (value === undefined || value === '') return undefined;
  const option: Option = PROXY_OPTIONS[name];
  if (option.array) return value.split('\n').filter((line) => line.trim() !== '');
  if (option.type === 'boolean') return /^(?:1|true|yes|on)$/i.test(value) ? 'true' : 'false';
  return value;
}

/**
 * What is wrong with an option that is not in `known`, and what was likely meant. `rawName` has its
 * hyphens. It is quoted only where it is letters and hyphens: else it may be a key.
 */
export function unknownOption(rawName: string, known: readonly string[]): string {
  const name = rawName.replace(/^-+/, '');
  const what = /^[a-z-]{1,30}$/i.test(name)
    ? `unknown option ${rawName}`
    : 'unknown option, hidden because it might be a key';
  if (name === 'url') return `${what}. Pass the URL without an option name`;
  if (/^(?:(?:api|auth|bearer)[-_]?)?(?:key|token|bearer)$/i.test(name)) {
    return `${what}. Other programs can read this. Store keys with \`mcp-latchkey login URL\``;
  }
  const [near] = nearestNames(name, known, 1);
  return near === undefined ? what : `${what}. Did you mean --${near}?`;
}

/**
 * The command line as yargs must get it. A value which begins and ends with a quote keeps both: its
 * parser (22) takes them off in `--name='a' and 'b'`, and leaves them in `--name "'a' and 'b'"`. An
 * option whose name begins with `no-` is not read as the negation of another.
 */
export function forYargs(argv: readonly string[]): string[] {
  return argv.flatMap((word) => {
    const isOwnNo = word.startsWith('--no-') && Object.hasOwn(PROXY_OPTIONS, word.slice(2));
    if (isOwnNo) return [`${word}=true`];
    const [, name, value] = /^(--[\w-]+)=(["'].*)$/s.exec(word) ?? [];
    return name === undefined || value === undefined ? [word] : [name, value];
  });
}
