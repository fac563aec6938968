import type { Failure } from '../../failures/failure.ts';
import type { Request, Response } from '../../jsonrpc/message.ts';
import type { MessageObserver } from '../../transport/transport.ts';

/** How long the opening request may go unanswered before the cache answers it. */
export const CACHE_AFTER_MS = 3_000;

/** The request that a client opens with, and what the client has been told. */
export interface Opening {
  readonly request: Request;
  /** Passes a reply on to the client, unless it has one. */
  answer(reply: Response): void;
  /** Receives what the gateway sends on account of the request, but for replies to it. */
  readonly observer: MessageObserver;
}

/** A reply to be remembered, as it came. */
export interface Exchange {
  readonly request: Request;
  readonly response: Response;
  /** When it came, in ms since 1970. */
  readonly at: number;
}

/** Whether what an attempt to open came to may be otherwise the next time. */
export function mayPassLater(outcome: Response | Failure): boolean {
  return 'reason' in outcome ? outcome.isTransient === true : saysItMayPass(outcome);
}

/** Whether it is an error that came with an HTTP status which may pass. */
export function saysItMayPass({ isError, refusedWith = 0 }: Response): boolean {
  return isError && refusedWith >= 500 && refusedWith !== 501;
}
