import type { Message } from '../jsonrpc/message.ts';

/**
 * Lets what comes after a handshake's message wait until that has been settled: `initialize` names
 * the session and the revision, and `notifications/initialized` must have been accepted before the
 * session is used (MCP 2025-11-25, Lifecycle §Initialization).
 */
export class HandshakeBarrier {
  #handshake: { readonly method: string; readonly settled: Promise<unknown> } | undefined;

  /** What a message must wait for; undefined when it may go at once. */
  before(message: Message): Promise<unknown> | undefined {
    // A reply to something that the gateway asks meanwhile must not wait for the gateway.
    if (message.kind === 'response' && this.#handshake?.method === 'initialize') return undefined;
    return this.#handshake?.settled;
  }

  /** From now on, messages wait until `settled` and what they wait for already, however they end. */
  raise(method: string, settled: Promise<unknown>): void {
    const before = this.#handshake?.settled;
    const handshake = { method, settled: Promise.allSettled([before, settled]) };
    this.#handshake = handshake;
    void handshake.settled.then(() => {
      if (this.#handshake === handshake) this.#handshake = undefined;
    });
  }
}
