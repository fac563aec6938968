import { MODERN_ERRORS, UNSUPPORTED_VERSION } from '../jsonrpc/error-codes.ts';
import { memberAt, stringOf, valueIn } from '../jsonrpc/json-members.ts';
import { errorCodeOf, type Message, type Response } from '../jsonrpc/message.ts';

/** The modern revision: it has neither handshake nor session. No later one can be translated. */
export const MODERN = '2026-07-28';

/** The legacy revisions, which begin with `initialize`, newest first. */
export const LEGACY: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];

/** Names in `_meta` (MCP 2026-07-28, Overview §_meta). */
export const META = {
  protocolVersion: 'io.modelcontextprotocol/protocolVersion',
  clientInfo: 'io.modelcontextprotocol/clientInfo',
  clientCapabilities: 'io.modelcontextprotocol/clientCapabilities',
  logLevel: 'io.modelcontextprotocol/logLevel',
  serverInfo: 'io.modelcontextprotocol/serverInfo',
  subscriptionId: 'io.modelcontextprotocol/subscriptionId',
} as const;

/** The requests whose result may be `input_required` (MCP 2026-07-28, MRTR §Supported Requests). */
export const MAY_REQUIRE_INPUT: ReadonlySet<string> = new Set([
  'tools/call',
  'prompts/get',
  'resources/read',
]);

/** The name of this program's own input request, for a sign-in. A gateway has no reason to use it. */
export const SIGN_IN_INPUT = 'mcp-latchkey:sign-in';

/** The first notification of a subscription (MCP 2026-07-28, Subscriptions). */
export const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';

/** The lists that notify of changes; a subscription's filter calls that `<kind>ListChanged`. */
export const LIST_KINDS: readonly string[] = ['tools', 'prompts', 'resources'];

export function listChanged(kind: string): string {
  return `notifications/${kind}/list_changed`;
}

/** Log levels, the most verbose first (RFC 5424 §6.2.1). */
export const LOG_LEVELS: readonly unknown[] = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
];

/** The revision in a request's `_meta`; undefined if the request is legacy. */
export function revisionOf(message: Message): string | undefined {
  if (message.kind !== 'request') return undefined;
  return stringOf(memberAt(message.bytes, 'params', '_meta'), META.protocolVersion);
}

/** The value of `resultType`; undefined if it is absent, as in legacy results. */
export function resultTypeOf(response: Response): unknown {
  return valueIn(memberAt(response.bytes, 'result', 'resultType'));
}

/**
 * Whether only a modern gateway gives this error (MCP 2026-07-28, Streamable HTTP §Backward
 * Compatibility). A gateway that knows the error but supports no modern revision counts as legacy.
 */
export function isModernError(response: Response): boolean {
  const code = errorCodeOf(response);
  if (code !== UNSUPPORTED_VERSION) return MODERN_ERRORS.has(code);
  const supported = valueIn(memberAt(response.bytes, 'error', 'data', 'supported'));
  return !Array.isArray(supported) || supported.some((version) => !LEGACY.includes(version));
}
