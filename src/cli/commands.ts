import yargs from 'yargs';
import { demoCommand } from './demo.ts';
import { explainCommand } from './explain.ts';
import { PROXY_OPTIONS } from './options.ts';
import { sandboxCommand } from './sandbox.ts';

declare const __VERSION__: string;

/** Runs a command other than the proxy, or shows the help. `argv` without node and script. */
export async function runCommand(argv: readonly string[]): Promise<void> {
  const parser = yargs([...argv])
    .scriptName('mcp-latchkey')
    .usage('$0 <url> [options]\n\nThe stdio side of a remote MCP gateway, for a client’s config.')
    .command('$0 <url>', false, (command) => command.options(PROXY_OPTIONS))
    .command(sandboxCommand)
    .command(demoCommand)
    .command(explainCommand)
    .version(__VERSION__)
    .help()
    .alias('help', 'h')
    .strict()
    .demandCommand(1)
    .wrap(Math.min(100, process.stdout.columns ?? 80))
    .fail((message, error) => {
      if (message === null) throw error;
      process.stderr.write(`mcp-latchkey: ${message}. See mcp-latchkey --help.\n`);
      process.exit(2);
    });
  await parser.parseAsync();
}
