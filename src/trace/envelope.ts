import * as json from '../jsonrpc/json-members.ts';
import type { Message } from '../jsonrpc/message.ts';
import type { LineBytes } from './line-bytes.ts';
import type { Envelope } from './records.ts';

// Taken out once: between bundles, each use of an import calls two getters (esbuild 0.28).
const { memberAt, textIn } = json;

/** What a message is, without what it says. */
export function envelopeOf(message: Message): Envelope {
  const { bytes } = message;
  if (message.kind === 'response') {
    const kind = message.isError ? 'error' : 'result';
    return message.id === undefined ? { kind } : { kind, id: message.id.raw };
  }
  const { kind, method } = message;
  const member = NAMED.get(method);
  const name = member && textIn(memberAt(bytes, 'params', member));
  const envelope: { -readonly [Name in keyof Envelope]: Envelope[Name] } = { kind };
  if (kind === 'request') envelope.id = message.id.raw;
  if (method !== undefined) envelope.method = method;
  if (name !== undefined) envelope.name = name;
  return envelope;
}

/** Where a request says which one it is about. */
const NAMED: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
]);

/** An envelope as JSON, with a comma before each member. */
export interface EnvelopeMembers {
  readonly kind: Uint8Array;
  readonly others: string;
}

const kindMember = (kind: Envelope['kind']) => Buffer.from(`,"kind":"${kind}"`);
export const KIND = {
  request: kindMember('request'),
  notification: kindMember('notification'),
  result: kindMember('result'),
  error: kindMember('error'),
} as const;

/** The members of `envelopeOf` a message. */
export function membersOf(message: Message): EnvelopeMembers {
  if (message.kind === 'response') {
    const { id, isError } = message;
    const others = id === undefined ? '' : `,"id":${quoted(id.raw)}`;
    return { kind: isError ? KIND.error : KIND.result, others };
  }
  const { kind } = message;
  const others = kind === 'request' ? `,"id":${quoted(message.id.raw)}` : '';
  return { kind: KIND[kind], others: others + methodMembers(message) };
}

export function putEnvelope(lines: LineBytes, { kind, others }: EnvelopeMembers): void {
  lines.own(kind);
  lines.text(others);
}

/** Of the newest message of each method that has a name: the name as it was written, and the members. */
const newest = new Map<string, { readonly name: Buffer; readonly members: string }>();

function methodMembers(message: Exclude<Message, { kind: 'response' }>): string {
  const { method, bytes } = message;
  const member = NAMED.get(method);
  if (member === undefined) return `,"method":${quoted(method)}`;
  const name = memberAt(bytes, 'params', member);
  const known = newest.get(method);
  if (name !== undefined && known?.name.equals(name) === true) return known.members;
  const text = textIn(name);
  const members = `,"method":${quoted(method)}${text === undefined ? '' : `,"name":${quoted(text)}`}`;
  if (name !== undefined) newest.set(method, { name: Buffer.from(name), members });
  return members;
}

/** As JSON.stringify, in half the time for what is a word. */
function quoted(text: string): string {
  return /^[\w/.-]*$/.test(text) ? `"${text}"` : JSON.stringify(text);
}

export function isErrorReply(reply: Buffer): boolean {
  return reply.includes('"error"') && memberAt(reply, 'error') !== undefined;
}
