import { URL_ELICITATION_REQUIRED } from '../../jsonrpc/error-codes.ts';
import { itemsOf, memberAt, memberOf, stringOf, withMembers } from '../../jsonrpc/json-members.ts';
import { errorCodeOf, type Response } from '../../jsonrpc/message.ts';
import { resultFor } from '../messages.ts';
import type { LegacySession } from './session.ts';
import { canOpenLinks, mayAsk, type ServerRequest, toModernElicitation } from './translate.ts';

/** Limits what may wait at once: calls for input, and requests of the gateway for an answer. */
export const MOST_WAITING = 100;

/** Members of an `inputRequests` object, by name. */
export type InputRequests = Readonly<Record<string, Buffer>>;

/** A request of the gateway that the client has not answered. */
interface PendingInput {
  readonly request: ServerRequest;
  /** It came on this call's stream, so no other call can carry it. */
  readonly isBound: boolean;
}

/** What one call asks of the client. */
export class PendingInputs {
  readonly #session: LegacySession;
  /** The `_meta` of the call, with the client's capabilities. */
  readonly #meta: Buffer | undefined;
  readonly #inputs = new Map<string, PendingInput>();
  #count = 0;

  constructor(session: LegacySession, meta: Buffer | undefined) {
    this.#session = session;
    this.#meta = meta;
  }

  get isEmpty(): boolean {
    return this.#inputs.size === 0;
  }

  /** Adds a request, or refuses it and returns false. */
  add(request: ServerRequest, isBound: boolean): boolean {
    if (this.#inputs.size === MOST_WAITING || !mayAsk(this.#meta, request)) {
      this.#session.refuse(request);
      return false;
    }
    this.#inputs.set(this.#nextName(request.method), { request, isBound });
    return true;
  }

  /** Forgets the request with this key, which the gateway has cancelled. */
  withdraw(key: string | undefined): void {
    for (const [name, { request }] of this.#inputs) {
      if (request.id.key === key) this.#inputs.delete(name);
    }
  }

  /** Answers the gateway with the members of `inputResponses`. */
  answer(responses: readonly (readonly [string, Buffer])[]): void {
    for (const [name, response] of responses) {
      const request = this.#inputs.get(name)?.request;
      if (request === undefined) continue;
      this.#inputs.delete(name);
      this.#session.answer(request, resultFor(request.id, response));
    }
  }

  toInputRequests(): InputRequests {
    const requests: Record<string, Buffer> = {};
    for (const [name, { request }] of this.#inputs) {
      requests[name] = inputRequest(request.method, memberOf(request.bytes, 'params'));
    }
    return requests;
  }

  /**
   * The links in an error that requires the user to open them first (MCP 2025-11-25, Elicitation
   * §URL Elicitation Required Error), as input requests; undefined for any other error.
   */
  requiredLinks(reply: Response): InputRequests | undefined {
    if (errorCodeOf(reply) !== URL_ELICITATION_REQUIRED || !canOpenLinks(this.#meta)) {
      return undefined;
    }
    const elicitations = memberAt(reply.bytes, 'error', 'data', 'elicitations');
    const links = itemsOf(elicitations, MOST_WAITING + 1) ?? [];
    if (links.length === 0 || links.length > MOST_WAITING) return undefined;
    if (links.some((link) => stringOf(link, 'url') === undefined)) return undefined;
    const method = 'elicitation/create';
    return Object.fromEntries(
      links.map((link) => [this.#nextName(method), inputRequest(method, link)]),
    );
  }

  /** Removes all requests. Refuses those that no other call can carry, and returns the others. */
  clear(): ServerRequest[] {
    const inputs = [...this.#inputs.values()];
    this.#inputs.clear();
    for (const { request, isBound } of inputs) {
      if (isBound) this.#session.refuse(request);
    }
    return inputs.filter(({ isBound }) => !isBound).map(({ request }) => request);
  }

  #nextName(method: string): string {
    return `${method}:${++this.#count}`;
  }
}

function inputRequest(method: string, params: Buffer | undefined): Buffer {
  return withMembers(undefined, {
    method: JSON.stringify(method),
    params: toModernElicitation(params),
  });
}
