import type { Message, Notification, Request } from '../jsonrpc/message.ts';

const REPEATABLE = new Set([
  'initialize',
  'ping',
  'tools/list',
  'prompts/list',
  'prompts/get',
  'resources/list',
  'resources/templates/list',
  'resources/read',
  'completion/complete',
  'server/discover',
  'subscriptions/listen',
]);

/** Whether asking twice does no more than asking once, by the definition of the method. */
export function mayRepeatMethod(method: string): boolean {
  return REPEATABLE.has(method);
}

/** Whether the reply comes only when the client or the gateway ends what was asked for, so that silence is normal. */
export function isOpenEnded(method: string): boolean {
  return method === 'subscriptions/listen';
}

/** Whether a message begins a handshake (MCP 2025-11-25, Lifecycle §Initialization). */
export function isInitialize(message: Message): message is Request {
  return message.kind === 'request' && message.method === 'initialize';
}

/** Whether a message ends a handshake. */
export function isInitialized(message: Message): message is Notification {
  return message.kind === 'notification' && message.method === 'notifications/initialized';
}
