/** What is shown in place of a secret. Safe in a JSON string and in a URL. */
export const MASK = '[secret]';

/** Shorter parts of a URL are not taken for a token. */
const SHORTEST_TOKEN = 16;

/** Names of headers and parameters whose value is a secret, however it looks. */
const SECRET_NAME =
  /(?:^|[-_.])(?:auth|key|pass|pwd|sid|sig)(?:$|[-_.])|api.?key|authorization|cookie|credential|passw|secret|session.?id|signature|token/i;
/** Values that say something ordinary: words, a number, a date or version, yes or no. */
const ORDINARY_VALUE = /^(?:[a-z]+(?:[-_.,/ ]+[a-z]+)*|[\d.:-]{1,12})$/i;

/** Whether a value by this name is to be kept secret: any but what is plainly ordinary. */
export function isSecretValue(name: string, value: string): boolean {
  return SECRET_NAME.test(name) || (value.length >= 8 && !ORDINARY_VALUE.test(value));
}

/**
 * The secrets in a URL: its password, the values in its query that are not plainly ordinary, and what
 * looks like a token in its path or is one in the place of the user name.
 */
export function secretsInUrl({ username, password, searchParams, pathname }: URL): string[] {
  const values = [...searchParams]
    .filter(([name, value]) => name !== 'integrations' && isSecretValue(name, value))
    .map(([, value]) => value);
  const words = [username, ...pathname.split('/')].filter(looksLikeToken);
  return [password, ...values, ...words];
}

/**
 * The URL without its query, and with `[secret]` for each part of its path that looks like a token:
 * some gateways know their users by the path alone.
 */
export function displayUrl({ origin, pathname }: URL): string {
  const parts = pathname.split('/').map((part) => (looksLikeToken(part) ? MASK : part));
  return origin + parts.join('/');
}

/**
 * Whether a word looks random, as a token or a UUID does: 16 characters or more, most of them in
 * pieces that no word, number or version has.
 */
export function looksLikeToken(word: string): boolean {
  if (word.length < SHORTEST_TOKEN) return false;
  const pieces = word.split(/%[\da-f]{2}|[^a-z\d]+/i).filter(isRandom);
  return pieces.join('').length >= 12;
}

/** A piece of letters and digits that is not `word`, `Word`, `camelCase`, `v12`, `word2024` or `12th`. */
function isRandom(piece: string): boolean {
  if (piece.length < 4) return false;
  if (piece.length >= 24) return true;
  if (/^\d+$/.test(piece)) return piece.length >= SHORTEST_TOKEN;
  return !/^(?:[a-z]+|[A-Z]+|[A-Z]?[a-z]+(?:[A-Z][a-z]{2,})*[A-Z]?)\d{0,4}$/.test(piece);
}
