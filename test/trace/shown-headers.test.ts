import { expect, it } from 'vitest';
import { ShownHeaders } from '../../src/trace/shown-headers.ts';

const shown = (...raw: string[]) =>
  JSON.parse(new ShownHeaders((id) => `[session of ${id.length}]`).of(raw).json.toString());

it('shows ordinary headers as they are, by names in lower case', () => {
  const date = 'Thu, 26 Nov 2026 11:57:23 GMT';
  expect(shown('Date', date, 'Content-Type', 'application/json; charset=utf-8')).toEqual({
    date,
    'content-type': 'application/json; charset=utf-8',
  });
});

it.each([
  'authorization',
  'Proxy-Authorization',
  'Cookie',
  'Set-Cookie',
  'X-Api-Key',
  'X-Auth-Token',
  'X-Amz-Security-Token',
  'X-Secret',
])('never shows the value of %s', (name) => {
  expect(shown(name, 'a')).toEqual({ [name.toLowerCase()]: '[secret]' });
});

it('shows no word that looks like a token, but the ids of requests', () => {
  const token = 'Zk3fA9xQ7bL2mN8vR4tW';
  expect(shown('x-next', `/cb?code=${token}&a=1`, 'x-request-id', token)).toEqual({
    'x-next': '/cb?code=[secret]&a=1',
    'x-request-id': token,
  });
});

it('shows a label for the id of a session', () => {
  expect(shown('Mcp-Session-Id', '1234')).toEqual({ 'mcp-session-id': '[session of 4]' });
});

it('joins headers of the same name, and is not confused by the names of objects', () => {
  expect(shown('Via', 'a', 'via', 'b', 'constructor', 'c')).toEqual({
    via: 'a, b',
    constructor: 'c',
  });
});
