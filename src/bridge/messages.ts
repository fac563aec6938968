import { type Changes, memberAt, withMembers } from '../jsonrpc/json-members.ts';
import {
  errorResponse,
  type MessageId,
  type Notification,
  type Request,
  type Response,
} from '../jsonrpc/message.ts';

/** What a server says of itself in the result of `initialize` or `server/discover`, as JSON. */
export interface ServerHello {
  readonly capabilities: Buffer | undefined;
  readonly serverInfo: Buffer | undefined;
  readonly instructions: Buffer | undefined;
}

/** The value of `params`: JSON, or members to make an object of; undefined leaves it out. */
export type Params = Buffer | Changes | undefined;

/** A request from its parts. */
export function requestOf(id: MessageId, method: string, params: Params): Request {
  const bytes = withMembers(undefined, {
    jsonrpc: '"2.0"',
    id: id.raw,
    method: JSON.stringify(method),
    params,
  });
  return { kind: 'request', id, method, bytes };
}

/** A notification from its parts. */
export function notificationOf(method: string, params?: Params): Notification {
  const bytes = withMembers(undefined, {
    jsonrpc: '"2.0"',
    method: JSON.stringify(method),
    params,
  });
  return { kind: 'notification', method, bytes };
}

/** The response that gives a request its result, which is JSON. */
export function resultFor(id: MessageId, result: Buffer | string): Response {
  const bytes = Buffer.concat([
    Buffer.from(`{"jsonrpc":"2.0","id":${id.raw},"result":`),
    Buffer.from(result),
    Buffer.from('}'),
  ]);
  return { kind: 'response', bytes, id, isError: false };
}

/** The response that fails a request. */
export function errorFor(id: MessageId, code: number, message: string, data?: unknown): Response {
  const bytes = errorResponse(id, { code, message, data });
  return { kind: 'response', id, bytes, isError: true };
}

/** A copy of the response for another request. */
export function withId(response: Response, id: MessageId): Response {
  return { ...response, id, bytes: withMembers(response.bytes, { id: id.raw }) };
}

/** The `_meta` of a request's params, as JSON. */
export function metaOf(request: Request | Notification): Buffer | undefined {
  return memberAt(request.bytes, 'params', '_meta');
}

/** The id of a request that the proxy makes itself, which no client's counter can reach. */
export function proxyId(name: string): MessageId {
  const text = `mcp-latchkey:${name}`;
  return { raw: JSON.stringify(text), key: `s${text}` };
}
