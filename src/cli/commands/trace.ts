import type { CommandModule } from 'yargs';
import { redactionFor } from '../../doctor/doctor.ts';
import { UnusableFile } from '../../private-path.ts';
import { UsageError } from '../../settings/options.ts';
import { Printer } from '../../terminal/printer.ts';
import { columns } from '../../terminal/wrap-text.ts';
import { tracePage } from '../../trace/page.ts';
import { readTrace, type TraceRun } from '../../trace/read-trace.ts';
import { redactedRun } from '../../trace/redact-trace.ts';
import { stepsOf } from '../../trace/steps.ts';
import { filtered, stepText } from '../../trace/trace-text.ts';
import { writePage } from '../earlier-output.ts';

interface Arguments {
  file: string;
  run?: string | undefined;
  method?: string | undefined;
  tool?: string | undefined;
  failed: boolean;
  slowerThan?: string | undefined;
  html?: string | undefined;
  redact: boolean;
}

/** `mcp-latchkey trace FILE`: what a trace has recorded. Exit 1: it cannot be read. */
export const traceCommand: CommandModule<object, Arguments> = {
  command: 'trace <file>',
  describe: 'Show a session recorded with --trace',
  builder: (yargs) =>
    yargs
      .positional('file', { type: 'string', demandOption: true, describe: 'File of --trace' })
      .options({
        method: { type: 'string', requiresArg: true, describe: 'Only calls of this method' },
        tool: { type: 'string', requiresArg: true, describe: 'Only calls of this tool' },
        failed: { type: 'boolean', default: false, describe: 'Only what failed' },
        'slower-than': {
          type: 'string',
          requiresArg: true,
          value: 'MS',
          describe: 'Only calls that took more milliseconds',
        } as const,
        run: {
          type: 'string',
          requiresArg: true,
          value: 'NUMBER',
          describe: 'Which run, 1 = the oldest [default: the newest]',
        } as const,
        html: {
          type: 'string',
          requiresArg: true,
          value: 'FILE',
          describe: 'Write an HTML page instead, to open in a browser',
        } as const,
        redact: {
          type: 'boolean',
          default: false,
          describe: 'Leave out what messages say, user names and other hosts',
        },
      }),
  handler(argv) {
    process.stdout.on('error', () => process.exit(1));
    let runs: TraceRun[];
    try {
      runs = readTrace(argv.file);
    } catch (error) {
      if (!(error instanceof UnusableFile)) throw error;
      return fail(error.message);
    }
    if (runs.length === 0) return fail(`${argv.file} is not a file of --trace`);
    const number = argv.run === undefined ? runs.length : count('run', argv.run);
    const chosen = runs[number - 1];
    if (chosen === undefined) return fail(`${argv.file} has ${runs.length} runs`);
    const run = argv.redact ? redacted(chosen) : chosen;
    if (argv.html !== undefined) return writeHtml(argv.html, tracePage(run, argv.redact));
    const { method, tool, failed, slowerThan } = argv;
    const slowerThanMs = slowerThan === undefined ? undefined : count('slower-than', slowerThan);
    const session = stepsOf(run);
    const out = new Printer(process.stdout);
    const steps = filtered(session, { method, tool, failed, slowerThanMs });
    const width = process.stdout.isTTY ? columns(Number.POSITIVE_INFINITY) : undefined;
    for (const step of steps) out.line(stepText(step, out.paint, width));
    if (steps.length === 0) {
      const isForCalls = method ?? tool ?? slowerThanMs ?? false;
      out.marked('ok', isForCalls === false ? 'Nothing failed.' : 'No call fits these filters.');
    }
    if (runs.length > 1 && argv.run === undefined) {
      const words = `This is the newest of ${runs.length} runs in the file. --run 1 shows the oldest.`;
      new Printer(process.stderr).note(words);
    }
  },
};

function writeHtml(file: string, page: string): void {
  try {
    writePage(file, page, 'trace');
    new Printer(process.stderr).result('ok', `Wrote ${file}`);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    fail(
      `--html: ${error instanceof UnusableFile ? message : `${file} cannot be written (${code})`}`,
    );
  }
}

function redacted(run: TraceRun): TraceRun {
  const gateway =
    run.flatMap((line) => (line.type === 'run' ? [String(line.gateway)] : []))[0] ?? '';
  const host = URL.canParse(gateway) ? new URL(gateway).hostname : '';
  const redaction = redactionFor(process.env, true, undefined, host);
  return redactedRun(run, (text) => redaction.mask(text));
}

function count(name: string, given: string): number {
  if (!/^\d{1,9}$/.test(given)) throw new UsageError(`--${name} needs a whole number`);
  return Number(given);
}

function fail(why: string): void {
  new Printer(process.stderr).failure(why);
  process.exitCode = 1;
}
