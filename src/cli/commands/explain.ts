import type { CommandModule } from 'yargs';
import { EXPLAINED_REASONS, explainError } from '../../failures/errors-page.ts';
import { wrapText } from '../../terminal/wrap-text.ts';

/** `mcp-latchkey explain <code|reason>`: what an error means and how to mend it. Exit 2: unknown. */
export const explainCommand: CommandModule<object, { error: string }> = {
  command: 'explain <error>',
  describe: 'Explain an error code or reason',
  builder: (yargs) =>
    yargs.positional('error', {
      type: 'string',
      demandOption: true,
      describe: 'Error code or reason, for example -32012 or unauthorized',
    }),
  handler({ error }) {
    const explanation = explainError(error);
    if (explanation === undefined) {
      const known = EXPLAINED_REASONS.join(', ');
      process.stderr.write(
        `${wrapText(`mcp-latchkey: there is no error of this name or code. There are: ${known}.`, 80)}\n`,
      );
      process.exitCode = 2;
      return;
    }
    process.stdout.write(`${asText(explanation)}\n`);
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
