import type { Paint } from '../terminal/colour.ts';
import { ownCommand } from '../terminal/own-command.ts';
import { markText, remedyText } from '../terminal/printer.ts';
import { wrapText } from '../terminal/wrap-text.ts';
import { type CheckName, duration, type Finding } from './finding.ts';
import type { ConfiguredIn, GatewayReport, Verdict } from './report.ts';

/** How a report is shown on a terminal or in a file. */
export interface TextStyle {
  readonly paint: Paint;
  /** Width to keep to. */
  readonly columns: number;
}

const NAME_COLUMNS = 15;
const INDENT = 2 + NAME_COLUMNS;
const TIME_COLUMNS = 9;

/** Which gateway it is about; `url` as the user gave it may be long, so it is not cut. */
export function headingText(
  url: string | undefined,
  configuredIn: ConfiguredIn | undefined,
  { paint }: TextStyle,
): string {
  if (configuredIn === undefined) return `${paint('bold', `mcp-latchkey doctor ${url ?? ''}`)}\n\n`;
  const { client, entry, file } = configuredIn;
  return `${paint('bold', `${client}: ${entry}`)}\n${url === undefined ? '' : `${url}\n`}${paint('dim', file)}\n\n`;
}

/**
 * The findings of one check. Those that are fine are one line, and what was skipped is left out,
 * unless `isVerbose`.
 */
export function checkText(
  findings: readonly Finding[],
  isVerbose: boolean,
  style: TextStyle,
): string {
  if (isVerbose) return findings.map((own) => findingText(own, style)).join('');
  const fine = findings.filter(({ status }) => status === 'ok');
  const others = findings.filter(({ status }) => status === 'warn' || status === 'fail');
  const [first] = findings;
  if (first === undefined) return '';
  if (fine.length === 0 && others.length === 0) {
    return findingText({ ...first, name: first.check }, style);
  }
  const shown = fine.length > 1 ? [folded(first.check, fine), ...others] : [...fine, ...others];
  return shown.map((own) => findingText(own, style)).join('');
}

function folded(check: CheckName, fine: readonly Finding[]): Finding {
  const words = fine.map(({ name, line }) => (name === check ? line : name));
  const times = fine.flatMap(({ ms }) => ms ?? []);
  return {
    ...{ check, name: check, status: 'ok', line: words.join(', ') },
    ...(times.length === 0 ? {} : { ms: times.reduce((sum, ms) => sum + ms) }),
  };
}

/** One line, or as many as its text needs: mark, name, text, and the time at the right. */
export function findingText(finding: Finding, { paint, columns }: TextStyle): string {
  const { status, name, line, ms } = finding;
  const width = columns - INDENT - TIME_COLUMNS;
  const text = status === 'skipped' ? `skipped: ${line}` : line;
  const [first = '', ...rest] = wrapText(text, width).split('\n');
  const time = ms === undefined ? '' : duration(ms);
  const gap = ' '.repeat(Math.max(1, columns - INDENT - first.length - time.length));
  const shown = status === 'skipped' ? paint('dim', first) : first;
  return [
    `${markText(status, paint)} ${name.padEnd(NAME_COLUMNS)}${shown}${time === '' ? '' : `${gap}${paint('dim', time)}`}`,
    ...rest.map((own) => ' '.repeat(INDENT) + (status === 'skipped' ? paint('dim', own) : own)),
  ]
    .map((own) => `${own}\n`)
    .join('');
}

/** The verdict, after the findings, and before it, with `isVerbose`, the bar chart of the speeds. */
export function conclusionText(
  report: GatewayReport,
  isVerbose: boolean,
  style: TextStyle,
): string {
  const { paint, columns } = style;
  const { healthy, sentence, remedy, reason } = report.verdict;
  // Node.js 20 would color a list of styles where there is no terminal.
  const strong = (text: string) => paint('bold', paint(healthy ? 'green' : 'red', text));
  const [first = '', ...rest] = wrapText(sentence, columns - 2).split('\n');
  const lines = [
    `${markText(healthy ? 'ok' : 'fail', paint)} ${strong(first)}`,
    ...rest.map((line) => `  ${strong(line)}`),
    ...(remedy === undefined
      ? []
      : ['', paint('bold', '  What to do'), remedyText(remedy, columns, 2, paint).trimEnd()]),
    ...(reason === undefined
      ? []
      : [
          '',
          paint('dim', `  Reason: ${reasonWords(report.verdict)}. For more, run:`),
          `    ${paint('cyan', `${ownCommand()} explain ${reason}`)}`,
        ]),
  ];
  return `${isVerbose ? chartText(report.findings, style) : ''}\n${lines.map((line) => `${line}\n`).join('')}`;
}

/** `unauthorized, -32012`: as in the error that a client gets; empty where there is none. */
export function reasonWords({ reason, code }: Verdict): string {
  return [reason, code].filter((word) => word !== undefined).join(', ');
}

const BAR_COLUMNS = 40;
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** The times that the speed check found, as rows of a chart, in the order in which they are shown. */
export function speedRows(findings: readonly Finding[]): (readonly [label: string, ms: number])[] {
  const { details = {} } = findings.find(({ name }) => name === 'speed') ?? {};
  const { pings = 0, pingedWith } = details;
  const ping = pingedWith === undefined ? 'ping: ' : '';
  const rows = [
    ['connect', details.connectMs],
    ['TLS', details.tlsMs],
    [`${ping}first byte`, details.firstByteMs],
    [`${ping}total`, details.totalMs],
    [`slowest of ${pings}`, details.slowestMs],
  ] as const;
  return rows.flatMap(([label, ms]) => (typeof ms === 'number' ? [[label, ms] as const] : []));
}

function chartText(findings: readonly Finding[], { paint, columns }: TextStyle): string {
  const rows = speedRows(findings);
  const longest = Math.max(...rows.map(([, ms]) => ms));
  const width = Math.min(BAR_COLUMNS, columns - 30);
  return rows
    .map(([label, ms], index) => {
      const eighths = Math.max(1, Math.round((ms / longest) * width * 8));
      const bar = `${'█'.repeat(eighths >> 3)}${EIGHTHS[eighths & 7]}`;
      return `${index === 0 ? '\n' : ''}  ${label.padEnd(17)} ${paint('cyan', bar.padEnd(width))} ${duration(ms).padStart(8)}\n`;
    })
    .join('');
}
