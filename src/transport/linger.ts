const LONGEST_MS = 10_000;
/** How long one that is too many may take to end by itself, as most do. */
const GRACE_MS = 1_000;
const MOST = 8;

/** Those that may stay open, the oldest first. */
const lingering = new Set<Linger>();

/**
 * An answer that stays open after what was due, for messages that belong to no request: for 10 s
 * after the last one. With more than 8 of them in this process the oldest is closed after 1 s. A
 * gateway should end a stream after the reply (MCP 2025-11-25, Transports §Sending Messages to the
 * Server, 6); where it does not, each message would cost a connection.
 */
export class Linger {
  readonly #close: () => void;
  #timer: NodeJS.Timeout;

  /** `close` ends the answer. */
  constructor(close: () => void) {
    this.#close = close;
    this.#timer = setTimeout(close, LONGEST_MS).unref();
    lingering.add(this);
    const [oldest = this] = lingering;
    if (lingering.size > MOST) oldest.#hurry();
  }

  /** It has brought another message. */
  refresh(): void {
    if (lingering.has(this)) this.#timer.refresh();
  }

  /** It is closed. */
  end(): void {
    clearTimeout(this.#timer);
    lingering.delete(this);
  }

  #hurry(): void {
    this.end();
    this.#timer = setTimeout(this.#close, GRACE_MS).unref();
  }
}
