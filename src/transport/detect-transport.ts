import type { Failure } from '../failures/failure.ts';
import { INVALID_PARAMS, METHOD_NOT_FOUND, MODERN_ERRORS } from '../jsonrpc/error-codes.ts';
import { errorCodeOf, type Message, type Request, type Response } from '../jsonrpc/message.ts';
import { FailureDiagnosis } from './diagnose-failure.ts';
import { Endpoint } from './endpoint.ts';
import type { HttpSse } from './http-sse.ts';
import { StreamableHttp, type TransportOptions } from './streamable-http.ts';
import type { Delivery, MessageObserver, Transport } from './transport.ts';

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
    return this.#chosen?.send(message, observer) ?? this.#sendBefore(message, observer);
  }

  async close(limitMs: number): Promise<void> {
    await Promise.all([this.#gateway?.close(limitMs), this.#httpSse?.close(limitMs)]);
  }

  /** Before the choice is made. */
  #sendBefore(message: Message, observer: MessageObserver): Delivery {
    // A reply to something that the gateway asks meanwhile must not wait for the gateway.
    if (
      this.#gateway !== undefined &&
      (this.#choosing === undefined || message.kind === 'response')
    ) {
      const isInitialize = message.kind === 'request' && message.method === 'initialize';
      return isInitialize
        ? this.#tryGateway(this.#gateway, message, observer)
        : this.#gateway.send(message, observer);
    }
    // It failed before: a file of this program was gone.
    if (this.#gateway === undefined && this.#choosing === undefined) this.#chooseHttpSse();
    return sendAfter(this.#choosing, () =>
      (this.#chosen ?? this.#gateway)?.send(message, observer),
    );
  }

  #tryGateway(gateway: StreamableHttp, initialize: Request, observer: MessageObserver): Delivery {
    let refusal: Response | undefined;
    let isOver = false;
    let sending = gateway.send(initialize, {
      congested: () => observer.congested(),
      onMessage: (received) => {
        if (
          received.kind === 'response' &&
          mayBeHttpSseOnly(received.refusedWith, codeIn(received))
        ) {
          refusal = received;
        } else observer.onMessage(received);
      },
    });
    const tried = sending.done;
    const choosing = this.#choose(async () => {
      const failure = await tried;
      if (isOver) return undefined;
      if (failure === undefined && refusal === undefined) return gateway;
      const mayBeOlder =
        refusal !== undefined || mayBeHttpSseOnly(failure?.status, failure?.rpcCode);
      return mayBeOlder ? this.#openHttpSseIfOffered() : undefined;
    });
    this.#choosing = choosing;
    const done = choosing.then(async (chosen): Promise<Failure | undefined> => {
      if (chosen !== undefined && chosen !== gateway && !isOver) {
        sending = chosen.send(initialize, observer);
        return sending.done;
      }
      if (refusal !== undefined && !isOver) observer.onMessage(refusal);
      return tried;
    });
    const over = () => {
      isOver = true;
    };
    return {
      done,
      get mayHaveRun() {
        return sending.mayHaveRun;
      },
      stop: () => {
        over();
        sending.stop();
      },
      abort: () => {
        over();
        sending.abort();
      },
    };
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

  async #openHttpSseIfOffered(): Promise<HttpSse | undefined> {
    const httpSse = await this.#openHttpSse();
    this.#options.log.info('the gateway refuses Streamable HTTP: trying HTTP+SSE');
    if (!(await httpSse.isOffered())) return undefined;
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

/** Sends once `before` has come about, unless it has been given up by then. */
function sendAfter(
  before: Promise<unknown> | undefined,
  send: () => Delivery | undefined,
): Delivery {
  let isOver = false;
  let sending: Delivery | undefined;
  const begin = async () => {
    await before;
    if (isOver) return undefined;
    sending = send();
    return sending?.done;
  };
  const done = begin();
  return {
    done,
    get mayHaveRun() {
      return sending?.mayHaveRun === true;
    },
    stop: () => {
      isOver = true;
      sending?.stop();
    },
    abort: () => {
      isOver = true;
      sending?.abort();
    },
  };
}
