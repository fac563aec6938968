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
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  type Transport,
} from '../transport/transport.ts';
import { metaOf, notificationOf, type Params, proxyId, requestOf } from './messages.ts';
import { annotatedTools, headersOf, type MirroredArgument } from './request-headers.ts';
import { ACKNOWLEDGED, LIST_KINDS, listChanged, META } from './revisions.ts';
import { DONE, isReplyTo, onReplyTo, SendSequence } from './send-sequence.ts';

const MOST_PAGES = 100;
const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
/** After a longer gap, a subscription may have missed a change. */
const LONGEST_GAP_MS = 10_000;

/** Reasons to open a subscription's stream again. */
const RETRIED_REASONS: ReadonlySet<Reason> = new Set([
  'unreachable',
  'interrupted',
  'invalid_response',
  'gateway_error',
  'rate_limited',
]);

/**
 * A gateway of revision 2026-07-28, for messages of that revision. Their bytes do not change; the
 * HTTP headers that repeat parts of them are added (MCP 2026-07-28, Streamable HTTP §Request
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

  /** Every message of a modern gateway belongs to a request. */
  listen(): void {}

  send(message: Message, observer: MessageObserver): Delivery {
    // Over HTTP this revision has neither responses nor notifications/cancelled: closing the stream
    // cancels (MCP 2026-07-28, Streamable HTTP §Sending Messages, §Cancellation).
    if (message.kind === 'response') return DONE;
    if (message.kind === 'notification') {
      if (message.method === 'notifications/cancelled') return DONE;
      return this.#upstream.send(this.#withHeaders(message), observer);
    }
    if (message.method === 'subscriptions/listen') {
      return new SendSequence((sequence) => this.#subscription(sequence, message, observer));
    }
    return new SendSequence((sequence) => this.#request(sequence, message, observer));
  }

  close(limitMs: number): Promise<void> {
    return this.#upstream.close(limitMs);
  }

  async #request(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let mismatch: Response | undefined;
    const firstAttempt = mapMessages(observer, (message) => {
      if (!isReplyTo(request.id, message)) return message;
      if (request.method === 'tools/list') return this.#rememberTools(request, message);
      if (request.method !== 'tools/call' || !isMismatch(message)) return message;
      mismatch = message;
      return undefined;
    });
    const failure = await sequence.send(this.#upstream, this.#withHeaders(request), firstAttempt);
    if (mismatch === undefined || sequence.isEnded) return failure;
    this.#log.info('the gateway misses a header of a tool: asking it for its tools again');
    await this.#refreshTools(sequence, request);
    return sequence.send(this.#upstream, this.#withHeaders(request), observer);
  }

  #withHeaders<Sent extends Request | Notification>(message: Sent): Sent {
    const isCall = message.method === 'tools/call' && this.#mirrored.size > 0;
    const tool = isCall ? stringOf(memberOf(message.bytes, 'params'), 'name') : undefined;
    const mirrored = tool === undefined ? [] : this.#mirrored.get(tool);
    return { ...message, headers: headersOf(message, mirrored) };
  }

  /** Returns the reply without the tools whose annotations are invalid. */
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

  async #refreshTools(sequence: SendSequence, call: Request): Promise<void> {
    const _meta = withMembers(metaOf(call), { progressToken: undefined });
    let cursor: Buffer | undefined;
    for (let page = 0; page < MOST_PAGES; page++) {
      let reply: Response | undefined;
      const request = this.#proxyRequest('tools/list', { cursor, _meta });
      const observer = onReplyTo(request.id, (received) => {
        reply = this.#rememberTools(request, received);
      });
      await sequence.send(this.#upstream, request, observer);
      cursor = reply && memberAt(reply.bytes, 'result', 'nextCursor');
      if (cursor === undefined || typeof valueIn(cursor) !== 'string') return;
    }
  }

  #proxyRequest(method: string, params: Params): Request {
    const id = proxyId(`${method}:${++this.#count}`);
    return this.#withHeaders(requestOf(id, method, params));
  }

  /**
   * `subscriptions/listen`: opens the stream again whenever it breaks, until the client cancels,
   * without a second acknowledgment. When the gateway closes it gracefully, the client decides what
   * to do (MCP 2026-07-28, Subscriptions §Graceful Closure).
   */
  async #subscription(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    let isAcknowledged = false;
    let hasReplied = false;
    let waitMs = SHORTEST_WAIT_MS;
    let lostAt: number | undefined;
    const acknowledgedOnce = mapMessages(observer, (message) => {
      hasReplied ||= isReplyTo(request.id, message);
      if (message.kind !== 'notification' || message.method !== ACKNOWLEDGED) return message;
      const isFirst = !isAcknowledged;
      if (lostAt !== undefined && Date.now() - lostAt > LONGEST_GAP_MS) {
        for (const missed of everyChange(message)) observer.onMessage(missed);
      }
      waitMs = SHORTEST_WAIT_MS;
      isAcknowledged = true;
      lostAt = undefined;
      return isFirst ? message : undefined;
    });
    const listen = this.#withHeaders(request);
    for (;;) {
      const failure = await sequence.send(this.#upstream, listen, acknowledgedOnce);
      if (hasReplied || sequence.isEnded || failure === undefined) return failure;
      if (!isAcknowledged || !RETRIED_REASONS.has(failure.reason)) return failure;
      lostAt ??= Date.now();
      this.#log.debug(`a subscription's stream broke off, again in ${waitMs} ms`);
      await sequence.pause(waitMs);
      waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
    }
  }
}

/** Whether a call was refused for its headers before it ran: with HTTP 200, the code is the tool's. */
function isMismatch(reply: Response): boolean {
  if (errorCodeOf(reply) !== HEADER_MISMATCH) return false;
  return wasNotRun({ sent: true, status: reply.refusedWith, reply });
}

/** One notification for each change that the acknowledgment covers. */
function everyChange(acknowledgment: Notification): Message[] {
  const params = memberOf(acknowledgment.bytes, 'params');
  const filter = memberOf(params, 'notifications');
  const id = memberAt(acknowledgment.bytes, 'params', '_meta', META.subscriptionId);
  const _meta = withMembers(undefined, { [META.subscriptionId]: id });
  const lists = LIST_KINDS.filter(
    (kind) => valueIn(memberOf(filter, `${kind}ListChanged`)) === true,
  );
  const resources = itemsOf(memberOf(filter, 'resourceSubscriptions')) ?? [];
  return [
    ...lists.map((kind) => notificationOf(listChanged(kind), { _meta })),
    ...resources.map((uri) => notificationOf('notifications/resources/updated', { _meta, uri })),
  ];
}
