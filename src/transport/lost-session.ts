import type { Headers } from '../http/request.ts';
import { memberAt, valueIn } from '../jsonrpc/json-members.ts';
import type { Message, Response } from '../jsonrpc/message.ts';
import { isErrorObject, stringsIn } from './error-words.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';

/** Where a refusal may speak of anything but the request: what ran for too long ends with these too. */
const OTHER_STATUSES = new Set([408, 424, 429]);

/**
 * Whether an answer says that the gateway does not know the session that the message was sent in
 * (MCP 2025-11-25, Transports §Session Management, 2 and 3), so that the message did not run: 404, or
 * another answer with such words. A reply with the request's own id is the answer to the request, and
 * a tool may speak of sessions of its own: it counts only where `saysSessionIsLost`. `hasId`: whether
 * the message named a session; without, only words count.
 */
export function isLostSession(end: ExchangeOutcome, hasId = true): boolean {
  if (end.kind === 'refused') {
    if (!end.isFirst) return false;
    if (end.isOwn) return hasId && end.reply !== undefined && saysSessionIsLost(end.reply);
    return stringsIn(end.body).some(beginsWithLossOrStart);
  }
  if (end.kind !== 'http-error' || end.isReplyCut === true) return false;
  const { status, headers, body, reply } = end;
  if (reply !== undefined) return hasId && saysSessionIsLost(reply);
  switch (status) {
    case 404:
      if (hasId) return true;
      break;
    case 400:
    case 410:
    case 422: {
      const said = body.toString('utf8', 0, MOST_WORDS_BYTES);
      if (hasId && /\bsessions?\b|session[-_ ]?id|initiali[sz]/i.test(said)) return true;
      break;
    }
    case 401:
    case 403: {
      // With a challenge it is about the key, unless that says otherwise.
      const challenge = [headers['www-authenticate'] ?? []].flat().join();
      if (challenge !== '') return !/invalid_token/.test(challenge) && speaksOfLoss(challenge);
      return [...stringsIn(body), ...wordsIn(headers)].some(speaksOfLoss);
    }
  }
  if (status >= 500) return isErrorObject(body) && stringsIn(body).some(beginsWithLossOrStart);
  if (status < 400 || OTHER_STATUSES.has(status)) return false;
  return [...stringsIn(body), ...wordsIn(headers)].some(beginsWithLossOrStart);
}

// Fields that name sessions whatever has happened.
const NAMES_SESSIONS = /^(?:set-cookie|mcp-session-id|vary|allow|link|location|access-control-.*)$/;

function wordsIn(headers: Headers): string[] {
  return Object.entries(headers).flatMap(([name, value = []]) =>
    NAMES_SESSIONS.test(name) ? [] : value,
  );
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
  return typeof message === 'string' && beginsWithLoss(message);
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
const NOT_BEGUN =
  '(?:(?:server|client|connection) )?(?:(?:is|has|was) )?(?:not (?:yet )?(?:been )?initiali[sz]ed|uninitiali[sz]ed)\\b';
const LOSS = `(?:${STATE}|${LACK}|${NOT_BEGUN})`;
const TITLE =
  '(?:bad request|not found|unauthori[sz]ed|forbidden|gone|invalid request|(?:internal )?(?:server )?(?:mcp )?error(?: -?\\d+)?)[:.,]? +';

// "initialize first", "expected an initialize request", "received before initialization".
const START =
  '\\b(?:expect(?:ed|s|ing)?|must|please|call|send|requires?|needs?|before|without)(?: [\\w"\'`]+){0,4} ["\'`]?initiali[sz](?:e|ed|ing|ation)\\b' +
  '|\\binitiali[sz](?:e|ation)\\b["\'`]?(?: \\w+){0,3} (?:first|required|expected|missing|needed|incomplete)\\b';

function speaksOfLoss(text: string): boolean {
  return isSaidIn(text, new RegExp(`\\b${LOSS}|${START}`, 'i'));
}

function beginsWithLossOrStart(text: string): boolean {
  return beginsWithLoss(text) || isSaidIn(text, new RegExp(START, 'i'));
}

function beginsWithLoss(text: string): boolean {
  const articles = '(?:(?:the|your|this|that|a|current|given|provided|requested) )*';
  return isSaidIn(text, new RegExp(`^\\s*(?:${TITLE})*${articles}${LOSS}`, 'i'));
}

/** In prose, or as one word: session_not_found, SessionExpired. */
function isSaidIn(text: string, pattern: RegExp): boolean {
  const said = text.slice(0, MOST_WORDS_BYTES);
  const words = said.replace(/([a-z\d])([A-Z])/g, '$1 $2').replace(/[_-]+/g, ' ');
  return pattern.test(said) || pattern.test(words);
}
