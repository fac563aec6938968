import type { Kind } from '../settings/filters.ts';

/** What uses one thing: the kind, and the member of the params that names it. */
export const USES: ReadonlyMap<string, { readonly kind: Kind; readonly name: string }> = new Map([
  ['tools/call', { kind: 'tool', name: 'name' }],
  ['prompts/get', { kind: 'prompt', name: 'name' }],
  ['resources/read', { kind: 'resource', name: 'uri' }],
  ['resources/subscribe', { kind: 'resource', name: 'uri' }],
  ['resources/unsubscribe', { kind: 'resource', name: 'uri' }],
]);

/** The members of a JSON-RPC request (JSON-RPC 2.0 §4). */
export const ENVELOPE = ['jsonrpc', 'id', 'method', 'params'];
/** Where `params` is among them. */
export const PARAMS = 3;
