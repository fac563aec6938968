import type { Failure } from '../../failures/failure.ts';
import {
  itemsOf,
  memberAt,
  memberOf,
  stringOf,
  valueIn,
  withMembers,
} from '../../jsonrpc/json-members.ts';
import type { MessageId, Notification, Request } from '../../jsonrpc/message.ts';
import type { MessageObserver } from '../../transport/transport.ts';
import { notificationOf, type ServerHello } from '../messages.ts';
import { ACKNOWLEDGED, LIST_KINDS, listChanged, META } from '../revisions.ts';
import type { SendSequence } from '../send-sequence.ts';
import type { LegacySession } from './session.ts';

const LIST_CHANGES: ReadonlySet<string> = new Set(LIST_KINDS.map(listChanged));

/** One `subscriptions/listen` of the client. */
interface Subscription {
  readonly id: MessageId;
  readonly observer: MessageObserver;
  /** Methods of list-changed notifications. */
  readonly lists: ReadonlySet<string>;
  readonly resources: Set<string>;
  /** Whether it has been acknowledged: no notification may come before that. */
  isOpen: boolean;
}

/**
 * Serves `subscriptions/listen` (MCP 2026-07-28, Subscriptions) from a gateway that knows
 * `resources/subscribe` and sends list changes without a subscription.
 */
export class LegacySubscriptions {
  readonly #session: LegacySession;
  readonly #subscriptions = new Set<Subscription>();

  constructor(session: LegacySession) {
    this.#session = session;
  }

  /** Acknowledges the part that the gateway supports. Resolves when the sequence has ended. */
  async listen(
    sequence: SendSequence,
    request: Request,
    observer: MessageObserver,
    { capabilities }: ServerHello,
  ): Promise<Failure | undefined> {
    const filter = memberAt(request.bytes, 'params', 'notifications');
    const supports = (kind: string, feature: string) =>
      valueIn(memberAt(capabilities, kind, feature)) === true;
    const kinds = LIST_KINDS.filter(
      (kind) =>
        valueIn(memberOf(filter, `${kind}ListChanged`)) === true && supports(kind, 'listChanged'),
    );
    const subscription: Subscription = {
      id: request.id,
      observer,
      lists: new Set(kinds.map(listChanged)),
      resources: new Set(),
      isOpen: false,
    };
    const { resources } = subscription;
    this.#subscriptions.add(subscription);
    sequence.markMayHaveRun();
    const requested = supports('resources', 'subscribe')
      ? memberOf(filter, 'resourceSubscriptions')
      : undefined;
    for (const item of itemsOf(requested) ?? []) {
      const uri = valueIn(item);
      if (sequence.isEnded || typeof uri !== 'string') continue;
      resources.add(uri);
      const reply = await this.#session.request('resources/subscribe', { uri: item });
      if (reply?.isError !== false) resources.delete(uri);
    }
    if (!sequence.isEnded) {
      const agreed: Record<string, unknown> = {};
      for (const kind of kinds) agreed[`${kind}ListChanged`] = true;
      if (resources.size > 0) agreed.resourceSubscriptions = [...resources];
      subscription.isOpen = true;
      observer.onMessage(
        notificationOf(ACKNOWLEDGED, {
          _meta: withMembers(undefined, { [META.subscriptionId]: request.id.raw }),
          notifications: JSON.stringify(agreed),
        }),
      );
      await sequence.ended;
    }
    this.#subscriptions.delete(subscription);
    const others = [...this.#subscriptions];
    for (const uri of resources) {
      if (others.some((other) => other.resources.has(uri))) continue;
      void this.#session.request('resources/unsubscribe', { uri: JSON.stringify(uri) });
    }
    return undefined;
  }

  /** Passes a notification to its subscribers. False if it is not one to subscribe to. */
  notify(notification: Notification): boolean {
    const { method, bytes } = notification;
    const isUpdate = method === 'notifications/resources/updated';
    if (!isUpdate && !LIST_CHANGES.has(method)) return false;
    const uri = stringOf(memberOf(bytes, 'params'), 'uri') ?? '';
    for (const { id, observer, lists, resources, isOpen } of this.#subscriptions) {
      const concerns = isUpdate
        ? [...resources].some((resource) => contains(resource, uri))
        : lists.has(method);
      if (!isOpen || !concerns) continue;
      const _meta = { [META.subscriptionId]: id.raw };
      observer.onMessage({ ...notification, bytes: withMembers(bytes, { params: { _meta } }) });
    }
    return true;
  }

  /** Subscribes to everything again, because the new session knows no subscriptions. */
  onNewSession(): void {
    const uris = new Set([...this.#subscriptions].flatMap(({ resources }) => [...resources]));
    for (const uri of uris)
      void this.#session.request('resources/subscribe', { uri: JSON.stringify(uri) });
  }
}

/** Whether `uri` is the resource or a part of it (MCP 2026-07-28, schema, ResourceUpdated). */
function contains(resource: string, uri: string): boolean {
  return uri === resource || uri.startsWith(resource.endsWith('/') ? resource : `${resource}/`);
}
