import type { CommandModule } from 'yargs';
import { UsageError } from '../../settings/options.ts';
import { Printer } from '../../terminal/printer.ts';
import { reportingErrors } from '../reporting-errors.ts';
import { changeAsJson, sayDone, sayNotes, sayPlan } from './install-text.ts';
import { uninstallAll } from './uninstall-all.ts';

const out = new Printer(process.stdout);

interface UninstallArguments {
  client: string | undefined;
  name: string | undefined;
  all: boolean | undefined;
  purge: boolean | undefined;
  yes: boolean | undefined;
  force: boolean | undefined;
  json: boolean | undefined;
  'dry-run': boolean | undefined;
}

/** `mcp-latchkey uninstall`: exit 0 when the entry is gone, 1 when it could not be, 2 on misuse. */
export const uninstallCommand: CommandModule<object, UninstallArguments> = {
  command: 'uninstall [client] [name]',
  describe: 'Remove a gateway from a client',
  builder: (yargs) =>
    yargs
      .positional('client', { type: 'string', describe: 'Client name (see install --list)' })
      .positional('name', { type: 'string', describe: 'Entry name, if there are several' })
      .options({
        all: { type: 'boolean', describe: 'Remove every entry that runs mcp-latchkey' },
        purge: { type: 'boolean', describe: 'With --all: also remove keys, copies and backups' },
        yes: { type: 'boolean', describe: 'With --all: ask no questions' },
        force: {
          type: 'boolean',
          describe: 'Remove an entry that does not run mcp-latchkey',
        },
        'dry-run': { type: 'boolean', describe: 'Show the changes without writing them' },
        json: { type: 'boolean', describe: 'Print the result as JSON' },
      }),
  handler: (args) =>
    reportingErrors(args.json, async () => {
      if (args.all) {
        if (args.client !== undefined) {
          throw new UsageError('--all is for every client: leave the client out');
        }
        return uninstallAll(args, out);
      }
      if (args.purge) throw new UsageError('--purge needs --all');
      if (args.client === undefined) {
        throw new UsageError('uninstall needs a client, such as: uninstall cursor. Or use --all');
      }
      return uninstall(args.client, args);
    }),
};

async function uninstall(clientName: string, args: UninstallArguments): Promise<void> {
  const { clientOf, copiesFolder, planUninstall, removeUnusedCopies } = await import(
    '../../install/install.ts'
  );
  const { force = false, 'dry-run': isDryRun = false } = args;
  const plan = await planUninstall(clientOf(clientName), args.name, { force });
  if (!args.json) sayPlan(out, plan);
  const backup = isDryRun ? undefined : await plan.apply();
  if (!isDryRun) await removeUnusedCopies(copiesFolder());
  if (args.json) return out.json(changeAsJson(plan, !isDryRun, backup, {}));
  if (isDryRun) return out.line('Nothing was written (--dry-run).');
  sayDone(out, plan, backup);
  sayNotes(out, plan);
  if (plan.change !== 'unchanged')
    out.line(`Restart ${plan.client.displayName} to apply the change.`);
}
