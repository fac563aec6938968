import type { CommandModule } from 'yargs';
import { configuredTargets } from '../../doctor/configured.ts';
import {
  type Examination,
  examine,
  type Redacts,
  redactionFor,
  type Target,
} from '../../doctor/doctor.ts';
import type { Finding } from '../../doctor/finding.ts';
import { reportPage } from '../../doctor/page.ts';
import type { GatewayReport, Report } from '../../doctor/report.ts';
import {
  checkText,
  conclusionText,
  headingText,
  reasonWords,
  type TextStyle,
} from '../../doctor/text.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import { UnusableFile } from '../../private-path.ts';
import { oneValueEach, PROXY_OPTIONS, UsageError } from '../../settings/options.ts';
import { toSettings } from '../../settings/settings.ts';
import { Printer } from '../../terminal/printer.ts';
import { Progress } from '../../terminal/progress.ts';
import { writePage } from '../earlier-output.ts';
import { fixAll } from './doctor-fix.ts';

interface Arguments {
  url?: string | undefined;
  json: boolean;
  redact?: boolean | undefined;
  verbose: boolean;
  fix: boolean;
  yes: boolean;
  report?: string | undefined;
}

/** A dead gateway should be recognized soon; the proxy itself is more patient. */
const TIMEOUT_SECONDS = '10';

/**
 * `mcp-latchkey doctor [url]`: exit 0 when everything works, 1 when something should be fixed or
 * nothing is configured, 2 on a wrong command line.
 */
export const doctorCommand: CommandModule<object, Arguments> = {
  command: 'doctor [url]',
  describe: 'Diagnose connection problems',
  builder: (yargs) =>
    yargs
      .usage(
        "$0 doctor [url] [options]\n\nTests the connection to the gateway step by step and tells you what to fix first. Pass the URL and options from your client's config. Without a URL, doctor tests every client on this computer that uses mcp-latchkey, or the client that you name: it also starts each entry as the client does.",
      )
      .positional('url', {
        type: 'string',
        describe: 'URL of the MCP endpoint, or a client: cursor',
      })
      .options({
        json: { type: 'boolean', default: false, describe: 'Print the report as JSON' },
        report: {
          type: 'string',
          value: '[FILE]',
          describe: 'Also write an HTML report to send to support',
        },
        verbose: { type: 'boolean', default: false, describe: 'Show every finding' },
        fix: { type: 'boolean', default: false, describe: 'Fix what can be fixed, after asking' },
        yes: { type: 'boolean', default: false, describe: 'With --fix: ask no questions' },
        redact: {
          type: 'boolean',
          describe: 'Hide user and host names; --no-redact shows them',
        },
      })
      .options(PROXY_OPTIONS)
      .nargs(oneValueEach())
      .group(Object.keys(PROXY_OPTIONS), 'Connection options (same as in the config):'),
  async handler(argv) {
    // The reader is gone, as in `| head`.
    process.stdout.on('error', () => process.exit(1));
    const { redact, json } = argv;
    if (argv.fix && json) throw new UsageError('--fix cannot be combined with --json');
    const env = { ...process.env };
    env.MCP_LATCHKEY_TIMEOUT ||= TIMEOUT_SECONDS;
    // A URL behind --report is not its file.
    const isUrl = /^https?:/i.test(argv.report ?? '');
    const url = argv.url ?? (isUrl ? argv.report : undefined);
    const page = isUrl ? '' : argv.report;
    const client = url === undefined ? undefined : await clientNamed(url);
    const look = async () =>
      url === undefined || client !== undefined
        ? configuredTargets(env, client)
        : { targets: [{ settings: toSettings(url, argv, env), env }], unread: [] };
    let { targets, unread } = await look();
    const out = new Printer(process.stdout);
    // What is not on a terminal is for others, or will be.
    const redacts = { screen: redact ?? !process.stdout.isTTY, shared: redact ?? true };
    let examined = await examineAll(targets, redacts, argv);
    const mask = (text: string) => redactionFor(env, redacts.screen).mask(text);
    if (argv.fix && (await fixAll(targets, examined, argv.yes, mask, out))) {
      out.line('\nChecking again:\n');
      ({ targets, unread } = await look());
      examined = await examineAll(targets, redacts, argv);
    }
    const report = (redacted: boolean, gateways: readonly GatewayReport[]): Report => ({
      version: 2,
      program: `mcp-latchkey ${__VERSION__}`,
      redacted,
      healthy:
        gateways.length > 0 &&
        gateways.every(({ verdict }) => verdict.healthy) &&
        !unread.some(({ namesProgram }) => namesProgram),
      gateways,
      unread: redactionFor(env, redacted).maskAll(unread),
    });
    const shared = report(
      redacts.shared,
      examined.map((own) => own.shared),
    );
    if (json) out.json(shared);
    else {
      const screen = examined.map((own) => own.screen);
      printEnd(out, report(redacts.screen, screen));
    }
    const isWritten = page === undefined || writeReport(page === '' ? reportName() : page, shared);
    const code = shared.healthy && isWritten ? 0 : 1;
    // A keychain that was given up may still be waiting for its prompt.
    process.stdout.write('', () => process.exit(code));
  },
};

/** The client that is named in the place of a URL. Throws UsageError where one almost is. */
async function clientNamed(word: string): Promise<string | undefined> {
  if (!/^[a-z][a-z -]*$/i.test(word)) return undefined;
  const { clientOf, EntryError } = await import('../../install/install.ts');
  try {
    return clientOf(word).displayName;
  } catch (error) {
    if (!(error instanceof EntryError)) throw error;
    if (!error.message.includes('Did you mean')) return undefined;
    throw new UsageError(`${word}: ${error.message}`);
  }
}

async function examineAll(
  targets: readonly Target[],
  redacts: Redacts,
  { json, verbose }: Arguments,
): Promise<Examination[]> {
  const progress = new Progress(process.stderr);
  const style = new Printer(process.stdout);
  const say = (text: string) => {
    progress.clear();
    if (!json) style.write(text);
  };
  const examined: Examination[] = [];
  for (const target of targets) {
    if (examined.length > 0) say('\n');
    say(targetHeading(target, redacts.screen, style));
    let group: Finding[] = [];
    const sayGroup = () => say(checkText(group, verbose, style));
    const own = await examine(target, redacts, {
      onProgress: (doing) => progress.show(doing),
      onFinding: (finding) => {
        if (finding.check !== group[0]?.check) {
          sayGroup();
          group = [];
        }
        group.push(finding);
      },
    });
    sayGroup();
    say(conclusionText(own.screen, verbose, style));
    examined.push(own);
  }
  return examined;
}

function targetHeading(
  { settings, configuredIn, env }: Target,
  redacts: boolean,
  style: TextStyle,
) {
  const url = 'url' in settings ? displayUrl(settings.url) : undefined;
  return headingText(url, redactionFor(env, redacts).maskAll(configuredIn), style);
}

/** What is said after all findings. */
function printEnd(out: Printer, { gateways, unread, redacted }: Report): void {
  if (gateways.length > 1) printSummary(out, gateways);
  const notes = unread.flatMap(({ client, file, why, namesProgram }) =>
    namesProgram ? [] : [`! ${client}: cannot read ${file}: ${why}.`],
  );
  const broken = unread.filter(({ namesProgram }) => namesProgram);
  if (gateways.length > 0 && broken.length > 0) out.line();
  for (const { client, file, why } of broken) {
    out.marked('fail', `${client}: ${file} is damaged, so it starts none of its servers: ${why}.`);
  }
  if (gateways.length === 0 && broken.length === 0) {
    out.text('No client on this computer uses mcp-latchkey. To add it, run:');
    out.command(['install', 'CLIENT', 'URL']);
    out.line('To test a gateway directly, run:');
    out.command(['doctor', 'URL']);
  }
  if (redacted && /\[(?:host|address|proxy)(?:-\d+)?\]/.test(JSON.stringify(gateways))) {
    notes.push('Other host names are hidden. To show them, use --no-redact.');
  }
  const isHealthy = gateways.every(({ verdict }) => verdict.healthy);
  if (!redacted && !isHealthy) {
    notes.push('To show this to anyone else: --report, which hides user and host names.');
  }
  for (const note of notes) {
    if (gateways.length > 0) out.line();
    out.text(note);
  }
}

/** Each entry with its verdict, where there are several. */
function printSummary(out: Printer, gateways: readonly GatewayReport[]): void {
  const broken = gateways.filter(({ verdict }) => !verdict.healthy).length;
  out.line();
  out.title(`${broken} of ${gateways.length} entries have problems`);
  for (const { configuredIn, url, verdict } of gateways) {
    const name = configuredIn === undefined ? url : `${configuredIn.client}: ${configuredIn.entry}`;
    const why = verdict.healthy ? '' : `  ${reasonWords(verdict) || verdict.finding}`;
    out.marked(verdict.healthy ? 'ok' : 'fail', `${name}${why}`);
  }
}

/** In the current folder; with the time, so that no earlier one is replaced. */
function reportName(): string {
  return `mcp-latchkey-report-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.html`;
}

/** For the user alone, as what the gateway has said is in it. False when it cannot be written. */
function writeReport(file: string, report: Report): boolean {
  try {
    writePage(file, reportPage(report), 'doctor');
    process.stderr.write(`Report written to ${file}\n`);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = error instanceof UnusableFile ? message : `cannot write ${file} (${code})`;
    new Printer(process.stderr).failure(why);
    return false;
  }
}
