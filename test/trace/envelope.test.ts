import { expect, it } from 'vitest';
import { type Message, readMessages } from '../../src/jsonrpc/message.ts';
import { envelopeOf, membersOf, replyMembers } from '../../src/trace/envelope.ts';

const membersIn = (message: object) => {
  const [read] = readMessages(Buffer.from(JSON.stringify(message))).messages;
  return membersOf(envelopeOf(read as Message));
};

it.each([
  [
    { id: 'a"\\\n', method: 'x"\u2028' },
    { kind: 'request', id: '"a\\"\\\\\\n"', method: 'x"\u2028' },
  ],
  [
    { id: 1, method: 'tools/call', params: { name: '"},{' } },
    { kind: 'request', id: '1', method: 'tools/call', name: '"},{' },
  ],
  [{ method: 'notifications/x' }, { kind: 'notification', method: 'notifications/x' }],
  [
    { id: 2, result: {} },
    { kind: 'result', id: '2' },
  ],
  [{ id: null, error: { code: 1, message: 'x' } }, { kind: 'error' }],
])('has the envelope of %j as JSON, and nothing that is unknown', (message, envelope) => {
  const members = membersIn({ jsonrpc: '2.0', ...message });
  expect(JSON.parse(`{${members}}`)).toMatchObject(envelope);
  expect(members).not.toContain('undefined');
  const { kind, ...others } = JSON.parse(`{${members}}`);
  expect(kind).toBe(envelope.kind);
  expect(JSON.parse(`{${replyMembers('error', members)}}`)).toEqual({ kind: 'error', ...others });
});
