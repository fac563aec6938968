import { memberAt, memberOf, stringOf, withMembers } from '../../jsonrpc/json-members.ts';
import type { Notification } from '../../jsonrpc/message.ts';
import { type Delivery, type MessageObserver, NO_OBSERVER } from '../../transport/transport.ts';
import { LOG_LEVELS } from '../revisions.ts';
import { DONE } from '../send-sequence.ts';
import type { Call } from './call.ts';
import type { ServerRequests } from './server-requests.ts';
import type { LegacySession } from './session.ts';
import type { LegacySubscriptions } from './subscriptions.ts';
import { keyOf, levelIn } from './translate.ts';

export interface NotificationsOptions {
  readonly session: LegacySession;
  readonly calls: ReadonlySet<Call>;
  readonly serverRequests: ServerRequests;
  readonly subscriptions: LegacySubscriptions;
  /** Receives messages that belong to no request. */
  readonly observer: MessageObserver;
}

/** Notifications in both directions, and the log level that a modern client sets per request. */
export class Notifications {
  readonly #options: NotificationsOptions;
  #logLevel: string | undefined;

  constructor(options: NotificationsOptions) {
    this.#options = options;
  }

  fromClient(notification: Notification): Delivery {
    const { session, calls } = this.#options;
    if (notification.method !== 'notifications/cancelled') {
      return session.upstream.send(notification, NO_OBSERVER);
    }
    const key = keyOf(memberAt(notification.bytes, 'params', 'requestId'));
    if (key === undefined) return DONE;
    // If a client has used an id twice, the newest request counts, as in src/stdio.
    const call = [...calls].findLast(({ pending }) => pending?.request.id.key === key);
    if (call === undefined) return DONE;
    const bytes = withMembers(notification.bytes, { params: { requestId: call.id.raw } });
    return session.upstream.send({ ...notification, bytes }, NO_OBSERVER);
  }

  /** `source` is the call on whose stream the notification came, if any. */
  fromGateway(notification: Notification, source: Call | undefined): void {
    const { serverRequests, subscriptions, observer } = this.#options;
    switch (notification.method) {
      case 'notifications/progress':
        this.#progress(notification, source);
        break;
      case 'notifications/message':
        this.#logMessage(notification, source);
        break;
      case 'notifications/cancelled':
        serverRequests.withdraw(keyOf(memberAt(notification.bytes, 'params', 'requestId')));
        break;
      case 'notifications/elicitation/complete':
        break;
      default:
        if (subscriptions.notify(notification)) break;
        (source?.pending?.observer ?? observer).onMessage(notification);
    }
  }

  #progress(notification: Notification, source: Call | undefined): void {
    const token = keyOf(memberAt(notification.bytes, 'params', 'progressToken'));
    const isForToken = ({ meta }: Call) => keyOf(memberOf(meta, 'progressToken')) === token;
    const call = source ?? [...this.#options.calls].find(isForToken);
    const progressToken = call?.pending?.progressToken;
    if (call?.pending === undefined || progressToken === undefined) return;
    const bytes = withMembers(notification.bytes, { params: { progressToken } });
    call.pending.observer.onMessage({ ...notification, bytes });
  }

  /**
   * A log message goes to a request that asked for its level (MCP 2026-07-28, Logging §Per-request
   * log level): the call on whose stream it came, else any call.
   */
  #logMessage(notification: Notification, source: Call | undefined): void {
    const level = LOG_LEVELS.indexOf(stringOf(memberOf(notification.bytes, 'params'), 'level'));
    const calls = source === undefined ? [...this.#options.calls] : [source];
    const call = calls.find(({ pending }) => pending !== undefined && pending.level <= level);
    call?.pending?.observer.onMessage(notification);
  }

  /** Sets the lowest level that any running call or the new one asks for. */
  async setLogLevel(level: string): Promise<void> {
    const levels = [...this.#options.calls].map(({ meta }) => levelIn(meta));
    const lowest = LOG_LEVELS[Math.min(LOG_LEVELS.indexOf(level), ...levels)] as string;
    if (lowest === this.#logLevel) return;
    this.#logLevel = lowest;
    const params = { level: JSON.stringify(lowest) };
    const reply = await this.#options.session.request('logging/setLevel', params);
    if (reply?.isError !== false) this.#logLevel = undefined;
  }

  /** A new session does not know the log level that was set. */
  onNewSession(): void {
    this.#logLevel = undefined;
  }
}
