import type { Failure } from '../failures/failure.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { itemsOf, memberOf, stringOf } from '../jsonrpc/json-members.ts';
import { type Message, type Response, readMessages } from '../jsonrpc/message.ts';
import type { Transport } from '../transport/transport.ts';

/** What a gateway makes of a key. */
export type KeyTrial =
  | { readonly outcome: 'works'; readonly tools: number }
  /** 401. `failure` has what the gateway says about it. */
  | { readonly outcome: 'rejected'; readonly failure: Failure }
  /** 403 where that says that the key is known, but that its holder may not use it here. */
  | { readonly outcome: 'forbidden'; readonly failure: Failure }
  /** The key could not be judged. */
  | { readonly outcome: 'failed'; readonly failure: Failure }
  /** The gateway answered with an error of its own, `said`, so that it takes the key. */
  | { readonly outcome: 'error'; readonly said: string };

/** A page of `tools/list` is long enough that no list has as many. */
const MOST_PAGES = 100;

/**
 * Tries the key that `upstream` sends: initializes and counts the tools. Takes as long as the
 * gateway does. Never rejects.
 */
export async function tryKey(upstream: Transport, clientVersion: string): Promise<KeyTrial> {
  const hello = await exchange(upstream, 'initialize', {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'mcp-latchkey login', version: clientVersion },
  });
  if ('failure' in hello) return trialOf(hello.failure);
  // Some gateways take `tools/list` alone.
  if (!hello.reply.isError) await notifyInitialized(upstream);
  let tools = 0;
  let cursor: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const params = cursor === undefined ? {} : { cursor };
    const answer = await exchange(upstream, 'tools/list', params);
    if ('failure' in answer) return trialOf(answer.failure);
    const { bytes, isError } = answer.reply;
    if (isError) {
      const said = stringOf(memberOf(bytes, 'error'), 'message') ?? '';
      return { outcome: 'error', said: cleanNetworkText(said, 200) };
    }
    const result = memberOf(bytes, 'result');
    tools += itemsOf(memberOf(result, 'tools'))?.length ?? 0;
    cursor = stringOf(result, 'nextCursor');
    if (cursor === undefined) break;
  }
  return { outcome: 'works', tools };
}

function trialOf(failure: Failure): KeyTrial {
  if (failure.status === 401) return { outcome: 'rejected', failure };
  return { outcome: failure.lacksKeyAccess === true ? 'forbidden' : 'failed', failure };
}

/** No id may come twice in a session (MCP 2025-11-25, Overview §Requests). */
let lastId = 0;

/** Sends a request. Resolves with the reply, an error response too. Never rejects. */
export async function exchange(
  upstream: Transport,
  method: string,
  params: object,
): Promise<{ failure: Failure } | { reply: Response }> {
  let reply: Response | undefined;
  const message = messageFrom({ jsonrpc: '2.0', id: ++lastId, method, params });
  const failure = await upstream.send(message, {
    onMessage: (received) => {
      if (received.kind === 'response') reply = received;
    },
    congested: () => undefined,
  }).done;
  return failure === undefined ? { reply: reply as Response } : { failure };
}

/** Ends the handshake. Resolves with why it could not be sent. Never rejects. */
export async function notifyInitialized(upstream: Transport): Promise<Failure | undefined> {
  const message = messageFrom({ jsonrpc: '2.0', method: 'notifications/initialized' });
  return upstream.send(message, { onMessage: () => {}, congested: () => undefined }).done;
}

function messageFrom(value: object): Message {
  return readMessages(Buffer.from(JSON.stringify(value))).messages[0] as Message;
}
