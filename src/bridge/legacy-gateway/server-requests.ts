import type { Call } from './call.ts';
import { MOST_WAITING } from './pending-inputs.ts';
import type { LegacySession } from './session.ts';
import { SERVER_REQUESTS, type ServerRequest } from './translate.ts';

/**
 * The gateway's requests to the client. A modern client gets none: each goes through a call whose
 * result can ask for input.
 */
export class ServerRequests {
  readonly #session: LegacySession;
  readonly #calls: ReadonlySet<Call>;
  /** Requests that arrived while no call could carry them. */
  readonly #unassigned: ServerRequest[] = [];

  constructor(session: LegacySession, calls: ReadonlySet<Call>) {
    this.#session = session;
    this.#calls = calls;
  }

  /** Puts a request to the client; `source` is the call on whose stream it came, if any. */
  ask(request: ServerRequest, source: Call | undefined): void {
    if (!SERVER_REQUESTS.has(request.method) || source?.canCarryInput === false) {
      this.#session.decline(request);
      return;
    }
    const call = source ?? this.#carrier();
    if (call !== undefined) call.ask(request, source !== undefined);
    else if (this.#unassigned.length === MOST_WAITING) this.#session.refuse(request);
    else this.#unassigned.push(request);
  }

  /** Gives a request to another call, after the one that carried it has ended. */
  reassign(request: ServerRequest): void {
    const call = this.#carrier();
    if (call === undefined) this.#session.refuse(request);
    else call.ask(request, false);
  }

  /** Puts the requests that wait for a call to this new one. */
  assignTo(call: Call): void {
    for (const request of this.#unassigned.splice(0)) this.ask(request, call);
  }

  /** Forgets the request with this key, which the gateway has cancelled. */
  withdraw(key: string | undefined): void {
    for (const call of this.#calls) call.inputs.withdraw(key);
    const index = this.#unassigned.findIndex(({ id }) => id.key === key);
    if (index >= 0) this.#unassigned.splice(index, 1);
  }

  #carrier(): Call | undefined {
    const calls = [...this.#calls].filter(({ canCarryInput }) => canCarryInput);
    return calls.find(({ pending }) => pending !== undefined) ?? calls[0];
  }
}
