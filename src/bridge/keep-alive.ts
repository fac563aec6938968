import type { Message } from '../jsonrpc/message.ts';
import type { Log } from '../log.ts';
import { isInitialize, isInitialized } from '../transport/methods.ts';
import {
  type Delivery,
  type MessageObserver,
  NO_OBSERVER,
  type Transport,
} from '../transport/transport.ts';
import { proxyId, requestOf } from './messages.ts';

/**
 * Sends `ping` (MCP 2025-11-25, Ping) whenever the client has sent nothing for a while, to gateways
 * that forget idle sessions. Begins after a handshake: revisions without one have no sessions.
 */
export class KeepAlive implements Transport {
  readonly #gateway: Transport;
  readonly #intervalMs: number;
  readonly #log: Log;
  /** Undefined while a ping is on its way. */
  #timer: NodeJS.Timeout | undefined;
  /** Between the end of a handshake and the next one, or the end. */
  #isOn = false;
  #count = 0;

  /** `intervalMs`: how long nothing is sent before a ping is. */
  constructor(gateway: Transport, intervalMs: number, log: Log) {
    this.#gateway = gateway;
    this.#intervalMs = intervalMs;
    this.#log = log;
  }

  listen(observer: MessageObserver): void {
    this.#gateway.listen(observer);
  }

  send(message: Message, observer: MessageObserver): Delivery {
    const delivery = this.#gateway.send(message, observer);
    if (isInitialize(message)) this.#stop();
    else if (isInitialized(message)) {
      void delivery.done.then((failure) => {
        if (failure === undefined) this.#start();
      });
    } else this.#timer?.refresh();
    return delivery;
  }

  close(limitMs: number): Promise<void> {
    this.#stop();
    return this.#gateway.close(limitMs);
  }

  #start(): void {
    this.#stop();
    this.#isOn = true;
    this.#wait();
  }

  #stop(): void {
    this.#isOn = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#ping(), this.#intervalMs).unref();
  }

  #ping(): void {
    this.#timer = undefined;
    const ping = requestOf(proxyId(`ping:${++this.#count}`), 'ping', undefined);
    void this.#gateway.send(ping, NO_OBSERVER).done.then((failure) => {
      if (failure !== undefined) this.#log.debug(`a ping of its own failed: ${failure.reason}`);
      // Unless another handshake has ended meanwhile.
      if (this.#isOn && this.#timer === undefined) this.#wait();
    });
  }
}
