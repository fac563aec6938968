import { describe, expect, it } from 'vitest';
import type { Headers } from '../../src/http/request.ts';
import { type Response, readMessages } from '../../src/jsonrpc/message.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import { isLostSession, saysSessionIsLost } from '../../src/transport/lost-session.ts';

const reply = (code: number, message: string) =>
  readMessages(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, error: { code, message } })))
    .messages[0] as Response;

/** A refusal without a reply to the request. */
const refused = (status: number, body = '', headers: Headers = {}): ExchangeOutcome => ({
  kind: 'http-error',
  status,
  headers,
  body: Buffer.from(body),
});

const LOST = [
  'Session not found',
  'session not found',
  'Session not found or expired',
  'Session expired',
  'The session has expired',
  'Session has been terminated',
  'Not Found: Session has been terminated',
  'Session 3f2a-9 not found',
  'Session ID abc not found',
  'Session with id abc is unknown',
  'Session "abc" was closed',
  'Session ID is required',
  'Invalid session',
  'Invalid session ID',
  'Invalid or missing session ID',
  'Missing session ID',
  'Unknown session 12',
  'No session found',
  'No active session',
  'Could not find session',
  'Bad Request: No valid session ID provided',
  'Bad Request: Mcp-Session-Id header is required',
  'Bad Request: Missing session ID',
  'Bad Request: Server not initialized',
  'Server not initialized',
  'Unauthorized: Session not found',
  'MCP error -32001: Session not found',
  'Session does not exist',
];

describe('an error with the id of the request', () => {
  it.each(LOST)('is about the session of the transport: %s', (message) => {
    for (const code of [-32000, -32001]) {
      expect(saysSessionIsLost(reply(code, message))).toBe(true);
    }
    for (const code of [-32602, -32603, -32600, 404, 1]) {
      expect(saysSessionIsLost(reply(code, message))).toBe(false);
    }
  });

  it.each([
    'recording session abc does not exist',
    'Your login session expired',
    'The browser session is closed',
    'Sessions are limited to 10',
    'Session started',
    'Session recording failed: the microphone was not found',
    'Invalid session recording',
    'File not found in session 12',
    'No',
    '',
  ])('is the answer of a tool: %s', (message) => {
    for (const code of [-32000, -32001]) {
      expect(saysSessionIsLost(reply(code, message))).toBe(false);
    }
  });

  it('counts with any status, where the message named a session, and a result never', () => {
    const lost = reply(-32001, 'Session not found');
    const withReply = (status: number, own: Response, hasId = true) =>
      isLostSession({ ...refused(status, 'session'), reply: own } as ExchangeOutcome, hasId);
    for (const status of [400, 404, 403, 422, 500]) {
      expect(withReply(status, lost)).toBe(true);
      expect(withReply(status, lost, false)).toBe(false);
    }
    const result = readMessages(Buffer.from('{"jsonrpc":"2.0","id":1,"result":{}}')).messages[0];
    expect(withReply(404, result as Response)).toBe(false);
    const noMessage = readMessages(
      Buffer.from('{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":7}}'),
    ).messages[0];
    expect(withReply(404, noMessage as Response)).toBe(false);
  });
});

describe('a refusal without a reply to the request', () => {
  it.each<[boolean, number, string, Headers?]>([
    [true, 404, ''],
    [true, 404, '<html>Not Found</html>'],
    [true, 400, 'Bad Request: No valid session ID provided'],
    [true, 400, '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Not initialized"}}'],
    [true, 400, '{"error":"invalid sessionId"}'],
    [true, 400, 'the first message must be initialize'],
    [true, 410, 'the session is gone'],
    [true, 422, 'Unexpected message, expect initialize request'],
    [true, 401, 'Unauthorized: Session not found'],
    [true, 403, '{"error":{"message":"session expired"}}'],
    [false, 401, 'Unauthorized'],
    [false, 401, 'see our session at the conference'],
    [false, 401, 'Unauthorized: Session not found', { 'www-authenticate': 'Bearer' }],
    [false, 403, 'sessions are not for you'],
    [false, 400, 'Bad Request'],
    [false, 400, 'obsessional'],
    [false, 410, 'Gone'],
    [false, 405, 'session'],
    [false, 409, 'session'],
    [false, 429, 'too many sessions'],
    [false, 500, 'session not found'],
    [false, 503, 'session not found'],
  ])('%s for %d %j', (expected, status, body, headers) => {
    expect(isLostSession(refused(status, body, headers))).toBe(expected);
  });

  it.each<[boolean, number, string, Headers?]>([
    [true, 401, '', { 'x-mcp-error': 'session_not_found' }],
    [true, 403, 'Forbidden', { 'x-error': 'Session expired' }],
    [true, 401, '', { 'www-authenticate': 'Bearer error="invalid_session"' }],
    [true, 401, 'Please initialize first'],
    [true, 401, '{"code":"SESSION_EXPIRED"}'],
    [true, 403, '{"name":"SessionNotFoundError"}'],
    [true, 409, 'Session expired'],
    [true, 440, '{"error":"session_expired"}'],
    [true, 500, '{"error":"Invalid or expired session"}'],
    [true, 503, '{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"Session not found"}}'],
    [true, 500, 'data: {"error":{"message":"Error: Server not initialized"}}'],
    [false, 401, '', { 'set-cookie': 'a=1; session expired' }],
    [false, 401, '', { 'access-control-expose-headers': 'invalid session' }],
    [false, 401, 'Session expired', { 'www-authenticate': 'Bearer error="invalid_token"' }],
    [false, 408, '{"error":"session expired"}'],
    [false, 429, '{"error":"session expired"}'],
    [false, 500, '{"error":"the recording session abc does not exist"}'],
    [false, 500, '{"result":"session not found"}'],
  ])('%s for %d %j with %j', (expected, status, body, headers) => {
    expect(isLostSession(refused(status, body, headers))).toBe(expected);
  });

  it.each<[boolean, number, string]>([
    [false, 404, ''],
    [false, 404, 'Not Found'],
    [false, 400, 'the editing session is locked'],
    [true, 404, 'Session not found'],
    [true, 400, 'Bad Request: Server not initialized'],
    [true, 422, 'Unexpected message, expect initialize request'],
  ])('%s for %d %j where the gateway gave no session id', (expected, status, body) => {
    expect(isLostSession(refused(status, body), false)).toBe(expected);
  });

  it('says nothing where a reply in it may have been cut off', () => {
    const cut: ExchangeOutcome = {
      ...refused(404, '{"jsonrpc":'),
      isReplyCut: true,
    } as ExchangeOutcome;
    expect(isLostSession(cut)).toBe(false);
  });

  it.each([
    'session '.repeat(500),
    `session${' '.repeat(4000)}`,
    `initialize ${'a '.repeat(2000)}`,
    `{"a":"${'before '.repeat(9000)}"}`,
    '['.repeat(60_000) + ']'.repeat(60_000),
    '<'.repeat(4000),
    ': data: '.repeat(8000),
    'no '.repeat(1300),
    'error '.repeat(700),
  ])('is read in no time, whatever it says: %.20s', (text) => {
    const start = performance.now();
    isLostSession(refused(401, text));
    saysSessionIsLost(reply(-32000, text));
    expect(performance.now() - start).toBeLessThan(1_000);
  });
});
