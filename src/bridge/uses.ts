import { plainMembersWithin } from '../jsonrpc/json-members.ts';
import type { Kind } from '../settings/filters.ts';

/** What uses one thing: the kind, and the member of the params that names it. */
export interface UseOf {
  readonly kind: Kind;
  readonly names: readonly [string];
}

export const USES: ReadonlyMap<string, UseOf> = new Map([
  ['tools/call', { kind: 'tool', names: ['name'] }],
  ['prompts/get', { kind: 'prompt', names: ['name'] }],
  ['resources/read', { kind: 'resource', names: ['uri'] }],
  ['resources/subscribe', { kind: 'resource', names: ['uri'] }],
  ['resources/unsubscribe', { kind: 'resource', names: ['uri'] }],
]);

/** The members of a JSON-RPC request (JSON-RPC 2.0 §4). */
export const ENVELOPE = ['jsonrpc', 'id', 'method', 'params'];
/** Where `params` is among them. */
export const PARAMS = 3;

/**
 * The name or URI of what a message uses, as JSON; undefined where it has none that every program
 * reads alike. `isPlain` says whether all programs read the message itself alike.
 */
export function namedIn(bytes: Buffer, use: UseOf): { isPlain: boolean; name: Buffer | undefined } {
  const { isPlain, inner } = plainMembersWithin(bytes, ENVELOPE, PARAMS, use.names);
  const isNamed = isPlain && inner?.isPlain === true;
  return { isPlain, name: isNamed ? inner.valueIn(bytes, 0) : undefined };
}
