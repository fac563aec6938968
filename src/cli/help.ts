import type { CommandModule } from 'yargs';
import { type Option, PROXY_OPTIONS } from '../settings/options.ts';
import { ownCommand } from '../terminal/own-command.ts';
import { columns, wrapText } from '../terminal/wrap-text.ts';

type OptionOfCommand = Option & { readonly default?: unknown };

/** An option that a command accepts only because older command lines have it. */
const isHidden = (option: object) => 'hidden' in option && option.hidden === true;

type Rows = readonly (readonly [words: string, describe: string])[];

/** What a command declares to yargs: for a help that is the same whatever yargs prints. */
interface Declared {
  usage: string;
  readonly positionals: Record<string, OptionOfCommand>;
  readonly options: Record<string, OptionOfCommand>;
}

/** The first page: what there is, by task, with examples. */
export function mainHelp(): string {
  const own = ownCommand();
  return `Connect an MCP client to a remote MCP gateway.
Usage: mcp-latchkey <url> [options]      run the proxy (your client does this)
       mcp-latchkey <command> [options]

Set up
  install [client] [url]   Add a gateway to a client
  uninstall [client]       Remove a gateway from a client
  migrate [client]         Move entries of mcp-remote, and keys in plain text
  bundle [url]             Make a file to double-click for Claude Desktop
  update                   Move the entries to the newest version
  login <url>              Sign in, or store an API key in the keychain
  logout <url>             Sign out, and remove an API key from the keychain
  status [url]             Show stored API keys and sign-ins, and which is used
Troubleshoot
  doctor [url]             Diagnose connection problems
  explain <error>          Explain an error code or reason
  tools <url>              List a gateway's tools, and what filters leave
  policy check <file>      Check a policy before you roll it out
  trace <file>             Show a session that was recorded with --trace
Try it
  demo                     Show a full session and every error, offline
  sandbox                  Run a local practice gateway
Example: ${own} install claude-desktop kindo
For the options of a command or of the proxy: "help login", "help proxy"
`;
}

/** The options of the proxy. */
export function proxyHelp(): string {
  return page([
    'Run the proxy between an MCP client and a gateway. Your client does this.',
    'Usage: mcp-latchkey <url> [options]',
    table('Options', optionRows(PROXY_OPTIONS)),
    'Each option can also be set as an environment variable: MCP_LATCHKEY_KEY_FILE for --key-file.',
  ]);
}

/** A command, with its arguments and options. */
export function commandHelp(command: CommandModule<object, never>): string {
  const { usage, positionals, options } = declaredBy(command);
  const isShared = (name: string, option: OptionOfCommand) =>
    (PROXY_OPTIONS as Readonly<Record<string, Option>>)[name] === option;
  const entries = Object.entries(options).filter(([, option]) => !isHidden(option));
  const own = Object.fromEntries(entries.filter(([name, option]) => !isShared(name, option)));
  const shared = Object.fromEntries(entries.filter(([name, option]) => isShared(name, option)));
  const [, ...paragraphs] = usage.replaceAll('$0', 'mcp-latchkey').split('\n\n');
  return page([
    `${command.describe}`,
    `Usage: mcp-latchkey ${command.command}${entries.length === 0 ? '' : ' [options]'}`,
    ...paragraphs,
    table(
      'Arguments',
      Object.entries(positionals).map(([name, { describe }]) => [name, describe]),
    ),
    table('Options', optionRows(own)),
    table('Connection options, as in the client config', optionRows(shared)),
  ]);
}

/** The names of a command's options. */
export function optionsOf(command: CommandModule<object, never>): string[] {
  return Object.keys(declaredBy(command).options);
}

function declaredBy({ builder }: CommandModule<object, never>): Declared {
  const declared: Declared = { usage: '', positionals: {}, options: {} };
  const own: Record<string, (...args: never[]) => unknown> = {
    usage: (text: string) => {
      declared.usage = text;
    },
    positional: (name: string, option: OptionOfCommand) =>
      Object.assign(declared.positionals, { [name]: option }),
    option: (name: string, option: OptionOfCommand) =>
      Object.assign(declared.options, { [name]: option }),
    options: (options: object) => Object.assign(declared.options, options),
  };
  // Anything else that a builder calls does not matter here.
  const recorder: object = new Proxy(own, {
    get:
      (known, called: string) =>
      (...args: never[]) => {
        known[called]?.(...args);
        return recorder;
      },
  });
  if (typeof builder === 'function') void builder(recorder as never);
  return declared;
}

function optionRows(options: Readonly<Record<string, OptionOfCommand>>): Rows {
  return Object.entries(options).map(([name, { alias, type, value, describe, ...more }]) => {
    const isNegated = describe.includes(`--no-${name}`);
    const own = value ?? name.toUpperCase().replaceAll('-', '_');
    const words = `--${isNegated ? '[no-]' : ''}${name}${type === 'boolean' ? '' : ` ${own}`}`;
    const isTold = typeof more.default === 'number' && !describe.includes('[default');
    return [
      `${alias === undefined ? '' : `-${alias}, `}${words}`,
      `${describe}${isTold ? ` [default: ${more.default}]` : ''}`,
    ];
  });
}

const LEFT_COLUMNS = 33;

function table(title: string, rows: Rows): string {
  if (rows.length === 0) return '';
  const lines = rows.flatMap(([words, describe]) => {
    // A default stays on one line.
    const unbroken = describe.replace(/\[default: .*\]/, (text) => text.replaceAll(' ', '\u00a0'));
    const wrapped = wrapText(unbroken, columns() - LEFT_COLUMNS).replaceAll('\u00a0', ' ');
    const [first = '', ...rest] = wrapped.split('\n');
    const left = `  ${words}`;
    const isLong = left.length >= LEFT_COLUMNS - 1;
    return [
      ...(isLong ? [left, first.padStart(first.length + LEFT_COLUMNS)] : []),
      ...(isLong ? [] : [left.padEnd(LEFT_COLUMNS) + first]),
      ...rest.map((line) => ' '.repeat(LEFT_COLUMNS) + line),
    ];
  });
  return [title, ...lines].join('\n');
}

function page(parts: readonly string[]): string {
  const wrapped = parts
    .filter((part) => part !== '')
    .map((part) => (part.includes('\n') ? part : wrapText(part, columns())));
  return `${wrapped.join('\n\n')}\n`;
}
