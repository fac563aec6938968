import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { CommandModule } from 'yargs';
import type { Client, DirectStart, EntryTrial, PlannedChange } from '../../install/install.ts';
import {
  oneValueEach,
  PROXY_OPTIONS,
  SIGN_IN_OPTIONS,
  UsageError,
} from '../../settings/options.ts';
import { readProxySettings } from '../../settings/settings.ts';
import { canAsk, confirms } from '../../terminal/ask.ts';
import { Printer } from '../../terminal/printer.ts';
import { reportingErrors } from '../reporting-errors.ts';
import { chosenTargets } from './install-choice.ts';
import {
  changeAsJson,
  isBeforeLogin,
  sayCheck,
  sayClients,
  sayDone,
  sayLogin,
  sayNotes,
  sayPlan,
} from './install-text.ts';

// The commands run from dist/, below the package's folder.
const packageRoot = resolve(__dirname, '..');
const launcher = resolve(packageRoot, 'bin/mcp-latchkey.js');

const out = new Printer(process.stdout);

type Given = Readonly<Record<string, unknown>>;

export interface InstallArguments {
  client: string | undefined;
  url: string | undefined;
  name: string | undefined;
  all: boolean | undefined;
  yes: boolean | undefined;
  npx: boolean | undefined;
  print: boolean | undefined;
  link: boolean | undefined;
  list: boolean | undefined;
  verify: boolean | undefined;
  force: boolean | undefined;
  json: boolean | undefined;
  'dry-run': boolean | undefined;
}

/**
 * `mcp-latchkey install`: exit 0 when the entries are written, or were already there; 1 when one could not be
 * written or does not work; 2 on a wrong command line.
 */
export const installCommand: CommandModule<object, InstallArguments> = {
  command: 'install [client] [url]',
  describe: 'Add a gateway to a client',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 install [client] [url] [options]\n\nAdds a gateway to a client. Without a client or a URL, it asks for them.',
      )
      .positional('client', { type: 'string', describe: 'Client name (see --list)' })
      .positional('url', { type: 'string', describe: 'URL of the MCP endpoint' })
      .options({
        name: { type: 'string', requiresArg: true, describe: 'Name of the entry' },
        all: { type: 'boolean', describe: 'Add it to every client on this computer' },
        yes: { type: 'boolean', describe: 'Ask no questions' },
        npx: { type: 'boolean', describe: 'Start it with npx, not from a local copy' },
        // The default by now.
        pin: { type: 'boolean', hidden: true },
        print: { type: 'boolean', describe: 'Print the config entry and exit' },
        link: { type: 'boolean', describe: 'Print a link that installs it in Cursor or VS Code' },
        list: { type: 'boolean', describe: 'List supported clients' },
        verify: {
          type: 'boolean',
          describe: 'Test the connection; --no-verify skips the test',
        },
        force: {
          type: 'boolean',
          describe: 'Write even if the client is missing, or replace another server',
        },
        'dry-run': { type: 'boolean', describe: 'Show the changes without writing them' },
        json: { type: 'boolean', describe: 'Print the result as JSON' },
      })
      .options(PROXY_OPTIONS)
      .nargs(oneValueEach())
      .group(Object.keys(PROXY_OPTIONS), 'Options of the proxy, for the entry:'),
  handler: (args) => reportingErrors(args.json, () => install(args)),
};

/** What was done for a client; without a plan, only why nothing could be. */
interface Result {
  readonly plan?: PlannedChange;
  readonly client: Client;
  readonly error?: string;
  readonly backup?: string | undefined;
  readonly check?: EntryTrial | undefined;
}

async function install(args: InstallArguments): Promise<void> {
  if (args.list) return list(args.json === true);
  if (args.print || args.link) return print(args);
  const { clients, gateway, isConfirmed } = await chosenTargets(args, out);
  const installing = await import('../../install/install.ts');
  const { json = false } = args;
  const isDryRun = args['dry-run'] === true;
  const { url, words, login } = await proxyLine(gateway, args as unknown as Given);
  const direct = args.npx
    ? undefined
    : installing.directStart(await installing.ownCopy(packageRoot), words);
  const launch = direct?.launch ?? installing.npxLaunch(__VERSION__, words, process.platform);
  const planFor = async (client: Client): Promise<Result> => {
    const { force = false } = args;
    const plan = await installing.planInstall(client, args.name ?? url, launch, { force });
    return { client, plan: { ...plan, notes: [...plan.notes, ...(direct?.notes ?? [])] } };
  };
  const planned: Result[] = [];
  for (const client of clients) {
    const result = await (clients.length === 1 ? planFor(client) : reported(client, planFor));
    planned.push(result);
    if (!json) sayResult(result);
  }
  const isRefused =
    !isConfirmed && !isDryRun && planned.some(isChange) && !(await confirms('Write this?'));
  if (isRefused) return out.line('Nothing was written.');

  const results = isDryRun ? planned : await write(planned, direct, json);
  if (!json) for (const { plan } of results) if (plan) sayNotes(out, plan);
  const checked = args.verify === false || isDryRun ? results : await verify(results, login, args);
  if (checked.some(hasFailed)) process.exitCode = 1;
  if (json) {
    const start = { command: launch.command, args: launch.args };
    const reports = checked.map(({ client, plan, error, backup, check }) =>
      plan === undefined
        ? { client: client.id, error }
        : changeAsJson(plan, !isDryRun, backup, { start, check: check ?? null, login }),
    );
    return out.json(args.all ? reports : reports[0]);
  }
  if (isDryRun) return out.line('Nothing was written (--dry-run).');
  if (args.verify === false) sayLogin(out, 'If your gateway requires an API key, run:', login);
  for (const { plan } of checked.filter(isChange)) {
    if (plan) out.text(installing.nextStep(plan.client, plan.name, process.platform));
  }
}

const isChange = ({ plan }: Result) => plan !== undefined && plan.change !== 'unchanged';

function hasFailed({ error, check }: Result): boolean {
  const isRefused = check?.outcome === 'refused' && !isBeforeLogin(check);
  return error !== undefined || isRefused || check?.outcome === 'failed';
}

function sayResult({ client, plan, error }: Result): void {
  if (plan !== undefined) sayPlan(out, plan);
  else out.marked('fail', `${client.displayName}: ${error}.`);
}

/** One client of several must not keep the others from their entry. */
async function reported(client: Client, run: (client: Client) => Promise<Result>): Promise<Result> {
  const { InstallError } = await import('../../install/install.ts');
  try {
    return await run(client);
  } catch (error) {
    if (!(error instanceof InstallError)) throw error;
    return { client, error: error.message };
  }
}

async function write(
  planned: readonly Result[],
  direct: DirectStart | undefined,
  json: boolean,
): Promise<Result[]> {
  const { copiesFolder, removeUnusedCopies } = await import('../../install/install.ts');
  await direct?.write();
  const results: Result[] = [];
  for (const result of planned) {
    const { plan } = result;
    const apply = async (client: Client): Promise<Result> => {
      if (plan === undefined) return result;
      const backup = await plan.apply();
      if (!json) sayDone(out, plan, backup);
      return { client, plan, backup };
    };
    const done = await (planned.length === 1
      ? apply(result.client)
      : reported(result.client, apply));
    if (!json && done.error !== undefined && plan !== undefined) sayResult(done);
    results.push(done);
  }
  // Another command may have removed the copy while no config named it.
  await direct?.write();
  await removeUnusedCopies(copiesFolder());
  return results;
}

/** What to paste into a config, or a link that installs it, on stdout and nothing else. */
async function print({ client, url: gateway, ...args }: InstallArguments): Promise<void> {
  const option = args.link ? '--link' : '--print';
  if (client === undefined || gateway === undefined) {
    throw new UsageError(
      `${option} needs a client and a URL, such as: install cursor kindo ${option}`,
    );
  }
  const { installLink, launchToPaste, nameForGateway, npxLaunch, snippetFor } = await import(
    '../../install/install.ts'
  );
  const { url, words } = await proxyLine(gateway, args as unknown as Given);
  const name = args.name ?? nameForGateway(url);
  if (args.link) {
    // Whoever opens the link may have another platform. These clients find npx on each.
    return out.line(installLink(client, name, npxLaunch(__VERSION__, words, 'linux')));
  }
  const launch = launchToPaste(packageRoot, words, args.npx === true);
  out.write(await snippetFor(client, name, launch));
}

const OPTION_VARIABLES = Object.keys(PROXY_OPTIONS).map(
  (option) => `MCP_LATCHKEY_${option.toUpperCase().replaceAll('-', '_')}`,
);

/** The variables that headers name are the client's affair: each counts as set here. */
const VARIABLES_SET = new Proxy<NodeJS.ProcessEnv>(
  {},
  { get: (_, name) => (OPTION_VARIABLES.includes(String(name)) ? undefined : 'set') },
);

/** The proxy's options that `login` has as well: what finds the gateway, and how to sign in. */
const LOGIN_OPTIONS: readonly string[] = [
  ...['account', 'allow-http', 'header', 'header-file', 'key-header'],
  ...SIGN_IN_OPTIONS,
];

/**
 * The URL, the proxy's command line for the entry, and the one that stores a key or signs in for it. Throws
 * UsageError or EntryError.
 */
export async function proxyLine(
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

/**
 * Starts each entry, those that start alike once, and offers login on a terminal when a key is all
 * that is missing.
 */
async function verify(
  results: readonly Result[],
  login: readonly string[],
  args: InstallArguments,
): Promise<Result[]> {
  const checks = new Map<string, EntryTrial>();
  const checked: Result[] = [];
  for (const result of results) {
    const { plan } = result;
    if (plan?.launch === undefined) {
      checked.push(result);
      continue;
    }
    const start = JSON.stringify(plan.launch);
    const check = checks.get(start) ?? (await verifyOne(plan, login, args));
    checks.set(start, check);
    checked.push({ ...result, check });
  }
  return checked;
}

async function verifyOne(
  plan: PlannedChange,
  login: readonly string[],
  { json, yes }: InstallArguments,
): Promise<EntryTrial> {
  const { tryEntry } = await import('../../install/install.ts');
  const { launch, client } = plan;
  if (launch === undefined) throw new Error('the plan starts no entry');
  if (!json) out.line(out.paint('dim', 'Testing the connection …'));
  const check = await tryEntry(launch);
  if (json) return check;
  sayCheck(out, check, client.displayName);
  if (check.outcome === 'connected' || check.outcome === 'failed') return check;
  if (check.outcome === 'not-fetched') {
    sayLogin(out, 'If your gateway requires an API key:', login);
    return check;
  }
  // Where the client reaches no keychain, what is stored there is of no use to it.
  if (!isBeforeLogin(check) || !check.canLogin) return check;
  const signsIn = check.reason === 'sign_in_required';
  const question = signsIn ? 'Sign in now?' : 'Store your API key now?';
  if (!yes && canAsk() && (await logsIn(question, login))) {
    const again = await tryEntry(launch);
    sayCheck(out, again, client.displayName);
    return again;
  }
  sayLogin(out, signsIn ? 'To sign in, run:' : 'To store your API key, run:', login);
  return check;
}

/** Whether the user has now stored a key, or signed in. */
async function logsIn(question: string, login: readonly string[]): Promise<boolean> {
  if (!(await confirms(question))) return false;
  const child = spawn(process.execPath, [launcher, ...login], { stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code === 0;
}

async function list(json: boolean): Promise<void> {
  const { listClients } = await import('../../install/install.ts');
  const clients = await listClients();
  if (json) out.json(clients);
  else sayClients(out, clients);
}
