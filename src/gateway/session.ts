import {
  type Notification,
  parseMessage,
  type Request,
  type Response,
} from '../protocol/message.ts';
import type { ExchangeEnd } from './exchange.ts';
import type { Headers } from './route.ts';

/** What each request of a session says of it in its headers. */
export interface SessionHeaders {
  /** `Mcp-Session-Id`, to be sent along with everything later. */
  readonly id?: string;
  /** The negotiated revision, sent as `MCP-Protocol-Version`. */
  readonly protocolVersion?: string;
}

/** What the handshake settled (MCP 2025-11-25, Lifecycle §Initialization). */
export interface Session extends SessionHeaders {
  /** The client's own messages, to shake hands anew when the session is lost. */
  readonly initialize: Request;
  initialized?: Notification;
  /** Whether the client can show a link (MCP 2025-11-25, Elicitation §Capabilities). */
  readonly clientElicitsUrls: boolean;
  /** The gateway's capabilities, by name. */
  readonly capabilities: Readonly<Record<string, unknown>>;
}

// What a session id may be made of (MCP 2025-11-25, Transports §Session Management, 1). Id and
// revision go into request headers: nothing else may get there.
const VISIBLE_ASCII = /^[\x21-\x7e]{1,1024}$/;

/** The session that a successful reply to `initialize`, and the headers it came with, begin. */
export function sessionFrom(initialize: Request, headers: Headers, reply: Response): Session {
  const result = asRecord(parseMessage(reply).result);
  const params = asRecord(parseMessage(initialize).params);
  const { elicitation } = asRecord(params.capabilities);
  const version = result.protocolVersion;
  return {
    initialize,
    clientElicitsUrls: asRecord(elicitation).url !== undefined,
    capabilities: asRecord(result.capabilities),
    ...sessionNamedIn(headers),
    ...(isVisibleAscii(version) ? { protocolVersion: version } : {}),
  };
}

/** The session that the head of an answer to `initialize` begins, where it names one. */
export function sessionNamedIn(headers: Headers = {}): SessionHeaders {
  const id = headers['mcp-session-id'];
  return isVisibleAscii(id) ? { id } : {};
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

/**
 * 404, or a 400 that names the session (MCP 2025-11-25, Transports §Session Management, 2 and 3).
 * A 404 with the reply is about what was asked for, unless it names the session too.
 */
export function isLostSession(end: ExchangeEnd): boolean {
  if (end.kind !== 'refused' || (end.status !== 404 && end.status !== 400)) return false;
  const namesSession = /session/i.test(end.body.toString('utf8'));
  return namesSession || (end.status === 404 && end.reply === undefined);
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
