import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { CommandModule } from 'yargs';
import type { PlannedChange } from '../../install/install.ts';
import { PROXY_OPTIONS, UsageError } from '../../settings/options.ts';
import { readProxySettings } from '../../settings/settings.ts';
import { withOwnCommand } from '../../terminal/own-command.ts';
import { Printer } from '../../terminal/printer.ts';
import {
  sayCheck,
  sayClients,
  sayDone,
  sayJson,
  sayLogin,
  sayNotes,
  sayPlan,
} from './install-text.ts';

// The commands run from dist/, below the package's folder.
const packageRoot = resolve(__dirname, '..');
const launcher = resolve(packageRoot, 'bin/mcp-latchkey.js');

const out = new Printer(process.stdout);

type Given = Readonly<Record<string, unknown>>;

interface InstallArguments {
  client: string | undefined;
  url: string | undefined;
  name: string | undefined;
  pin: boolean | undefined;
  print: boolean | undefined;
  list: boolean | undefined;
  verify: boolean | undefined;
  force: boolean | undefined;
  json: boolean | undefined;
  'dry-run': boolean | undefined;
}

const SHARED_OPTIONS = {
  'dry-run': { type: 'boolean', describe: 'Show the changes without writing them' },
  json: { type: 'boolean', describe: 'Print the result as JSON' },
} as const;

/**
 * `mcp-latchkey install`: exit 0 when the entry is written, or was already there; 1 when it could not be
 * written or does not work; 2 on a wrong command line.
 */
export const installCommand: CommandModule<object, InstallArguments> = {
  command: 'install [client] [url]',
  describe: 'Add a gateway to a client',
  builder: (yargs) =>
    yargs
      .positional('client', { type: 'string', describe: 'Client name (see --list)' })
      .positional('url', { type: 'string', describe: 'URL of the MCP endpoint' })
      .options({
        name: { type: 'string', requiresArg: true, describe: 'Name of the entry' },
        pin: {
          type: 'boolean',
          describe: 'Start a local copy of this version, without npm',
        },
        print: { type: 'boolean', describe: 'Print the config entry and exit' },
        list: { type: 'boolean', describe: 'List supported clients' },
        verify: {
          type: 'boolean',
          describe: 'Test the connection; --no-verify skips the test',
        },
        force: {
          type: 'boolean',
          describe: 'Write even if the client is missing, or replace another server',
        },
        ...SHARED_OPTIONS,
      })
      .options(PROXY_OPTIONS)
      .nargs('header', 1)
      .group(Object.keys(PROXY_OPTIONS), 'Options of the proxy, for the entry:'),
  handler: (args) => reportingErrors(args.json, () => install(args)),
};

interface UninstallArguments {
  client: string;
  name: string | undefined;
  force: boolean | undefined;
  json: boolean | undefined;
  'dry-run': boolean | undefined;
}

/** `mcp-latchkey uninstall`: exit 0 when the entry is gone, 1 when it could not be, 2 on misuse. */
export const uninstallCommand: CommandModule<object, UninstallArguments> = {
  command: 'uninstall <client> [name]',
  describe: 'Remove a gateway from a client',
  builder: (yargs) =>
    yargs
      .positional('client', {
        type: 'string',
        demandOption: true,
        describe: 'Client name (see install --list)',
      })
      .positional('name', { type: 'string', describe: 'Entry name, if there are several' })
      .options({
        force: {
          type: 'boolean',
          describe: 'Remove an entry that does not run mcp-latchkey',
        },
        ...SHARED_OPTIONS,
      }),
  handler: (args) => reportingErrors(args.json, () => uninstall(args)),
};

/** Runs a command and says its errors: on stderr, or as JSON on stdout. */
async function reportingErrors(json: boolean | undefined, run: () => Promise<void>): Promise<void> {
  const { EntryError, InstallError } = await import('../../install/install.ts');
  try {
    await run();
  } catch (error) {
    const isUsage = error instanceof UsageError || error instanceof EntryError;
    if (!isUsage && !(error instanceof InstallError)) throw error;
    if (json) out.line(JSON.stringify({ error: error.message }));
    else {
      const words = withOwnCommand(error.message.replace(/[^?]$/, '$&.'));
      new Printer(process.stderr).result('fail', words);
    }
    process.exitCode = isUsage ? 2 : 1;
  }
}

async function install(args: InstallArguments): Promise<void> {
  const installing = await import('../../install/install.ts');
  const { client: clientName, pin = false, json = false, force = false } = args;
  const isDryRun = args['dry-run'] === true;
  if (args.list) return list(json);
  if (clientName === undefined || args.url === undefined) {
    throw new UsageError('missing arguments. Usage: install <client> <url>');
  }
  const { url, words, login } = await proxyLine(args.url, args as unknown as Given);
  const launch = installing.launchFor(words, { version: __VERSION__, pin });
  if (args.print) {
    if (pin && !isDryRun) await installing.pinPackage(packageRoot, __VERSION__);
    const name = args.name ?? installing.nameForGateway(url);
    out.write(await installing.snippetFor(clientName, name, launch));
    return;
  }
  const client = installing.clientOf(clientName);
  const plan = await installing.planInstall(client, url, args.name, launch, { force });
  if (!json) sayPlan(out, plan);
  let backup: string | undefined;
  if (!isDryRun) {
    if (pin) await installing.pinPackage(packageRoot, __VERSION__);
    backup = await plan.apply();
    if (!json) sayDone(out, plan, backup);
  }
  if (!json) sayNotes(out, plan);
  const check = args.verify !== false && !isDryRun ? await verify(plan, login, json) : undefined;
  const isRefused = check?.outcome === 'refused' && check.reason !== 'no_api_key';
  if (isRefused || check?.outcome === 'failed') process.exitCode = 1;
  if (json) {
    const start = { command: launch.command, args: launch.args };
    sayJson(out, plan, !isDryRun, backup, { start, check: check ?? null, login });
    return;
  }
  if (isDryRun) return out.line('Nothing was written (--dry-run).');
  if (check === undefined) sayLogin(out, 'If your gateway requires an API key, run:', login);
  if (plan.change !== 'unchanged')
    out.line(`Restart ${plan.client.displayName} to start using it.`);
}

const OPTION_VARIABLES = Object.keys(PROXY_OPTIONS).map(
  (option) => `MCP_LATCHKEY_${option.toUpperCase().replaceAll('-', '_')}`,
);

/** The variables that headers name are the client's affair: each counts as set here. */
const VARIABLES_SET = new Proxy<NodeJS.ProcessEnv>(
  {},
  { get: (_, name) => (OPTION_VARIABLES.includes(String(name)) ? undefined : 'set') },
);

/** The proxy's options that `login` has as well: what finds the gateway, and the place of the key. */
const LOGIN_OPTIONS = ['account', 'allow-http', 'header', 'header-file', 'key-header'];

/**
 * The URL, the proxy's command line for the entry, and the one that stores a key for it. Throws
 * UsageError or EntryError.
 */
async function proxyLine(
  gateway: string,
  args: Given,
): Promise<{ url: URL; words: string[]; login: string[] }> {
  const { proxyWords } = await import('../../install/install.ts');
  const given = Object.fromEntries(
    Object.keys(PROXY_OPTIONS).flatMap((option) => {
      const value = args[option];
      if (value === undefined || value === false) return [];
      return [[option, value === true ? true : [value].flat().map(String)] as const];
    }),
  );
  const { url } = readProxySettings(
    [gateway, ...(given['allow-http'] ? ['--allow-http'] : [])],
    {},
  );
  const words = proxyWords(url.href, given);
  readProxySettings(words, VARIABLES_SET);
  const forLogin = Object.entries(given).filter(([option]) => LOGIN_OPTIONS.includes(option));
  return { url, words, login: ['login', ...proxyWords(url.href, Object.fromEntries(forLogin))] };
}

/** Starts the entry, and offers login on a terminal when a key is all that is missing. */
async function verify(plan: PlannedChange, login: readonly string[], json: boolean) {
  const { tryEntry } = await import('../../install/install.ts');
  if (plan.launch === undefined) return undefined;
  if (!json) out.line(out.paint('dim', 'Testing the connection …'));
  const check = await tryEntry(plan.launch);
  if (json) return check;
  sayCheck(out, check, plan.client.displayName);
  if (check.outcome === 'connected' || check.outcome === 'failed') return check;
  if (check.outcome === 'refused' && check.reason !== 'no_api_key') return check;
  if (check.outcome === 'refused' && (await storesKey(login))) {
    const again = await tryEntry(plan.launch);
    sayCheck(out, again, plan.client.displayName);
    return again;
  }
  const when =
    check.outcome === 'refused'
      ? 'To store your API key, run'
      : 'If your gateway requires an API key, run';
  sayLogin(out, `${when}:`, login);
  return check;
}

/** Whether the user, asked on a terminal, has now stored a key. */
async function storesKey(login: readonly string[]): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return false;
  const prompt = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await Promise.race([
    // Ctrl-C rejects, Ctrl-D closes.
    prompt.question('Store your API key now? [Y/n] ').catch(() => 'n'),
    once(prompt, 'close').then(() => 'n'),
  ]);
  prompt.close();
  if (!/^\s*(?:y(?:es)?)?\s*$/i.test(answer)) return false;
  const child = spawn(process.execPath, [launcher, ...login], { stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code === 0;
}

async function uninstall(args: UninstallArguments): Promise<void> {
  const { clientOf, planUninstall } = await import('../../install/install.ts');
  const { force = false, 'dry-run': isDryRun = false } = args;
  const plan = await planUninstall(clientOf(args.client), args.name, { force });
  if (!args.json) sayPlan(out, plan);
  const backup = isDryRun ? undefined : await plan.apply();
  if (args.json) return sayJson(out, plan, !isDryRun, backup, {});
  if (isDryRun) return out.line('Nothing was written (--dry-run).');
  sayDone(out, plan, backup);
  sayNotes(out, plan);
  if (plan.change !== 'unchanged')
    out.line(`Restart ${plan.client.displayName} to apply the change.`);
}

async function list(json: boolean): Promise<void> {
  const { listClients } = await import('../../install/install.ts');
  const clients = await listClients();
  if (json) out.json(clients);
  else sayClients(out, clients);
}
