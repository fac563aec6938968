import type { Failure } from '../../failures/failure.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { watchForNetworkChange } from '../../http/network-watch.ts';
import { watchForSleep } from '../../http/sleep-watch.ts';
import { memberAt, memberOf, valueIn } from '../../jsonrpc/json-members.ts';
import type { Message, Notification, Request, Response } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import { monotonicMs } from '../../monotonic-clock.ts';
import { isInitialized, isOpenEnded } from '../../transport/methods.ts';
import {
  type Delivery,
  type MessageObserver,
  NO_OBSERVER,
  type Transport,
} from '../../transport/transport.ts';
import { metaOf, notificationOf, withId } from '../messages.ts';
import { listChanged } from '../revisions.ts';
import { DONE, isReplyTo, SendSequence } from '../send-sequence.ts';
import type { CachedGateway } from './cache-file.ts';
import { CachedReplies, discoverAs, protocolVersionIn } from './cached-replies.ts';
import { CACHE_AFTER_MS, mayPassLater, type Opening } from './opening.ts';
import { tellingOf } from './subscription-changes.ts';

const SHORTEST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** Before the client has an answer, it is tried more often. */
const LONGEST_START_WAIT_MS = 5_000;

/** What an attempt to open came to; undefined where it was aborted. */
type Outcome = Response | Failure | undefined;

export interface OutageOptions {
  /** Opens a session with it. */
  readonly gateway: Transport;
  /** What messages are sent to once the gateway can be reached again. */
  readonly online: Transport;
  readonly opening: Opening;
  readonly cached: CachedGateway | undefined;
  /** How long the opening is tried again where there is no cached handshake, in milliseconds. */
  readonly patienceMs: number;
  /** Receives messages that belong to no request. */
  readonly listener: MessageObserver;
  readonly log: Log;
  remember(request: Request, reply: Response): void;
  /** The client is answered from the cache from now on. */
  onBegin(outage: Outage): void;
  /** It is no longer. */
  onEnd(outage: Outage): void;
}

/**
 * A gateway that could not be reached when the client began. Tries to open a session, with the
 * client's own opening request, until that succeeds: with a growing pause, and at once when the
 * computer has slept or its network has changed, and when the client sends a request. Meanwhile lists
 * come from the cache, and every other request gets the failure.
 */
export class Outage implements Pick<Transport, 'send'> {
  readonly #options: OutageOptions;
  readonly #cached: CachedReplies;
  /** Subscriptions that wait for the gateway; told of a failure that will not pass. */
  readonly #held = new Set<(outcome: Outcome) => void>();
  /** The kinds of lists that have changed, once that is known. */
  #changed: Promise<readonly string[]> = Promise.resolve([]);
  #attempt: Promise<Outcome> | undefined;
  #delivery: Delivery | undefined;
  /** What waits for the attempts, before it is answered. */
  #client: SendSequence | undefined;
  #initialized: Notification | undefined;
  #hasBegun = false;
  #isOver = false;
  #endWatches: (() => void)[] = [];
  #wake: () => void = () => {};
  #isWoken = false;
  /** What the last attempt failed with. */
  #failure: Failure | undefined;

  constructor(options: OutageOptions) {
    this.#options = options;
    this.#cached = new CachedReplies(options.cached, options.opening.request.method);
  }

  /**
   * Brings the client an answer to its opening request: the gateway's, the cache's once 3 s have
   * passed since `startedAt` (as `monotonicMs()` has it), or the failure, when that will not pass
   * or has not for as long as it may. `first` is the attempt that is under way.
   */
  async open(
    client: SendSequence,
    first: Promise<Outcome>,
    startedAt: number,
  ): Promise<Failure | undefined> {
    const { opening, patienceMs } = this.#options;
    this.#client = client;
    this.#follow(first);
    void client.ended.then(() => {
      if (!this.#hasBegun) this.close();
    });
    const reply = this.#cached.replyTo(opening.request);
    if (reply === undefined) return this.#keepTrying(startedAt + patienceMs);
    const opened = this.#keepTrying(Number.POSITIVE_INFINITY);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      const leftMs = startedAt + CACHE_AFTER_MS - monotonicMs();
      timer = setTimeout(resolve, leftMs, 'late');
    });
    const outcome = await Promise.race([opened, late]);
    clearTimeout(timer);
    if (outcome !== 'late') return outcome;
    if (client.isEnded) return undefined;
    this.#client = undefined;
    this.#begin();
    opened.catch((bug: Error) => this.#options.log.error(`bug: ${bug.stack}`));
    opening.answer(reply);
    return undefined;
  }

  /** Answers the client from the cache from now on, where `failure` has come to a later request. */
  beginNow(failure: Failure): void {
    if (this.#hasBegun) return;
    this.#failure = failure;
    this.#begin();
    this.#keepTrying(Number.POSITIVE_INFINITY).catch((bug: Error) =>
      this.#options.log.error(`bug: ${bug.stack}`),
    );
  }

  #begin(): void {
    this.#hasBegun = true;
    const { log, onBegin } = this.#options;
    const why = this.#failure?.reason ?? 'no answer';
    const since = new Date(this.#cached.at).toISOString();
    log.warn(
      `Cannot reach the gateway (${why}). Your client gets the handshake and lists of ${since} from the cache.`,
    );
    const wake = () => {
      log.debug('the network has changed, or the computer has slept: connecting now');
      this.#isWoken = true;
      this.#delivery?.abort();
      this.#wake();
    };
    this.#endWatches = [watchForSleep(wake), watchForNetworkChange(wake)];
    onBegin(this);
  }

  /** Whether the cache has a reply to the request. */
  hasReplyTo(request: Request): boolean {
    return this.#cached.has(request);
  }

  send(message: Message, observer: MessageObserver): Delivery {
    if (message.kind === 'response') return DONE;
    if (message.kind === 'notification') {
      if (isInitialized(message)) this.#initialized = message;
      return DONE;
    }
    const cached = this.#cached.replyTo(message);
    if (cached !== undefined) {
      observer.onMessage(cached);
      return DONE;
    }
    return new SendSequence((sequence) =>
      isOpenEnded(message.method)
        ? this.#hold(sequence, message, observer)
        : this.#whenConnected(sequence, message, observer),
    );
  }

  /** Gives up. */
  close(): void {
    this.#end();
    this.#delivery?.abort();
  }

  async #whenConnected(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    for (;;) {
      if (this.#isOver) return sequence.send(this.#options.online, request, observer);
      const outcome = await Promise.race([this.#connect(), sequence.ended]);
      if (sequence.isEnded) return undefined;
      if (this.#isOver || outcome === undefined) continue;
      return this.#answerWith(outcome, request, observer);
    }
  }

  #answerWith(
    outcome: Response | Failure,
    request: Request,
    observer: MessageObserver,
  ): Failure | undefined {
    if ('reason' in outcome) return { ...outcome, cachedAt: this.#cached.at };
    observer.onMessage(withId(outcome, request.id));
    return undefined;
  }

  /**
   * A subscription waits for the gateway: silence is normal, and a client that gets an error
   * may not subscribe again. After the acknowledgment, it is told of the lists that have changed.
   */
  async #hold(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    const settled = new Promise<Outcome>((resolve) => this.#held.add(resolve));
    const outcome = await Promise.race([settled, sequence.ended]);
    if (sequence.isEnded) return undefined;
    if (outcome !== undefined) return this.#answerWith(outcome, request, observer);
    const { online } = this.#options;
    return sequence.send(online, request, tellingOf(this.#changed, observer, sequence));
  }

  /**
   * Tries until the gateway is open. Before the client is answered from the cache, it ends sooner: with
   * what will not pass, or once `limitAt` leaves no time for another attempt. Resolves with why;
   * undefined where the client has its answer.
   */
  async #keepTrying(limitAt: number): Promise<Failure | undefined> {
    let attempts = 0;
    let waitMs = SHORTEST_WAIT_MS;
    for (;;) {
      const outcome = await this.#connect();
      if (this.#isOver) return undefined;
      const mayPass = outcome === undefined || this.#mayPass(outcome);
      const pauseMs = this.#pauseAfter(outcome, waitMs);
      if (outcome !== undefined) {
        const failure = 'reason' in outcome ? outcome : undefined;
        this.#failure = failure;
        attempts += failure?.attempts ?? 1;
        if (!this.#hasBegun && (!mayPass || monotonicMs() + pauseMs > limitAt)) {
          this.#end();
          if (failure !== undefined) return { ...failure, attempts };
          this.#options.opening.answer(outcome as Response);
          return undefined;
        }
        if (!mayPass) {
          this.#warnOf(failure);
          this.#release(outcome);
        }
      }
      const isWoken = await this.#pause(mayPass ? pauseMs : undefined);
      if (this.#isOver) return undefined;
      const longestMs = this.#hasBegun ? LONGEST_WAIT_MS : LONGEST_START_WAIT_MS;
      waitMs = isWoken ? SHORTEST_WAIT_MS : Math.min(2 * waitMs, longestMs);
    }
  }

  #warnOf(failure: Failure | undefined): void {
    const why = failure?.reason ?? 'it refuses the handshake';
    this.#options.log.warn(
      `The gateway cannot be used (${why}). It is tried again with your next request.`,
    );
  }

  /** Joins the attempt that is under way, or makes one. */
  #connect(): Promise<Outcome> {
    if (this.#attempt === undefined) this.#follow(this.#tryOnce());
    return this.#attempt as Promise<Outcome>;
  }

  #follow(attempt: Promise<Outcome>): void {
    const settled = attempt.then((outcome) => {
      this.#attempt = undefined;
      this.#delivery = undefined;
      const isOpen = outcome !== undefined && !('reason' in outcome) && this.#isOpenedBy(outcome);
      if (isOpen && !this.#isOver) this.#onConnected(outcome);
      return outcome;
    });
    settled.catch(() => {});
    this.#attempt = settled;
  }

  async #tryOnce(): Promise<Outcome> {
    const { gateway, opening, remember } = this.#options;
    const { request, observer } = opening;
    let reply: Response | undefined;
    this.#delivery = gateway.send(request, {
      congested: () => observer.congested(),
      onMessage: (message) => {
        if (!isReplyTo(request.id, message)) return observer.onMessage(message);
        reply = message;
        remember(request, message);
      },
    });
    this.#client?.follow(this.#delivery);
    return (await this.#delivery.done) ?? reply;
  }

  /** A modern gateway needs no handshake: any reply shows that it is there. */
  #isOpenedBy(reply: Response): boolean {
    if (!this.#isHandshake) return !mayPassLater(reply);
    return !reply.isError;
  }

  #onConnected(reply: Response): void {
    const { gateway, opening, log } = this.#options;
    this.#end();
    opening.answer(reply);
    if (!this.#hasBegun) return;
    log.info('the gateway can be reached again');
    if (this.#initialized !== undefined) {
      void gateway.send(this.#initialized, NO_OBSERVER).done.then((failure) => {
        if (failure !== undefined)
          log.warn(`The gateway failed (${failure.reason}) after the handshake.`);
      });
    }
    const result = memberOf(reply.bytes, 'result');
    if (this.#isHandshake) this.#compareRevisions(result);
    this.#changed = this.#findChanges(result);
  }

  #compareRevisions(result: Buffer | undefined): void {
    const before = protocolVersionIn(this.#cached.handshake);
    const after = protocolVersionIn(result);
    if (before === after) return;
    const words = cleanNetworkText(`${after}, and your client ${before}`, 100);
    this.#options.log.warn(`The gateway now speaks revision ${words}. Restart your client.`);
  }

  /**
   * Finds what has changed. A client that has shaken hands is told of it, where the handshake in the
   * cache promised that: it may not expect any other notification (MCP 2025-11-25, Lifecycle
   * §Operation). Never rejects.
   */
  async #findChanges(result: Buffer | undefined): Promise<readonly string[]> {
    const { opening, online, listener, log } = this.#options;
    const meta = this.#isHandshake ? undefined : metaOf(discoverAs(opening.request));
    let changed: readonly string[] = [];
    try {
      changed = await this.#cached.changedKinds(online, memberOf(result, 'capabilities'), meta);
    } catch (bug) {
      log.error(`bug: ${(bug as Error).stack}`);
    }
    const promised = memberOf(this.#cached.handshake, 'capabilities');
    for (const kind of changed) {
      log.info(`the gateway's ${kind} are not as the client has them`);
      const isPromised = valueIn(memberAt(promised, kind, 'listChanged')) === true;
      if (this.#isHandshake && isPromised) listener.onMessage(notificationOf(listChanged(kind)));
    }
    return changed;
  }

  /** Whether it opens a session; a modern gateway has none. */
  get #isHandshake(): boolean {
    return this.#options.opening.request.method === 'initialize';
  }

  /**
   * A name that does not exist is a mistake in the URL, unless the gateway was reached before: some
   * systems say the same of every name while they are offline.
   */
  #mayPass(outcome: Response | Failure): boolean {
    const isUnknown = 'reason' in outcome && outcome.networkCause === 'name-not-found';
    return isUnknown ? this.#cached.isAny : mayPassLater(outcome);
  }

  /** Milliseconds until the next attempt, as the gateway asks or with some jitter. */
  #pauseAfter(outcome: Outcome, waitMs: number): number {
    const isFailure = outcome !== undefined && 'reason' in outcome;
    const askedMs = isFailure ? (outcome.retryAfterSeconds ?? 0) * 1_000 : 0;
    return Math.max(askedMs, waitMs * (0.5 + Math.random() / 2));
  }

  /** Waits, for good without a time, or until woken. Resolves with whether it was. */
  async #pause(milliseconds: number | undefined): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (this.#isWoken) resolve();
      else if (milliseconds !== undefined) timer = setTimeout(resolve, milliseconds);
    });
    clearTimeout(timer);
    const isWoken = this.#isWoken;
    this.#isWoken = false;
    return isWoken;
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const end of this.#endWatches) end();
    this.#wake();
    this.#release(undefined);
    if (this.#hasBegun) this.#options.onEnd(this);
  }

  #release(outcome: Outcome): void {
    for (const settle of this.#held) settle(outcome);
    this.#held.clear();
  }
}
