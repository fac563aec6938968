import yargs, { type CommandModule } from 'yargs';
import { nearestNames } from '../failures/nearest-name.ts';
import { oneValueEach, UsageError } from '../settings/options.ts';
import { forYargs, unknownOption } from '../settings/read-options.ts';
import { Printer, shownText } from '../terminal/printer.ts';
import { bundleCommand } from './commands/bundle.ts';
import { demoCommand } from './commands/demo.ts';
import { doctorCommand } from './commands/doctor.ts';
import { explainCommand } from './commands/explain.ts';
import { installCommand } from './commands/install.ts';
import { loginCommand } from './commands/login.ts';
import { logoutCommand } from './commands/logout.ts';
import { migrateCommand } from './commands/migrate.ts';
import { policyCommand } from './commands/policy.ts';
import { sandboxCommand } from './commands/sandbox.ts';
import { statusCommand } from './commands/status.ts';
import { toolsCommand } from './commands/tools.ts';
import { traceCommand } from './commands/trace.ts';
import { uninstallCommand } from './commands/uninstall.ts';
import { updateCommand } from './commands/update.ts';
import { commandHelp, mainHelp, optionsOf, proxyHelp } from './help.ts';

const COMMANDS = [
  loginCommand,
  logoutCommand,
  statusCommand,
  doctorCommand,
  toolsCommand,
  policyCommand,
  traceCommand,
  sandboxCommand,
  demoCommand,
  explainCommand,
  installCommand,
  uninstallCommand,
  migrateCommand,
  bundleCommand,
  updateCommand,
] as readonly CommandModule<object, never>[];

const nameOf = ({ command }: CommandModule<object, never>) =>
  String(command).split(' ', 1)[0] as string;

/** Runs a command other than the proxy, or shows the help. `argv` without node and script. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  // The reader of stdout may leave, as `head` does.
  process.stdout.on('error', () => process.exit(1));
  const [first = 'help', second] = argv;
  if (['version', '-v', '--version'].includes(first)) {
    process.stdout.write(`${__VERSION__}\n`);
    return;
  }
  const isHelp = first === 'help' || argv.some((word) => word === '--help' || word === '-h');
  if (isHelp) {
    if (first === 'help' && second !== undefined && !isTopic(second)) {
      const [near] = nearestNames(second, COMMANDS.map(nameOf), 1);
      const why = `unknown command${near === undefined ? '' : `. Did you mean "${near}"?`}`;
      new Printer(process.stderr).usageError(why, 'help');
      process.exitCode = 2;
      return;
    }
    process.stdout.write(shownText(helpOn(first === 'help' ? second : first)));
    return;
  }
  const parser = yargs(forYargs(argv))
    .scriptName('mcp-latchkey')
    .command(loginCommand)
    .command(logoutCommand)
    .command(statusCommand)
    .command(toolsCommand)
    .command(policyCommand)
    .command(doctorCommand)
    .command(sandboxCommand)
    .command(demoCommand)
    .command(traceCommand)
    .command(explainCommand)
    .command(installCommand)
    .command(uninstallCommand)
    .command(migrateCommand)
    .command(bundleCommand)
    .command(updateCommand)
    .version(false)
    .help(false)
    .middleware(lastOfRepeated, true)
    .strict()
    .demandCommand(1)
    .fail((message, error) => {
      if (message === null && !(error instanceof UsageError)) throw error;
      const why = inPlainWords(message ?? error.message, argv);
      new Printer(process.stderr).usageError(why, `${argv[0]} --help`);
      process.exit(2);
    });
  try {
    await parser.parseAsync();
  } catch (error) {
    const why = withoutHome(error);
    if (why === undefined) throw error;
    new Printer(process.stderr).failure(why);
    process.exitCode = 1;
  }
}

/** In words, that Node.js does not get the path of the home folder; undefined for any other error. */
function withoutHome(error: unknown): string | undefined {
  const { syscall, code } = (error as { info?: { syscall?: string; code?: string } }).info ?? {};
  if (syscall !== 'uv_os_homedir') return undefined;
  const variable = process.platform === 'win32' ? 'USERPROFILE' : 'HOME';
  return code === 'ENOBUFS'
    ? `The path of your home folder is too long. Set ${variable} to a shorter path.`
    : `Cannot find your home folder (${code}). Set ${variable} to its path.`;
}

const isProxy = (topic: string) => topic === 'proxy' || /^https?:|^kindo$/.test(topic);

/** Whether `help` has a page on it. */
const isTopic = (topic: string) =>
  isProxy(topic) || topic.startsWith('-') || COMMANDS.some((command) => nameOf(command) === topic);

function helpOn(topic = ''): string {
  if (isProxy(topic)) return proxyHelp();
  const command = COMMANDS.find((own) => nameOf(own) === topic);
  return command === undefined ? mainHelp() : commandHelp(command);
}

/** yargs makes an array of an option that is given twice: the last one counts, but for those that take several. */
function lastOfRepeated(argv: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(argv)) {
    if (Array.isArray(value) && !REPEATED.has(name)) {
      argv[name] = value.at(-1);
    }
  }
}

/** Options that take several values, and what yargs itself keeps in arrays. */
const REPEATED = new Set(['_', '--', 'H', ...Object.keys(oneValueEach())]);

/**
 * yargs counts `non-option arguments` where one is missing, and quotes every word that it does not
 * know. One that is not an option may be a key.
 */
function inPlainWords(message: string, argv: readonly string[]): string {
  if (message.startsWith('Not enough non-option arguments')) {
    const usage = COMMANDS.find((command) => nameOf(command) === argv[0])?.command;
    return `missing argument. Usage: mcp-latchkey ${usage ?? '<url>'}`;
  }
  const [, option] = /^Not enough arguments following: ([\w-]+)$/.exec(message) ?? [];
  if (option !== undefined) return `--${option} needs a value`;
  const [, list] = /^Unknown arguments?: (.*)$/s.exec(message) ?? [];
  if (list === undefined) return message;
  const isOption = (name: string) =>
    argv.some((word) => /^--?/.test(word) && word.replace(/^--?/, '').split('=', 1)[0] === name);
  const command = COMMANDS.find((own) => nameOf(own) === argv[0]);
  const known = command === undefined ? [] : optionsOf(command);
  const options = [...new Set(list.split(', ').filter(isOption))];
  return options.length === 0
    ? 'unexpected argument, hidden because it might be a key'
    : options
        .map((name) => unknownOption(`${name.length === 1 ? '-' : '--'}${name}`, known))
        .join('. ');
}
