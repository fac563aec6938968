const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/;
const MOST_SCOPES = 100;

/** The scopes in a text, each once (RFC 6749 §3.3). */
function scopesIn(text: string | undefined): string[] {
  const words = (text ?? '').split(/\s+/).filter((word) => SCOPE_TOKEN.test(word));
  return [...new Set(words)].slice(0, MOST_SCOPES);
}

/** What the scopes of a sign-in are chosen from. */
export interface ScopeSources {
  /** `--scope`. */
  readonly given?: string | undefined;
  /** `scope` of the challenge. */
  readonly challenged?: string | undefined;
  /** Whether the challenge says that a token was not enough (RFC 6750 §3.1). */
  readonly isStepUp: boolean;
  /** `scopes_supported` of the resource and of the authorization server. */
  readonly ofResource?: readonly string[] | undefined;
  readonly ofServer?: unknown;
  /** What was asked for before, for the same resource at the same server. */
  readonly before?: string | undefined;
}

/**
 * The scopes to ask for (MCP 2026-07-28, Authorization §Scope Selection Strategy, §Step-Up): those
 * that the user has set, else the challenge's, else all of the resource's; together with what was
 * asked for before, and `offline_access` where the server lists it. Undefined for none.
 */
export function scopesToRequest(sources: ScopeSources): string | undefined {
  const { given, challenged, isStepUp, ofResource = [], ofServer, before } = sources;
  if (given !== undefined && !isStepUp) return scopesIn(given).join(' ') || undefined;
  const asked = scopesIn(challenged);
  const chosen = asked.length > 0 || isStepUp ? asked : scopesIn(ofResource.join(' '));
  const scopes = new Set([...scopesIn(before ?? given), ...chosen]);
  if (scopes.size === 0) return undefined;
  const offersOffline = Array.isArray(ofServer) && ofServer.includes(OFFLINE_ACCESS);
  if (offersOffline && given === undefined) scopes.add(OFFLINE_ACCESS);
  return [...scopes].join(' ');
}

const OFFLINE_ACCESS = 'offline_access';

/** Whether all scopes in `wanted` are in `had`. */
export function includesScopes(had: string | undefined, wanted: string | undefined): boolean {
  const all = scopesIn(had);
  return scopesIn(wanted).every((scope) => all.includes(scope));
}
