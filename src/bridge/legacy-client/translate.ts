import { INVALID_PARAMS } from '../../jsonrpc/error-codes.ts';
import { memberAt, memberOf, stringOf, withMembers } from '../../jsonrpc/json-members.ts';
import type { Message, MessageId, Request, Response } from '../../jsonrpc/message.ts';
import { errorFor } from '../messages.ts';
import { META, MODERN } from '../revisions.ts';

/**
 * The `_meta` that a modern gateway requires in each request: what the client's `initialize` says
 * of it, added to `meta`, which the client itself has set.
 */
export function toModernMeta(initialize: Request, meta?: Buffer, logLevel?: string): Buffer {
  const params = memberOf(initialize.bytes, 'params');
  return withMembers(meta, {
    [META.protocolVersion]: JSON.stringify(MODERN),
    [META.clientInfo]: memberOf(params, 'clientInfo'),
    [META.clientCapabilities]: memberOf(params, 'capabilities') ?? '{}',
    [META.logLevel]: logLevel && JSON.stringify(logLevel),
  });
}

/** A modern reply without the members that a legacy client does not know. */
export function toLegacyResult(id: MessageId, reply: Response): Response {
  const result = { resultType: undefined, ttlMs: undefined, cacheScope: undefined };
  const changes = reply.isError ? { id: id.raw } : { id: id.raw, result };
  return { ...reply, id, bytes: withMembers(reply.bytes, changes) };
}

/** A message without the id of the subscription that it came through. */
export function withoutSubscriptionId(message: Message): Message {
  const meta = memberAt(message.bytes, 'params', '_meta');
  if (memberOf(meta, META.subscriptionId) === undefined) return message;
  const rest = withMembers(meta, { [META.subscriptionId]: undefined });
  const _meta = rest.length > '{}'.length ? rest : undefined;
  return { ...message, bytes: withMembers(message.bytes, { params: { _meta } }) };
}

/** URL elicitation has an id up to 2025-11-25, and clients of that revision require it. */
export function toLegacyElicitation(id: MessageId, params: Buffer | undefined): Buffer | undefined {
  if (stringOf(params, 'mode') !== 'url' || memberOf(params, 'elicitationId')) return params;
  return withMembers(params, { elicitationId: id.raw });
}

export function invalidParams({ id }: Request, why: string): Response {
  return errorFor(id, INVALID_PARAMS, `Invalid params: ${why}`);
}
