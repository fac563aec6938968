import type { Message } from '../jsonrpc/message.ts';

/**
 * Lets what comes after a handshake's message wait until that has been settled: `initialize` names
 * the session and the revision, and `notifications/initialized` must have been accepted before the
 * session is used (MCP 2025-11-25, Lifecycle §Initialization).
 */
export class HandshakeGate {
  #handshake: { readonly method: string; readonly done: Promise<unknown> } | undefined;

  /** What a message must wait for; undefined when it may go at once. */
  before(message: Message): Promise<unknown> | undefined {
    // A reply to something that the gateway asks meanwhile must not wait for the gateway.
    if (message.kind === 'response' && this.#handshake?.method === 'initialize') return undefined;
    return this.#handshake?.done;
  }

  /** From now on, messages wait until `settled` and what they wait for already, however they end. */
  raise(method: string, done: Promise<unknown>): void {
    const before = this.#handshake?.done;
    const handshake = { method, done: Promise.allSettled([before, done]) };
    this.#handshake = handshake;
    void handshake.done.then(() => {
      if (this.#handshake === handshake) this.#handshake = undefined;
    });
  }
}
