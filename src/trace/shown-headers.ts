import { isSecretValue, looksLikeToken, MASK } from '../failures/url-secrets.ts';

/** Ids that say which request it was, to whoever reads the gateway's own log. */
const REQUEST_ID = /(?:request|trace|correlation)[-_]?(?:id|parent)$|^(?:cf-ray|traceparent)$/;

const MOST_KNOWN = 1_000;

/** Headers that may be shown, as the JSON of an object. */
export interface Shown {
  readonly json: Buffer;
  /** The newest line that they are in; 0 before the first. */
  n: number;
}

/**
 * Headers as they may be shown: names in lower case; no value of one that carries a credential or a
 * cookie, nor any word in another one that looks like a token. Most are the same each time, so that
 * what was found out about one is kept.
 */
export class ShownHeaders {
  readonly #sessionLabel: (id: string) => string;
  readonly #known = new Map<string, string>();
  #raw: readonly string[] = [];
  #shown: Shown = { json: Buffer.from('{}'), n: 0 };

  /** `sessionLabel` says what is shown for the id of a session. */
  constructor(sessionLabel: (id: string) => string) {
    this.#sessionLabel = sessionLabel;
  }

  /** `raw` has names and values by turns. */
  of(raw: readonly string[]): Shown {
    const before = this.#raw;
    if (raw.length === before.length && raw.every((text, at) => text === before[at])) {
      return this.#shown;
    }
    const shown: Record<string, string> = Object.create(null);
    for (let at = 0; at + 1 < raw.length; at += 2) {
      const name = (raw[at] as string).toLowerCase();
      const value = this.#value(name, raw[at + 1] as string);
      const first = shown[name];
      shown[name] = first === undefined ? value : `${first}, ${value}`;
    }
    this.#raw = raw.slice();
    this.#shown = { json: Buffer.from(JSON.stringify(shown)), n: 0 };
    return this.#shown;
  }

  #value(name: string, value: string): string {
    const header = `${name}:${value}`;
    let shown = this.#known.get(header);
    if (shown === undefined) {
      shown = name === 'mcp-session-id' ? this.#sessionLabel(value) : shownValue(name, value);
      if (this.#known.size >= MOST_KNOWN) this.#known.clear();
      this.#known.set(header, shown);
    }
    return shown;
  }
}

function shownValue(name: string, value: string): string {
  // The challenge says how to sign in.
  if (isSecretValue(name, '') && name !== 'www-authenticate') return MASK;
  if (value.length < 16 || REQUEST_ID.test(name)) return value;
  return value.replace(/[^\s,;="'?&]+/g, (word) => (looksLikeToken(word) ? MASK : word));
}
