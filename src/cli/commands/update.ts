import { resolve } from 'node:path';
import type { CommandModule } from 'yargs';
import type { EntryUpdate } from '../../install/install.ts';
import { Printer } from '../../terminal/printer.ts';

interface Arguments {
  check: boolean | undefined;
  from: string | undefined;
  json: boolean | undefined;
}

// The commands run from dist/, below the package's folder.
const packageRoot = resolve(__dirname, '..');

/**
 * `mcp-latchkey update`: exit 0 when every entry starts the newest version, or `--check` could ask;
 * 1 when the version cannot be had, or an entry works worse with it.
 */
export const updateCommand: CommandModule<object, Arguments> = {
  command: 'update',
  describe: 'Move the entries to the newest version',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 update [options]\n\nGets the newest version from the npm registry, tests it with each entry that install wrote, and moves the entries to it. Running sessions keep their version.',
      )
      .options({
        check: { type: 'boolean', describe: 'Only show which version is the newest' },
        from: {
          type: 'string',
          requiresArg: true,
          value: 'FILE',
          describe: 'Use this package file, as npm pack makes it',
        },
        json: { type: 'boolean', describe: 'Print the result as JSON' },
      }),
  async handler(args) {
    const out = new Printer(process.stdout);
    const installing = await import('../../install/install.ts');
    try {
      await update(args, installing, out);
    } catch (error) {
      const { message } = error as Error;
      if (args.json) out.json({ error: message });
      else new Printer(process.stderr).failure(`${message}. Nothing was changed`);
      process.exitCode = 1;
    }
  },
};

async function update(
  { check, from: file, json = false }: Arguments,
  installing: typeof import('../../install/install.ts'),
  out: Printer,
): Promise<void> {
  const say = (text: string) => {
    if (!json) out.text(text);
  };
  const newest = file === undefined ? await installing.newestVersion() : undefined;
  const hasNewer = newest !== undefined && installing.isNewer(newest, __VERSION__);
  if (newest !== undefined) {
    say(
      hasNewer
        ? `mcp-latchkey ${newest} is available. This is ${__VERSION__}.`
        : `mcp-latchkey ${__VERSION__} is the newest version.`,
    );
  }
  if (check) {
    if (json) out.json({ version: __VERSION__, newest: newest ?? null, available: hasNewer });
    return;
  }
  const copy =
    file !== undefined
      ? await installing.fetchCopy({ file }, packageRoot)
      : hasNewer
        ? await installing.fetchCopy({ version: newest }, packageRoot)
        : await installing.programCopy(packageRoot, installing.copiesFolder());
  say(`Trying ${copy.version} with each entry …`);
  const { entries, unread } = await installing.moveEntries(copy, file === undefined, (entry) => {
    if (!json) sayEntry(out, entry, copy.version);
  });
  if (entries.some(({ outcome }) => outcome === 'kept') || unread.length > 0) process.exitCode = 1;
  if (json) return out.json({ version: copy.version, entries, unread });
  for (const { client, file: config, why } of unread) {
    out.note(`${client}: ${config} cannot be read: ${why}.`);
  }
  const clients = new Set(
    entries.filter(({ outcome }) => outcome === 'moved').map(({ client }) => client),
  );
  if (entries.length === 0) say('No client has an entry that runs mcp-latchkey.');
  else if (clients.size === 0) say('Nothing to do.');
  else say(`Restart ${[...clients].join(' and ')} to use ${copy.version}.`);
}

function sayEntry(out: Printer, entry: EntryUpdate, version: string): void {
  const { client, name, outcome, check, why } = entry;
  const title = `${client}: ${name}`;
  if (outcome === 'left') out.marked('skipped', `${title} is left as it is: ${why}.`);
  else if (outcome === 'unchanged') out.marked('ok', `${title} starts the right version.`);
  else if (outcome === 'kept') out.marked('fail', `${title} stays at its version: ${why}.`);
  else out.marked('ok', `${title} starts ${version} now.`);
  if (check !== undefined && check.outcome !== 'connected') out.text(check.message, 2);
}
