import type { Exchange } from './exchange.ts';

/** What one `send` is at, so that it can be ended. */
export interface Course {
  /** Nothing new is begun for it. */
  isOver: boolean;
  /** It renews the session, so it must not wait for that. */
  readonly isRenewal?: true;
  exchange?: Exchange;
  /** Ends a wait. */
  wake?: () => void;
}
