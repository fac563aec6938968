import { expect, it } from 'vitest';
import { includesScopes, scopesToRequest } from '../../../src/auth/oauth/scopes.ts';
import { metadataLocations } from '../../../src/auth/oauth/server-metadata.ts';

const first = { isStepUp: false, ofResource: ['all', 'more'] } as const;

it.each([
  [{ ...first, given: 'mine', challenged: 'a' }, 'mine'],
  [{ ...first, challenged: 'a b a' }, 'a b'],
  [first, 'all more'],
  [{ isStepUp: false }, undefined],
  [{ ...first, challenged: 'a', ofServer: ['offline_access'] }, 'a offline_access'],
  [{ isStepUp: false, ofServer: ['offline_access'] }, undefined],
  [{ ...first, challenged: 'b', before: 'a' }, 'a b'],
  [{ ...first, isStepUp: true, given: 'mine', challenged: 'b', before: 'mine' }, 'mine b'],
])('asks for the scopes of the first source that has some (%#)', (sources, expected) => {
  expect(scopesToRequest(sources)).toBe(expected);
});

it('tells whether scopes were asked for before', () => {
  expect(includesScopes('a b', 'b')).toBe(true);
  expect(includesScopes('a', 'b')).toBe(false);
  expect(includesScopes(undefined, 'b')).toBe(false);
});

it("looks for a server's metadata in MCP's order", () => {
  expect(metadataLocations('https://as.example/tenant/')).toEqual([
    'https://as.example/.well-known/oauth-authorization-server/tenant',
    'https://as.example/.well-known/openid-configuration/tenant',
    'https://as.example/tenant/.well-known/openid-configuration',
  ]);
  expect(metadataLocations('https://as.example')).toHaveLength(2);
});
