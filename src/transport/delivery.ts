import type { Credential } from '../auth/credential.ts';
import type { Failure } from '../failures/failure.ts';
import type { Message, Notification, Request, Response } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { replyInErrorResponse } from './classify-outcome.ts';
import { decide, type FailedAttempt, type Policy } from './delivery-policies.ts';
import { DeliveryState } from './delivery-state.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { HandshakeGate } from './handshake-gate.ts';
import { isInitialize, isInitialized } from './methods.ts';
import { outcomeOf, wasNotRun } from './not-run.ts';
import type { Delivery, MessageObserver } from './transport.ts';

/** How one attempt to send a message came out. */
export interface Attempt {
  readonly outcome: ExchangeOutcome;
  readonly credential: Credential;
  /** False where the outcome is that of something else, which had to succeed first. */
  readonly isOfMessage: boolean;
}

/** What the transports do each in their own way. */
export interface DeliverySteps<Made extends Attempt> {
  /**
   * Makes one attempt, which is `state.attempt` meanwhile. `settled` where there is nothing to judge:
   * why it cannot be made, or undefined where it need not be.
   */
  attempt(
    message: Message,
    observer: MessageObserver,
    state: DeliveryState,
  ): Promise<Made | { readonly settled: Failure | undefined }>;
  /** The gateway has accepted `notifications/initialized`. */
  initialized(notification: Notification): void;
  /** Whether the gateway did not know the session that an attempt was made in. */
  isLostSession(made: Made): boolean;
  /** Whether the same request twice does no more than once. */
  mayRepeat(request: Request): boolean;
  /** In the order in which they are asked; made when an attempt has failed. */
  policies(state: DeliveryState): readonly Policy<Made & FailedAttempt>[];
  /** What the observer is given for a reply that came with an error status. */
  read(request: Request, reply: Response): Message;
  /** Judges what no policy can change. Never rejects. */
  failureOf(failed: Made & FailedAttempt): Promise<Failure>;
}

/**
 * Sends messages, each after the handshake before it, and again where that is safe and may help,
 * until it is settled.
 */
export class DeliveryLoop<Made extends Attempt> {
  readonly #steps: DeliverySteps<Made>;
  readonly #log: Log;
  readonly #gate = new HandshakeGate();

  constructor(steps: DeliverySteps<Made>, log: Log) {
    this.#steps = steps;
    this.#log = log;
  }

  send(message: Message, observer: MessageObserver): Delivery {
    const state = new DeliveryState();
    const before = this.#gate.before(message);
    state.done =
      before === undefined
        ? this.deliver(message, observer, state)
        : before.then(() => this.deliver(message, observer, state));
    if (isInitialize(message) || isInitialized(message)) {
      this.#gate.raise(message.method, state.done);
    }
    return state;
  }

  /** Makes messages wait until a session has been renewed. */
  holdFor(renewal: Promise<unknown>): void {
    this.#gate.raise('initialize', renewal);
  }

  /** Sends a message without waiting for a handshake. Resolves as `Delivery.done` does. */
  async deliver(
    message: Message,
    observer: MessageObserver,
    state: DeliveryState,
  ): Promise<Failure | undefined> {
    const startedAt = Date.now();
    const steps = this.#steps;
    let policies: readonly Policy<Made & FailedAttempt>[] | undefined;
    for (let attempts = 1; ; ) {
      const made = await steps.attempt(message, observer, state);
      if ('settled' in made) return made.settled;
      const { outcome, isOfMessage } = made;
      if (state.isOver || outcome.kind === 'replied' || outcome.kind === 'aborted') {
        return undefined;
      }
      if (message.kind !== 'request' && outcome.kind === 'accepted') {
        if (isInitialized(message)) steps.initialized(message);
        return undefined;
      }
      state.attempt = undefined;
      const isNotRun =
        !isOfMessage ||
        wasNotRun(outcomeOf(outcome)) ||
        // Not after an event stream that broke off and was gone on with.
        (!state.hadAttempt && steps.isLostSession(made));
      if (!isNotRun) state.hadAttempt = true;
      const mayRepeat = () =>
        !isOfMessage || (message.kind === 'request' && steps.mayRepeat(message));
      const failed = { ...made, message, attempts, startedAt, mayRepeat };
      if (isNotRun || mayRepeat()) {
        policies ??= steps.policies(state);
        const decision = await decide(policies, failed);
        if (decision === 'send-again') continue;
        if (decision !== undefined) {
          if ('settled' in decision) return decision.settled;
          const { waitMs } = decision;
          this.#log.info(`attempt ${attempts} failed, again in ${Math.round(waitMs)} ms`);
          await state.pause(waitMs);
          if (state.isOver) return undefined;
          attempts++;
          continue;
        }
      }
      const reply =
        isOfMessage && message.kind === 'request'
          ? replyInErrorResponse(message, outcome)
          : undefined;
      if (reply === undefined) return steps.failureOf(failed);
      observer.onMessage(steps.read(message as Request, reply));
      return undefined;
    }
  }
}
