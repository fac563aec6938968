import type { Failure } from '../../failures/failure.ts';
import { INVALID_PARAMS } from '../../jsonrpc/error-codes.ts';
import {
  entriesOf,
  memberAt,
  memberOf,
  stringOf,
  withMembers,
} from '../../jsonrpc/json-members.ts';
import type { Message, MessageId, Request, Response } from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import type { Delivery, MessageObserver } from '../../transport/transport.ts';
import { errorFor, metaOf, resultFor } from '../messages.ts';
import { MAY_REQUIRE_INPUT } from '../revisions.ts';
import { DONE, isReplyTo, type SendSequence, withOneReply } from '../send-sequence.ts';
import { type InputRequests, MOST_WAITING, PendingInputs } from './pending-inputs.ts';
import type { LegacySession } from './session.ts';
import {
  isSameCall,
  levelIn,
  type ServerRequest,
  toLegacyRequest,
  toModernResult,
} from './translate.ts';

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
  /** Handles what the gateway sends on a call's stream, except the reply. */
  onMessage(message: Message, call: Call): void;
  /** Handles a request of the gateway that a call has left open and another may carry. */
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

/** A request that runs at the gateway; the client may need several requests to get its result. */
export class Call {
  readonly request: Request;
  readonly meta: Buffer | undefined;
  readonly inputs: PendingInputs;
  readonly #context: CallContext;
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

  constructor(context: CallContext, request: Request) {
    this.#context = context;
    this.request = request;
    this.meta = metaOf(request);
    this.inputs = new PendingInputs(context.session, this.meta);
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
    this.inputs.answer(responses);
    const outcome = this.#outcome;
    this.#outcome = undefined;
    if (outcome !== undefined) this.#complete(outcome);
    else this.#askForInput();
    return done;
  }

  /** Puts a request of the gateway to the client, or refuses it. */
  ask(request: ServerRequest, isBound: boolean): void {
    // Requests that arrive together go to the client in one result.
    if (this.inputs.add(request, isBound)) setImmediate(() => this.#askForInput());
  }

  /** Ends it without telling the gateway, which is closed next. */
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
    const mayAskForInput = MAY_REQUIRE_INPUT.has(this.request.method);
    const links = mayAskForInput ? this.inputs.requiredLinks(outcome) : undefined;
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
    if (this.#pending === undefined || this.inputs.isEmpty || this.#hasEnded) return;
    this.#requireInput(this.#pending, this.inputs.toInputRequests());
  }

  /** Answers the client's request with `input_required`, and waits for the retry. */
  #requireInput(pending: PendingRequest, requests: InputRequests): void {
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
    for (const request of this.inputs.clear()) this.#context.onOrphan(request);
  }
}
