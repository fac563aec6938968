import type { Reply } from '../replies.ts';

/** What the user is asked to agree to. */
export interface ConsentQuestion {
  /** Proof that the answer comes from this page. */
  ticket: string;
  clientName: string;
  /** Where the user goes from here; undefined for a device. */
  redirectHost: string | undefined;
  scopes: readonly string[];
  /** Who can be signed in. */
  holders: readonly string[];
}

const scopeWords: Record<string, string> = {
  'mcp:read': 'list the tools, and call those that only read',
  'mcp:write': 'call every tool',
  offline_access: 'stay signed in',
};

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 30rem; margin: 10vh auto; padding: 0 1.5rem }
button, select, input { font: inherit; padding: .4rem 1rem; margin: 0 .5rem .5rem 0 }
small { opacity: .75 }
`;

/** The consent page. Its form is POSTed with `ticket`, `holder` and `decision`, `allow` or `deny`. */
export function consentPage(question: ConsentQuestion): Reply {
  const { ticket, clientName, redirectHost, scopes, holders } = question;
  const options = holders.map((holder) => `<option>${escapeHtml(holder)}</option>`).join('');
  const wishes = scopes.map((scope) => {
    return `<li><code>${escapeHtml(scope)}</code> ${escapeHtml(scopeWords[scope] ?? '')}</li>`;
  });
  const next =
    redirectHost === undefined
      ? 'Allow it only if the code is on a device in front of you.'
      : `You then go to ${redirectHost}.`;
  return page(
    200,
    `Allow ${clientName}?`,
    `<p><b>${escapeHtml(clientName)}</b> asks for access to the sandbox:</p>
<ul>${wishes.join('')}</ul>
<form method="post" action="/consent">
<input type="hidden" name="ticket" value="${escapeHtml(ticket)}">
<p><label>Sign in as <select name="holder">${options}</select></label></p>
<p><button name="decision" value="allow">Allow</button><button name="decision" value="deny">Deny</button></p>
</form>
<p><small>${escapeHtml(next)} This is a practice server: nothing here is real.</small></p>`,
  );
}

/** Where the code that a device shows is typed. */
export function devicePage(userCode: string, isWrong = false): Reply {
  const note = isWrong ? '<p>This code is not known, or has expired.</p>' : '';
  return page(
    isWrong ? 400 : 200,
    'Connect a device',
    `${note}<form method="get" action="/device">
<p><label>Code <input name="user_code" value="${escapeHtml(userCode)}" autocomplete="off" required></label>
<button>Next</button></p>
</form>`,
  );
}

/** A page that only says something. */
export function messagePage(status: number, title: string, text: string): Reply {
  return page(status, title, `<p>${escapeHtml(text)}</p>`);
}

function page(status: number, title: string, body: string): Reply {
  return {
    status,
    headers: {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy':
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      'Referrer-Policy': 'no-referrer',
    },
    body: `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
<h1>${escapeHtml(title)}</h1>
${body}
</html>
`,
  };
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
