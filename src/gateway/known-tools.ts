import { parseMessage, type Request, type Response } from '../protocol/message.ts';
import { mayRepeatMethod } from '../protocol/methods.ts';

/** A tool as `tools/list` describes it; only what is asked for here. */
interface Tool {
  readonly name: string;
  readonly annotations?: { readonly readOnlyHint?: unknown; readonly idempotentHint?: unknown };
}

/**
 * What the last `tools/list` said. The replies are kept as they came and read only when something
 * has failed: a healthy session never does.
 */
export class KnownTools {
  #replies: Response[] = [];

  /** A page of the list; one that was asked for without a cursor begins it anew. */
  remember(request: Request, reply: Response): void {
    if (reply.isError) return;
    if (cursorOf(request) === undefined) this.#replies = [];
    this.#replies.push(reply);
  }

  names(): string[] {
    return this.#tools().map(({ name }) => name);
  }

  /** Whether the same request twice does no more than once: by its method or its tool's hints. */
  mayRepeat(request: Request): boolean {
    if (request.method !== 'tools/call') return mayRepeatMethod(request.method);
    const called = paramsOf(request).name;
    const { annotations } = this.#tools().find(({ name }) => name === called) ?? {};
    return annotations?.readOnlyHint === true || annotations?.idempotentHint === true;
  }

  #tools(): Tool[] {
    return this.#replies.flatMap((reply) => {
      const { result } = parseMessage(reply) as { result?: { tools?: unknown } | null };
      const tools = result?.tools;
      return Array.isArray(tools) ? tools.filter(isTool) : [];
    });
  }
}

/** A request's `params`, {} where it has none. */
function paramsOf(request: Request): Record<string, unknown> {
  const { params } = parseMessage(request);
  return typeof params === 'object' && params !== null ? (params as Record<string, unknown>) : {};
}

function cursorOf(request: Request): unknown {
  return paramsOf(request).cursor;
}

function isTool(value: unknown): value is Tool {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { name?: unknown }).name === 'string'
  );
}
