import { createHash } from 'node:crypto';
import { STYLE } from './page-style.ts';
import type { TraceRun } from './read-trace.ts';
import { type Call, type Step, stepsOf } from './steps.ts';
import { viewer } from './viewer.ts';

/** What the page's script is given. */
export interface PageData {
  /** `line`: the number of its line of the trace, which the page has as JSON of its own. */
  readonly steps: readonly (Omit<Step, 'line'> & { readonly line: number })[];
  readonly calls: readonly Call[];
}

/**
 * A run as one web page that asks for nothing else. What was recorded is in it as JSON, which its
 * script sets as text: nothing else runs there (CSP Level 3 §6.7.2), and no text becomes markup.
 */
export function tracePage(run: TraceRun, isRedacted: boolean): string {
  const session = stepsOf(run);
  const lines = [...new Set(session.steps.map(({ line }) => line))];
  const places = new Map(lines.map((line, at) => [line, at]));
  const steps = session.steps.map((step) => ({ ...step, line: places.get(step.line) ?? 0 }));
  const data: PageData = { steps, calls: session.calls };
  const script = `(${viewer.toString()})()`;
  const failed = session.calls.filter(({ isFailure }) => isFailure).length;
  const summary = `${session.calls.length} requests of the client, ${failed} of them with a failure.`;
  const note = isRedacted
    ? 'What messages say is left out.'
    : 'It contains what your client and your tools said: look through it before you share it.';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src ${hashOf(script)}; style-src ${hashOf(STYLE)}; img-src data:">
<link rel="icon" href="data:,">
<title>mcp-latchkey trace</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>mcp-latchkey trace</h1>
<p class="quiet">${summary} ${note}</p>
<noscript><p>This page needs JavaScript to show the session.</p></noscript>
<form>
<label>Filter <input id="search" type="search" placeholder="method, tool, id, status" autocomplete="off"></label>
<label>Slower than <input id="slower" type="number" min="0" step="100"> ms</label>
<label><input id="failures" type="checkbox"> Failures only</label>
<span class="zoom"><button id="farther" type="button" aria-label="Zoom out">−</button><button id="closer" type="button" aria-label="Zoom in">+</button><button id="fit" type="button">Fit</button></span>
<output id="count"></output>
</form>
</header>
<canvas id="timeline" tabindex="0" role="img" aria-label="Timeline of the messages between client, mcp-latchkey and gateway. The list below has the same."></canvas>
<main>
<section aria-label="Messages">
<div class="lanes-head" aria-hidden="true"><span>Client</span><span>mcp-latchkey</span><span>Gateway</span></div>
<div id="list" tabindex="0" role="listbox" aria-label="Messages in order of time"><div id="rows" role="presentation"></div></div>
</section>
<pre id="details" tabindex="0" aria-label="The chosen message"></pre>
</main>
<footer class="quiet">Keys: ↑ ↓ choose · r request or reply · Enter details · Esc list · / filter · + − 0 zoom</footer>
<script type="application/json" id="trace">${jsonFor(data)}</script>
<script type="application/json" id="lines">${lines.map(jsonFor).join('\n')}</script>
<script>${script}</script>
</body>
</html>
`;
}

/** JSON that ends no element. */
function jsonFor(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c');
}

/** What a policy allows by its content (CSP Level 3 §2.3.1). */
function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
