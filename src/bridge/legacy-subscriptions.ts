import type { Failure } from '../failures/failure.ts';
import {
  itemsOf,
  memberAt,
  memberOf,
  stringOf,
  valueIn,
  withMembers,
} from '../jsonrpc/json-members.ts';
import type { MessageId, Notification, Request, Response } from '../jsonrpc/message.ts';
import type { MessageObserver } from '../transport/transport.ts';
import { type Handshake, NO_OBJECT, notificationOf, type Params } from './legacy-messages.ts';
import { ACKNOWLEDGED } from './modern-gateway.ts';
import { META } from './revisions.ts';
import type { SendSequence } from './send-sequence.ts';

const LIST_CHANGES: ReadonlyMap<string, string> = new Map([
  ['notifications/tools/list_changed', 'tools'],
  ['notifications/prompts/list_changed', 'prompts'],
  ['notifications/resources/list_changed', 'resources'],
]);

/** What a client's `subscriptions/listen` listens for. */
interface Subscription {
  readonly id: MessageId;
  readonly observer: MessageObserver;
  /** Methods of notifications. */
  readonly lists: ReadonlySet<string>;
  readonly resources: Set<string>;
  /** It has been acknowledged. */
  isOpen: boolean;
}

/** Asks the gateway something in the proxy's own name. Undefined when there was no reply. */
type Ask = (method: string, params: Params) => Promise<Response | undefined>;

/**
 * What a client of 2026-07-28 listens for with `subscriptions/listen` (MCP 2026-07-28,
 * Subscriptions), at a gateway that knows `resources/subscribe` and sends list changes unasked.
 */
export class LegacySubscriptions {
  readonly #ask: Ask;
  readonly #subscriptions = new Set<Subscription>();

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** Acknowledges what the gateway can tell of it. Resolves when the course has ended. */
  async listen(
    course: SendSequence,
    request: Request,
    observer: MessageObserver,
    { capabilities }: Handshake,
  ): Promise<Failure | undefined> {
    const filter = memberAt(request.bytes, 'params', 'notifications');
    const tells = (kind: string, of: string) =>
      valueIn(memberAt(capabilities ?? NO_OBJECT, kind, of)) === true;
    const kinds = [...LIST_CHANGES].filter(
      ([, kind]) =>
        valueIn(memberOf(filter, `${kind}ListChanged`)) === true && tells(kind, 'listChanged'),
    );
    const subscription: Subscription = {
      id: request.id,
      observer,
      lists: new Set(kinds.map(([method]) => method)),
      resources: new Set(),
      isOpen: false,
    };
    const { resources } = subscription;
    this.#subscriptions.add(subscription);
    course.begun();
    const wanted = tells('resources', 'subscribe')
      ? memberOf(filter, 'resourceSubscriptions')
      : undefined;
    for (const item of itemsOf(wanted) ?? []) {
      const uri = valueIn(item);
      if (course.isOver || typeof uri !== 'string') continue;
      resources.add(uri);
      const reply = await this.#ask('resources/subscribe', { uri: item });
      if (reply?.isError !== false) resources.delete(uri);
    }
    if (!course.isOver) {
      const agreed: Record<string, unknown> = {};
      for (const [, kind] of kinds) agreed[`${kind}ListChanged`] = true;
      if (resources.size > 0) agreed.resourceSubscriptions = [...resources];
      subscription.isOpen = true;
      observer.onMessage(
        notificationOf(ACKNOWLEDGED, {
          _meta: withMembers(undefined, { [META.subscriptionId]: request.id.raw }),
          notifications: JSON.stringify(agreed),
        }),
      );
      await course.ended;
    }
    this.#subscriptions.delete(subscription);
    const others = [...this.#subscriptions];
    for (const uri of resources) {
      if (others.some((other) => other.resources.has(uri))) continue;
      void this.#ask('resources/unsubscribe', { uri: JSON.stringify(uri) });
    }
    return undefined;
  }

  /** Gives a notification to those who listen for it. False when it is none to listen for. */
  tell(notification: Notification): boolean {
    const { method, bytes } = notification;
    const isUpdate = method === 'notifications/resources/updated';
    if (!isUpdate && !LIST_CHANGES.has(method)) return false;
    const uri = stringOf(memberOf(bytes, 'params'), 'uri') ?? '';
    for (const { id, observer, lists, resources, isOpen } of this.#subscriptions) {
      const concerns = isUpdate ? [...resources].some((own) => holds(own, uri)) : lists.has(method);
      if (!isOpen || !concerns) continue;
      const _meta = { [META.subscriptionId]: id.raw };
      const told = withMembers(bytes, { params: { _meta } });
      observer.onMessage({ ...notification, bytes: told });
    }
    return true;
  }

  /** Subscribes anew, in a session that knows of none. */
  renew(): void {
    const uris = new Set([...this.#subscriptions].flatMap(({ resources }) => [...resources]));
    for (const uri of uris) void this.#ask('resources/subscribe', { uri: JSON.stringify(uri) });
  }
}

/** Whether that is the resource or a part of it (MCP 2026-07-28, schema, ResourceUpdated). */
function holds(resource: string, uri: string): boolean {
  return uri === resource || uri.startsWith(resource.endsWith('/') ? resource : `${resource}/`);
}
