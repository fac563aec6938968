import { memberAt, valueIn } from '../jsonrpc/json-members.ts';
import type { Message, Response } from '../jsonrpc/message.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';

/**
 * Whether an answer says that the gateway does not know the session that the message was sent in
 * (MCP 2025-11-25, Transports §Session Management, 2 and 3): 404, or another refusal with such
 * words. A reply with the request's own id is the answer to the request, and a tool may speak of
 * sessions of its own: it counts only where `saysSessionIsLost`.
 */
export function isLostSession(end: ExchangeOutcome): boolean {
  if (end.kind !== 'http-error' || end.isReplyCut === true) return false;
  const { status, headers, body, reply } = end;
  if (reply !== undefined) return (status === 400 || status === 404) && saysSessionIsLost(reply);
  const said = body.toString('utf8', 0, MOST_WORDS_BYTES);
  switch (status) {
    case 404:
      return true;
    case 400:
    case 410:
    case 422:
      return /\bsessions?\b|session[-_ ]?id|initiali[sz]/i.test(said);
    case 401:
    case 403:
      // With a challenge it is about the key.
      return headers['www-authenticate'] === undefined && speaksOfLoss(said);
    default:
      return false;
  }
}

/**
 * Whether a JSON-RPC error with the request's own id is about the session of the transport: one of
 * the codes that the SDKs use for that (-32000, -32001), and a message that begins with it.
 */
export function saysSessionIsLost(reply: Response): boolean {
  const error = memberAt(reply.bytes, 'error');
  if (error === undefined) return false;
  const code = valueIn(memberAt(error, 'code'));
  const message = valueIn(memberAt(error, 'message'));
  if (code !== -32000 && code !== -32001) return false;
  return typeof message === 'string' && beginsWithLoss(message.slice(0, MOST_WORDS_BYTES));
}

/** Whether a message means something only in the session that it was written for. */
export function belongsToSession(message: Message): boolean {
  return (
    message.kind === 'response' ||
    (message.kind === 'notification' && message.method === 'notifications/cancelled')
  );
}

const MOST_WORDS_BYTES = 4096;

const SESSION = '(?:mcp[- ])?session(?:[-_ ]?id)?(?: header)?';
// "Session not found", "Session 4f-2 has expired", "Mcp-Session-Id header is required".
const STATE =
  `${SESSION}(?:[ :=]+(?:with id )?["'<(]?[\\w.-]+["'>)]?)?(?:[ :,]+(?:has|is|was|been|already|either|or))*[ :,]+` +
  '(?:not (?:found|known|recogni[sz]ed|valid|active|(?:yet )?initiali[sz]ed)|no longer \\w+' +
  "|does(?: not|n't) exist|unknown|invalid|expired|missing|required|terminated|closed|ended|gone|mismatch)\\b";
// "No valid session ID provided", "Invalid session", "Could not find session 4f-2".
const LACK =
  "(?:no|unknown|invalid|missing|expired|(?:could not|couldn't|cannot|can't|unable to) find)" +
  `(?: (?:or|and|a|the|any|valid|invalid|expired|active|existing|such|matching|unknown|missing))* ${SESSION}` +
  '(?=$|[^\\w\\s]|\\s+(?:id|found|provided|given|supplied|specified|sent|with|for|in|exists?)\\b|\\s+\\S*\\d)';
const NOT_BEGUN = '(?:(?:server|client|connection) )?(?:is )?not (?:yet )?initiali[sz]ed\\b';
const LOSS = `(?:${STATE}|${LACK}|${NOT_BEGUN})`;
const TITLE =
  '(?:bad request|not found|unauthori[sz]ed|forbidden|gone|invalid request|(?:mcp )?error(?: -?\\d+)?)[:.,]? +';

function speaksOfLoss(text: string): boolean {
  return new RegExp(`\\b${LOSS}`, 'i').test(text);
}

function beginsWithLoss(text: string): boolean {
  const articles = '(?:(?:the|your|this|that|a|current|given|provided|requested) )*';
  return new RegExp(`^\\s*(?:${TITLE})*${articles}${LOSS}`, 'i').test(text);
}
