import { misconfiguredError } from '../failures/catalogue.ts';
import { nearestNames } from '../failures/nearest-name.ts';
import { errorResponse, readMessages } from '../jsonrpc/message.ts';
import { LineReader } from '../stdio/line-reader.ts';
import { Printer, usageWords } from '../terminal/printer.ts';

/** How long a client may take to ask for what is refused. */
const REFUSAL_LIMIT_MS = 2_000;

/**
 * Says on stderr `reason`, or which of the `commands` the word `first` was probably meant to be.
 * Since most clients show their user nothing of that, it also answers the client's first request,
 * which may take 2 s to come. Then exits with 2.
 */
export function refuseToStart(reason: string, first = '', commands: readonly string[] = []): void {
  // Only a word that is nearly a command is not a key.
  const [near] = /^[a-z]+$/.test(first) ? nearestNames(first, commands, 1) : [];
  const why = near === undefined ? reason : `unknown command. Did you mean "${near}"?`;
  const exit = () => process.exit(2);
  // What the client has asked may be answered, and the answer be on its way.
  const flush = () => process.stdout.write('', exit);
  process.stderr.on('error', () => {});
  if (process.stderr.isTTY) new Printer(process.stderr).usageError(why, '--help');
  // One line of the client's log.
  else process.stderr.write(`mcp-latchkey: ${usageWords(why, '--help')}\n`);
  if (process.stdin.isTTY) exit();
  const lines = new LineReader({
    limitBytes: 1024 * 1024,
    onTooLong: exit,
    onLine: (line) => {
      for (const message of readMessages(line).messages) {
        if (message.kind !== 'request') continue;
        const error = misconfiguredError(why);
        process.stdout.write(`${errorResponse(message.id, error)}\n`, exit);
      }
    },
  });
  process.stdout.on('error', exit);
  process.stdin.on('data', (chunk: Buffer) => lines.push(chunk));
  process.stdin.on('end', () => lines.end());
  for (const event of ['end', 'error']) process.stdin.on(event, flush);
  setTimeout(exit, REFUSAL_LIMIT_MS);
}
