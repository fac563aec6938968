import { membersOf, textIn, valueIn } from '../jsonrpc/json-members.ts';
import { type Message, withErrorChanged } from '../jsonrpc/message.ts';
import { internalError, type RpcError } from './catalogue.ts';
import { cleanNetworkText } from './network-text.ts';
import type { SecretMatcher } from './secret-matcher.ts';

/** How many keys are kept: a gateway may quote one that was replaced. */
const MOST_KEYS = 32;
/** The same of cookies, which some gateways change with each answer. */
const MOST_COOKIES = 64;
/** Shorter values are not secrets but words, such as "true". */
const SHORTEST_COOKIE = 8;
/** Of a larger error, only code and message are searched and passed on. */
const MOST_ERROR_BYTES = 1024 * 1024;

/** Names that this program gives: members of `data` that no text from the network gets into. */
const OWN_WORDS: ReadonlySet<string> = new Set(['reason', 'cause', 'keySource']);

/**
 * Every secret of this process, to be taken out of what leaves it. Nothing is prepared, and no code
 * for it loaded, before the first text leaves.
 */
export class Secrets {
  readonly #makeMatcher: (keys: Iterable<string>) => SecretMatcher;
  readonly #keys = new Set<string>();
  readonly #cookies = new Set<string>();
  #matcher: SecretMatcher | undefined;

  /** `makeMatcher` is given the keys that were added, and knows what else is secret. */
  constructor(makeMatcher: (keys: Iterable<string>) => SecretMatcher) {
    this.#makeMatcher = makeMatcher;
  }

  /** Adds a key or token that was found. The newest 32 are kept. */
  add(key: string): void {
    this.#keep(this.#keys, key, MOST_KEYS);
  }

  /** Adds the value of a cookie. The newest 64 of 8 characters or more are kept. */
  addCookie(value: string): void {
    const unquoted = value.replace(/^"(.*)"$/, '$1');
    if (unquoted.length >= SHORTEST_COOKIE) this.#keep(this.#cookies, unquoted, MOST_COOKIES);
  }

  #keep(known: Set<string>, secret: string, most: number): void {
    known.delete(secret);
    known.add(secret);
    const [oldest] = known;
    if (known.size > most) known.delete(oldest as string);
    this.#matcher = undefined;
  }

  /** As the matcher's. Never throws. */
  mask(text: string, isJson = false): string {
    try {
      this.#matcher ??= this.#makeMatcher([...this.#keys, ...this.#cookies]);
    } catch (gone) {
      // Its file, as after an update. What cannot be searched is not shown.
      const error = internalError(gone as Error);
      return isJson ? JSON.stringify(error) : error.message;
    }
    return this.#matcher.mask(text, isJson);
  }

  /**
   * Whether `mask`, or that of `other`, may find anything in a text, given as UTF-8 from byte `start` to
   * byte `end`. Never throws.
   */
  mayFind(text: Buffer, other?: SecretMatcher, start = 0, end = text.length): boolean {
    try {
      this.#matcher ??= this.#makeMatcher([...this.#keys, ...this.#cookies]);
      return this.#matcher.mayFind(text, other, start, end);
    } catch {
      return true;
    }
  }

  /** As `mask`, for every string in a value. */
  maskAll<Value>(value: Value): Value {
    if (typeof value === 'string') return this.mask(value) as Value;
    if (Array.isArray(value)) return value.map((own) => this.maskAll(own)) as Value;
    if (typeof value !== 'object' || value === null) return value;
    const members = Object.entries(value).map(([name, own]) => [name, this.maskAll(own)]);
    return Object.fromEntries(members) as Value;
  }

  /** An error of this program's own, less the secrets that a gateway quoted in it. */
  maskError({ code, message, data }: RpcError): RpcError {
    const members = Object.entries(data).map(([name, value]) => [
      name,
      OWN_WORDS.has(name) ? value : this.maskAll(value),
    ]);
    return { code, message: this.mask(message), data: Object.fromEntries(members) };
  }

  /**
   * An error response of a gateway's less the secrets in it; anything else as it is, to the byte. Of an
   * error of over 1 MiB, its code and the beginning of its message are left, each where it has at
   * most 64 KiB.
   */
  maskMessage<Received extends Message>(message: Received): Received {
    if (message.kind !== 'response') return message;
    return withErrorChanged(message, (error) => {
      if (error.length <= MOST_ERROR_BYTES) {
        const json = error.toString('utf8');
        const masked = this.mask(json, true);
        return masked === json ? undefined : masked;
      }
      const [code, said] = membersOf(error, ['code', 'message']);
      const text = textIn(said) ?? 'The gateway sent an error that is too large to show.';
      return JSON.stringify({ code: valueIn(code), message: this.mask(cleanNetworkText(text)) });
    }) as Received;
  }
}
