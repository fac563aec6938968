/** `https://host`, `https://*.domain`, with a port where it is not the usual one, or `:*` for any. */
const PATTERN = /^(https?):\/\/(\*\.)?(\[[\da-f:.]+\]|[^\s*:/?#@[\]]+)(?::(\d{1,5}|\*))?\/?$/i;

/** Whether the text is a pattern for origins (RFC 6454). */
export function isOriginPattern(text: string): boolean {
  const [, scheme, , host] = PATTERN.exec(text) ?? [];
  return host !== undefined && URL.canParse(`${scheme}://${host}`);
}

/** Whether a URL's origin fits a pattern. `*.` is for any names below the domain, not for itself. */
export function originMatches(pattern: string, { protocol, hostname, port }: URL): boolean {
  const [, scheme, star, host, anyPort = ''] = PATTERN.exec(pattern) ?? [];
  if (host === undefined || !URL.canParse(`${scheme}://${host}`)) return false;
  if (protocol !== `${scheme?.toLowerCase()}:`) return false;
  const wanted = new URL(`${scheme}://${host}`).hostname;
  const isHost = star === undefined ? hostname === wanted : hostname.endsWith(`.${wanted}`);
  if (!isHost || anyPort === '*') return isHost;
  return port === new URL(`${scheme}://${host}${anyPort === '' ? '' : `:${anyPort}`}`).port;
}
