import type { Headers } from '../http/request.ts';
import { memberAt, memberOf, membersOf, textIn, valueIn } from '../jsonrpc/json-members.ts';
import type { Notification, Request, Response } from '../jsonrpc/message.ts';

/** What each request of a session says of it in its headers. */
export interface SessionHeaders {
  /** `Mcp-Session-Id`, to be sent along with everything later. */
  readonly id?: string;
  /** Why the id that the gateway gave cannot be sent, in words. */
  readonly idProblem?: string;
  /** The negotiated revision, sent as `MCP-Protocol-Version`. */
  readonly protocolVersion?: string;
}

/** What the handshake settled (MCP 2025-11-25, Lifecycle §Initialization). */
export interface Session extends SessionHeaders {
  /** The client's own messages, to repeat the handshake when the session is lost. */
  readonly initialize: Request;
  initialized?: Notification;
  /** Whether the client can show a link (MCP 2025-11-25, Elicitation §Capabilities). */
  readonly clientElicitsUrls: boolean;
  /** Those of the gateway's lists whose changes it has promised to tell of. */
  readonly announcedLists: readonly string[];
}

// What a session id may be made of (MCP 2025-11-25, Transports §Session Management, 1), at whatever
// length a head can have: node:http ends one at 16 KiB. Id and revision go into request headers:
// nothing else may get there.
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;
const LONGEST_REVISION = 1024;

/** The session that a successful reply to `initialize`, and the headers it came with, begin. */
export function sessionFrom(initialize: Request, headers: Headers, reply: Response): Session {
  const [version, capabilities] = membersOf(memberOf(reply.bytes, 'result'), [
    'protocolVersion',
    'capabilities',
  ]);
  const protocolVersion = textIn(version);
  const elicitation = memberAt(initialize.bytes, 'params', 'capabilities', 'elicitation');
  const isRevision = isVisibleAscii(protocolVersion) && protocolVersion.length <= LONGEST_REVISION;
  return {
    initialize,
    clientElicitsUrls: memberOf(elicitation, 'url') !== undefined,
    announcedLists: LISTS.filter(
      (name) => valueIn(memberAt(capabilities, name, 'listChanged')) === true,
    ),
    ...sessionNamedIn(headers),
    ...(isRevision ? { protocolVersion } : {}),
  };
}

const LISTS = ['tools', 'prompts', 'resources'];
/** The session that the head of an answer to `initialize` begins, where it names one. */
export function sessionNamedIn(headers: Headers = {}): Pick<Session, 'id' | 'idProblem'> {
  const value = headers['mcp-session-id'];
  if (value === undefined) return {};
  // A proxy may have joined equal lines into one (RFC 9110 §5.3).
  const [id = '', ...others] = new Set([value].flat().flatMap((line) => line.split(/,[ \t]+/)));
  if (others.length > 0) return { idProblem: 'it came more than once, with different values' };
  if (id === '') return { idProblem: 'it is empty' };
  return isVisibleAscii(id) ? { id } : { idProblem: 'it is not visible ASCII' };
}

/**
 * The notifications that tell a client to ask for its lists again in a new session: a `list_changed`
 * for each whose changes the gateway had promised to tell of. What has lost the session may have
 * other tools by now.
 */
export function listChanges({ announcedLists }: Session): Notification[] {
  return announcedLists.map((name) => {
    const method = `notifications/${name}/list_changed`;
    const bytes = Buffer.from(`{"jsonrpc":"2.0","method":"${method}"}`);
    return { kind: 'notification', method, bytes };
  });
}

function isVisibleAscii(value: unknown): value is string {
  return typeof value === 'string' && VISIBLE_ASCII.test(value);
}
