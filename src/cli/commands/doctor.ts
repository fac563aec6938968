import { closeSync, ftruncateSync, writeFileSync } from 'node:fs';
import type { CommandModule } from 'yargs';
import { configuredTargets } from '../../doctor/configured.ts';
import { examine, redactionFor, type Target } from '../../doctor/doctor.ts';
import { reportPage } from '../../doctor/page.ts';
import type { GatewayReport, Report } from '../../doctor/report.ts';
import { conclusionText, findingText, headingText, type TextStyle } from '../../doctor/text.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import { openPrivate, UnusableFile } from '../../private-path.ts';
import { PROXY_OPTIONS } from '../../settings/options.ts';
import { toSettings } from '../../settings/settings.ts';
import { Printer } from '../../terminal/printer.ts';
import { Progress } from '../../terminal/progress.ts';

interface Arguments {
  url?: string | undefined;
  json: boolean;
  redact: boolean;
  report?: string | undefined;
}

/** A dead gateway is to be known as dead soon; the proxy itself is more patient. */
const TIMEOUT_SECONDS = '10';

/**
 * `mcp-latchkey doctor [url]`: exit 0 when all is well, 1 when something ought to be mended or
 * nothing is configured, 2 on a wrong command line.
 */
export const doctorCommand: CommandModule<object, Arguments> = {
  command: 'doctor [url]',
  describe: 'Diagnose connection problems',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 doctor [url] [options]\n\nGoes the whole way to the gateway, as the proxy does, and says what is wrong and what to do first. Give it the URL and the options of your client’s config; without a URL it reads the configs of the clients that are installed.',
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
      .nargs('header', 1)
      .group(Object.keys(PROXY_OPTIONS), 'Options of the proxy:'),
  async handler(argv) {
    // Nobody reads on, as behind `| head`.
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
  const notes = unread.map(
    ({ client, file, why }) => `! ${client}: ${file} cannot be read: ${why}.`,
  );
  if (gateways.length === 0) {
    notes.push(
      'No client that is installed here has mcp-latchkey in its config. `npx mcp-latchkey install <client> <url>` puts it there; `npx mcp-latchkey doctor <url>` examines a gateway without any client.',
    );
  }
  if (redacted && /\[(?:host|address|proxy)(?:-\d+)?\]/.test(JSON.stringify(gateways))) {
    notes.push('Other hosts than the gateway are masked: --no-redact shows them.');
  }
  for (const note of notes) {
    if (gateways.length > 0) out.line();
    out.text(note);
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
    process.stderr.write(`The report is in ${file}\n`);
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = error instanceof UnusableFile ? message : `${file} cannot be written (${code})`;
    process.stderr.write(`mcp-latchkey: --report: ${why}.\n`);
    return false;
  }
}
