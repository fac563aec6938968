import { readFile } from 'node:fs/promises';
import type { Failure, KeySourceName } from '../failures/failure.ts';

/** Where a key may come from, as the command line gave it. First hit wins, in this order. */
export interface KeySources {
  /** Headers given by `--header`, names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly keyFile?: string;
  readonly keyEnv: string;
}

/** A key that was found, or the reason why there is none to send. */
export type KeyFinding =
  | { readonly kind: 'found'; readonly key: string; readonly origin: KeyOrigin }
  | { readonly kind: 'in-header'; readonly origin: KeyOrigin }
  | { readonly kind: 'none'; readonly origin: KeyOrigin }
  | {
      readonly kind: 'unusable';
      readonly reason: 'malformed_api_key' | 'no_api_key';
      readonly detail?: string;
      readonly origin: KeyOrigin;
    };

export type KeyOrigin = NonNullable<Failure['key']>;

/** The headers that carry a key, when a client's config gives one by `--header`. */
export const KEY_HEADERS: readonly string[] = ['authorization', 'x-api-key'];

const BEARER = /^bearer\s+/i;

// Keys are opaque: what a field value may hold (RFC 9110 §5.5), less white space.
const SENDABLE_KEY = /^[\x21-\x7e]+$/;

/** Looks for the key. Reads `--key-file` anew each time. Never throws. */
export async function findKey(sources: KeySources, env: NodeJS.ProcessEnv): Promise<KeyFinding> {
  for (const name of KEY_HEADERS) {
    const value = sources.headers.get(name);
    if (value === undefined) continue;
    const key = value.replace(BEARER, '');
    const origin = `the header ${name}`;
    const isBearer = name !== 'authorization' || BEARER.test(value);
    // Other schemes have parameters (RFC 9110 §11.4); a Bearer token is one word (RFC 6750 §2.1).
    if (!(isBearer ? SENDABLE_KEY : /^[\x20-\x7e]+$/).test(key)) {
      return {
        kind: 'unusable',
        reason: 'malformed_api_key',
        origin: { source: 'header', origin },
      };
    }
    return { kind: 'in-header', origin: describe('header', origin, key) };
  }
  if (sources.keyFile !== undefined) {
    const origin = describe('key-file', `the file ${sources.keyFile}`);
    let text: string;
    try {
      text = await readFile(sources.keyFile, 'utf8');
    } catch (error) {
      const detail = `the file ${sources.keyFile} cannot be read (${(error as NodeJS.ErrnoException).code})`;
      return { kind: 'unusable', reason: 'no_api_key', detail, origin };
    }
    if (text.trim() === '') {
      const detail = `the file ${sources.keyFile} is empty`;
      return { kind: 'unusable', reason: 'no_api_key', detail, origin };
    }
    return usableKey(text, 'key-file', origin.origin);
  }
  const fromEnv = env[sources.keyEnv];
  if (fromEnv !== undefined && fromEnv.trim() !== '') {
    return usableKey(fromEnv, 'key-env', `the environment variable ${sources.keyEnv}`);
  }
  return { kind: 'none', origin: { source: 'none', origin: 'no source' } };
}

function usableKey(text: string, source: KeySourceName, origin: string): KeyFinding {
  const key = text.trim().replace(BEARER, '');
  if (!SENDABLE_KEY.test(key)) {
    return { kind: 'unusable', reason: 'malformed_api_key', origin: { source, origin } };
  }
  return { kind: 'found', key, origin: describe(source, origin, key) };
}

function describe(source: KeySourceName, origin: string, key = ''): KeyOrigin {
  return key.length >= 16 ? { source, origin, tail: key.slice(-4) } : { source, origin };
}
