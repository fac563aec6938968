import { mayContain, memberAt } from '../jsonrpc/json-members.ts';
import { idOf, type Message, type Request } from '../jsonrpc/message.ts';

/** How many tasks are remembered: what they are remembered for is not worth more memory. */
const MOST_TASKS = 1_000;

/** What a progress notification names; undefined for any other message, and where it names nothing. */
export function progressTokenIn(message: Message): string | undefined {
  if (message.kind !== 'notification' || message.method !== 'notifications/progress') {
    return undefined;
  }
  return tokenAt(message.bytes, 'progressToken');
}

/** The token that a request asks for progress with. */
export function progressTokenOf({ bytes }: Request): string | undefined {
  return mayContain(bytes, 'progressToken') ? tokenAt(bytes, '_meta', 'progressToken') : undefined;
}

/** Equal for tokens that mean the same, also where a gateway's parser has rounded a number. */
function tokenAt(bytes: Buffer, ...path: readonly string[]): string | undefined {
  const token = memberAt(bytes, 'params', ...path);
  const { key = undefined, raw = '' } = (token && idOf(token)) ?? {};
  return key?.startsWith('n') ? `n${Number(raw)}` : key;
}

/**
 * The progress tokens of the newest 1,000 tasks: theirs stay valid after the reply to the request,
 * until the task ends (MCP 2025-11-25, Progress §Behavior Requirements, 3).
 */
export class TaskTokens {
  readonly #tokens = new Set<string>();

  /** Keeps the token of a request that has begun a task. */
  add(request: Request): void {
    if (!mayContain(request.bytes, 'task')) return;
    const token = progressTokenOf(request);
    if (token === undefined || memberAt(request.bytes, 'params', 'task') === undefined) return;
    this.#tokens.add(token);
    const [oldest] = this.#tokens;
    if (this.#tokens.size > MOST_TASKS) this.#tokens.delete(oldest as string);
  }

  has(token: string): boolean {
    return this.#tokens.has(token);
  }
}
