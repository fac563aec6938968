import { userInfo } from 'node:os';
import { CATALOGUE, toRpcError } from '../../failures/catalogue.ts';
import type { Failure } from '../../failures/failure.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import type { Secrets } from '../../failures/secrets.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import {
  foldCase,
  memberAt,
  plainMembersOf,
  stringOf,
  textIn,
} from '../../jsonrpc/json-members.ts';
import {
  errorCodeOf,
  errorResponse,
  type Message,
  type Notification,
  type Request,
  type Response,
} from '../../jsonrpc/message.ts';
import type { Log } from '../../log.ts';
import type { Kind } from '../../settings/filters.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  type Transport,
} from '../../transport/transport.ts';
import { META } from '../revisions.ts';
import { ENVELOPE, namedIn, USES } from '../uses.ts';
import { AuditFile } from './audit-file.ts';

/** What does something, or what another program could take for it. */
const CALLS = /^\s*(?:tools|prompts|resources)\/(?!(?:templates\/)?list$)/;

interface Client {
  readonly name: string | null;
  readonly version: string | null;
}

const UNKNOWN_CLIENT: Client = { name: null, version: null };

/** A call of which the log does not have the end. */
interface OpenCall {
  readonly message: Request | Notification;
  readonly client: Client;
  readonly kind: Kind | undefined;
  readonly name: string | null;
  /** As `performance.now()` has it. */
  readonly start: number;
}

export interface AuditOptions {
  readonly url: URL;
  readonly auditFile: string;
  /** A call that cannot be logged is not sent, and its reply waits until it is logged. */
  readonly isAuditRequired: boolean;
  readonly secrets: Secrets;
  readonly log: Log;
}

/**
 * A gateway whose calls are logged: a JSON line for each tool, prompt or resource that the client
 * uses, before it gets the reply. Where the log is required, another line before the call is sent, so
 * that no end of this process keeps a call out of it; what cannot be logged fails with `audit_failed`.
 */
export class AuditedGateway implements Transport {
  readonly #gateway: Transport;
  readonly #options: AuditOptions;
  readonly #file: AuditFile;
  readonly #user = userName();
  readonly #gatewayName: string;
  /** The oldest first. Not a Set, for the reason that `src/stdio/open-requests.ts` has. */
  readonly #open: OpenCall[] = [];
  #client = UNKNOWN_CLIENT;
  #isFailing = false;

  constructor(gateway: Transport, options: AuditOptions) {
    this.#gateway = gateway;
    this.#options = options;
    this.#gatewayName = displayUrl(options.url);
    this.#file = new AuditFile(options.auditFile, options.isAuditRequired);
  }

  listen(observer: MessageObserver): void {
    this.#gateway.listen(this.#noticing(observer));
  }

  send(message: Message, observer: MessageObserver): Delivery {
    if (message.kind === 'response') return this.#gateway.send(message, observer);
    if (message.method === 'initialize') {
      this.#client = clientIn(memberAt(message.bytes, 'params', 'clientInfo')) ?? UNKNOWN_CLIENT;
    }
    const call = this.#callIn(message);
    if (call === undefined) return this.#gateway.send(message, observer);
    const why = this.#options.isAuditRequired ? this.#write(call, 'sent') : undefined;
    if (why !== undefined) {
      const failure = this.#failure(`${why}. Nothing was sent`);
      return { done: Promise.resolve(failure), mayHaveRun: false, stop() {}, abort() {} };
    }
    this.#open.push(call);
    const delivery = this.#gateway.send(message, this.#noticing(observer, call));
    return new AuditedDelivery(delivery, call, (outcome, code) => this.#end(call, outcome, code));
  }

  close(limitMs: number): Promise<void> {
    return this.#gateway.close(limitMs);
  }

  #callIn(message: Request | Notification): OpenCall | undefined {
    const { bytes, method } = message;
    const use = USES.get(method);
    if (use === undefined) {
      const isPlain = plainMembersOf(bytes, ENVELOPE) !== undefined;
      if (isPlain && !CALLS.test(foldCase(method))) return undefined;
    }
    const name = (use && textIn(namedIn(bytes, use).name)) ?? null;
    return {
      message,
      client: clientIn(memberAt(bytes, 'params', '_meta', META.clientInfo)) ?? this.#client,
      kind: use?.kind,
      // A query may have what a template was filled in with.
      name: use?.kind === 'resource' ? (name?.replace(/[?#].*/s, '') ?? null) : name,
      start: performance.now(),
    };
  }

  /** Logs the end of a call when its reply comes, on any stream. */
  #noticing(observer: MessageObserver, own?: OpenCall): MessageObserver {
    return mapMessages(observer, (message) => {
      if (message.kind !== 'response' || this.#open.length === 0) return message;
      const call = this.#callOf(message, own);
      if (call === undefined) return message;
      const isError = message.isError;
      const why = this.#end(call, outcomeOf(message), isError ? errorCodeOf(message) : undefined);
      if (why === undefined || !this.#options.isAuditRequired || !message.id) return message;
      const failure = this.#failure(`${why}. The call has run, but its reply is withheld`);
      const bytes = errorResponse(message.id, toRpcError(failure));
      return { kind: 'response', bytes, id: message.id, isError: true };
    });
  }

  /** The newest, should a client have used an id twice. */
  #callOf({ id }: Response, own: OpenCall | undefined): OpenCall | undefined {
    const isOf = ({ message }: OpenCall) =>
      message.kind === 'request' && message.id.key === id?.key;
    if (own !== undefined && isOf(own) && this.#open.includes(own)) return own;
    return this.#open.findLast(isOf);
  }

  #end(call: OpenCall, outcome: string, code?: unknown): string | undefined {
    const index = this.#open.indexOf(call);
    if (index < 0) return undefined;
    this.#open.splice(index, 1);
    return this.#write(call, outcome, code, Math.round(performance.now() - call.start));
  }

  /** Returns why the line could not be written, in words that fit before a full stop. */
  #write(call: OpenCall, outcome: string, code?: unknown, ms?: number): string | undefined {
    const { message, client, kind, name } = call;
    const { secrets, log } = this.#options;
    const line = JSON.stringify({
      time: new Date().toISOString(),
      user: this.#user,
      client: client.name,
      clientVersion: client.version,
      gateway: this.#gatewayName,
      method: cleanNetworkText(message.method, 100),
      ...(kind && { [kind]: name === null ? null : cleanNetworkText(name, 500) }),
      outcome,
      ...(Number.isInteger(code) ? { code } : {}),
      ...(ms === undefined ? {} : { ms }),
      id: message.kind === 'request' ? cleanNetworkText(message.id.raw, 100) : null,
    });
    const isClean = !secrets.mayFind(Buffer.from(line));
    const why = this.#file.append(`${isClean ? line : secrets.mask(line, true)}\n`);
    if (why !== undefined && !this.#isFailing) log.warn(`--audit-log: ${why}`);
    this.#isFailing = why !== undefined;
    return why;
  }

  #failure(detail: string): Failure {
    return { reason: 'audit_failed', gateway: this.#gatewayName, detail };
  }
}

function outcomeOf({ bytes, isError }: Response): string {
  if (isError) return 'error';
  return memberAt(bytes, 'result', 'isError')?.toString() === 'true' ? 'tool_error' : 'ok';
}

/** Logs the end of a call that gets no reply from the gateway. */
class AuditedDelivery implements Delivery {
  readonly done: Promise<Failure | undefined>;
  readonly #delivery: Delivery;
  readonly #end: (outcome: string, code?: number) => void;

  constructor(delivery: Delivery, call: OpenCall, end: (outcome: string, code?: number) => void) {
    this.#delivery = delivery;
    this.#end = end;
    this.done = delivery.done.then(
      (failure) => {
        if (failure !== undefined) end(failure.reason, CATALOGUE[failure.reason].code);
        else if (call.message.kind === 'notification') end('accepted');
        return failure;
      },
      (bug) => {
        end('internal_error', CATALOGUE.internal_error.code);
        throw bug;
      },
    );
  }

  get mayHaveRun(): boolean {
    return this.#delivery.mayHaveRun;
  }

  stop(): void {
    this.#end('cancelled');
    this.#delivery.stop();
  }

  abort(): void {
    this.#end(this.mayHaveRun ? 'interrupted' : 'not_sent');
    this.#delivery.abort();
  }
}

function clientIn(info: Buffer | undefined): Client | undefined {
  if (info === undefined) return undefined;
  const text = (name: string) => {
    const value = stringOf(info, name);
    return value === undefined ? null : cleanNetworkText(value, 100);
  };
  return { name: text('name'), version: text('version') };
}

/** Of the process, whatever the environment says. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // There is not always an entry for a container's user.
    return String(process.getuid?.() ?? 'unknown');
  }
}
