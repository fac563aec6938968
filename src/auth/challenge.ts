/** One challenge of a `WWW-Authenticate` header (RFC 9110 §11.3). */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  readonly token68?: string;
  /** Names in lower case; values unescaped but otherwise as sent, so not yet fit to show. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** What a Bearer or DPoP challenge says (RFC 6750 §3, RFC 9449 §7.1, RFC 9728 §5.1). Values as sent: clean before use. */
export interface BearerChallenge {
  readonly resourceMetadata?: string;
  readonly error?: string;
  readonly errorDescription?: string;
  readonly scope?: string;
  readonly realm?: string;
}

const MAX_CHARACTERS = 16 * 1024;

// Each pattern is tried at one place only, and none can match the same text in two ways, so
// reading stays linear. Line ends count as white space: they are what is left of obs-fold.
const WHITE_SPACE = /[ \t\r\n]*/y;
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const TOKEN68 = /[-._~+/0-9A-Za-z]+=*(?=[ \t\r\n]*(?:,|$))/y;
const QUOTED_STRING = /"((?:[^"\\]|\\.)*)(?:"|\\?$)/sy;
// Servers send `error_description=The token expired` and URLs without quotes: such a value runs to
// the next comma, or to the next word that is a parameter's name.
const UNQUOTED = /[^\s,"]+(?:[ \t]+(?![!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*=)[^\s,"]+)*/y;

/**
 * Reads the values of all `WWW-Authenticate` headers of an answer (RFC 9110 §11.6.1): several
 * challenges in one value or in several, in the order sent.
 *
 * Real servers are sloppy, so this takes what it can and skips the rest: a comma after the scheme,
 * missing commas between parameters, values without quotes, an unclosed quote. A parameter sent
 * twice in one challenge, which RFC 9110 §11.2 forbids, keeps its first value.
 *
 * Never throws; reads at most 16,384 characters in all.
 */
export function parseChallenges(headerValues: readonly string[]): Challenge[] {
  const challenges: MutableChallenge[] = [];
  let left = MAX_CHARACTERS;
  for (const value of headerValues) {
    if (left <= 0) break;
    readHeaderValue(value.slice(0, left), challenges);
    left -= value.length;
  }
  return challenges;
}

/**
 * The Bearer or DPoP challenge among those of an answer: the first that names its
 * `resource_metadata`, else the first. Empty values count as absent. `undefined` when there is none.
 */
export function bearerChallenge(challenges: readonly Challenge[]): BearerChallenge | undefined {
  const bearers = challenges.filter(({ scheme }) => scheme === 'bearer' || scheme === 'dpop');
  const chosen =
    bearers.find(({ parameters }) => parameters.get('resource_metadata')) ?? bearers[0];
  if (chosen === undefined) return undefined;
  const { parameters } = chosen;
  // Some servers put the URL into single quotes, which HTTP does not treat as quotes.
  const resourceMetadata = parameters.get('resource_metadata')?.replace(/^'(.*)'$/s, '$1');
  const error = parameters.get('error');
  const errorDescription = parameters.get('error_description');
  const scope = parameters.get('scope');
  const realm = parameters.get('realm');
  return {
    ...(resourceMetadata ? { resourceMetadata } : {}),
    ...(error ? { error } : {}),
    ...(errorDescription ? { errorDescription } : {}),
    ...(scope ? { scope } : {}),
    ...(realm ? { realm } : {}),
  };
}

interface MutableChallenge extends Challenge {
  token68?: string;
  readonly parameters: Map<string, string>;
}

function readHeaderValue(text: string, challenges: MutableChallenge[]): void {
  let at = 0;
  const read = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match[1] ?? match[0];
  };
  // A scheme can only stand where a list element begins; other words are left-overs of a value.
  let startsElement = true;
  while (at < text.length) {
    read(WHITE_SPACE);
    const mayBeScheme = startsElement;
    startsElement = text[at] === ',';
    const name = read(TOKEN)?.toLowerCase();
    if (name === undefined) {
      if (read(QUOTED_STRING) === undefined) at += 1;
      continue;
    }
    const spaced = read(WHITE_SPACE) !== '';
    if (text[at] === '=') {
      at += 1;
      read(WHITE_SPACE);
      const value = read(QUOTED_STRING)?.replace(/\\(.)/gs, '$1') ?? read(UNQUOTED) ?? '';
      const parameters = challenges.at(-1)?.parameters;
      if (parameters?.has(name) === false) parameters.set(name, value);
    } else if (mayBeScheme && (spaced || at === text.length || text[at] === ',')) {
      const token68 = spaced ? read(TOKEN68) : undefined;
      challenges.push({
        scheme: name,
        parameters: new Map(),
        ...(token68 === undefined ? {} : { token68 }),
      });
    }
  }
}
