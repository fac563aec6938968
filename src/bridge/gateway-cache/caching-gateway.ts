import type { Secrets } from '../../failures/secrets.ts';
import type { Message, Request, Response } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import { monotonicMs } from '../../monotonic-clock.ts';
import type { ProxySettings } from '../../settings/settings.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  NO_OBSERVER,
  type Transport,
} from '../../transport/transport.ts';
import { isReplyTo, SendSequence } from '../send-sequence.ts';
import type * as Cache from './cache.ts';
import {
  CACHE_AFTER_MS,
  type Exchange,
  mayPassLater,
  type Opening,
  saysItMayPass,
} from './opening.ts';

/** How long after a reply it is written to the cache: what follows soon is written with it. */
const SAVE_AFTER_MS = 1_000;
/** What is kept until it is written. */
const MOST_UNSAVED_BYTES = 16 * 1024 * 1024;

const DISCOVER = 'server/discover';
const LISTS: ReadonlySet<string> = new Set([
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
]);

export interface CachingOptions {
  readonly settings: ProxySettings;
  /** The folder of the cache's files; undefined where nothing is kept. */
  readonly folder: string | undefined;
  readonly secrets: Secrets;
  readonly log: Log;
}

/**
 * A gateway that can be begun without it. Keeps the handshake and the lists that it sent last, in a
 * file. When the opening request meets a failure that may pass, it is tried again for as long as
 * `--start-patience` says, or, where there is a handshake in the cache, answered from there. Then the
 * connection is tried in the background (`Outage`). In a healthy session it passes each message on as
 * it is, and writes the file some time after the reply.
 */
export class CachingGateway implements Transport {
  readonly #gateway: Transport;
  readonly #options: CachingOptions;
  #observer = NO_OBSERVER;
  /** While `initialize` is under way, later messages wait for it. */
  #opening: Promise<unknown> | undefined;
  /** The client's `initialize`, if it has sent one. */
  #initialize: Request | undefined;
  /** While the client has its answers from the cache. */
  #outage: Cache.Outage | undefined;
  #unsaved: Exchange[] = [];
  #unsavedBytes = 0;
  #saveTimer: NodeJS.Timeout | undefined;
  #writer: Cache.CacheWriter | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(gateway: Transport, options: CachingOptions) {
    this.#gateway = gateway;
    this.#options = options;
  }

  listen(observer: MessageObserver): void {
    this.#observer = observer;
    this.#gateway.listen(observer);
  }

  send(message: Message, observer: MessageObserver): Delivery {
    const opening = this.#opening;
    if (opening !== undefined && message.kind !== 'response') {
      return new SendSequence((sequence) =>
        opening.then(() => sequence.send(this, message, observer)),
      );
    }
    const { kind } = message;
    if (kind === 'request' && message.method === 'initialize') {
      return this.#shakeHands(message, observer);
    }
    if (this.#outage !== undefined) return this.#outage.send(message, observer);
    if (kind !== 'request') return this.#gateway.send(message, observer);
    if (message.method === DISCOVER) return this.#open(message, observer);
    if (LISTS.has(message.method)) return this.#list(message, observer);
    return this.#gateway.send(message, observer);
  }

  async close(limitMs: number): Promise<void> {
    this.#outage?.close();
    await Promise.all([this.#save(), this.#gateway.close(limitMs)]);
  }

  #shakeHands(initialize: Request, observer: MessageObserver): Delivery {
    this.#outage?.close();
    this.#outage = undefined;
    this.#initialize = initialize;
    const handshake = this.#open(initialize, observer);
    const opening = handshake.done.finally(() => {
      this.#opening = undefined;
    });
    opening.catch(() => {});
    this.#opening = opening;
    return handshake;
  }

  #open(request: Request, observer: MessageObserver): SendSequence {
    return new SendSequence(async (sequence) => {
      const startedAt = monotonicMs();
      let isAnswered = false;
      let lastReply: Response | undefined;
      const opening: Opening = {
        request,
        answer: (reply) => {
          if (!isAnswered) observer.onMessage(reply);
          isAnswered = true;
        },
        observer: mapMessages(observer, (message) =>
          isReplyTo(request.id, message) ? undefined : message,
        ),
      };
      const attempt = this.#gateway.send(
        request,
        mapMessages(observer, (message) => {
          if (!isReplyTo(request.id, message)) return message;
          lastReply = message;
          this.#remember(request, message);
          if (!saysItMayPass(message)) opening.answer(message);
          return undefined;
        }),
      );
      sequence.follow(attempt);
      const first = attempt.done.then((failure) => failure ?? lastReply);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<'late'>((resolve) => {
        if (this.#options.folder !== undefined) timer = setTimeout(resolve, CACHE_AFTER_MS, 'late');
      });
      const outcome = await Promise.race([first, late]);
      clearTimeout(timer);
      if (sequence.isEnded || outcome === undefined) return undefined;
      if (outcome !== 'late' && !mayPassLater(outcome)) {
        return 'reason' in outcome ? outcome : undefined;
      }
      const outage = await this.#newOutage(opening);
      return outage.open(sequence, first, startedAt);
    });
  }

  /**
   * Sends a request for a list. Where a modern gateway fails, a list that it sent before may be used
   * instead (MCP 2026-07-28, Caching §Freshness Calculation).
   */
  #list(request: Request, observer: MessageObserver): Delivery {
    const remembering = mapMessages(observer, (message) => {
      if (isReplyTo(request.id, message)) this.#remember(request, message);
      return message;
    });
    if (this.#options.folder === undefined || this.#initialize !== undefined) {
      return this.#gateway.send(request, remembering);
    }
    return new SendSequence(async (sequence) => {
      const failure = await sequence.send(this.#gateway, request, remembering);
      if (failure?.isTransient !== true || sequence.isEnded) return failure;
      const { discoverAs } = await import('./cache.ts');
      const opening = { request: discoverAs(request), answer: () => {}, observer: NO_OBSERVER };
      const made = await this.#newOutage(opening);
      const outage = this.#outage ?? made;
      if (sequence.isEnded || !outage.hasReplyTo(request)) return failure;
      outage.beginNow(failure);
      return sequence.send(outage, request, observer);
    });
  }

  async #newOutage(opening: Opening): Promise<Cache.Outage> {
    const { settings, folder, log } = this.#options;
    const { Outage, readCache } = await import('./cache.ts');
    return new Outage({
      gateway: this.#gateway,
      online: this,
      opening,
      cached: folder === undefined ? undefined : readCache(folder, settings, opening.request, log),
      patienceMs: settings.startPatienceMs,
      listener: this.#observer,
      log,
      remember: (request, response) => this.#remember(request, response),
      onBegin: (outage) => {
        this.#outage?.close();
        this.#outage = outage;
      },
      onEnd: (outage) => {
        if (this.#outage === outage) this.#outage = undefined;
      },
    });
  }

  #remember(request: Request, response: Response): void {
    if (response.isError || this.#options.folder === undefined) return;
    this.#unsavedBytes += response.bytes.length;
    if (this.#unsavedBytes > MOST_UNSAVED_BYTES) this.#unsaved = [];
    else this.#unsaved.push({ request, response, at: Date.now() });
    this.#saveTimer ??= setTimeout(() => void this.#save(), SAVE_AFTER_MS);
  }

  /** Writes what is not written yet. Never rejects. */
  #save(): Promise<void> {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    const { settings, folder, secrets, log } = this.#options;
    const unsaved = this.#unsaved;
    this.#unsaved = [];
    this.#unsavedBytes = 0;
    if (folder === undefined || unsaved.length === 0) return this.#saving;
    const save = async () => {
      await this.#saving;
      try {
        const { CacheWriter } = await import('./cache.ts');
        this.#writer ??= new CacheWriter({ folder, settings, secrets, log });
        await this.#writer.save(unsaved, this.#initialize);
      } catch (error) {
        log.debug(`the cache is not written: ${(error as Error).message}`);
      }
    };
    this.#saving = save();
    return this.#saving;
  }
}
