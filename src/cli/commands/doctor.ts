import { closeSync, ftruncateSync, writeFileSync } from 'node:fs';
import type { CommandModule } from 'yargs';
import { configuredTargets } from '../../doctor/configured.ts';
import { examine, redactionFor, type Target } from '../../doctor/doctor.ts';
import { reportPage } from '../../doctor/page.ts';
import type { GatewayReport, Report } from '../../doctor/report.ts';
import { conclusionText, findingText, headingText, type TextStyle } from '../../doctor/text.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import { openPrivate, UnusableFile } from '../../private-path.ts';
import { oneValueEach, PROXY_OPTIONS } from '../../settings/options.ts';
import { toSettings } from '../../settings/settings.ts';
import { Printer } from '../../terminal/printer.ts';
import { Progress } from '../../terminal/progress.ts';

interface Arguments {
  url?: string | undefined;
  json: boolean;
  redact: boolean;
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
        "$0 doctor [url] [options]\n\nTests the connection to the gateway step by step and tells you what to fix first. Pass the URL and options from your client's config. Without a URL, doctor tests every client on this computer that uses mcp-latchkey.",
      )
      .positional('url', { type: 'string', describe: 'URL of the MCP endpoint' })
      .options({
        json: { type: 'boolean', default: false, describe: 'Print the report as JSON' },
        report: {
          type: 'string',
          requiresArg: true,
          describe: 'Also write an HTML report to send to support',
        },
        redact: {
          type: 'boolean',
          default: true,
          describe: 'Hide user names and other host names; --no-redact shows them',
        },
      })
      .options(PROXY_OPTIONS)
      .nargs(oneValueEach())
      .group(Object.keys(PROXY_OPTIONS), 'Connection options (same as in the config):'),
  async handler(argv) {
    // The reader is gone, as in `| head`.
    process.stdout.on('error', () => process.exit(1));
    const env = { ...process.env };
    env.MCP_LATCHKEY_TIMEOUT ||= TIMEOUT_SECONDS;
    const { url } = argv;
    const { targets, unread } =
      url === undefined
        ? await configuredTargets(env)
        : { targets: [{ settings: toSettings(url, argv, env), env }], unread: [] };
    const { redact, json } = argv;
    const gateways = await examineAll(targets, redact, json);
    const report: Report = {
      version: 2,
      program: `mcp-latchkey ${__VERSION__}`,
      redacted: redact,
      healthy: gateways.length > 0 && gateways.every(({ verdict }) => verdict.healthy),
      gateways,
      unread: redactionFor(env, redact).maskAll(unread),
    };
    const out = new Printer(process.stdout);
    if (json) out.json(report);
    else printEnd(out, report);
    const isWritten = argv.report === undefined || writePage(argv.report, report);
    const code = report.healthy && isWritten ? 0 : 1;
    // A keychain that was given up may still be waiting for its prompt.
    process.stdout.write('', () => process.exit(code));
  },
};

async function examineAll(
  targets: readonly Target[],
  redacts: boolean,
  json: boolean,
): Promise<GatewayReport[]> {
  const progress = new Progress(process.stderr);
  const style = new Printer(process.stdout);
  const say = (text: string) => {
    progress.clear();
    if (!json) style.write(text);
  };
  const reports: GatewayReport[] = [];
  for (const target of targets) {
    if (reports.length > 0) say('\n');
    say(targetHeading(target, redacts, style));
    const report = await examine(target, redacts, {
      onProgress: (doing) => progress.show(doing),
      onFinding: (finding) => say(findingText(finding, style)),
    });
    say(conclusionText(report, style));
    reports.push(report);
  }
  return reports;
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
  const notes = unread.map(({ client, file, why }) => `! ${client}: cannot read ${file}: ${why}.`);
  if (gateways.length === 0) {
    out.text('No client on this computer uses mcp-latchkey. To add it, run:');
    out.command(['install', 'CLIENT', 'URL']);
    out.line('To test a gateway directly, run:');
    out.command(['doctor', 'URL']);
  }
  if (redacted && /\[(?:host|address|proxy)(?:-\d+)?\]/.test(JSON.stringify(gateways))) {
    notes.push('Other host names are hidden. To show them, use --no-redact.');
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
    const why = verdict.healthy ? '' : `  ${verdict.reason ?? verdict.finding ?? ''}`;
    out.marked(verdict.healthy ? 'ok' : 'fail', `${name}${why}`);
  }
}

/** For the user alone, as what the gateway has said is in it. False when it cannot be written. */
function writePage(file: string, report: Report): boolean {
  try {
    const { fd, stats } = openPrivate(file, 'output');
    try {
      if (stats.isFile()) ftruncateSync(fd);
      writeFileSync(fd, reportPage(report));
    } finally {
      closeSync(fd);
    }
    process.stderr.write(`Report written to ${file}\n`);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = error instanceof UnusableFile ? message : `cannot write ${file} (${code})`;
    process.stderr.write(`mcp-latchkey: --report: ${why}.\n`);
    return false;
  }
}
