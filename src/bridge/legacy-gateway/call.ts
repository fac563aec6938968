import type { Failure } from '../../failures/failure.ts';
import { INVALID_PARAMS, URL_ELICITATION_REQUIRED } from '../../jsonrpc/error-codes.ts';
import {
  entriesOf,
  itemsOf,
  memberAt,
  memberOf,
  stringOf,
  withMembers,
} from '../../jsonrpc/json-members.ts';
import {
  errorCodeOf,
  type Message,
  type MessageId,
  type Request,
  type Response,
} from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import type { Delivery, MessageObserver } from '../../transport/transport.ts';
import { errorFor, metaOf, resultFor } from '../messages.ts';
import { MAY_REQUIRE_INPUT } from '../revisions.ts';
import { DONE, isReplyTo, type SendSequence, withOneReply } from '../send-sequence.ts';
import type { LegacySession } from './session.ts';
import {
  canOpenLinks,
  isSameCall,
  levelIn,
  mayAsk,
  type ServerRequest,
  toLegacyRequest,
  toModernElicitation,
  toModernResult,
} from './translate.ts';

/** Limits the calls that wait for input, and the requests of the gateway that wait for a call. */
export const MOST_WAITING = 100;
/** How long a call waits for the client's retry. */
const WAIT_FOR_INPUT_MS = 15 * 60_000;

/** What a call needs of the adapter that it belongs to. */
export interface CallContext {
  readonly session: LegacySession;
  /** The calls that have not ended. */
  readonly calls: Set<Call>;
  /** Holds the gateway back while the client's request is away for input. */
  readonly observer: MessageObserver;
  readonly log: Log;
  /** Takes what the gateway sends on account of a call, except its reply. */
  onMessage(message: Message, call: Call): void;
  /** Takes a request of the gateway that the call leaves open and another may carry. */
  onOrphan(request: ServerRequest): void;
}

/** The client's request that gets the call's next result: the first attempt, or a retry. */
interface PendingRequest {
  readonly request: Request;
  /** Kept here, because a large request must not be parsed at each notification. */
  readonly progressToken: Buffer | undefined;
  readonly level: number;
  readonly observer: MessageObserver;
  readonly sequence: SendSequence;
  resolve(failure?: Failure): void;
}

/** A request of the gateway that the client has not answered. */
interface PendingInput {
  readonly request: ServerRequest;
  /** It came on this call's stream, so no other call can carry it. */
  readonly isBound: boolean;
}

/** A request that runs at the gateway; the client may need several requests to get its result. */
export class Call {
  readonly request: Request;
  readonly meta: Buffer | undefined;
  readonly #context: CallContext;
  readonly #inputs = new Map<string, PendingInput>();
  #id: MessageId;
  #delivery: Delivery = DONE;
  /** Undefined while the client gathers input. */
  #pending: PendingRequest | undefined;
  /** The `requestState` that the client's retry must contain. */
  #state: string | undefined;
  #expiry: NodeJS.Timeout | undefined;
  /** An outcome that came while no client's request was pending. */
  #outcome: Response | { readonly failure: Failure } | undefined;
  /** The gateway has ended it, and the client's retry must start it again. */
  #mustRepeat = false;
  #inputCount = 0;

  constructor(context: CallContext, request: Request) {
    this.#context = context;
    this.request = request;
    this.meta = metaOf(request);
    this.#id = context.session.nextId('call');
  }

  /** The id at the gateway. */
  get id(): MessageId {
    return this.#id;
  }

  get pending(): PendingRequest | undefined {
    return this.#pending;
  }

  /** Whether its result can ask the client for input. */
  get canCarryInput(): boolean {
    return MAY_REQUIRE_INPUT.has(this.request.method) && this.#isRunning && !this.#hasEnded;
  }

  get #isRunning(): boolean {
    return this.#outcome === undefined && !this.#mustRepeat;
  }

  get #hasEnded(): boolean {
    return !this.#context.calls.has(this);
  }

  /** Sends it to the gateway. Resolves when the client's request has its reply. */
  start(observer: MessageObserver, sequence: SendSequence): Promise<Failure | undefined> {
    this.#context.calls.add(this);
    const done = this.#attach(this.request, observer, sequence);
    this.#send();
    return done;
  }

  /** Whether the client's request is a retry of this call, which waits for one. */
  isWaitingFor(retry: Request, state: string): boolean {
    return this.#state === state && isSameCall(this.request, retry);
  }

  /** Goes on with the input in a retry. Resolves when the retry has its reply. */
  resume(
    retry: Request,
    observer: MessageObserver,
    sequence: SendSequence,
  ): Promise<Failure | undefined> {
    this.#state = undefined;
    clearTimeout(this.#expiry);
    const responses = entriesOf(memberAt(retry.bytes, 'params', 'inputResponses'), MOST_WAITING);
    const done = this.#attach(retry, observer, sequence);
    if (this.#mustRepeat) this.#repeat(responses);
    for (const [name, response] of responses) {
      const request = this.#inputs.get(name)?.request;
      if (request === undefined) continue;
      this.#inputs.delete(name);
      this.#context.session.answer(request, resultFor(request.id, response));
    }
    const outcome = this.#outcome;
    this.#outcome = undefined;
    if (outcome !== undefined) this.#complete(outcome);
    else this.#askForInput();
    return done;
  }

  /** Puts a request of the gateway to the client, or refuses it. */
  ask(request: ServerRequest, isBound: boolean): void {
    if (this.#inputs.size === MOST_WAITING || !mayAsk(this.meta, request)) {
      this.#context.session.refuse(request);
      return;
    }
    this.#inputs.set(this.#inputName(request.method), { request, isBound });
    // Requests that arrive together go to the client in one result.
    setImmediate(() => this.#askForInput());
  }

  /** Forgets a request that the gateway has cancelled. */
  withdraw(key: string | undefined): void {
    for (const [name, { request }] of this.#inputs) {
      if (request.id.key === key) this.#inputs.delete(name);
    }
  }

  /** Ends it without a word to the gateway, which is about to be closed. */
  close(): void {
    this.#delivery.abort();
    this.#pending?.resolve();
  }

  #attach(
    request: Request,
    observer: MessageObserver,
    sequence: SendSequence,
  ): Promise<Failure | undefined> {
    void sequence.ended.then(() => {
      if (this.#pending?.request === request) this.#drop();
    });
    sequence.follow(this.#delivery);
    const meta = metaOf(request);
    const progressToken = memberOf(meta, 'progressToken');
    const level = levelIn(meta);
    return new Promise((resolve) => {
      this.#pending = { request, progressToken, level, observer, sequence, resolve };
    });
  }

  #send(): void {
    const id = this.#id;
    const { session, observer } = this.#context;
    const message = { ...this.request, id, bytes: toLegacyRequest(id, this.request) };
    this.#delivery = session.upstream.send(
      message,
      withOneReply(message, {
        congested: () => (this.#pending?.observer ?? observer).congested(),
        onMessage: (received) => {
          if (isReplyTo(this.#id, received)) this.#complete(received);
          else this.#context.onMessage(received, this);
        },
      }),
    );
    this.#pending?.sequence.follow(this.#delivery);
    void this.#delivery.done.then((failure) => {
      if (failure !== undefined && this.#id === id) this.#complete({ failure });
    });
  }

  #complete(outcome: Response | { readonly failure: Failure }): void {
    const pending = this.#pending;
    if (pending === undefined) {
      this.#outcome = outcome;
      return;
    }
    if ('failure' in outcome) {
      this.#end();
      pending.resolve(outcome.failure);
      return;
    }
    const links = this.#requiredLinks(outcome);
    if (links !== undefined) {
      this.#mustRepeat = true;
      this.#requireInput(pending, links);
      return;
    }
    this.#end();
    const { serverInfo } = this.#context.session;
    pending.observer.onMessage(toModernResult(pending.request, outcome, serverInfo));
    pending.resolve();
  }

  #askForInput(): void {
    const pending = this.#pending;
    if (pending === undefined || this.#inputs.size === 0 || this.#hasEnded) return;
    const requests: Record<string, Buffer> = {};
    for (const [name, { request }] of this.#inputs) {
      requests[name] = withMembers(undefined, {
        method: JSON.stringify(request.method),
        params: toModernElicitation(memberOf(request.bytes, 'params')),
      });
    }
    this.#requireInput(pending, requests);
  }

  /** Answers the client's request with `input_required`, and waits for the retry. */
  #requireInput(pending: PendingRequest, requests: Record<string, Buffer>): void {
    this.#pending = undefined;
    this.#state = crypto.randomUUID();
    this.#expiry = setTimeout(() => this.#expire(), WAIT_FOR_INPUT_MS).unref();
    const waiting = [...this.#context.calls].filter((call) => call.#state !== undefined);
    const [oldest] = waiting;
    if (oldest !== undefined && waiting.length > MOST_WAITING) oldest.#expire();
    const result = withMembers(undefined, {
      resultType: '"input_required"',
      inputRequests: withMembers(undefined, requests),
      requestState: JSON.stringify(this.#state),
    });
    pending.observer.onMessage(resultFor(pending.request.id, result));
    pending.resolve();
  }

  /**
   * The links in an error that requires the user to open them first (MCP 2025-11-25, Elicitation
   * §URL Elicitation Required Error), as input requests; undefined for any other error.
   */
  #requiredLinks(reply: Response): Record<string, Buffer> | undefined {
    if (errorCodeOf(reply) !== URL_ELICITATION_REQUIRED) return undefined;
    if (!MAY_REQUIRE_INPUT.has(this.request.method) || !canOpenLinks(this.meta)) return undefined;
    const elicitations = memberAt(reply.bytes, 'error', 'data', 'elicitations');
    const links = itemsOf(elicitations, MOST_WAITING + 1) ?? [];
    if (links.length === 0 || links.length > MOST_WAITING) return undefined;
    if (links.some((link) => stringOf(link, 'url') === undefined)) return undefined;
    const method = 'elicitation/create';
    const requests = links.map((link) => [
      this.#inputName(method),
      withMembers(undefined, {
        method: JSON.stringify(method),
        params: toModernElicitation(link),
      }),
    ]);
    return Object.fromEntries(requests);
  }

  #repeat(responses: readonly (readonly [string, Buffer])[]): void {
    this.#mustRepeat = false;
    this.#id = this.#context.session.nextId('call');
    if (responses.every(([, response]) => stringOf(response, 'action') === 'accept')) {
      this.#send();
      return;
    }
    const why = 'the link that this needs was not opened';
    this.#complete(errorFor(this.#id, INVALID_PARAMS, why));
  }

  #drop(): void {
    this.#delivery.abort();
    this.#end();
    this.#pending?.resolve();
  }

  #expire(): void {
    const isRunning = this.#isRunning;
    this.#drop();
    const { session, log } = this.#context;
    log.info(`gave up a ${this.request.method} that the client did not come back to`);
    if (!isRunning) return;
    const params = { requestId: this.#id.raw, reason: '"no input came"' };
    void session.notify('notifications/cancelled', params);
  }

  #end(): void {
    clearTimeout(this.#expiry);
    this.#context.calls.delete(this);
    for (const { request, isBound } of this.#inputs.values()) {
      if (isBound) this.#context.session.refuse(request);
      else this.#context.onOrphan(request);
    }
    this.#inputs.clear();
  }

  #inputName(method: string): string {
    return `${method}:${++this.#inputCount}`;
  }
}
