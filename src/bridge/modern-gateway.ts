import type { Failure, Reason } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { HEADER_MISMATCH } from '../jsonrpc/error-codes.ts';
import {
  itemsOf,
  MOST_ITEMS,
  memberAt,
  memberOf,
  stringOf,
  valueIn,
  withMembers,
} from '../jsonrpc/json-members.ts';
import {
  errorCodeOf,
  type Message,
  type Notification,
  type Request,
  type Response,
} from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { wasNotRun } from '../transport/not-run.ts';
import type { Delivery, MessageObserver, Transport } from '../transport/transport.ts';
import { annotatedTools, headersOf, type MirroredArgument } from './request-headers.ts';
import { META } from './revisions.ts';
import { DONE, isReplyTo, ownId, SendSequence } from './send-sequence.ts';

export const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged';

const MOST_PAGES = 100;
const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
/** A subscription that was away for longer may have missed something. */
const LONGEST_GAP_MS = 10_000;

/** A subscription's stream that ends for one of these is opened again. */
const PASSING: ReadonlySet<Reason> = new Set([
  'unreachable',
  'interrupted',
  'invalid_response',
  'gateway_error',
  'rate_limited',
]);

/**
 * A gateway of revision 2026-07-28, for messages of that revision: their bytes stay as they are,
 * and the HTTP headers that repeat them are added (MCP 2026-07-28, Streamable HTTP §Request
 * Metadata).
 */
export class ModernGateway implements Transport {
  readonly #upstream: Transport;
  readonly #log: Log;
  readonly #mirrored = new Map<string, readonly MirroredArgument[]>();
  #count = 0;

  constructor(upstream: Transport, log: Log) {
    this.#upstream = upstream;
    this.#log = log;
  }

  /** There is nothing that belongs to no request. */
  listen(): void {}

  send(message: Message, observer: MessageObserver): Delivery {
    // Neither is there in this revision over HTTP: closing the stream is the cancellation
    // (MCP 2026-07-28, Streamable HTTP §Sending Messages, §Cancellation).
    if (message.kind === 'response') return DONE;
    if (message.kind === 'notification') {
      if (message.method === 'notifications/cancelled') return DONE;
      return this.#upstream.send(this.#withHeaders(message), observer);
    }
    if (message.method === 'subscriptions/listen') {
      return new SendSequence((course) => this.#subscription(course, message, observer));
    }
    return new SendSequence((course) => this.#request(course, message, observer));
  }

  close(limitMs: number): Promise<void> {
    return this.#upstream.close(limitMs);
  }

  async #request(
    course: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let mismatch: Response | undefined;
    const failure = await course.send(this.#upstream, this.#withHeaders(request), {
      congested: () => observer.congested(),
      onMessage: (message) => {
        const isReply = isReplyTo(request.id, message);
        if (isReply && request.method === 'tools/call' && isMismatch(message)) mismatch = message;
        else observer.onMessage(isReply ? this.#read(request, message) : message);
      },
    });
    if (mismatch === undefined || course.isOver) return failure;
    this.#log.info('the gateway misses a header of a tool: asking it for its tools anew');
    await this.#refreshTools(course, request);
    return course.send(this.#upstream, this.#withHeaders(request), observer);
  }

  #withHeaders<Sent extends Request | Notification>(message: Sent): Sent {
    const isCall = message.method === 'tools/call' && this.#mirrored.size > 0;
    const tool = isCall ? stringOf(memberOf(message.bytes, 'params'), 'name') : undefined;
    const mirrored = tool === undefined ? [] : this.#mirrored.get(tool);
    return { ...message, headers: headersOf(message, mirrored) };
  }

  #read(request: Request, reply: Response): Response {
    return request.method === 'tools/list' ? this.#rememberTools(request, reply) : reply;
  }

  /** Without the tools whose annotations are invalid: only they are left out of the list. */
  #rememberTools(request: Request, reply: Response): Response {
    if (reply.isError) return reply;
    if (memberAt(request.bytes, 'params', 'cursor') === undefined) this.#mirrored.clear();
    const tools = annotatedTools(reply.bytes);
    if (tools === undefined) return reply;
    const refused = new Set<number>();
    for (const [index, tool] of tools.entries()) {
      if ('mirrored' in tool) {
        if (tool.mirrored.length > 0 && this.#mirrored.size < MOST_ITEMS) {
          this.#mirrored.set(tool.name, tool.mirrored);
        } else this.#mirrored.delete(tool.name);
      } else {
        refused.add(index);
        const name = cleanNetworkText(tool.name, 100);
        this.#log.warn(`left out the tool '${name}': its x-mcp-header is invalid, ${tool.why}`);
      }
    }
    if (refused.size === 0) return reply;
    const kept = itemsOf(memberAt(reply.bytes, 'result', 'tools')) ?? [];
    const list = kept.filter((_, index) => !refused.has(index));
    if (kept.length === MOST_ITEMS) this.#log.warn(`left out what is after ${MOST_ITEMS} tools`);
    return { ...reply, bytes: withMembers(reply.bytes, { result: { tools: list } }) };
  }

  async #refreshTools(course: SendSequence, { bytes }: Request): Promise<void> {
    const meta = withMembers(memberAt(bytes, 'params', '_meta'), { progressToken: undefined });
    let cursor: Buffer | undefined;
    for (let page = 0; page < MOST_PAGES; page++) {
      let reply: Response | undefined;
      const request = this.#ownRequest(
        'tools/list',
        withMembers(undefined, { cursor, _meta: meta }),
      );
      await course.send(this.#upstream, request, {
        congested: () => undefined,
        onMessage: (message) => {
          if (isReplyTo(request.id, message)) reply = this.#rememberTools(request, message);
        },
      });
      cursor = reply && memberAt(reply.bytes, 'result', 'nextCursor');
      if (cursor === undefined || typeof valueIn(cursor) !== 'string') return;
    }
  }

  #ownRequest(method: string, params: Buffer): Request {
    const id = ownId(`${method}:${++this.#count}`);
    const bytes = withMembers(Buffer.from(`{"jsonrpc":"2.0","id":${id.raw}}`), {
      method: JSON.stringify(method),
      params,
    });
    return this.#withHeaders({ kind: 'request', bytes, id, method });
  }

  /**
   * `subscriptions/listen`: opened again when its stream breaks, for as long as the client wants
   * it, without a second acknowledgment. Its own end, in good order, is the client's to deal with
   * (MCP 2026-07-28, Subscriptions §Graceful Closure).
   */
  async #subscription(
    course: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let acknowledgment: Message | undefined;
    let hasReplied = false;
    let waitMs = SHORTEST_WAIT_MS;
    let lostAt: number | undefined;
    const onMessage = (message: Message) => {
      hasReplied ||= isReplyTo(request.id, message);
      if (message.kind !== 'notification' || message.method !== ACKNOWLEDGED) {
        observer.onMessage(message);
        return;
      }
      waitMs = SHORTEST_WAIT_MS;
      if (acknowledgment === undefined) observer.onMessage(message);
      else if (lostAt !== undefined && Date.now() - lostAt > LONGEST_GAP_MS) {
        for (const missed of everyChange(message)) observer.onMessage(missed);
      }
      acknowledgment = message;
      lostAt = undefined;
    };
    for (;;) {
      const failure = await course.send(this.#upstream, this.#withHeaders(request), {
        congested: () => observer.congested(),
        onMessage,
      });
      if (hasReplied || course.isOver || failure === undefined) return failure;
      if (acknowledgment === undefined || !PASSING.has(failure.reason)) return failure;
      lostAt ??= Date.now();
      this.#log.debug(`a subscription's stream broke off, again in ${waitMs} ms`);
      await course.pause(waitMs);
      waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
    }
  }
}

/** Whether a call was refused for its headers, before it ran. A tool may use any code with HTTP 200. */
function isMismatch(reply: Response): boolean {
  if (errorCodeOf(reply) !== HEADER_MISMATCH) return false;
  return wasNotRun({ sent: true, status: reply.refusedWith, reply });
}

const LIST_CHANGES: Readonly<Record<string, string>> = {
  toolsListChanged: 'notifications/tools/list_changed',
  promptsListChanged: 'notifications/prompts/list_changed',
  resourcesListChanged: 'notifications/resources/list_changed',
};

/** A notification of every change that an acknowledgment promises to tell of. */
function everyChange(acknowledgment: Notification): Message[] {
  const params = memberOf(acknowledgment.bytes, 'params');
  const filter = memberOf(params, 'notifications');
  const id = memberAt(acknowledgment.bytes, 'params', '_meta', META.subscriptionId);
  const _meta = withMembers(undefined, { [META.subscriptionId]: id });
  const notification = (method: string, uri?: Buffer): Message => ({
    kind: 'notification',
    method,
    bytes: withMembers(Buffer.from('{"jsonrpc":"2.0"}'), {
      method: JSON.stringify(method),
      params: withMembers(undefined, { _meta, uri }),
    }),
  });
  const lists = Object.entries(LIST_CHANGES)
    .filter(([name]) => valueIn(memberOf(filter, name)) === true)
    .map(([, method]) => notification(method));
  const resources = itemsOf(memberOf(filter, 'resourceSubscriptions')) ?? [];
  return [
    ...lists,
    ...resources.map((uri) => notification('notifications/resources/updated', uri)),
  ];
}
