import { memberAt, memberOf, valueIn, withMembers } from '../../jsonrpc/json-members.ts';
import type { Notification } from '../../jsonrpc/message.ts';
import type { MessageObserver } from '../../transport/transport.ts';
import { notificationOf } from '../messages.ts';
import { ACKNOWLEDGED, listChanged, META } from '../revisions.ts';

/**
 * An observer of a subscription that is told, after the acknowledgment, of the kinds of lists that
 * have changed before it, as far as the acknowledgment covers them (MCP 2026-07-28, Subscriptions).
 */
export function tellingOf(
  changed: Promise<readonly string[]>,
  observer: MessageObserver,
  sequence: { readonly isEnded: boolean },
): MessageObserver {
  const tell = async ({ bytes }: Notification) => {
    const filter = memberAt(bytes, 'params', 'notifications');
    const id = memberAt(bytes, 'params', '_meta', META.subscriptionId);
    const _meta = withMembers(undefined, { [META.subscriptionId]: id });
    for (const kind of await changed) {
      const isCovered = valueIn(memberOf(filter, `${kind}ListChanged`)) === true;
      if (!isCovered || sequence.isEnded) continue;
      observer.onMessage(notificationOf(listChanged(kind), { _meta }));
    }
  };
  return {
    congested: () => observer.congested(),
    onMessage: (message) => {
      observer.onMessage(message);
      if (message.kind === 'notification' && message.method === ACKNOWLEDGED) void tell(message);
    },
  };
}
