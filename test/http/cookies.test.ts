import { describe, expect, it } from 'vitest';
import { Cookies } from '../../src/http/cookies.ts';

const sent = (
  lines: string[],
  { from = '/v1/mcp', to = '/v1/mcp', origin = 'https://a.test' } = {},
) => {
  const cookies = new Cookies(new URL(origin));
  cookies.store(lines, from);
  return cookies.headerFor(to);
};

describe('what is sent back (RFC 6265 §5.4)', () => {
  it.each<[string, string[], string | undefined]>([
    ['a pair', ['a=1'], 'a=1'],
    ['a pair without what surrounds it', [' a = 1 ; HttpOnly; SameSite=Lax'], 'a=1'],
    ['a value with "=" and quotes', ['a="b=c"'], 'a="b=c"'],
    ['an empty value', ['a='], 'a='],
    ['several, the oldest first', ['a=1', 'b=2', 'c=3'], 'a=1; b=2; c=3'],
    ['the newest of a name, in the place of the first', ['a=1', 'b=2', 'a=3'], 'a=3; b=2'],
    ['of one name the longer path first', ['a=1; Path=/', 'a=2; Path=/v1'], 'a=2; a=1'],
    ['one of a domain above', ['a=1; Domain=.test'], 'a=1'],
    ['one of its own domain', ['a=1; domain=A.TEST'], 'a=1'],
    ['one that is not over yet', ['a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT'], 'a=1'],
    ['one with a date that nobody can read', ['a=1; Expires=soon'], 'a=1'],
    ['nothing for a name alone', ['a', '=1', ''], undefined],
    [
      'nothing for another domain',
      ['a=1; Domain=b.test', 'b=1; Domain=b.a.test', 'c=1; Domain=st'],
      undefined,
    ],
    ['nothing that is over', ['a=1; Max-Age=0', 'b=1; Max-Age=-5'], undefined],
    ['nothing of long ago', ['a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT'], undefined],
    ['nothing that was ended', ['a=1', 'a=2; Max-Age=0'], undefined],
    ['nothing that no header can carry', ['a=1\u0000', 'b=1\r\nx: y', 'c=\u20ac'], undefined],
    ['nothing beyond 4 KiB', [`a=${'x'.repeat(4096)}`], undefined],
  ])('%s', (_, lines, expected) => {
    expect(sent(lines)).toBe(expected);
  });

  it.each<[string, string, string, boolean]>([
    ['a=1', '/v1/mcp', '/v1/other?x=/', true],
    ['a=1', '/v1/mcp?to=/a/b', '/v1', true],
    ['a=1', '/v1/mcp', '/v2/mcp', false],
    ['a=1', '/v1/mcp', '/v10/mcp', false],
    ['a=1', '/mcp', '/anything', true],
    ['a=1; Path=/v1/mcp', '/x', '/v1/mcp?q', true],
    ['a=1; Path=/v1/mcp', '/x', '/v1/mcp/sub', true],
    ['a=1; Path=/v1/mcp', '/x', '/v1/mcps', false],
    ['a=1; Path=relative', '/v1/mcp', '/v1/mcp', true],
    ['a=1; Path=/v1/', '/x', '/v1/mcp', true],
  ])('%s set at %s goes to %s: %s', (line, from, to, expected) => {
    expect(sent([line], { from, to })).toBe(expected ? 'a=1' : undefined);
  });

  it('a Secure one not over plain http', () => {
    const lines = ['a=1; Secure', 'b=2'];
    expect(sent(lines, { origin: 'http://a.test' })).toBe('b=2');
    expect(sent(lines)).toBe('a=1; b=2');
  });

  it('a domain is not that of an address', () => {
    expect(sent(['a=1; Domain=0.0.1'], { origin: 'http://127.0.0.1:80' })).toBeUndefined();
  });
});

it('is bounded in number and in what is sent', () => {
  const lines = Array.from({ length: 1000 }, (_, at) => `c${at}=${'x'.repeat(1000)}`);
  const header = sent(lines) as string;
  expect(header.length).toBeLessThanOrEqual(8192);
  expect(header).not.toContain('c949=');
  expect(header.startsWith('c950=')).toBe(true);
  const short = sent(lines.map((line) => line.slice(0, 8))) as string;
  expect(short.split('; ')).toHaveLength(50);
});
