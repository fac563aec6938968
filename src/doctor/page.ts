import { CHECKS, type CheckName, duration, type Finding, type Status } from './finding.ts';
import type { GatewayReport, Report, TimelineEntry } from './report.ts';
import { reasonWords, speedRows } from './text.ts';

/**
 * The report as one web page that needs nothing else: no script, no request. Everything in it is
 * escaped, because much of it is what the gateway said.
 */
export function reportPage(report: Report): string {
  const { gateways, program } = report;
  const title = `mcp-latchkey doctor${gateways[0]?.url === undefined ? '' : `: ${gateways[0].url}`}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>mcp-latchkey doctor</h1>
<p class="quiet">${escaped(program)}${report.redacted ? '. Keys, user names and other host names are hidden.' : '. Not redacted. Review it before you share it.'}</p>
${gateways.map(gatewaySection).join('\n')}
${gateways.length === 0 ? '<p>No client on this computer uses mcp-latchkey.</p>' : ''}
${report.unread.map(({ client, file, why }) => `<p>${escaped(`${client}: cannot read ${file}: ${why}.`)}</p>`).join('\n')}
</main>
</body>
</html>
`;
}

function gatewaySection(report: GatewayReport): string {
  const { url, configuredIn, verdict, startedAt, ms, findings, timeline, log, clientLog } = report;
  const heading =
    configuredIn === undefined ? (url ?? '') : `${configuredIn.client}: ${configuredIn.entry}`;
  const quiet = [
    ...(configuredIn === undefined ? [] : [...(url === undefined ? [] : [url]), configuredIn.file]),
    `${startedAt.slice(0, 19).replace('T', ' ')} UTC`,
    `took ${duration(ms)}`,
  ];
  return `<section>
<h2>${escaped(heading)}</h2>
<p class="quiet">${escaped(quiet.join(' · '))}</p>
<div class="verdict ${verdict.healthy ? 'ok' : 'fail'}">
<p><b>${verdict.healthy ? '✓ Healthy' : '✗ Problem found'}</b>${verdict.reason === undefined ? '' : `: <code>${escaped(reasonWords(verdict))}</code>`}</p>
<p class="sentence">${withCode(verdict.sentence)}</p>
${verdict.remedy === undefined ? '' : `<p><b>What to do:</b> ${withCode(verdict.remedy)}</p>`}
</div>
<h3>What was checked</h3>
<table>
<thead><tr><th scope="col">Check</th><th scope="col">Finding</th><th scope="col">Result</th><th scope="col" class="ms">Time</th></tr></thead>
${CHECKS.map((check) => checkRows(check, findings)).join('\n')}
</table>
${speedFigure(findings)}
${waterfallFigure(timeline)}
${log.length === 0 ? '' : `<h3>Log</h3>\n<pre>${escaped(log.join('\n'))}</pre>`}
${clientLog === undefined ? '' : `<h3>Log of ${escaped(configuredIn?.client ?? '')}</h3>\n<pre>${escaped(clientLog.join('\n'))}</pre>`}
</section>`;
}

const CHECK_TITLES: Readonly<Record<CheckName, string>> = {
  machine: 'Computer',
  url: 'URL',
  route: 'Network',
  discovery: 'Discovery',
  'sign-in': 'Sign-in',
  key: 'API key',
  authorization: 'Access',
  protocol: 'MCP',
  speed: 'Speed',
  client: 'Client',
};

const MARKS: Readonly<Record<Status, readonly [mark: string, words: string]>> = {
  ok: ['✓', 'fine'],
  warn: ['!', 'note'],
  fail: ['✗', 'failed'],
  skipped: ['–', 'skipped'],
};

/** Details of the report that are for programs. */
const FOR_PROGRAMS = /Ms$|^(?:ipv[46]|used|bearer|skewSeconds|status)$/;

function checkRows(check: CheckName, findings: readonly Finding[]): string {
  const own = findings.filter((finding) => finding.check === check);
  if (own.length === 0) return '';
  const rows = own.map(({ name, status, line, ms, details = {} }, index) => {
    const [mark, words] = MARKS[status];
    const first =
      index === 0
        ? `<th scope="rowgroup" rowspan="${own.length}">${escaped(CHECK_TITLES[check])}</th>`
        : '';
    const more = Object.entries(details)
      .map(([key, value]) => [key, [value].flat().join(', ')] as const)
      // What the line says already is not said again, and what only programs read is left out.
      .filter(([key, value]) => value !== '' && !line.includes(value) && !FOR_PROGRAMS.test(key))
      .map(([key, value]) => `${escaped(key)} <b>${escaped(value)}</b>`);
    return `<tr class="${status}">${first}<td><span class="mark" role="img" aria-label="${words}">${mark}</span> ${escaped(name)}</td><td>${status === 'skipped' ? 'skipped: ' : ''}${escaped(line)}${more.length === 0 ? '' : `<p class="details">${more.join(' · ')}</p>`}</td><td class="ms">${ms === undefined ? '' : escaped(duration(ms))}</td></tr>`;
  });
  return `<tbody>${rows.join('\n')}</tbody>`;
}

const WIDTH = 760;
const LABEL = 170;
const TIME = 70;
const ROW = 22;
const BAR = 12;

function speedFigure(findings: readonly Finding[]): string {
  const rows = speedRows(findings);
  if (rows.length === 0) return '';
  const longest = Math.max(...rows.map(([, ms]) => ms));
  const scale = scaleTo(longest);
  const bars = rows.map(([label, ms], index) => {
    const y = index * ROW;
    return `${text(0, y + ROW / 2, label)}${bar(LABEL, y, scale(ms), 'wait')}${timeText(y, ms)}`;
  });
  return figure('Speed', 'speed', rows.length * ROW, bars.join('\n'), '');
}

function waterfallFigure(timeline: readonly TimelineEntry[]): string {
  if (timeline.length === 0) return '';
  const end = Math.max(...timeline.map(({ endMs }) => endMs));
  const scale = scaleTo(end);
  const height = (timeline.length + 1) * ROW;
  const step = niceStep(end);
  const ticks: string[] = [];
  for (let ms = 0; ms <= end; ms += step) {
    const x = LABEL + scale(ms);
    ticks.push(
      `<line class="tick" x1="${n(x)}" x2="${n(x)}" y1="${ROW}" y2="${height}"/>`,
      `<text class="axis" x="${n(x)}" y="${ROW / 2}">${ms === 0 ? '0' : escaped(tickText(ms, step))}</text>`,
    );
  }
  const rows = timeline.map((entry, index) => {
    const y = (index + 1) * ROW;
    const parts = segments(entry).map(([from, to, kind]) =>
      bar(LABEL + scale(from), y, scale(to) - scale(from), kind),
    );
    const title = `<title>${escaped(`${entry.label}: from ${duration(entry.startMs)} to ${duration(entry.endMs)}`)}</title>`;
    return `<g>${title}${text(0, y + ROW / 2, entry.label)}${parts.join('')}${timeText(y, entry.endMs - entry.startMs)}</g>`;
  });
  const legend = LEGEND.map(
    ([kind, words]) => `<span><i class="${kind}"></i>${escaped(words)}</span>`,
  ).join(' ');
  return figure(
    'Timeline',
    'waterfall',
    height,
    [...ticks, ...rows].join('\n'),
    `<figcaption>${legend}</figcaption>`,
  );
}

type Kind = 'step' | 'connect' | 'wait' | 'receive';

const LEGEND: readonly (readonly [Kind, string])[] = [
  ['step', 'other'],
  ['connect', 'connecting'],
  ['wait', 'waiting'],
  ['receive', 'receiving'],
];

function segments({ startMs, connectedMs, firstByteMs, endMs }: TimelineEntry) {
  if (firstByteMs === undefined) {
    return [[startMs, endMs, connectedMs === undefined ? 'step' : 'connect']] as const;
  }
  const connected = connectedMs ?? startMs;
  const all: readonly (readonly [number, number, Kind])[] = [
    [startMs, connected, 'connect'],
    [connected, firstByteMs, 'wait'],
    [firstByteMs, endMs, 'receive'],
  ];
  return all.filter(([from, to]) => to > from);
}

function figure(title: string, id: string, height: number, body: string, caption: string): string {
  return `<h3>${title}</h3>
<figure>
<svg class="${id}" role="img" aria-label="${title}" viewBox="0 0 ${WIDTH} ${height}">
${body}
</svg>
${caption}
</figure>`;
}

function scaleTo(longest: number): (ms: number) => number {
  const width = WIDTH - LABEL - TIME;
  return (ms) => (longest === 0 ? 0 : (ms / longest) * width);
}

function bar(x: number, y: number, width: number, kind: Kind): string {
  return `<rect class="${kind}" x="${n(x)}" y="${n(y + (ROW - BAR) / 2)}" width="${n(Math.max(width, 1))}" height="${BAR}"/>`;
}

function text(x: number, y: number, words: string): string {
  return `<text x="${n(x)}" y="${n(y)}">${escaped(words)}</text>`;
}

function timeText(y: number, ms: number): string {
  return `<text class="time" x="${WIDTH}" y="${n(y + ROW / 2)}">${escaped(duration(ms))}</text>`;
}

const n = (number: number) => String(Math.round(number * 100) / 100);

/** A round number of milliseconds, of which at most six are up to `end`. */
function niceStep(end: number): number {
  const rough = Math.max(end, 0.1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
}

function tickText(ms: number, step: number): string {
  return step >= 1000 || ms >= 10_000 ? `${Math.round(ms / 100) / 10} s` : `${n(ms)} ms`;
}

/** Escaped, with what is between backticks as code. */
function withCode(words: string): string {
  return escaped(words).replace(/`([^`]+)`/g, '<code>$1</code>');
}

function escaped(words: string): string {
  return words
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #fff; --text: #1b1f24; --quiet: #59636e; --line: #d5dae0; --soft: #f5f7f9;
  --ok: #1a7f37; --warn: #8a5a00; --fail: #c0202b; --skipped: #59636e;
  --step: #7d8893; --connect: #c26a12; --wait: #2368c4; --receive: #14866d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181d; --text: #e4e8ec; --quiet: #9aa5b1; --line: #323a43; --soft: #1c2229;
    --ok: #4ac26b; --warn: #e0a82e; --fail: #ff7b72; --skipped: #9aa5b1;
    --step: #8b96a2; --connect: #e0913f; --wait: #5b9df0; --receive: #3fb99b;
  }
}
@media print {
  :root {
    --ground: #fff; --text: #000; --quiet: #444; --line: #bbb; --soft: #fff;
    --ok: #1a7f37; --warn: #8a5a00; --fail: #c0202b; --skipped: #444;
    --step: #7d8893; --connect: #c26a12; --wait: #2368c4; --receive: #14866d;
  }
  tr, figure, .verdict { break-inside: avoid; }
  h3 { break-after: avoid; }
  rect, i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.1rem; margin: 0; }
h2 { font-size: 1.5rem; line-height: 1.25; margin: 2rem 0 0; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .875rem; }
.verdict { margin: 1rem 0; padding: .75rem 1rem; border: 1px solid var(--line); border-left: 6px solid var(--fail); border-radius: 6px; background: var(--soft); }
.verdict.ok { border-left-color: var(--ok); }
.sentence { font-weight: 600; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; }
th, td { padding: .35rem .75rem .35rem 0; text-align: left; vertical-align: top; }
thead th { color: var(--quiet); font-size: .8125rem; font-weight: 400; }
tbody { border-top: 1px solid var(--line); }
tbody th { font-weight: 600; width: 7.5rem; }
td:nth-last-child(3) { white-space: nowrap; width: 7.5rem; }
td:nth-last-child(2) { overflow-wrap: anywhere; }
.ms { padding-right: 0; text-align: right; white-space: nowrap; width: 4.5rem; color: var(--quiet); font-variant-numeric: tabular-nums; }
.mark { display: inline-block; width: 1.1em; font-weight: 700; text-align: center; }
.ok .mark { color: var(--ok); } .warn .mark { color: var(--warn); } .fail .mark { color: var(--fail); } .skipped .mark { color: var(--skipped); }
.skipped td { color: var(--quiet); }
.details { color: var(--quiet); font-size: .8125rem; }
.details b { color: var(--text); font-weight: 500; }
code { font-size: .9em; }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
text { fill: var(--text); font-size: 12.5px; dominant-baseline: central; }
.time { text-anchor: end; fill: var(--quiet); }
.axis { text-anchor: middle; fill: var(--quiet); font-size: 11px; }
.tick { stroke: var(--line); stroke-width: 1; }
.step { fill: var(--step); background: var(--step); } .connect { fill: var(--connect); background: var(--connect); }
.wait { fill: var(--wait); background: var(--wait); } .receive { fill: var(--receive); background: var(--receive); }
figcaption { margin-top: .5rem; color: var(--quiet); font-size: .8125rem; }
figcaption span { margin-right: 1rem; white-space: nowrap; }
@media (max-width: 600px) {
  thead { display: none; }
  tr, tbody, table { display: block; }
  tbody th, td { display: block; width: auto; padding: .1rem 0; }
  .ms { text-align: left; width: auto; }
}
figcaption i { display: inline-block; width: .75em; height: .75em; margin-right: .4em; border-radius: 2px; }
pre { overflow-x: auto; padding: .75rem; border-radius: 6px; background: var(--soft); font-size: .8125rem; white-space: pre-wrap; overflow-wrap: anywhere; }
`;
