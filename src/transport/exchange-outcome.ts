import type { Headers } from '../http/request.ts';
import type { Message, Response } from '../jsonrpc/message.ts';

/** How an exchange came out: facts of the wire, to be judged by the gateway. */
export type ExchangeOutcome =
  /** The reply was given to the observer. More messages may follow on an event stream. */
  | { readonly kind: 'replied' }
  /** A 2xx where no reply is due; of an event stream that was due, its end. */
  | { readonly kind: 'accepted'; readonly isEventStream: boolean }
  /**
   * Not a 2xx. `body` is at most 64 KiB of it; `reply` is the response with the request's id that
   * was found in it, an error or a result. `isReplyCut`: it is JSON that was not read to its end,
   * so that there may have been a reply in it.
   */
  | {
      readonly kind: 'http-error';
      readonly status: number;
      readonly headers: Headers;
      readonly body: Buffer;
      readonly reply?: Response;
      readonly isReplyCut?: true;
    }
  /**
   * A 2xx with an error in the place of the reply. `reply` is that as a JSON-RPC error to the
   * request, `isOwn` where it came with the request's id; without it, `body` says in another format
   * what is wrong. `isFirst`: no message came before it.
   */
  | {
      readonly kind: 'refused';
      readonly status: number;
      readonly body: Buffer;
      readonly reply?: Response;
      readonly isOwn: boolean;
      readonly isFirst: boolean;
    }
  /**
   * A 2xx with a body that is not the reply; `what` says in words what it is instead. `isHttpSse`: a
   * stream of the HTTP+SSE transport.
   */
  | {
      readonly kind: 'not-mcp';
      readonly status: number;
      readonly what: string;
      readonly isHttpSse?: true;
    }
  /** A message larger than the limit. */
  | { readonly kind: 'too-large'; readonly status: number }
  /**
   * The connection failed or the body broke off. `sent`: the request had begun to leave this
   * machine, so it may have run. `status` is there once the answer's head was.
   */
  | {
      readonly kind: 'transport-error';
      readonly error: Error;
      readonly sent: boolean;
      readonly status?: number;
    }
  /** This program failed in itself on an event of the request, which may have run. */
  | { readonly kind: 'bug'; readonly error: Error }
  | { readonly kind: 'aborted' };

/** The answer to a POST of a gateway that takes it for a GET of HTTP+SSE (MCP 2024-11-05, Transports). */
export const HTTP_SSE_STREAM: ExchangeOutcome = {
  kind: 'not-mcp',
  status: 200,
  what: 'an HTTP+SSE stream',
  isHttpSse: true,
};

/** Watches an exchange from outside. Must not throw. */
export interface ExchangeWatcher {
  /** A message has come, of which nothing is made yet. */
  onReceived(message: Message): void;
  /** How it ends; what comes after the first time is not its end. */
  onEnded(outcome: ExchangeOutcome): void;
}
