import { createHash } from 'node:crypto';

/**
 * One paragraph as documents have them: line breaks and quotes (escaped in JSON), and letters beyond
 * ASCII, so that a multi-byte character is sometimes split between two network reads.
 */
const paragraph =
  'The café’s ledger for “week 7” — 42 rows, naïvely summed — reads:\n\t"total": 1 204,50 €\n' +
  'and the rest is plain text of the kind that a tool returns when it is asked for a whole file, '.repeat(
    8,
  );
const copies = Math.ceil(20_000_000 / Buffer.byteLength(JSON.stringify(paragraph).slice(1, -1)));

/** The document's length in UTF-16 code units, as a JSON parser gives it back. */
export const documentCharacters = paragraph.length * copies;

/** @type {Buffer | undefined} */
let built;

/**
 * The 20 MB document as it stands between the quotes of a JSON string: UTF-8, escaped.
 * @returns {Buffer}
 */
export function document() {
  built ??= Buffer.from(JSON.stringify(paragraph).slice(1, -1).repeat(copies));
  return built;
}

/**
 * Whether a text is the document, all of it and nothing else.
 * @param {unknown} text
 * @returns {boolean}
 */
export function isDocument(text) {
  return (
    typeof text === 'string' &&
    text.length === documentCharacters &&
    digest(text) === digest(paragraph.repeat(copies))
  );
}

/** @param {string} text */
const digest = (text) => createHash('sha256').update(text).digest('hex');
