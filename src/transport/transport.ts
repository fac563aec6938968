import type { Failure } from '../failures/failure.ts';
import type { Secrets } from '../failures/secrets.ts';
import type { Message } from '../jsonrpc/message.ts';

/** Who takes messages that come from the gateway. */
export interface MessageObserver {
  onMessage(message: Message): void;
  /** Resolves when more may come; undefined when that is now. The producer waits until then. */
  congested(): Promise<void> | undefined;
  /** Told when the session was lost and a new one began: it knows nothing of what was set in it. */
  onNewSession?(): void;
}

/** A message on its way to the gateway. */
export interface Delivery {
  /**
   * Never rejects. Undefined when all went well: a request's reply has been given to the observer,
   * anything else was accepted. Undefined as well after `abort`.
   */
  readonly done: Promise<Failure | undefined>;
  /**
   * Whether the gateway may have acted on it by now. False while nothing of it has left this
   * computer, and when the gateway has turned it away.
   */
  readonly mayHaveRun: boolean;
  /**
   * Lets what is under way end by itself, but begins nothing new for it: no further attempt, nor
   * one that has no connection yet.
   */
  stop(): void;
  /** Ends it now: nothing more of it reaches the observer. */
  abort(): void;
}

/** What the stdio side talks to: the gateway, or what translates for it. */
export interface Transport {
  /** Names who takes messages that belong to no request. Called once, before `send`. */
  listen(observer: MessageObserver): void;
  /** Sends a message; all that comes back on account of it goes to the observer. */
  send(message: Message, observer: MessageObserver): Delivery;
  /** Ends the session, waiting at most `limitMs`, and closes every connection. Never rejects. */
  close(limitMs: number): Promise<void>;
}

/** For messages whose reply is not waited for. */
export const NO_OBSERVER: MessageObserver = { onMessage: () => {}, congested: () => undefined };

/** An observer that is given what `map` makes of each message; nothing where that is undefined. */
export function mapMessages(
  observer: MessageObserver,
  map: (message: Message) => Message | undefined,
): MessageObserver {
  return new MappedObserver(observer, map);
}

/** Each call makes some: an object with a function for each method would cost three times as much. */
class MappedObserver implements MessageObserver {
  readonly #observer: MessageObserver;
  readonly #map: (message: Message) => Message | undefined;

  constructor(observer: MessageObserver, map: (message: Message) => Message | undefined) {
    this.#observer = observer;
    this.#map = map;
  }

  congested(): Promise<void> | undefined {
    return this.#observer.congested();
  }

  onNewSession(): void {
    this.#observer.onNewSession?.();
  }

  onMessage(message: Message): void {
    const mapped = this.#map(message);
    if (mapped !== undefined) this.#observer.onMessage(mapped);
  }
}

/** An observer that is given each message as `Secrets.maskMessage` leaves it. */
export function masked(observer: MessageObserver, secrets: Secrets): MessageObserver {
  return mapMessages(observer, (message) => secrets.maskMessage(message));
}
