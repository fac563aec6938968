// The pages that a browser ends on after a sign-in: static, without a script or a request.
import { createHash } from 'node:crypto';
import { cleanNetworkText } from '../../failures/network-text.ts';

const STYLE = `
:root { color-scheme: light dark; --ground: #f5f7f9; --card: #fff; --text: #1b1f24; --quiet: #59636e; --line: #d5dae0; --ok: #1a7f37; --fail: #c0202b; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181d; --card: #1c2229; --text: #e4e8ec; --quiet: #9aa5b1; --line: #323a43; --ok: #4ac26b; --fail: #ff7b72; }
}
body { margin: 0; padding: 12vh 1rem 2rem; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { box-sizing: border-box; max-width: 30rem; margin: 0 auto; padding: 2rem; border: 1px solid var(--line); border-radius: 12px; background: var(--card); text-align: center; }
svg { display: block; width: 3rem; height: 3rem; margin: 0 auto 1rem; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.ok svg { color: var(--ok); } .fail svg { color: var(--fail); }
h1 { margin: 0 0 .5rem; font-size: 1.375rem; line-height: 1.25; text-wrap: balance; }
p { margin: .5rem 0 0; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); font-size: .9375rem; }
footer { margin-top: 1rem; color: var(--quiet); font-size: .8125rem; text-align: center; }
@media (max-width: 30rem) { body { padding-top: 1rem; } main { padding: 1.5rem 1rem; } }
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/** What every response of the callback server has, beside its status and length. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'x-content-type-options': 'nosniff',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  connection: 'close',
};

const MARKS = {
  ok: '<path d="M7 12.5l3.5 3.5L17 9"/>',
  fail: '<path d="M8.5 8.5l7 7m0-7l-7 7"/>',
};
/** Of the reason that a page shows. */
const MAX_REASON_CHARACTERS = 300;

/** `host`: the gateway's. */
export const successPage = (host: string) =>
  page(
    'ok',
    'You are signed in',
    `<p>mcp-latchkey can now use <b>${escaped(host)}</b>.</p><p class="quiet">You can close this tab and go back to your app.</p>`,
  );

/** `words`: why, a sentence. It is cleaned. */
export const failurePage = (words: string) =>
  page(
    'fail',
    'The sign-in failed',
    `<p>${escaped(cleanNetworkText(words, MAX_REASON_CHARACTERS))}</p><p class="quiet">You can close this tab. To try again, go back to your app.</p>`,
  );

/** For a request that is not part of the sign-in. */
export const refusalPage = (title: string) =>
  page('fail', title, '<p class="quiet">Go back to your app to sign in.</p>');

function page(mark: keyof typeof MARKS, title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main class="${mark}">
<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="10"/>${MARKS[mark]}</svg>
<h1>${escaped(title)}</h1>
${body}
</main>
<footer>mcp-latchkey</footer>
</body>
</html>
`;
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escaped = (text: string) =>
  text.replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
