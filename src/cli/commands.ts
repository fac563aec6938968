import yargs from 'yargs';
import { oneValueEach, PROXY_OPTIONS, UsageError } from '../settings/options.ts';
import { forYargs, unknownOption } from '../settings/read-options.ts';
import { columns } from '../terminal/wrap-text.ts';
import { bundleCommand } from './commands/bundle.ts';
import { demoCommand } from './commands/demo.ts';
import { doctorCommand } from './commands/doctor.ts';
import { explainCommand } from './commands/explain.ts';
import { installCommand } from './commands/install.ts';
import { loginCommand } from './commands/login.ts';
import { logoutCommand } from './commands/logout.ts';
import { migrateCommand } from './commands/migrate.ts';
import { sandboxCommand } from './commands/sandbox.ts';
import { statusCommand } from './commands/status.ts';
import { toolsCommand } from './commands/tools.ts';
import { traceCommand } from './commands/trace.ts';
import { uninstallCommand } from './commands/uninstall.ts';
import { updateCommand } from './commands/update.ts';

/** Runs a command other than the proxy, or shows the help. `argv` without node and script. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  const parser = yargs(forYargs(argv))
    .scriptName('mcp-latchkey')
    .usage('$0 <url> [options]\n\nThe stdio side of a remote MCP gateway, for a client’s config.')
    .command('$0 <url>', false, (command) => command.options(PROXY_OPTIONS))
    .command(loginCommand)
    .command(logoutCommand)
    .command(statusCommand)
    .command(toolsCommand)
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
    .version(__VERSION__)
    .help()
    .alias('help', 'h')
    .middleware(lastOfRepeated, true)
    .strict()
    .demandCommand(1)
    .wrap(columns(100))
    .fail((message, error) => {
      if (message === null && !(error instanceof UsageError)) throw error;
      const why = inPlainWords(message ?? error.message, argv);
      process.stderr.write(`mcp-latchkey: ${why}. See mcp-latchkey --help.\n`);
      process.exit(2);
    });
  await parser.parseAsync();
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

/** The commands that need a word after their name. */
const WANTING = [loginCommand, logoutCommand, toolsCommand, explainCommand, traceCommand];

/**
 * yargs counts `non-option arguments` where one is missing, and quotes every word that it does not
 * know. One that is no option may be a key.
 */
function inPlainWords(message: string, argv: readonly string[]): string {
  if (message.startsWith('Not enough non-option arguments')) {
    const usage = WANTING.map(({ command }) => String(command)).find(
      (words) => words.split(' ', 1)[0] === argv[0],
    );
    return `something is missing: mcp-latchkey ${usage ?? '<url>'}`;
  }
  const [, list] = /^Unknown arguments?: (.*)$/s.exec(message) ?? [];
  if (list === undefined) return message;
  const isOption = (name: string) =>
    argv.some((word) => /^--?/.test(word) && word.replace(/^--?/, '').split('=', 1)[0] === name);
  const options = [...new Set(list.split(', ').filter(isOption))];
  return options.length === 0
    ? 'one word too many, not shown here; a key is never given on the command line'
    : options
        .map((name) => unknownOption(`${name.length === 1 ? '-' : '--'}${name}`, []))
        .join('; ');
}
