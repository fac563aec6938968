import type { Failure } from '../failures/failure.ts';
import type { Delivery } from './transport.ts';

/** One try to get a message to the gateway. */
interface Attempt {
  /** Whether it has a connection, and begins to leave this computer. */
  readonly hasBegun: boolean;
  /** Ends it now: nothing more reaches the observer. */
  abort(): void;
}

/**
 * What one `send` is at, so that it can be ended. A class, since an object literal with a getter
 * costs a hidden class a call, which only a full garbage collection frees.
 */
export class DeliveryState implements Delivery {
  done: Promise<Failure | undefined> = Promise.resolve(undefined);
  /** Nothing new is begun for it. */
  isOver = false;
  /** It renews the session, so it must not wait for that. */
  readonly isRenewal: boolean;
  attempt: Attempt | undefined;
  /** Path and query that it is sent to. Undefined before the first attempt. */
  target: string | undefined;
  /** Whether an attempt before the present one may have run. */
  hadAttempt = false;
  #wake: (() => void) | undefined;

  constructor({ isRenewal = false } = {}) {
    this.isRenewal = isRenewal;
  }

  get mayHaveRun(): boolean {
    return this.hadAttempt || this.attempt?.hasBegun === true;
  }

  /** Waits, unless and until it is over. */
  pause(milliseconds: number): Promise<void> {
    if (this.isOver) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  stop(): void {
    this.isOver = true;
    this.#wake?.();
    // Of a request that still waits for its connection the gateway need not hear.
    if (this.attempt?.hasBegun === false) this.attempt.abort();
  }

  abort(): void {
    this.isOver = true;
    this.#wake?.();
    this.attempt?.abort();
  }
}
