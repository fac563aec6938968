import {
  type Notification,
  parseMessage,
  type Request,
  type Response,
} from '../protocol/message.ts';
import type { Headers } from './route.ts';

/** What the handshake settled (MCP 2025-11-25, Lifecycle §Initialization). */
export interface Session {
  /** `Mcp-Session-Id`, to be sent along with everything later. */
  readonly id?: string;
  /** Why the id that the gateway gave cannot be sent, in words. */
  readonly idTrouble?: string;
  /** The negotiated revision, sent as `MCP-Protocol-Version`. */
  readonly protocolVersion?: string;
  /** The client's own messages, to shake hands anew when the session is lost. */
  readonly initialize: Request;
  initialized?: Notification;
  /** Whether the client can show a link (MCP 2025-11-25, Elicitation §Capabilities). */
  readonly clientElicitsUrls: boolean;
  /** The gateway's capabilities, by name. */
  readonly capabilities: Readonly<Record<string, unknown>>;
}

// What a session id may be made of (MCP 2025-11-25, Transports §Session Management, 1), at whatever
// length a head can have: node:http ends one at 16 KiB. Id and revision go into request headers:
// nothing else may get there.
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;
const LONGEST_REVISION = 1024;

/** The session that a successful reply to `initialize`, and the headers it came with, begin. */
export function sessionFrom(initialize: Request, headers: Headers, reply: Response): Session {
  const result = asRecord(parseMessage(reply).result);
  const params = asRecord(parseMessage(initialize).params);
  const { elicitation } = asRecord(params.capabilities);
  const version = result.protocolVersion;
  const isRevision = isVisibleAscii(version) && version.length <= LONGEST_REVISION;
  return {
    initialize,
    clientElicitsUrls: asRecord(elicitation).url !== undefined,
    capabilities: asRecord(result.capabilities),
    ...sessionIdIn(headers),
    ...(isRevision ? { protocolVersion: version } : {}),
  };
}

function sessionIdIn(headers: Headers): Pick<Session, 'id' | 'idTrouble'> {
  const value = headers['mcp-session-id'];
  if (value === undefined) return {};
  // A proxy may have joined equal lines into one (RFC 9110 §5.3).
  const [id = '', ...others] = new Set([value].flat().flatMap((line) => line.split(/,[ \t]+/)));
  if (others.length > 0) return { idTrouble: 'it came more than once, with different values' };
  if (id === '') return { idTrouble: 'it is empty' };
  return isVisibleAscii(id) ? { id } : { idTrouble: 'it is not visible ASCII' };
}

/**
 * The notifications that tell a client what a new session changed: a `list_changed` for each list
 * that the gateway said it would announce changes of, and whose capability is another now.
 */
export function listChanges(before: Session, after: Session): Buffer[] {
  return ['tools', 'prompts', 'resources']
    .filter((name) => {
      const promised = asRecord(before.capabilities[name]).listChanged === true;
      return promised && inJson(before.capabilities[name]) !== inJson(after.capabilities[name]);
    })
    .map((name) => Buffer.from(`{"jsonrpc":"2.0","method":"notifications/${name}/list_changed"}`));
}

function inJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? '';
  } catch {
    // JSON.stringify recurses, unlike JSON.parse: thousands of levels are too much for it.
    return 'too deep';
  }
}

function isVisibleAscii(value: unknown): value is string {
  return typeof value === 'string' && VISIBLE_ASCII.test(value);
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
