import { INVALID_PARAMS } from '../jsonrpc/error-codes.ts';
import { memberAt, memberOf, stringOf, withMembers } from '../jsonrpc/json-members.ts';
import {
  errorCodeOf,
  idOf,
  type MessageId,
  type Notification,
  type Request,
  type Response,
} from '../jsonrpc/message.ts';
import { LOG_LEVELS, META, MODERN } from './revisions.ts';

const LEGACY_RESOURCE_NOT_FOUND = -32002;

/** Results that carry hints for caches (MCP 2026-07-28, Caching §Cacheable Results). */
const CACHEABLE: ReadonlySet<string> = new Set([
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
]);

/** What the gateway may ask of the client, and the capability that says whether it may. */
export const QUESTIONS: ReadonlyMap<string, string> = new Map([
  ['sampling/createMessage', 'sampling'],
  ['elicitation/create', 'elicitation'],
  ['roots/list', 'roots'],
]);

/** What the gateway said in the handshake. */
export interface Handshake {
  readonly capabilities: Buffer | undefined;
  readonly serverInfo: Buffer | undefined;
  readonly instructions: Buffer | undefined;
}

/** JSON by name. */
export type Params = Readonly<Record<string, string | Buffer | undefined>>;

/** An object without members. */
export const NO_OBJECT = Buffer.from('{}');

/** A request from its parts; each of `params` is JSON, undefined leaves it out. */
export function requestOf(id: MessageId, method: string, params: Params): Request {
  const bytes = withMembers(undefined, {
    jsonrpc: '"2.0"',
    id: id.raw,
    method: JSON.stringify(method),
    params: withMembers(undefined, params),
  });
  return { kind: 'request', id, method, bytes };
}

/** A notification from its parts, as `requestOf` has them. */
export function notificationOf(method: string, params: Params): Notification {
  const bytes = withMembers(undefined, {
    jsonrpc: '"2.0"',
    method: JSON.stringify(method),
    params: withMembers(undefined, params),
  });
  return { kind: 'notification', method, bytes };
}

/** The response to another request. */
export function withId(response: Response, id: MessageId): Response {
  return { ...response, id, bytes: withMembers(response.bytes, { id: id.raw }) };
}

/** The key of an id or a token, as MessageId has it; undefined for what is neither. */
export function keyOf(json: Buffer | undefined): string | undefined {
  return json && idOf(json)?.key;
}

/** What a request says of itself, as JSON. */
export function metaOf(request: Request): Buffer | undefined {
  return memberAt(request.bytes, 'params', '_meta');
}

/** As an index into LOG_LEVELS; beyond its end where no log messages are wanted. */
export function levelIn(meta: Buffer | undefined): number {
  const index = LOG_LEVELS.indexOf(stringOf(meta, META.logLevel));
  return index < 0 ? LOG_LEVELS.length : index;
}

/** Whether a retry asks for what the call was made for. */
export function isSameCall(call: Request, retry: Request): boolean {
  const [made, wanted] = [call, retry].map(({ bytes }) => memberOf(bytes, 'params'));
  const isSame = (name: string) => stringOf(made, name) === stringOf(wanted, name);
  return call.method === retry.method && isSame('name') && isSame('uri');
}

/** Whether the client has said that it can show a link. */
export function canOpenLinks(meta: Buffer | undefined): boolean {
  return memberAt(meta, META.clientCapabilities, 'elicitation', 'url') !== undefined;
}

/** Whether the client has said that it can answer that (MCP 2026-07-28, MRTR, Server 6). */
export function mayAsk(meta: Buffer | undefined, { method, bytes }: Request): boolean {
  const capability = memberAt(meta, META.clientCapabilities, QUESTIONS.get(method) as string);
  if (capability === undefined || method !== 'elicitation/create') return capability !== undefined;
  const wantsUrl = stringOf(memberOf(bytes, 'params'), 'mode') === 'url';
  const canUrl = memberOf(capability, 'url') !== undefined;
  return wantsUrl ? canUrl : !canUrl || memberOf(capability, 'form') !== undefined;
}

/** A request without what the earlier era does not know, and with another id. */
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
      _meta: meta.length > NO_OBJECT.length ? meta : undefined,
      inputResponses: undefined,
      requestState: undefined,
    },
  });
}

/** A reply of the earlier era, as this one needs it. */
export function toModernResult(request: Request, reply: Response, serverInfo?: Buffer): Response {
  const { id, method } = request;
  if (reply.isError) {
    const isMissing =
      method === 'resources/read' && errorCodeOf(reply) === LEGACY_RESOURCE_NOT_FOUND;
    const renamed = isMissing ? { error: { code: `${INVALID_PARAMS}` } } : {};
    return { ...reply, id, bytes: withMembers(reply.bytes, { id: id.raw, ...renamed }) };
  }
  const said = memberAt(reply.bytes, 'result', '_meta', META.serverInfo) ?? serverInfo;
  const result = {
    resultType: '"complete"',
    ...(CACHEABLE.has(method) ? { ttlMs: '0', cacheScope: '"private"' } : {}),
    ...(said === undefined ? {} : { _meta: { [META.serverInfo]: said } }),
  };
  return { ...reply, id, bytes: withMembers(reply.bytes, { id: id.raw, result }) };
}

/** The answer to `server/discover`. */
export function discovered({ capabilities, serverInfo, instructions }: Handshake): Buffer {
  const _meta = serverInfo && withMembers(undefined, { [META.serverInfo]: serverInfo });
  return withMembers(undefined, {
    resultType: '"complete"',
    supportedVersions: JSON.stringify([MODERN]),
    // Tasks have become an extension, with other methods.
    capabilities: withMembers(capabilities, { tasks: undefined }),
    _meta,
    instructions,
    ttlMs: '0',
    cacheScope: '"private"',
  });
}

/**
 * Without the id of a URL elicitation: it belonged to a notification that is no more (MCP
 * 2026-07-28, Changelog).
 */
export function toModernElicitation(params: Buffer | undefined): Buffer | undefined {
  if (memberOf(params, 'elicitationId') === undefined) return params;
  return withMembers(params, { elicitationId: undefined });
}
