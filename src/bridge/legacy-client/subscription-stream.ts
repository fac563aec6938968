import type { Failure } from '../../failures/failure.ts';
import {
  itemsOf,
  memberAt,
  memberOf,
  stringOf,
  textIn,
  valueIn,
} from '../../jsonrpc/json-members.ts';
import type { Message, MessageId, Request, Response } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  type Transport,
} from '../../transport/transport.ts';
import { proxyId, requestOf, resultFor, withId } from '../messages.ts';
import { ACKNOWLEDGED, LIST_KINDS } from '../revisions.ts';
import { DONE, isReplyTo, SendSequence } from '../send-sequence.ts';
import { invalidParams, toModernMeta, withoutSubscriptionId } from './translate.ts';

/** The pause after the gateway has closed the stream gracefully. */
const REOPEN_MS = 5_000;
/** The pause after the stream could not be opened. */
const RETRY_MS = 60_000;

export interface SubscriptionStreamOptions {
  readonly modern: Transport;
  /** The client's `initialize`. */
  readonly initialize: Request;
  /** Receives the notifications. */
  readonly observer: MessageObserver;
  readonly log: Log;
}

/** One `subscriptions/listen` request and what came of it. */
interface Listen {
  /** The resources that the gateway agreed to watch. */
  readonly resources: Set<string>;
  isOpen: boolean;
  error?: Response;
  failure?: Failure | undefined;
  delivery: Delivery;
}

/**
 * The stream of notifications that a legacy client gets without subscribing to it, and its
 * resource subscriptions. At a modern gateway this is one `subscriptions/listen` request, replaced
 * by another when the resources change.
 */
export class SubscriptionStream {
  readonly #options: SubscriptionStreamOptions;
  /** What the gateway can do, as JSON. */
  readonly #capabilities: Buffer | undefined;
  readonly #resources = new Set<string>();
  #current: Listen | undefined;
  #opening: Promise<unknown> = Promise.resolve();
  /** The one that starts after `#opening`. */
  #nextOpening: Promise<Listen> | undefined;
  #hasEnded = false;
  #count = 0;

  constructor(options: SubscriptionStreamOptions, capabilities: Buffer | undefined) {
    this.#options = options;
    this.#capabilities = capabilities;
  }

  /**
   * Opens a stream for everything that the client should get, in place of the current one, which
   * ends as soon as the new one is acknowledged. Resolves then, or when it cannot be opened.
   * Calls that come while a stream opens share the next one: acknowledged out of order, an older
   * stream would stay open beside a newer one.
   */
  open(): Promise<Listen> {
    this.#nextOpening ??= this.#opening.then(() => {
      this.#nextOpening = undefined;
      const opening = this.#replace();
      this.#opening = opening;
      return opening;
    });
    return this.#nextOpening;
  }

  /** Answers `resources/subscribe` and `resources/unsubscribe`. */
  subscribe(request: Request, observer: MessageObserver): Delivery {
    const uri = stringOf(memberOf(request.bytes, 'params'), 'uri');
    if (uri === undefined) {
      observer.onMessage(invalidParams(request, 'a uri is missing'));
      return DONE;
    }
    return new SendSequence(async (sequence) => {
      const isSubscribe = request.method === 'resources/subscribe';
      sequence.markMayHaveRun();
      if (isSubscribe) this.#resources.add(uri);
      else this.#resources.delete(uri);
      const listen = await Promise.race([this.open(), sequence.ended]);
      if (listen === undefined || sequence.isEnded) return undefined;
      const { resources, failure, error } = listen;
      if (!isSubscribe || resources.has(uri)) {
        observer.onMessage(resultFor(request.id, '{}'));
        return undefined;
      }
      this.#resources.delete(uri);
      if (failure !== undefined) return failure;
      const why = 'the gateway does not tell of changes of this resource';
      observer.onMessage(error ? withId(error, request.id) : invalidParams(request, why));
      return undefined;
    });
  }

  /** Closes the stream for good. */
  end(): void {
    this.#hasEnded = true;
    this.#current?.delivery.abort();
  }

  async #replace(): Promise<Listen> {
    const previous = this.#current;
    const filter = this.#filter();
    const listen: Listen = { resources: new Set(), isOpen: false, delivery: DONE };
    if (this.#hasEnded) return listen;
    this.#current = listen;
    if (filter === undefined) {
      previous?.delivery.abort();
      return listen;
    }
    const { modern, initialize } = this.#options;
    const id = proxyId(`subscription:${++this.#count}`);
    const request = requestOf(id, 'subscriptions/listen', {
      _meta: toModernMeta(initialize),
      notifications: JSON.stringify(filter),
    });
    await new Promise<void>((onOpened) => {
      const observer = this.#observe(id, listen, previous, onOpened);
      listen.delivery = new SendSequence(async (sequence) => {
        listen.failure = await sequence.send(modern, request, observer);
        onOpened();
        if (!sequence.isEnded) await this.#reopen(sequence, listen, previous);
        return undefined;
      });
    });
    return listen;
  }

  #observe(
    id: MessageId,
    listen: Listen,
    previous: Listen | undefined,
    onOpened: () => void,
  ): MessageObserver {
    return mapMessages(this.#options.observer, (message) => {
      if (isReplyTo(id, message)) {
        if (message.isError) listen.error = message;
        return undefined;
      }
      if (message.kind !== 'notification' || message.method !== ACKNOWLEDGED) {
        return this.#isNewestOpen(listen) ? withoutSubscriptionId(message) : undefined;
      }
      for (const uri of acknowledgedResources(message)) listen.resources.add(uri);
      listen.isOpen = true;
      previous?.delivery.abort();
      onOpened();
      return undefined;
    });
  }

  /** While two streams are open, each change comes through both. */
  #isNewestOpen(listen: Listen): boolean {
    return this.#current === listen || this.#current?.isOpen === false;
  }

  /** After a stream has closed, opens another, or goes back to the previous one. */
  async #reopen(
    sequence: SendSequence,
    listen: Listen,
    previous: Listen | undefined,
  ): Promise<void> {
    if (this.#current !== listen) return;
    if (!listen.isOpen) {
      this.#options.log.info('the gateway opens no stream for changes');
      if (previous?.isOpen === true) this.#current = previous;
      if (listen.failure === undefined || previous?.isOpen === true) return;
    }
    await sequence.pause(listen.isOpen ? REOPEN_MS : RETRY_MS);
    if (!sequence.isEnded && this.#current === listen) void this.open();
  }

  /** The `notifications` of `subscriptions/listen`; undefined if there is nothing to listen for. */
  #filter(): object | undefined {
    const filter: Record<string, unknown> = {};
    for (const kind of LIST_KINDS) {
      const isSupported = valueIn(memberAt(this.#capabilities, kind, 'listChanged')) === true;
      if (isSupported) filter[`${kind}ListChanged`] = true;
    }
    if (this.#resources.size > 0) filter.resourceSubscriptions = [...this.#resources];
    return Object.keys(filter).length === 0 ? undefined : filter;
  }
}

function acknowledgedResources({ bytes }: Message): string[] {
  const agreed = memberAt(bytes, 'params', 'notifications', 'resourceSubscriptions');
  return (itemsOf(agreed) ?? []).flatMap((item) => textIn(item) ?? []);
}
