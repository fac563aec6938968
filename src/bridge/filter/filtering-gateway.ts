import type { Failure } from '../../failures/failure.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import { filterItems } from '../../jsonrpc/filter-items.ts';
import {
  foldCase,
  itemsOf,
  membersOf,
  plainMembersOf,
  textIn,
} from '../../jsonrpc/json-members.ts';
import type { Message, MessageId, Notification, Request, Response } from '../../jsonrpc/message.ts';
import type { Filter, Kind } from '../../settings/filters.ts';
import {
  type Delivery,
  type MessageObserver,
  mapMessages,
  NO_OBSERVER,
  type Transport,
} from '../../transport/transport.ts';
import { listChanged } from '../revisions.ts';
import { DONE, isReplyTo, SendSequence } from '../send-sequence.ts';
import { ENVELOPE, namedIn, PARAMS, USES, type UseOf } from '../uses.ts';
import { hintsIn, KnownTools } from './known-tools.ts';
import { type Rule, Rules } from './rules.ts';

/** The longest name or URI that is let through where there is a filter for such. */
const MOST_NAME_CHARACTERS = 4_096;

interface List {
  readonly kind: Kind;
  /** The member of the result that has the items, and the one of an item that it goes by. */
  readonly items: string;
  readonly name: string;
}

const LISTS: ReadonlyMap<string, List> = new Map([
  ['tools/list', { kind: 'tool', items: 'tools', name: 'name' }],
  ['prompts/list', { kind: 'prompt', items: 'prompts', name: 'name' }],
  ['resources/list', { kind: 'resource', items: 'resources', name: 'uri' }],
  [
    'resources/templates/list',
    { kind: 'resource', items: 'resourceTemplates', name: 'uriTemplate' },
  ],
]);

/** A request for a list that is under way. */
interface OpenList {
  readonly id: MessageId;
  readonly list: List;
}

/** Methods of these are let through only where it is known what they do. */
const GUARDED = /^\s*(?:tools|prompts|resources|completion|subscriptions)\//;

/** Something that a message is about. */
interface Use {
  readonly kind: Kind;
  /** Undefined where the message does not say. */
  readonly name: string | undefined;
}

export interface FilterOptions {
  readonly url: URL;
  readonly filters: readonly Filter[];
  /** Whom to ask about the organization's policy. */
  readonly contact?: string;
}

/**
 * A gateway of which the client sees and may use only what the filters let through. Lists come
 * without the rest; a message that uses any of the rest, or that another program could read in
 * another way, is not sent and fails with `tool_not_allowed`.
 */
export class FilteringGateway implements Transport {
  readonly #gateway: Transport;
  readonly #options: FilterOptions;
  readonly #rules: Rules;
  readonly #tools: KnownTools;
  readonly #openLists: OpenList[] = [];
  #observer = NO_OBSERVER;

  constructor(gateway: Transport, options: FilterOptions) {
    this.#gateway = gateway;
    this.#options = options;
    this.#rules = new Rules(options.filters);
    this.#tools = new KnownTools(gateway);
  }

  listen(observer: MessageObserver): void {
    this.#observer = this.#noticing(observer);
    this.#gateway.listen(this.#observer);
  }

  send(message: Message, observer: MessageObserver): Delivery {
    if (message.kind !== 'response') {
      const use = USES.get(message.method);
      if (use !== undefined) return this.#use(use, message, observer);
    }
    const envelope = plainMembersOf(message.bytes, ENVELOPE);
    if (envelope === undefined) return refused(this.#unclear());
    if (message.kind === 'response') return this.#gateway.send(message, observer);
    const uses = this.#usesIn(message, envelope[PARAMS]);
    if (uses === undefined) return refused(this.#unclear());
    for (const use of uses) {
      const failure = this.#blocked(use);
      if (failure !== undefined) return refused(failure);
    }
    const noticing = this.#noticing(observer);
    const { method } = message;
    if (method === 'initialize') this.#tools.forget();
    const list = message.kind === 'request' ? LISTS.get(method) : undefined;
    if (list === undefined || !this.#rules.covers(list.kind)) {
      return this.#gateway.send(message, noticing);
    }
    // Of a task (MCP 2025-11-25, Tasks), the list would come as the result of another request.
    const asTask = plainMembersOf(envelope[PARAMS], ['task']);
    if (asTask === undefined || asTask[0] !== undefined) return refused(this.#unclear());
    const open = { id: (message as Request).id, list };
    this.#openLists.push(open);
    const delivery = this.#gateway.send(message, noticing);
    const end = () => void this.#openLists.splice(this.#openLists.indexOf(open), 1);
    delivery.done.then(end, end);
    return delivery;
  }

  close(limitMs: number): Promise<void> {
    return this.#gateway.close(limitMs);
  }

  /** Sends what uses one thing, if the filters let that through. */
  #use(use: UseOf, message: Request | Notification, observer: MessageObserver): Delivery {
    const { isPlain, name: json } = namedIn(message.bytes, use);
    if (!isPlain) return refused(this.#unclear());
    const name = textIn(json);
    const failure = this.#blocked({ kind: use.kind, name });
    if (failure !== undefined) return refused(failure);
    const noticing = this.#noticing(observer);
    return use.kind === 'tool' && this.#rules.needsHints
      ? this.#call(name as string, message, noticing)
      : this.#gateway.send(message, noticing);
  }

  /** Sends a call if the annotations of its tool allow it. */
  #call(tool: string, call: Request | Notification, observer: MessageObserver): Delivery {
    const known = this.#tools.hintsOf(tool);
    if (known !== undefined) {
      const failure = this.#blockedByHints(tool, known);
      return failure === undefined ? this.#gateway.send(call, observer) : refused(failure);
    }
    return new SendSequence(async (sequence) => {
      const fetched = this.#tools.fetch(call, this.#observer);
      const unlisted = await Promise.race([fetched, sequence.ended]);
      if (unlisted !== undefined || sequence.isEnded) return unlisted;
      const failure = this.#blockedByHints(tool, this.#tools.hintsOf(tool));
      return failure ?? sequence.send(this.#gateway, call, observer);
    });
  }

  /** A tool that no list has shown is taken for destructive. */
  #blockedByHints(tool: string, hints = hintsIn(undefined)): Failure | undefined {
    const rule = this.#rules.blockerByHints(hints);
    return rule && this.#failure('tool', tool, rule);
  }

  /** What the message uses, as far as a rule may be about it; undefined where it is not clear. */
  #usesIn(message: Request | Notification, params: Buffer | undefined): Use[] | undefined {
    const { method } = message;
    if (method === 'completion/complete') {
      const ref = plainMembersOf(params, ['ref']);
      const named = ref && plainMembersOf(ref[0], ['name', 'uri']);
      if (named === undefined) return undefined;
      const [name, uri] = named;
      const uses: Use[] = [];
      if (uri !== undefined) uses.push({ kind: 'resource', name: textIn(uri) });
      if (name !== undefined || uri === undefined) {
        uses.push({ kind: 'prompt', name: textIn(name) });
      }
      return uses;
    }
    if (method === 'subscriptions/listen') {
      const wanted = plainMembersOf(params, ['notifications']);
      const found = wanted && plainMembersOf(wanted[0], ['resourceSubscriptions']);
      if (found === undefined) return undefined;
      const [resources] = found;
      if (resources === undefined) return [];
      return itemsOf(resources, Number.POSITIVE_INFINITY)?.map((uri) => ({
        kind: 'resource',
        name: textIn(uri),
      }));
    }
    return LISTS.has(method) || !GUARDED.test(foldCase(method)) ? [] : undefined;
  }

  /** Why it is not let through, by its name alone; undefined where it may be. */
  #blocked(use: Use): Failure | undefined {
    const { kind, name } = use;
    if (!this.#rules.covers(kind)) return undefined;
    if (!isJudged(name)) return this.#unclear();
    const rule = this.#rules.knownBlockerOf(kind, name);
    return rule && this.#failure(kind, name, rule);
  }

  #noticing(observer: MessageObserver): MessageObserver {
    return mapMessages(observer, this.#notice);
  }

  /** Filters a list, whichever stream it comes on, and notices when the tools have changed. */
  readonly #notice = (message: Message): Message => {
    if (message.kind === 'response') return this.#filtered(message);
    const hasChanged = message.kind === 'notification' && message.method === TOOLS_CHANGED;
    if (hasChanged && this.#rules.needsHints) this.#tools.forget();
    return message;
  };

  #filtered(response: Response): Response {
    if (this.#openLists.length === 0 || response.isError) return response;
    const open = this.#openLists.find(({ id }) => isReplyTo(id, response));
    if (open === undefined) return response;
    const { kind, items, name } = open.list;
    const needsHints = kind === 'tool' && this.#rules.needsHints;
    const members = needsHints ? [name, 'annotations'] : [name];
    const keeps = ([named, annotations]: readonly (Buffer | undefined)[]) => {
      const text = textIn(named);
      if (!isJudged(text)) return false;
      const isAllowed = this.#rules.blockerOf(kind, text) === undefined;
      if (!needsHints) return isAllowed;
      const hints = hintsIn(annotations);
      this.#tools.learn(text, hints);
      return isAllowed && this.#rules.blockerByHints(hints) === undefined;
    };
    const bytes = filterItems(response.bytes, ['result', items], members, keeps);
    return bytes === response.bytes ? response : { ...response, bytes };
  }

  #unclear(): Failure {
    return {
      reason: 'tool_not_allowed',
      gateway: displayUrl(this.#options.url),
      detail: 'the message can be read in more than one way, so no rule can allow it',
    };
  }

  #failure(kind: Kind, name: string, rule: Rule): Failure {
    const { url, contact } = this.#options;
    return {
      reason: 'tool_not_allowed',
      gateway: displayUrl(url),
      detail: `the ${kind} ${cleanNetworkText(name, 100)}`,
      rule,
      ...(contact === undefined || !rule.isManaged ? {} : { contact }),
    };
  }
}

const TOOLS_CHANGED = listChanged('tools');

/** Whether the filters let a tool of a list through. */
export function isToolShown(tool: Buffer, filters: readonly Filter[]): boolean {
  const rules = new Rules(filters);
  const [named, annotations] = membersOf(tool, ['name', 'annotations']);
  const name = textIn(named);
  if (!isJudged(name) || rules.blockerOf('tool', name) !== undefined) return false;
  return rules.blockerByHints(hintsIn(annotations)) === undefined;
}

function isJudged(name: string | undefined): name is string {
  return name !== undefined && name.length <= MOST_NAME_CHARACTERS;
}

/** The delivery of a message that is not sent. */
function refused(failure: Failure): Delivery {
  return { ...DONE, done: Promise.resolve(failure) };
}
