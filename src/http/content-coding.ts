import type { Transform } from 'node:stream';
import type { Headers } from './request.ts';

/** The codings of RFC 9110 §8.4.1 that can be undone here. */
export type ContentCoding = 'gzip' | 'deflate' | 'br';

// A Map, since an object would have `__proto__` and `constructor` too.
const CODINGS: ReadonlyMap<string, ContentCoding> = new Map([
  ['gzip', 'gzip'],
  ['x-gzip', 'gzip'],
  ['deflate', 'deflate'],
  ['br', 'br'],
]);

/**
 * How a body is compressed (RFC 9110 §8.4). Undefined when it is not; `unknown` with the header's
 * words when it cannot be undone here: nothing but these was ever asked for.
 */
export function contentCoding(
  headers: Headers,
): ContentCoding | { readonly unknown: string } | undefined {
  const value = [headers['content-encoding'] ?? []].flat().join(', ').trim().toLowerCase();
  if (value === '' || value === 'identity') return undefined;
  return CODINGS.get(value) ?? { unknown: value };
}

/**
 * Decompresses a body that begins with `first`. What is written and cut off comes out as far as it
 * goes, so that an event can be read when it is there. Memory is bounded: it takes no more in until
 * what came out is read. Emits `error` when the body is not what the coding says, or breaks off.
 */
export function openDecoder(coding: ContentCoding, first: Buffer): Transform {
  // Loaded here: a gateway that compresses nothing should not pay for it at the start.
  const zlib = process.getBuiltinModule('node:zlib');
  switch (coding) {
    case 'gzip':
      return zlib.createGunzip();
    case 'br':
      return zlib.createBrotliDecompress();
    case 'deflate':
      // Some send it without the zlib header that RFC 9110 §8.4.1.2 asks for.
      return ((first[0] as number) & 0x0f) === 0x08
        ? zlib.createInflate()
        : zlib.createInflateRaw();
  }
}
