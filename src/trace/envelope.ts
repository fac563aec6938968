import { memberAt, textIn } from '../jsonrpc/json-members.ts';
import type { Message } from '../jsonrpc/message.ts';
import type { Envelope } from './records.ts';

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

/** As JSON, without braces: the kind comes first. */
export function membersOf({ kind, id, method, name }: Envelope): string {
  let json = `"kind":"${kind}"`;
  if (id !== undefined) json += `,"id":${quoted(id)}`;
  if (method !== undefined) json += `,"method":${quoted(method)}`;
  if (name !== undefined) json += `,"name":${quoted(name)}`;
  return json;
}

/** As JSON.stringify, in half the time for what is a word. */
function quoted(text: string): string {
  return /^[\w/.-]*$/.test(text) ? `"${text}"` : JSON.stringify(text);
}

/** A reply's as JSON, without braces, by those of its request. */
export function replyMembers(kind: 'error' | 'result', request: string): string {
  return `"kind":"${kind}"${request.slice(request.indexOf(',') >>> 0)}`;
}

export function isErrorReply(reply: Buffer): boolean {
  return reply.includes('"error"') && memberAt(reply, 'error') !== undefined;
}
