import { isUtf8 } from 'node:buffer';
import * as scanner from './json-scanner.ts';
import {
  type Message,
  type MessageId,
  type ReadResult,
  type Response,
  readMessages,
  responseBytesFor,
} from './message.ts';

// Taken out once: see json-members.ts.
const { endOfCharacters, LETTER_U, QUOTE } = scanner;

/** Bytes in the order in which they came: at least one piece, and an empty one where there are none. */
export type Pieces = Buffer[];

/** How many bytes they are together. */
export function lengthOf(pieces: Pieces): number {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  return length;
}

/** Makes them one piece, so that the memory of the others can be freed. A single one is not copied. */
export function joined(pieces: Pieces): Buffer {
  if (pieces.length > 1) pieces.splice(0, pieces.length, Buffer.concat(pieces));
  return pieces[0] as Buffer;
}

/** To join less takes no time worth saving. */
const LEAST_BYTES = 2 * 1024 * 1024;
/** The part of a message that may be outside of long strings, besides the first 64 KiB of that. */
const SHARE_OUTSIDE = 1 / 8;
const LEAST_OUTSIDE_BYTES = 64 * 1024;

/** Of the messages that were not joined. To change a message makes another, which is not here. */
const unjoined = new WeakMap<Message, Pieces>();

/** The message as it came, for code that only passes it on: reading its `bytes` joins them. */
export function piecesOf(message: Message): Pieces {
  return unjoined.get(message) ?? [message.bytes];
}

/** As `responseBytesFor`; the pieces as they came where the id is written in the same way. */
export function responsePiecesFor(request: MessageId, response: Response): Pieces {
  const isSame = response.id === undefined || response.id.raw === request.raw;
  return isSame ? piecesOf(response) : [responseBytesFor(request, response)];
}

/**
 * As `readMessages`. A large message that is mostly long strings, such as a file or an image, is checked
 * piece by piece, and not joined before its `bytes` are read: to join it takes as much fresh memory again.
 * `least`: the fewest bytes for which that is done.
 */
export function readPieces(pieces: Pieces, least = LEAST_BYTES): ReadResult {
  const length = lengthOf(pieces);
  const outline = length < least ? undefined : outlineOf(pieces);
  const message = outline && wholeMessageIn(outline);
  if (message === undefined) return readMessages(joined(pieces));
  const own = {
    ...message,
    get bytes(): Buffer {
      return joined(pieces);
    },
  };
  unjoined.set(own, pieces);
  return { messages: [own], isBatch: false };
}

/** Whether a text that begins with these pieces may be a message that is not joined. */
export function mayStayInPieces(pieces: Pieces): boolean {
  return outlineOf(pieces) !== undefined;
}

/** The message that is all of the text, where nothing has to be changed in it. */
function wholeMessageIn(outline: Buffer): Message | undefined {
  if (outline.includes(LF) || outline.includes(CR)) return undefined;
  const { messages, isBatch } = readMessages(outline);
  const [message] = messages;
  if (isBatch || message === undefined || message.kind === 'unusable') return undefined;
  return message.bytes.equals(outline) ? message : undefined;
}

const LF = 0x0a;
const CR = 0x0d;

/** Stands for what is left out of a string: more than an id, a method or a name may have. */
const FILLER = Buffer.alloc(2048, ' ');
const NOTHING = Buffer.alloc(0);
/** The shortest part of a string that is left out. */
const SHORTEST_BYTES = 2 * FILLER.length;

/**
 * A JSON text with FILLER in place of most of each long string: it is valid where the text is, and
 * its other values are the same. Undefined where too much of the text is not in long strings, and where
 * one of those is not valid.
 */
function outlineOf(pieces: Pieces): Buffer | undefined {
  const kept: Buffer[] = [];
  let room = LEAST_OUTSIDE_BYTES;
  /** Outside of a string -1; within one, how many bytes have come of an escape that is not whole. */
  let begun = -1;
  let hasFiller = false;
  for (const piece of pieces) {
    room += piece.length * SHARE_OUTSIDE;
    let keptFrom = 0;
    let at = begun < 0 ? piece.indexOf(QUOTE) + 1 : endOfEscape(piece, begun);
    if (at > piece.length) return undefined;
    let isInString = begun >= 0 || at > 0;
    begun = -1;
    while (isInString) {
      const end = endOfCharacters(piece, at);
      if (end < 0) return undefined;
      // No character is cut: those at the ends of a piece may be.
      const from = startOfCharacter(piece, at, end);
      const to = endOfWhole(piece, from, end);
      if (to - from >= SHORTEST_BYTES) {
        if (!isUtf8(piece.subarray(from, to))) return undefined;
        kept.push(piece.subarray(keptFrom, from), hasFiller ? NOTHING : FILLER);
        room -= from - keptFrom + (hasFiller ? 0 : FILLER.length);
        hasFiller = true;
        keptFrom = to;
      }
      if (piece[end] !== QUOTE) {
        begun = piece.length - end;
        break;
      }
      hasFiller = false;
      at = piece.indexOf(QUOTE, end + 1) + 1;
      isInString = at > 0;
    }
    kept.push(piece.subarray(keptFrom));
    room -= piece.length - keptFrom;
    if (room < 0) return undefined;
  }
  return Buffer.concat(kept);
}

/** Where an escape ends of which the piece before has so many bytes, of 2, or of 6 with "u". */
function endOfEscape(piece: Buffer, begun: number): number {
  if (begun === 0) return 0;
  if (begun === 1) return piece[0] === LETTER_U ? 5 : 1;
  return 6 - begun;
}

function isContinuation(byte: number | undefined): boolean {
  return ((byte ?? 0) & 0xc0) === 0x80;
}

/** The first byte at or after `start` that begins a character. */
function startOfCharacter(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && isContinuation(bytes[at])) at++;
  return at;
}

/** Where the last character begins before `end`, if it is not ASCII; else `end`. */
function endOfWhole(bytes: Buffer, start: number, end: number): number {
  let at = end;
  while (at > start && isContinuation(bytes[at - 1])) at--;
  return at > start && (bytes[at - 1] as number) >= 0xc0 ? at - 1 : at;
}
