import { expect, it } from 'vitest';
import { type Request, type Response, readMessages } from '../../src/jsonrpc/message.ts';
import { sessionFrom } from '../../src/transport/session.ts';

const initialize = readMessages(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"initialize"}'))
  .messages[0] as Request;
const replyWith = (protocolVersion: unknown) =>
  readMessages(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result: { protocolVersion } })))
    .messages[0] as Response;

const idOf = (value: string | string[]) =>
  sessionFrom(initialize, { 'mcp-session-id': value }, replyWith('2025-11-25'));

it.each<[string, string | string[], string]>([
  ['short', 'a', 'a'],
  ['made of every visible character', `!"#~,${'0'.repeat(9)}`, `!"#~,${'0'.repeat(9)}`],
  ['as long as a head can be', 'x'.repeat(16_000), 'x'.repeat(16_000)],
  ['on two lines of the same value', ['abc', 'abc'], 'abc'],
  ['joined by a proxy from the same value', 'abc, abc', 'abc'],
])('a session id is used that is %s', (_, value, id) => {
  expect(idOf(value)).toMatchObject({ id });
  expect(idOf(value)).not.toHaveProperty('idProblem');
});

it.each<[string | string[], string]>([
  ['', 'empty'],
  ['a b', 'ASCII'],
  ['é', 'ASCII'],
  ['a\tb', 'ASCII'],
  [['abc', 'abd'], 'different values'],
  ['abc, abd', 'different values'],
])('%j is not used as a session id, and the reason does not contain it', (value, why) => {
  const session = idOf(value);
  expect(session).not.toHaveProperty('id');
  expect(session.idProblem).toContain(why);
  for (const line of [value].flat().filter(Boolean)) {
    expect(session.idProblem).not.toContain(line);
  }
});

it('without the header there is neither an id nor a problem with one', () => {
  const session = sessionFrom(initialize, {}, replyWith('2025-11-25'));
  expect(session).not.toHaveProperty('id');
  expect(session).not.toHaveProperty('idProblem');
});

it('a revision that is beyond reason is not used', () => {
  const revisionOf = (version: unknown) =>
    sessionFrom(initialize, {}, replyWith(version)).protocolVersion;
  expect(revisionOf('2025-11-25')).toBe('2025-11-25');
  for (const version of ['', 'a b', 'x'.repeat(1025), 7, null]) {
    expect(revisionOf(version)).toBeUndefined();
  }
});
