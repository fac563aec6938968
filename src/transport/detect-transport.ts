import type { Failure } from '../failures/failure.ts';
import { INVALID_PARAMS, METHOD_NOT_FOUND, MODERN_ERRORS } from '../jsonrpc/error-codes.ts';
import { errorCodeOf, type Message, type Request, type Response } from '../jsonrpc/message.ts';
import { FailureDiagnosis } from './diagnose-failure.ts';
import { Endpoint } from './endpoint.ts';
import type { HttpSse } from './http-sse.ts';
import { isInitialize } from './methods.ts';
import { StreamableHttp, type TransportOptions } from './streamable-http.ts';
import { type Delivery, type MessageObserver, mapMessages, type Transport } from './transport.ts';

/** How long a failure waits for what a GET brings. */
const HTTP_SSE_HINT_LIMIT_MS = 2_000;

/**
 * Streamable HTTP, or the deprecated HTTP+SSE: once and for all where `transport` is `sse`; with
 * `auto`, where the POST of `initialize` is refused and a GET yields an `endpoint` event (MCP
 * 2026-07-28, Streamable HTTP §Backward Compatibility).
 */
export class TransportDetector implements Transport {
  readonly #options: TransportOptions;
  /** Undefined where it is not to be tried. */
  readonly #gateway: StreamableHttp | undefined;
  #httpSse: HttpSse | undefined;
  #listener: MessageObserver | undefined;
  #chosen: Transport | undefined;
  /** What comes meanwhile waits for it. */
  #choosing: Promise<unknown> | undefined;

  constructor(options: TransportOptions, transport: 'auto' | 'sse') {
    this.#options = options;
    if (transport === 'auto') this.#gateway = new StreamableHttp(options);
    else this.#chooseHttpSse();
  }

  listen(observer: MessageObserver): void {
    this.#listener = observer;
    this.#gateway?.listen(observer);
    this.#httpSse?.listen(observer);
  }

  send(message: Message, observer: MessageObserver): Delivery {
    if (this.#chosen !== undefined) return this.#chosen.send(message, observer);
    const gateway = this.#gateway;
    // A reply to something that the gateway asks meanwhile must not wait for the gateway.
    if (gateway !== undefined && (this.#choosing === undefined || message.kind === 'response')) {
      if (isInitialize(message)) return this.#tryGateway(gateway, message, observer);
      return gateway.send(message, observer);
    }
    // It failed before: a file of this program was gone.
    if (this.#choosing === undefined) this.#chooseHttpSse();
    const delivery = new LaterDelivery();
    const send = () => delivery.send(this.#chosen ?? gateway, message, observer);
    delivery.done = (this.#choosing as Promise<unknown>).then(send);
    return delivery;
  }

  async close(limitMs: number): Promise<void> {
    await Promise.all([this.#gateway?.close(limitMs), this.#httpSse?.close(limitMs)]);
  }

  #tryGateway(gateway: StreamableHttp, initialize: Request, observer: MessageObserver): Delivery {
    let refusal: Response | undefined;
    let offersHttpSse = false;
    let keyFailure: Failure | undefined;
    const exceptRefusal = mapMessages(observer, (received) => {
      const isRefusal =
        received.kind === 'response' && mayBeHttpSseOnly(received.refusedWith, codeIn(received));
      if (isRefusal) refusal = received;
      return isRefusal ? undefined : received;
    });
    const delivery = new LaterDelivery();
    const tried = delivery.send(gateway, initialize, exceptRefusal);
    const choosing = this.#choose(async () => {
      const failure = await tried;
      if (delivery.isOver) return undefined;
      if (failure === undefined && refusal === undefined) return gateway;
      const mayBeOlder =
        refusal !== undefined ||
        failure?.offersHttpSse === true ||
        mayBeHttpSseOnly(failure?.status, failure?.rpcCode);
      if (mayBeOlder) {
        const found = await this.#openHttpSseIfOffered();
        if (found === undefined || 'send' in found) return found;
        keyFailure = found;
        return undefined;
      }
      if (mayHideHttpSse(failure?.status)) {
        offersHttpSse = await this.#isHttpSseOffered().catch(() => false);
      }
      return undefined;
    });
    this.#choosing = choosing;
    delivery.done = choosing.then((chosen) => {
      if (delivery.isOver || chosen === gateway) return tried;
      if (chosen !== undefined) return delivery.send(chosen, initialize, observer);
      if (refusal !== undefined) observer.onMessage(refusal);
      else if (keyFailure !== undefined) return keyFailure;
      return tried.then((failure) =>
        failure !== undefined && offersHttpSse ? { ...failure, offersHttpSse } : failure,
      );
    });
    return delivery;
  }

  /**
   * Whether a GET yields an `endpoint` event. Not to go on with: what was refused may have been
   * refused for another reason. Takes 2 s at most. Rejects where a file of this program is gone.
   */
  async #isHttpSseOffered(): Promise<boolean> {
    const httpSse = await this.#openHttpSse();
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), HTTP_SSE_HINT_LIMIT_MS);
    });
    const isOffered = await Promise.race([httpSse.isOffered(), tooLate]);
    clearTimeout(timer);
    this.#httpSse = undefined;
    void httpSse.close(0);
    return isOffered === true;
  }

  #chooseHttpSse(): void {
    this.#choosing = this.#choose(() => this.#openHttpSse());
    // Those who wait for it learn of a failure; there may be none yet.
    this.#choosing.catch(() => {});
  }

  async #choose(find: () => Promise<Transport | undefined>): Promise<Transport | undefined> {
    try {
      this.#chosen = await find();
      return this.#chosen;
    } finally {
      this.#choosing = undefined;
    }
  }

  /** Or why it cannot be found out without another key. */
  async #openHttpSseIfOffered(): Promise<HttpSse | Failure | undefined> {
    const httpSse = await this.#openHttpSse();
    this.#options.log.info('the gateway refuses Streamable HTTP: trying HTTP+SSE');
    const isOffered = await httpSse.isOffered();
    if (isOffered !== true) return isOffered || undefined;
    this.#options.log.warn('the gateway speaks the deprecated HTTP+SSE transport');
    return httpSse;
  }

  async #openHttpSse(): Promise<HttpSse> {
    if (this.#httpSse !== undefined) return this.#httpSse;
    const { HttpSse } = await import('./http-sse.ts');
    const endpoint = new Endpoint(this.#options);
    const failures = new FailureDiagnosis(this.#options, endpoint.displayUrl);
    this.#httpSse = new HttpSse(this.#options, endpoint, failures);
    if (this.#listener !== undefined) this.#httpSse.listen(this.#listener);
    return this.#httpSse;
  }
}

/** Whether a status may hide a gateway that knows HTTP+SSE only. It may mean much else, too. */
function mayHideHttpSse(status = 0): boolean {
  return [403, 406, 415, 422].includes(status) || status >= 500;
}

/** Whether a refusal may come from a gateway that knows HTTP+SSE only. */
function mayBeHttpSseOnly(status: number | undefined, rpcCode: number | undefined): boolean {
  if (status !== 400 && status !== 404 && status !== 405) return false;
  if (rpcCode === undefined) return true;
  // A modern gateway does not know the method (404), or misses the request's `_meta` (400).
  return !MODERN_ERRORS.has(rpcCode) && rpcCode !== METHOD_NOT_FOUND && rpcCode !== INVALID_PARAMS;
}

function codeIn(response: Response): number | undefined {
  const code = response.refusedWith === undefined ? undefined : errorCodeOf(response);
  return typeof code === 'number' ? code : undefined;
}

/** Of a message whose transport is chosen while it waits, or changed once. */
class LaterDelivery implements Delivery {
  done: Promise<Failure | undefined> = Promise.resolve(undefined);
  isOver = false;
  #current: Delivery | undefined;

  get mayHaveRun(): boolean {
    return this.#current?.mayHaveRun === true;
  }

  /** Sends it, unless it is over. Resolves as `Delivery.done` does. */
  async send(
    transport: Transport | undefined,
    message: Message,
    observer: MessageObserver,
  ): Promise<Failure | undefined> {
    if (this.isOver) return undefined;
    this.#current = transport?.send(message, observer);
    return this.#current?.done;
  }

  stop(): void {
    this.isOver = true;
    this.#current?.stop();
  }

  abort(): void {
    this.isOver = true;
    this.#current?.abort();
  }
}
