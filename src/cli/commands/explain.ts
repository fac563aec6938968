import type { CommandModule } from 'yargs';
import { EXPLAINED_REASONS, explainError, nearestReasons } from '../../failures/errors-page.ts';
import { ownCommand } from '../../terminal/own-command.ts';
import { Printer } from '../../terminal/printer.ts';
import { wrapText } from '../../terminal/wrap-text.ts';

/** `mcp-latchkey explain <code|reason>`: what an error means and how to fix it. Exit 2: unknown. */
export const explainCommand: CommandModule<object, { error: string }> = {
  command: 'explain <error>',
  describe: 'Explain an error code or reason',
  builder: (yargs) =>
    yargs.positional('error', {
      type: 'string',
      demandOption: true,
      describe: 'Code, reason or HTTP status: -32012, unauthorized, 401',
    }),
  handler({ error }) {
    const explanation = explainError(error);
    if (explanation === undefined) {
      const near = nearestReasons(error);
      const more =
        near.length > 0
          ? `Did you mean ${near.join(' or ')}?`
          : `Pass a code such as -32012, an HTTP status or one of ${EXPLAINED_REASONS.join(', ')}.`;
      new Printer(process.stderr).failure(`Unknown error. ${more}`);
      process.exitCode = 2;
      return;
    }
    const text = asText(explanation.replaceAll('npx mcp-latchkey', ownCommand()));
    new Printer(process.stdout).write(`${text}\n`);
  },
};

/** The Markdown of a section as plain text of at most 80 columns. */
function asText(markdown: string): string {
  return markdown
    .split('\n')
    .filter((line) => !/^\|[-|]+\|$/.test(line))
    .map((line) => {
      const plain = line.replace(/^### /, '').replaceAll('**', '').replaceAll('`', '');
      if (plain.startsWith('| ')) {
        const [cause, what, remedy] = plain.slice(2, -2).split(' | ');
        return cause === 'cause' ? '' : wrapText(`${cause}: ${what}. ${remedy}`, 80, 2);
      }
      return plain.startsWith('> ') ? wrapText(plain.slice(2), 80, 2) : wrapText(plain, 80);
    })
    .join('\n')
    .replace(/\n{3,}/g, '\n\n');
}
