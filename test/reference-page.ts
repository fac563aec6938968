import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { type Option, PROXY_OPTIONS } from '../src/settings/options.ts';

/** A command of the program, from the module that defines it. */
export interface Command {
  readonly name: string;
  /** `login <url>`. */
  readonly usage: string;
  readonly describe: string;
  readonly options: Readonly<Record<string, OptionOfCommand>>;
}

type OptionOfCommand = Option & { readonly default?: unknown; readonly hidden?: boolean };

/** Every command of `src/cli/commands`, by name. */
export async function allCommands(): Promise<Command[]> {
  const folder = join(import.meta.dirname, '../src/cli/commands');
  const modules = await Promise.all(readdirSync(folder).map((file) => import(join(folder, file))));
  return modules
    .flatMap((module) => Object.entries<CommandModule>(module))
    .filter(([name]) => name.endsWith('Command'))
    .map(([, command]) => commandOf(command))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function commandOf({ command, describe, builder }: CommandModule): Command {
  const usage = String(command);
  const options: Record<string, OptionOfCommand> = {};
  // What a builder calls to declare its options; anything else that it calls does not matter here.
  const declared = new Proxy(
    {
      option: (name: string, option: OptionOfCommand) => Object.assign(options, { [name]: option }),
      options: (own: object) => Object.assign(options, own),
    } as Record<string, (...args: never[]) => unknown>,
    {
      get:
        (known, called: string) =>
        (...args: never[]) => {
          known[called]?.(...args);
          return declared;
        },
    },
  );
  if (typeof builder === 'function') void builder(declared as never);
  return { name: usage.split(' ', 1)[0] ?? '', usage, describe: String(describe), options };
}

/** The parts of docs/reference.md that are made from the program: Markdown, by the part's name. */
export async function referenceParts(): Promise<Readonly<Record<string, string>>> {
  const commands = await allCommands();
  return {
    commands: [
      table(
        ['command', 'what it does'],
        commands.map(({ usage, describe }) => [`\`${usage}\``, describe]),
      ),
      ...commands.map(optionsOfCommand),
    ].join('\n\n'),
    options: optionTable(PROXY_OPTIONS),
  };
}

function optionsOfCommand({ name, options }: Command): string {
  const isShared = ([option, own]: readonly [string, OptionOfCommand]) =>
    (PROXY_OPTIONS as Readonly<Record<string, Option>>)[option] === own;
  const entries = Object.entries(options);
  const own = entries.filter((entry) => !isShared(entry));
  const shared = entries.filter(isShared).map(([option]) => `\`--${option}\``);
  const isAll = shared.length === Object.keys(PROXY_OPTIONS).length;
  return [
    `### ${name}`,
    own.length === 0 ? 'No options of its own.' : optionTable(Object.fromEntries(own)),
    ...(shared.length === 0
      ? []
      : [
          `Also ${isAll ? 'all [proxy options](#proxy-options)' : `the [proxy options](#proxy-options) ${shared.join(', ')}`}.`,
        ]),
  ].join('\n\n');
}

function optionTable(options: Readonly<Record<string, OptionOfCommand>>): string {
  return table(
    ['option', 'what it does'],
    Object.entries(options)
      .filter(([, { hidden }]) => hidden !== true)
      .map(([name, option]) => [optionWords(name, option), option.describe]),
  );
}

function optionWords(name: string, { alias, type, value, describe }: OptionOfCommand): string {
  const isNegated = describe.includes(`--no-${name}`);
  const ownValue = value ?? name.toUpperCase().replaceAll('-', '_');
  const words = `--${isNegated ? '[no-]' : ''}${name}${type === 'boolean' ? '' : ` ${ownValue}`}`;
  return `${alias === undefined ? '' : `\`-${alias}\`, `}\`${words}\``;
}

/** As Biome formats it. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const [first = [], ...others] = cells;
  return [line(first), line(widths.map((width) => '-'.repeat(width))), ...others.map(line)].join(
    '\n',
  );
}
