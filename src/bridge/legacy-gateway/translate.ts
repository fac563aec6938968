import { INVALID_PARAMS } from '../../jsonrpc/error-codes.ts';
import { memberAt, memberOf, stringOf, withMembers } from '../../jsonrpc/json-members.ts';
import {
  errorCodeOf,
  idOf,
  type MessageId,
  type Request,
  type Response,
} from '../../jsonrpc/message.ts';
import { metaOf, type ServerHello } from '../messages.ts';
import { LOG_LEVELS, META, MODERN } from '../revisions.ts';

/** The modern code is INVALID_PARAMS. */
const LEGACY_RESOURCE_NOT_FOUND = -32002;

/** Requests whose results carry cache hints (MCP 2026-07-28, Caching §Cacheable Results). */
const CACHEABLE: ReadonlySet<string> = new Set([
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
]);

/** A request of the gateway to the client. */
export type ServerRequest = Request;

/** What the gateway may request of the client, and the client capability that allows it. */
export const SERVER_REQUESTS: ReadonlyMap<string, string> = new Map([
  ['sampling/createMessage', 'sampling'],
  ['elicitation/create', 'elicitation'],
  ['roots/list', 'roots'],
]);

/** The key of an id or a token, as in MessageId; undefined if it is neither. */
export function keyOf(json: Buffer | undefined): string | undefined {
  return json && idOf(json)?.key;
}

/** The log level as an index into LOG_LEVELS; past its end if no log messages were requested. */
export function levelIn(meta: Buffer | undefined): number {
  const index = LOG_LEVELS.indexOf(stringOf(meta, META.logLevel));
  return index < 0 ? LOG_LEVELS.length : index;
}

/** Whether a retry asks for the same thing as the call. */
export function isSameCall(call: Request, retry: Request): boolean {
  const [first, second] = [call, retry].map(({ bytes }) => memberOf(bytes, 'params'));
  const isSame = (name: string) => stringOf(first, name) === stringOf(second, name);
  return call.method === retry.method && isSame('name') && isSame('uri');
}

/** Whether the client has declared that it can show a link. */
export function canOpenLinks(meta: Buffer | undefined): boolean {
  return memberAt(meta, META.clientCapabilities, 'elicitation', 'url') !== undefined;
}

/** Whether the client has declared that it can answer (MCP 2026-07-28, MRTR, Server 6). */
export function mayAsk(meta: Buffer | undefined, { method, bytes }: ServerRequest): boolean {
  const capability = memberAt(meta, META.clientCapabilities, SERVER_REQUESTS.get(method) as string);
  if (capability === undefined || method !== 'elicitation/create') return capability !== undefined;
  const isUrl = stringOf(memberOf(bytes, 'params'), 'mode') === 'url';
  const canUrl = memberOf(capability, 'url') !== undefined;
  return isUrl ? canUrl : !canUrl || memberOf(capability, 'form') !== undefined;
}

/** A request with another id, without the members that a legacy gateway does not know. */
export function toLegacyRequest({ raw }: MessageId, request: Request): Buffer {
  const meta = withMembers(metaOf(request), {
    [META.protocolVersion]: undefined,
    [META.clientInfo]: undefined,
    [META.clientCapabilities]: undefined,
    [META.logLevel]: undefined,
  });
  return withMembers(request.bytes, {
    id: raw,
    params: {
      _meta: meta.length > '{}'.length ? meta : undefined,
      inputResponses: undefined,
      requestState: undefined,
    },
  });
}

/** A legacy reply with the members that a modern client requires. */
export function toModernResult(request: Request, reply: Response, serverInfo?: Buffer): Response {
  const { id, method } = request;
  if (reply.isError) {
    const isMissing =
      method === 'resources/read' && errorCodeOf(reply) === LEGACY_RESOURCE_NOT_FOUND;
    const changed = isMissing ? { error: { code: `${INVALID_PARAMS}` } } : {};
    return { ...reply, id, bytes: withMembers(reply.bytes, { id: id.raw, ...changed }) };
  }
  const info = memberAt(reply.bytes, 'result', '_meta', META.serverInfo) ?? serverInfo;
  const result = {
    resultType: '"complete"',
    ...(CACHEABLE.has(method) ? { ttlMs: '0', cacheScope: '"private"' } : {}),
    ...(info === undefined ? {} : { _meta: { [META.serverInfo]: info } }),
  };
  return { ...reply, id, bytes: withMembers(reply.bytes, { id: id.raw, result }) };
}

/** The result of `server/discover`. */
export function discovered({ capabilities, serverInfo, instructions }: ServerHello): Buffer {
  const _meta = serverInfo && withMembers(undefined, { [META.serverInfo]: serverInfo });
  return withMembers(undefined, {
    resultType: '"complete"',
    supportedVersions: JSON.stringify([MODERN]),
    // In the modern revision, tasks are an extension with other methods.
    capabilities: withMembers(capabilities, { tasks: undefined }),
    _meta,
    instructions,
    ttlMs: '0',
    cacheScope: '"private"',
  });
}

/**
 * Without the id of a URL elicitation: the notification that used it was removed (MCP 2026-07-28,
 * Changelog).
 */
export function toModernElicitation(params: Buffer | undefined): Buffer | undefined {
  if (memberOf(params, 'elicitationId') === undefined) return params;
  return withMembers(params, { elicitationId: undefined });
}
