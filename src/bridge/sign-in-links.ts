/** What is needed to show a client the link of a sign-in. Loaded when there is one to show. */
import { toRpcError } from '../failures/catalogue.ts';
import type { Failure } from '../failures/failure.ts';
import { URL_ELICITATION_REQUIRED } from '../jsonrpc/error-codes.ts';
import { entriesOf, memberAt, memberOf, stringOf, withMembers } from '../jsonrpc/json-members.ts';
import type { Request, Response } from '../jsonrpc/message.ts';
import type { MessageObserver } from '../transport/transport.ts';
import { errorFor, metaOf, notificationOf, resultFor } from './messages.ts';
import { MAY_REQUIRE_INPUT, META, revisionOf, SIGN_IN_INPUT } from './revisions.ts';

/** The link of a sign-in that goes on, for clients that can show one. */
export class SignInLinks {
  readonly #observer: MessageObserver;
  /** The newest one. */
  #shown: { readonly link: string; readonly id: string } | undefined;
  #failure: Failure | undefined;

  /** `observer` receives messages that belong to no request. */
  constructor(observer: MessageObserver) {
    this.#observer = observer;
  }

  /**
   * The reply that has the client show the link in `failure`: URLElicitationRequiredError (MCP
   * 2025-11-25, Elicitation §URL Elicitation Required Error) or an input request (MCP 2026-07-28,
   * MRTR). Undefined where the client must not get one. `initialize`: the client's, where it sent one.
   */
  replyTo(
    request: Request,
    failure: Failure,
    initialize: Request | undefined,
  ): Response | undefined {
    const isModern = revisionOf(request) !== undefined;
    const capabilities = isModern
      ? memberOf(metaOf(request), META.clientCapabilities)
      : memberAt(initialize?.bytes, 'params', 'capabilities');
    if (memberAt(capabilities, 'elicitation', 'url') === undefined) return undefined;
    if (isModern && !mayRequireInput(request)) return undefined;
    if (request.method === 'initialize') return undefined;
    const { link, server } = failure.signIn ?? {};
    if (link === undefined) return undefined;
    const { host } = new URL(failure.gateway);
    const message = `Sign in to ${host}${server === undefined || server === host ? '' : ` at ${server}`}.`;
    this.#failure = failure;
    if (isModern) {
      const params = { mode: 'url', message, url: link };
      const inputRequests = { [SIGN_IN_INPUT]: { method: 'elicitation/create', params } };
      return resultFor(request.id, JSON.stringify({ resultType: 'input_required', inputRequests }));
    }
    const elicitation = {
      mode: 'url',
      elicitationId: this.#idOf(link, failure),
      url: link,
      message,
    };
    const { message: said, data } = toRpcError(failure);
    const more = { ...data, elicitations: [elicitation] };
    return errorFor(request.id, URL_ELICITATION_REQUIRED, said, more);
  }

  /** The id of the link's elicitation, whose end the client is told of. */
  #idOf(link: string, { signIn }: Failure): string {
    if (this.#shown?.link === link) return this.#shown.id;
    const id = crypto.randomUUID();
    this.#shown = { link, id };
    void signIn?.ended?.then(() => {
      const params = { elicitationId: JSON.stringify(id) };
      this.#observer.onMessage(notificationOf('notifications/elicitation/complete', params));
    });
    return id;
  }

  /**
   * What to do with a request that the client may have sent after it was shown a link: the request as
   * the gateway is to get it, or why it is not sent, as the user did not agree to open the link.
   */
  answered(request: Request): Request | Failure {
    const responses = memberAt(request.bytes, 'params', 'inputResponses');
    const answer = memberOf(responses, SIGN_IN_INPUT);
    if (answer === undefined) return request;
    // An earlier process of this program may have shown the link: this one asks again if need be.
    if (this.#failure === undefined || stringOf(answer, 'action') === 'accept') {
      const hasOthers = entriesOf(responses).some(([name]) => name !== SIGN_IN_INPUT);
      const inputResponses = hasOthers ? { [SIGN_IN_INPUT]: undefined } : undefined;
      return { ...request, bytes: withMembers(request.bytes, { params: { inputResponses } }) };
    }
    const { link: _, ended: __, ...signIn } = this.#failure.signIn ?? {};
    return { ...this.#failure, signIn };
  }
}

/** Not where the gateway itself has asked for input: its state would be lost with ours in its place. */
function mayRequireInput({ method, bytes }: Request): boolean {
  const params = memberOf(bytes, 'params');
  const answers = entriesOf(memberOf(params, 'inputResponses'));
  return (
    MAY_REQUIRE_INPUT.has(method) &&
    answers.every(([name]) => name === SIGN_IN_INPUT) &&
    memberOf(params, 'requestState') === undefined
  );
}
