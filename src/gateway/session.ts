import { memberAt, memberOf, membersOf, textIn, valueIn } from '../protocol/json-members.ts';
import type { Notification, Request, Response } from '../protocol/message.ts';
import type { ExchangeEnd } from './exchange.ts';
import type { Headers } from './route.ts';

/** What the handshake settled (MCP 2025-11-25, Lifecycle §Initialization). */
export interface Session {
  /** `Mcp-Session-Id`, to be sent along with everything later. */
  readonly id?: string;
  /** The negotiated revision, sent as `MCP-Protocol-Version`. */
  readonly protocolVersion?: string;
  /** The client's own messages, to shake hands anew when the session is lost. */
  readonly initialize: Request;
  initialized?: Notification;
  /** Whether the client can show a link (MCP 2025-11-25, Elicitation §Capabilities). */
  readonly clientElicitsUrls: boolean;
  /** Those of the gateway's capabilities that are lists whose changes it may tell of, as JSON. */
  readonly lists: ReadonlyMap<string, Buffer | undefined>;
}

// What a session id may be made of (MCP 2025-11-25, Transports §Session Management, 1). Id and
// revision go into request headers: nothing else may get there.
const VISIBLE_ASCII = /^[\x21-\x7e]{1,1024}$/;

/** The session that a successful reply to `initialize`, and the headers it came with, begin. */
export function sessionFrom(initialize: Request, headers: Headers, reply: Response): Session {
  const [version, capabilities] = membersOf(memberOf(reply.bytes, 'result'), [
    'protocolVersion',
    'capabilities',
  ]);
  const protocolVersion = textIn(version);
  const elicitation = memberAt(initialize.bytes, 'params', 'capabilities', 'elicitation');
  const id = headers['mcp-session-id'];
  return {
    initialize,
    clientElicitsUrls: memberOf(elicitation, 'url') !== undefined,
    lists: new Map(
      membersOf(capabilities, LISTS).map((list, index) => [LISTS[index] as string, copyOf(list)]),
    ),
    ...(isVisibleAscii(id) ? { id } : {}),
    ...(isVisibleAscii(protocolVersion) ? { protocolVersion } : {}),
  };
}

const LISTS = ['tools', 'prompts', 'resources'];
const MOST_KEPT_BYTES = 64 * 1024;

/** A copy, since a view would keep the whole reply. Undefined where that would be large. */
function copyOf(json: Buffer | undefined): Buffer | undefined {
  return json === undefined || json.length > MOST_KEPT_BYTES ? undefined : Buffer.from(json);
}

/**
 * The notifications that tell a client what a new session changed: a `list_changed` for each list
 * that the gateway said it would announce changes of, and whose capability is another now.
 */
export function listChanges(before: Session, after: Session): Buffer[] {
  return LISTS.filter((name) => {
    const list = before.lists.get(name);
    const isPromised = valueIn(memberOf(list, 'listChanged')) === true;
    return isPromised && list?.equals(after.lists.get(name) ?? Buffer.alloc(0)) === false;
  }).map((name) => Buffer.from(`{"jsonrpc":"2.0","method":"notifications/${name}/list_changed"}`));
}

/**
 * 404, or a 400 that names the session (MCP 2025-11-25, Transports §Session Management, 2 and 3).
 * A 404 with the reply is about what was asked for, unless it names the session too.
 */
export function isLostSession(end: ExchangeEnd): boolean {
  if (end.kind !== 'refused' || (end.status !== 404 && end.status !== 400)) return false;
  const namesSession = /session/i.test(end.body.toString('utf8'));
  return namesSession || (end.status === 404 && end.reply === undefined);
}

function isVisibleAscii(value: unknown): value is string {
  return typeof value === 'string' && VISIBLE_ASCII.test(value);
}
