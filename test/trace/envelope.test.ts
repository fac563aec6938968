import { expect, it } from 'vitest';
import { type Message, readMessages } from '../../src/jsonrpc/message.ts';
import { envelopeOf, membersOf } from '../../src/trace/envelope.ts';

const membersIn = (message: object) => {
  const [read] = readMessages(Buffer.from(JSON.stringify(message))).messages;
  const { kind, others } = membersOf(read as Message);
  return `{${Buffer.from(kind)}${others}`.replace(',', '');
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
  expect(JSON.parse(`${members}}`)).toMatchObject(envelope);
  expect(members).not.toContain('undefined');
});

it.each([
  ['of a repeated member the last', '{"params":{"name":"a"},"params":{"name":"b"}}', 'b'],
  ['not one of another message before', '{"params":{"title":"a"}}', undefined],
  ['only a text', '{"params":{"name":{"name":"a"}}}', undefined],
  ['with its escapes undone', '{"params":{"name":"\\u0061\\n"}}', 'a\n'],
])('has as the name %s', (_, params, name) => {
  const before = { name: 'before' };
  membersIn({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: before });
  const text = `{"jsonrpc":"2.0","id":1,"method":"tools/call",${params.slice(1)}`;
  const [read] = readMessages(Buffer.from(text)).messages;
  const { others } = membersOf(read as Message);
  expect(JSON.parse(`{${others.slice(1)}}`).name).toBe(name);
  expect(envelopeOf(read as Message).name).toBe(name);
});
