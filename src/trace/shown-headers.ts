import { isSecretValue, looksLikeToken, MASK } from '../failures/url-secrets.ts';

/** Ids that say which request it was, to whoever reads the gateway's own log. */
const REQUEST_ID = /(?:request|trace|correlation)[-_]?(?:id|parent)$|^(?:cf-ray|traceparent)$/;

/**
 * Headers as they may be shown: names in lower case; no value of one that carries a credential or a
 * cookie, nor any word in another one that looks like a token. `raw` has names and values by turns;
 * `sessionLabel` says what is shown for the id of a session.
 */
export function shownHeaders(
  raw: readonly string[],
  sessionLabel: (id: string) => string,
): Record<string, string> {
  const shown: Record<string, string> = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] as string).toLowerCase();
    const value = shownValue(name, raw[at + 1] as string, sessionLabel);
    shown[name] = Object.hasOwn(shown, name) ? `${shown[name]}, ${value}` : value;
  }
  return shown;
}

function shownValue(name: string, value: string, sessionLabel: (id: string) => string): string {
  if (name === 'mcp-session-id') return sessionLabel(value);
  // The challenge says how to sign in.
  if (isSecretValue(name, '') && name !== 'www-authenticate') return MASK;
  if (value.length < 16 || REQUEST_ID.test(name)) return value;
  return value.replace(/[^\s,;="'?&]+/g, (word) => (looksLikeToken(word) ? MASK : word));
}
