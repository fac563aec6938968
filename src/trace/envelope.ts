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
  return { kind, ...(kind === 'request' && { id: message.id.raw }), ...named(method, name) };
}

/** Where a request says which one it is about. */
const NAMED: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
]);

/** As JSON, without braces: the kind comes first. */
export function membersOf(envelope: Envelope): string {
  return JSON.stringify(envelope).slice(1, -1);
}

/** A reply's as JSON, without braces, by those of its request. */
export function replyMembers(kind: 'error' | 'result', request: string): string {
  return `"kind":"${kind}"${request.slice(request.indexOf(',') >>> 0)}`;
}

function named(method: string | undefined, name: string | undefined): Pick<Envelope, 'method'> {
  return { ...(method !== undefined && { method }), ...(name !== undefined && { name }) };
}

export function isErrorReply(reply: Buffer): boolean {
  return reply.includes('"error"') && memberAt(reply, 'error') !== undefined;
}
