import type { ExchangeOutcome } from './exchange-outcome.ts';
import { redirectWithin, targetWithin } from './redirect.ts';

/**
 * Where messages are POSTed over HTTP+SSE: what the `endpoint` event has named, changed by redirects.
 * A gateway behind a reverse proxy that removes the beginning of its paths may not know of it, and
 * name an address that is not there: then it is tried with what the URL begins with.
 */
export class MessageAddress {
  /** Path and query, as the gateway has named them. */
  readonly named: string;
  /** Path and query in use. */
  target: string;
  readonly #origin: string;
  /** What may be missing before `named`: that in use, then those not tried yet. */
  readonly #prefixes: string[];

  private constructor(origin: string, streamTarget: string, named: string, prefix: string) {
    this.#origin = origin;
    this.#prefixes = [...new Set([prefix, '', ...pathPrefixes(streamTarget)])];
    this.named = named;
    this.target = prefix + named;
  }

  /**
   * From the `reference` that came on the event stream at `streamTarget`, a path and query. `prefix`:
   * what such paths are known to lack. Undefined when it is not a reference or leaves the origin.
   */
  static from(
    origin: string,
    streamTarget: string,
    reference: string,
    prefix = '',
  ): MessageAddress | undefined {
    const named = targetWithin(origin, streamTarget, reference);
    return named === undefined
      ? undefined
      : new MessageAddress(origin, streamTarget, named, prefix);
  }

  /** What the named path lacks at its beginning. */
  get prefix(): string {
    return this.#prefixes[0] as string;
  }

  /** Whether what was refused is to be sent elsewhere: what comes next goes there. */
  follows(end: ExchangeOutcome, isProven: boolean): boolean {
    const redirected = redirectWithin(this.#origin, this.target, end);
    if (redirected !== undefined) this.target = redirected;
    else if (isProven || !isMissing(end) || this.#prefixes.length < 2) return false;
    else {
      this.#prefixes.shift();
      this.target = this.prefix + this.named;
    }
    return true;
  }
}

function isMissing(end: ExchangeOutcome): boolean {
  if (end.kind !== 'http-error' || end.reply !== undefined) return false;
  return end.status === 404 || end.status === 405;
}

/** `/a/b`, `/a/b/sse` and `/a` for `/a/b/sse?x=1`: the likeliest first. */
function pathPrefixes(target: string): string[] {
  const parts = target
    .replace(/\?.*/s, '')
    .split('/')
    .filter((part) => part !== '');
  const all = parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`).reverse();
  const [whole, folder, ...above] = all;
  return [folder, whole, ...above].filter((prefix) => prefix !== undefined);
}
