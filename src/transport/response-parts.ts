import { cleanNetworkText } from '../failures/network-text.ts';
import type { Headers } from '../http/request.ts';

const MOST_ID_BYTES = 4096;
const SHORTEST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 60_000;
// A field value (RFC 9110 §5.5), byte for byte.
const FIELD_VALUE = /^(?! )[\x20-\x7e\x80-\xff]+(?<! )$/;

/** An event stream that ended in good order, but without the reply. */
export class StreamEnded extends Error {
  readonly code = 'STREAM_ENDED';
  override readonly message = 'the event stream ended before the reply';
}

/** In words: a web page by its title, anything else by its type. */
export function whatItIs(type: string, body: Buffer): string {
  if (!type.includes('html')) return `a body of type ${cleanNetworkText(type, 100)}`;
  const [, title = ''] = /<title[^>]{0,200}>([^<]{0,500})/i.exec(body.toString('utf8')) ?? [];
  const clean = cleanNetworkText(title.replaceAll('&amp;', '&'), 100);
  return clean === '' ? 'a web page' : `a web page, "${clean}"`;
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

export function mediaType(headers: Headers): string | undefined {
  const value = headers['content-type'];
  const type = (Array.isArray(value) ? value[0] : value)?.split(';', 1)[0]?.trim().toLowerCase();
  return type === '' ? undefined : type;
}

export function isJson(type: string): boolean {
  return type === 'application/json' || type.endsWith('+json');
}

/** An event's id as a header carries it; undefined when none can. */
export function sendableId(bytes: Buffer): string | undefined {
  if (bytes.length > MOST_ID_BYTES) return undefined;
  const id = bytes.toString('latin1');
  return FIELD_VALUE.test(id) ? id : undefined;
}

/** What `retry:` may ask for: no busy loop, and no stream that is as good as given up. */
export function boundedRetryMs(milliseconds: number): number {
  return Math.min(Math.max(milliseconds, SHORTEST_RETRY_MS), LONGEST_RETRY_MS);
}

const FIELDS = ['data:', 'event:', 'id:', 'retry:', ':'];

/**
 * What a body is, by its beginning: some are labelled as the other. Undefined while that shows nothing
 * but white space.
 */
export function formatOf(beginning: Buffer): 'json' | 'events' | 'other' | undefined {
  const text = beginning.toString('utf8', 0, 1024).trimStart();
  if (text === '') return undefined;
  if (text.startsWith('{') || text.startsWith('[')) return 'json';
  // A chunk may be as short as one byte.
  const isField = FIELDS.some((field) => text.startsWith(field) || field.startsWith(text));
  return isField ? 'events' : 'other';
}
