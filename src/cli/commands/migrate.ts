import { relative, resolve } from 'node:path';
import type { CommandModule } from 'yargs';
import type {
  FoundConfig,
  FoundEntry,
  MigratedEntry,
  ProgramCopy,
  ProjectEntries,
} from '../../install/install.ts';
import { canAsk, confirms } from '../../terminal/ask.ts';
import { asSentence, Printer, tailInWords } from '../../terminal/printer.ts';
import { shellWord } from '../../terminal/shell-word.ts';
import { reportingErrors } from '../reporting-errors.ts';
import { tildePath } from './install-text.ts';

/** A config that was worked on, as `--json` prints it. */
interface Result {
  readonly client: string;
  readonly file: string;
  readonly entries: readonly MigratedEntry[];
  readonly backup: string | null;
}

interface Arguments {
  client: string | undefined;
  undo: boolean | undefined;
  yes: boolean | undefined;
  npx: boolean | undefined;
  verify: boolean | undefined;
  json: boolean | undefined;
}

// The commands run from dist/, below the package's folder.
const packageRoot = resolve(__dirname, '..');

const out = new Printer(process.stdout);

/**
 * `mcp-latchkey migrate`: exit 0 when every entry that was found is moved, or there was none, or they
 * were only shown; 1 when one was left as it is, or a config cannot be read.
 */
export const migrateCommand: CommandModule<object, Arguments> = {
  command: 'migrate [client]',
  describe: 'Move entries of mcp-remote, and keys in plain text',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 migrate [client] [options]\n\nFinds the entries of your clients that run mcp-remote, supergateway or mcp-proxy, and those with a URL and a key in plain text. Shows them, stores each key in the keychain, and makes the entries run mcp-latchkey. The rest of each config stays as it is.',
      )
      .positional('client', { type: 'string', describe: 'Only this client (see install --list)' })
      .options({
        yes: { type: 'boolean', alias: 'y', describe: 'Move the entries without asking' },
        undo: { type: 'boolean', describe: 'Put back what migrate has changed' },
        npx: { type: 'boolean', describe: 'Start them with npx, not from a local copy' },
        verify: { type: 'boolean', describe: 'Test each entry first; --no-verify skips this' },
        json: { type: 'boolean', describe: 'Print the result as JSON' },
      }),
  handler: (args) => reportingErrors(args.json, () => (args.undo ? undo(args) : migrate(args))),
};

async function migrate({ client, yes, npx, verify, json = false }: Arguments): Promise<void> {
  const installing = await import('../../install/install.ts');
  const only = client === undefined ? undefined : installing.clientOf(client);
  const { configs, unread } = await installing.findForeignEntries(only);
  const projects = await installing.findProjectEntries(process.cwd());
  if (unread.length > 0) process.exitCode = 1;
  if (!json) {
    sayProjects(projects);
    for (const config of configs) sayConfig(config);
    for (const { client: name, file, why } of unread) {
      out.note(`${name}: ${tildePath(file)} cannot be read: ${why}.`);
    }
    if (configs.length === 0) out.marked('ok', 'Found no entry to move. Nothing to do.');
  }
  const movable = configs.filter(({ entries }) => entries.some(({ why }) => why === undefined));
  const asks = yes !== true && !json && movable.length > 0 && canAsk();
  const isTold = yes === true || (asks && (await confirms('Move them now?')));
  if (!isTold || movable.length === 0) {
    if (json) out.json({ migrated: false, configs, unread, projects });
    else if (movable.length > 0) {
      out.line(asks ? 'Nothing was changed.' : 'Nothing was changed. To move them, add --yes.');
    }
    return;
  }
  const results: Result[] = [];
  let copy: Promise<ProgramCopy> | undefined;
  for (const config of movable) {
    const { entries, backup, undoTrouble } = await config.migrate({
      verifies: verify !== false,
      startOf: async (words) => {
        if (!npx) {
          copy ??= installing.ownCopy(packageRoot);
          return installing.directStart(await copy, words);
        }
        const launch = installing.npxLaunch(__VERSION__, words, process.platform);
        return { launch, notes: [], write: async () => {} };
      },
      onEntry: (entry) => {
        if (entry.outcome === 'left') process.exitCode = 1;
        if (!json) sayMoved(config.client.displayName, entry);
      },
    });
    if (undoTrouble !== undefined && !json) {
      out.note(`--undo cannot put ${tildePath(config.file)} back: ${undoTrouble}.`);
    }
    results.push({ client: config.client.id, file: config.file, entries, backup: backup ?? null });
  }
  await installing.removeUnusedCopies(installing.copiesFolder());
  if (json) return out.json({ migrated: true, configs: results, unread, projects });
  sayBackups(results.flatMap(({ backup }) => backup ?? []));
  const moved = movable.filter((_, at) =>
    results[at]?.entries.some(({ outcome }) => outcome === 'moved'),
  );
  if (moved.length === 0) return;
  out.line(
    `Restart ${moved.map((config) => config.client.displayName).join(' and ')} to load them.`,
  );
}

function sayConfig({ client, file, entries }: FoundConfig): void {
  out.line(`${out.paint('bold', client.displayName)}: ${tildePath(file)}`);
  for (const entry of entries) {
    const { name, kind, gateway, why } = entry;
    const runs = kind === 'a URL' ? 'the URL' : `${kind} to`;
    const title = `${name} (${gateway === undefined ? kind : `${runs} ${gateway}`})`;
    if (why === undefined) out.line(`${out.paint('green', '●')} ${title}`);
    else out.marked('skipped', title);
    out.text(why === undefined ? planOf(entry) : `Stays as it is: ${why}.`, 2);
  }
  out.line();
}

/** Names them only. Other people may share the file, and their computers do not have this key. */
function sayProjects(projects: readonly ProjectEntries[]): void {
  if (projects.length === 0) return;
  out.note(
    "The configs in this folder stay as they are, because a project's configs may be shared:",
  );
  for (const { file, entries } of projects) {
    const names = entries.map(({ name, kind }) => `${name} (${kind})`).join(', ');
    out.text(`${relative(process.cwd(), file)}: ${names}`, 2);
  }
  const commands = projects.flatMap(({ client, entries }) =>
    entries.flatMap(({ gateway }) => (gateway === undefined ? [] : [['install', client, gateway]])),
  );
  if (commands.length > 0) {
    out.text('To add a gateway to your own config, run its command. Then remove the entry here.');
  }
  for (const command of commands) out.command(command);
  out.line();
}

function planOf({ key, words, notes }: FoundEntry): string {
  const options = words.slice(1).map((word) => shellWord(word));
  return [
    ...(key === undefined ? [] : [`Its key${tailInWords(key)} moves into the keychain.`]),
    ...(options.length === 0 ? [] : [`Options: ${options.join(' ')}`]),
    ...notes.map(asSentence),
    ...(key === undefined && options.length + notes.length === 0 ? ['It has no key.'] : []),
  ].join('\n');
}

function sayMoved(client: string, { name, outcome, why, account, check }: MigratedEntry): void {
  const title = `${client}: ${name}`;
  if (outcome === 'left') {
    out.marked('fail', `${title} stays as it is${check === undefined ? `: ${why}.` : ':'}`);
    if (check === undefined) return;
    out.text(`${why}`, 2);
    out.text('To move it without a test, add --no-verify.', 2);
    return;
  }
  const tools = check?.outcome === 'connected' ? `, and offers ${check.tools} tools` : '';
  const key = account === undefined ? '' : ` Its key is in the keychain (account ${account}).`;
  out.marked('ok', `${title} runs mcp-latchkey now${tools}.${key}`);
}

function sayBackups(backups: readonly string[]): void {
  if (backups.length === 0) return;
  out.note('These backups still contain the keys. Delete them when everything works:');
  for (const backup of backups) out.line(`    ${tildePath(backup)}`);
  out.line('To go back until then:');
  out.command(['migrate', '--undo']);
}

async function undo({ json }: Arguments): Promise<void> {
  const { copiesFolder, removeUnusedCopies, undoMigrations } = await import(
    '../../install/install.ts'
  );
  const undone = await undoMigrations();
  await removeUnusedCopies(copiesFolder());
  if (undone.some(({ outcome }) => outcome === 'left')) process.exitCode = 1;
  if (json) return out.json({ undone });
  if (undone.length === 0) return out.line('Nothing to undo.');
  for (const { file, outcome, why, backup } of undone) {
    const path = tildePath(file);
    if (outcome === 'exactly') out.marked('ok', `${path} is as it was, byte for byte.`);
    else if (outcome === 'entries') {
      out.marked('ok', `${path} was changed since. Its entries are as they were.`);
    } else {
      out.marked('fail', `${path} stays as it is: ${why}.`);
      out.text(`The file as it was: ${tildePath(backup)}`, 2);
    }
  }
  out.text('The keys stay in the keychain. To remove one, run logout with the URL.');
}
