import { nearestNames } from '../failures/nearest-name.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { MASK } from '../failures/url-secrets.ts';
import { mayLeadTo } from '../http/address-policy.ts';
import { isLoopbackHost } from '../http/loopback.ts';
import {
  INVALID_PARAMS,
  METHOD_NOT_FOUND,
  URL_ELICITATION_REQUIRED,
} from '../jsonrpc/error-codes.ts';
import {
  type Changes,
  memberOf,
  membersOf,
  stringOf,
  textIn,
  valueIn,
  withMembers,
} from '../jsonrpc/json-members.ts';
import type { Request, Response } from '../jsonrpc/message.ts';

export interface EnvelopeContext {
  /** The tools of the last `tools/list`, if all are known; asked for only when a tool is unknown. */
  toolNames(): readonly string[] | undefined;
  /** Whether the client can be shown a link. */
  readonly elicitsUrls: boolean;
  /** Where the gateway was reached: an address, or its host where that is not known. */
  readonly gatewayAddress: string;
}

/**
 * The gateway's own error with what fixes it added to `message`, because many clients show nothing
 * else. `code` and `data` stay as they came, to the byte; an error there is nothing to say about
 * is the same bytes as before. Expired credentials become URLElicitationRequired where the client
 * can show a link.
 */
export function explainEnvelope(
  reply: Response,
  request: Request,
  context: EnvelopeContext,
): Response {
  const error = memberOf(reply.bytes, 'error');
  const [code, message, data] = membersOf(error, ['code', 'message', 'data']);
  const said = cleanNetworkText(textIn(message) ?? '');
  const link = reconnectLink(data, context.gatewayAddress);
  if (context.elicitsUrls && link?.url !== undefined) {
    const url = link.url.href;
    const elicitationId = crypto.randomUUID();
    return withError(reply, {
      code: String(URL_ELICITATION_REQUIRED),
      message: JSON.stringify(sentence(said, link.hint)),
      data: {
        elicitations: JSON.stringify([{ mode: 'url', elicitationId, url, message: said }]),
      },
    });
  }
  const hint = link?.hint ?? hintFor(valueIn(code), request, context);
  if (hint === undefined) return reply;
  return withError(reply, { message: JSON.stringify(sentence(said, hint)) });
}

function withError(reply: Response, error: Changes): Response {
  return { ...reply, bytes: withMembers(reply.bytes, { error }) };
}

/**
 * What the gateway says of credentials that are no longer there (its page on errors). Undefined as
 * well when it links to where the gateway has no business, such as a service of this computer.
 */
function reconnectLink(
  data: Buffer | undefined,
  gatewayAddress: string,
): { hint: string; url?: URL } | undefined {
  const hint = stringOf(data, 'hint');
  if (hint === undefined || stringOf(data, 'reason') !== 'credentials_unavailable')
    return undefined;
  const clean = cleanNetworkText(hint);
  const links = (clean.match(/https?:\/\/[^\s"'<>]+/gi) ?? [])
    .map((text) => text.replace(/[.,;:!?)\]]+$/, ''))
    .flatMap((text) => (URL.canParse(text) ? [new URL(text)] : []));
  if (!links.every(({ hostname }) => mayLeadTo(hostname, gatewayAddress))) return undefined;
  const [url] = links;
  return { hint: clean, ...(url !== undefined && isSafeLink(url) ? { url } : {}) };
}

function isSafeLink({ protocol, hostname, username, password, href }: URL): boolean {
  // One that a secret was taken out of leads nowhere.
  if (href.includes(MASK.slice(0, -1))) return false;
  if (username !== '' || password !== '') return false;
  return protocol === 'https:' || isLoopbackHost(hostname);
}

function hintFor(
  code: unknown,
  request: Request,
  { toolNames }: EnvelopeContext,
): string | undefined {
  if (request.method === 'tools/call' && (code === INVALID_PARAMS || code === METHOD_NOT_FOUND)) {
    const name = stringOf(memberOf(request.bytes, 'params'), 'name') ?? '';
    return unknownToolHint(name, toolNames());
  }
  if (code !== METHOD_NOT_FOUND) return undefined;
  return `The gateway does not support the method ${cleanNetworkText(request.method, 100)}.`;
}

/** Says nothing without a list: the tool may exist, and its arguments be wrong. */
function unknownToolHint(name: string, known: readonly string[] | undefined): string | undefined {
  // A tool that is in the list was called with the wrong arguments.
  if (known === undefined || name === '' || known.includes(name)) return undefined;
  const clean = cleanNetworkText(name, 100);
  const near = nearestNames(name, known).map((near) => cleanNetworkText(near, 100));
  return near.length > 0
    ? `There is no tool named ${clean}. Did you mean ${near.join(' or ')}?`
    : `This account has no tool named ${clean}. To see its tools, call tools/list.`;
}

function sentence(said: string, hint: string): string {
  if (said === '') return hint;
  return `${/[.!?…]$/.test(said) ? said : `${said}.`} ${hint}`;
}
