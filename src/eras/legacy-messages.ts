import { memberAt, memberOf, stringOf, valueIn, withMembers } from '../protocol/json-members.ts';
import type { MessageId, Notification, Request, Response } from '../protocol/message.ts';
import { errorCodeOf, INVALID_PARAMS, LOG_LEVELS, META, MODERN } from './revisions.ts';

const NOT_FOUND_OF_OLD = -32002;

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
  const value = valueIn(json);
  if (typeof value === 'string') return `s${value}`;
  return typeof value === 'number' ? `n${value}` : undefined;
}

/** The progress token of a request, as JSON. */
export function tokenOf(request: Request): Buffer | undefined {
  return memberAt(request.bytes, 'params', '_meta', 'progressToken');
}

/** As an index into LOG_LEVELS; beyond its end where the request wants no log messages. */
export function levelOf(request: Request): number {
  const level = stringOf(memberAt(request.bytes, 'params', '_meta'), META.logLevel);
  const index = LOG_LEVELS.indexOf(level);
  return index < 0 ? LOG_LEVELS.length : index;
}

/** Whether a retry asks for what the call was made for. */
export function isSameCall(call: Request, retry: Request): boolean {
  const [made, wanted] = [call, retry].map(({ bytes }) => memberOf(bytes, 'params'));
  const isSame = (name: string) => stringOf(made, name) === stringOf(wanted, name);
  return call.method === retry.method && isSame('name') && isSame('uri');
}

/** Whether the client has said that it can show a link. */
export function canOpenLinks(request: Request): boolean {
  const capabilities = memberAt(request.bytes, 'params', '_meta', META.clientCapabilities);
  return memberOf(memberOf(capabilities, 'elicitation'), 'url') !== undefined;
}

/** Whether the client has said that it can answer that (MCP 2026-07-28, MRTR, Server 6). */
export function mayAsk(request: Request, { method, bytes }: Request): boolean {
  const capabilities = memberAt(request.bytes, 'params', '_meta', META.clientCapabilities);
  const capability = memberOf(capabilities, QUESTIONS.get(method) as string);
  if (capability === undefined || method !== 'elicitation/create') return capability !== undefined;
  const wantsUrl = stringOf(memberOf(bytes, 'params'), 'mode') === 'url';
  const canUrl = memberOf(capability, 'url') !== undefined;
  return wantsUrl ? canUrl : !canUrl || memberOf(capability, 'form') !== undefined;
}

/** A request without what the earlier era does not know. */
export function ofOld(request: Buffer): Buffer {
  const params = memberOf(request, 'params');
  const meta = withMembers(memberOf(params, '_meta'), {
    [META.protocolVersion]: undefined,
    [META.clientInfo]: undefined,
    [META.clientCapabilities]: undefined,
    [META.logLevel]: undefined,
  });
  const changes = {
    _meta: meta.length > NO_OBJECT.length ? meta : undefined,
    inputResponses: undefined,
    requestState: undefined,
  };
  return withMembers(request, { params: withMembers(params, changes) });
}

/** A reply of the earlier era, as this one wants it. */
export function asOfNew(request: Request, reply: Response, serverInfo?: Buffer): Response {
  const { id, method } = request;
  if (reply.isError) {
    const error = memberOf(reply.bytes, 'error');
    const isMissing = method === 'resources/read' && errorCodeOf(reply) === NOT_FOUND_OF_OLD;
    const renamed = isMissing ? { error: withMembers(error, { code: `${INVALID_PARAMS}` }) } : {};
    return { ...reply, id, bytes: withMembers(reply.bytes, { id: id.raw, ...renamed }) };
  }
  const result = memberOf(reply.bytes, 'result');
  const meta = memberOf(result, '_meta');
  const said = memberOf(meta, META.serverInfo) ?? serverInfo;
  const changes = {
    resultType: '"complete"',
    ...(CACHEABLE.has(method) ? { ttlMs: '0', cacheScope: '"private"' } : {}),
    ...(said === undefined ? {} : { _meta: withMembers(meta, { [META.serverInfo]: said }) }),
  };
  const bytes = withMembers(reply.bytes, { id: id.raw, result: withMembers(result, changes) });
  return { ...reply, id, bytes };
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
export function elicitationOfNew(params: Buffer | undefined): Buffer | undefined {
  if (memberOf(params, 'elicitationId') === undefined) return params;
  return withMembers(params, { elicitationId: undefined });
}
