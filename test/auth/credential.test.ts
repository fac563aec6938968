import { expect, it } from 'vitest';
import {
  type Credential,
  headersOf,
  isOtherCredential,
  isUsable,
} from '../../src/auth/credential.ts';

const origin = { source: 'key-env', origin: 'the environment' } as const;
const key = (name: string): Credential => ({ kind: 'found', key: name, origin });
const token = (name: string): Credential => ({
  kind: 'token',
  token: name,
  origin,
  headersFor: (method, url) => ['authorization', `${name} ${method} ${url}`],
});
const NONE: Credential = { kind: 'none', origin };

it('sends a key as a Bearer token, or bare in a header of its own', () => {
  const own: Credential = { kind: 'found', key: 'a-key', keyHeader: 'x-key', origin };
  expect(headersOf(key('a-key'), 'POST', 'https://g/')).toEqual(['authorization', 'Bearer a-key']);
  expect(headersOf(own, 'POST', 'https://g/')).toEqual(['x-key', 'a-key']);
});

it('asks a token for the headers of each request', () => {
  expect(headersOf(token('t'), 'GET', 'https://g/a')).toEqual([
    'authorization',
    't GET https://g/a',
  ]);
});

it('adds nothing where there is no credential, or it is in a header already', () => {
  expect(headersOf(NONE, 'POST', 'https://g/')).toEqual([]);
  expect(headersOf({ kind: 'in-header', origin }, 'POST', 'https://g/')).toEqual([]);
});

it.each<[Credential, Credential, boolean]>([
  [key('a'), key('a'), false],
  [key('a'), key('b'), true],
  [token('a'), token('a'), false],
  [token('a'), token('b'), true],
  [token('a'), key('a'), true],
  [NONE, token('a'), true],
  [NONE, NONE, false],
])('tells credentials apart by what is sent', (one, other, isOther) => {
  expect(isOtherCredential(one, other)).toBe(isOther);
});

it('takes anything but what is unusable for something to send', () => {
  expect(isUsable(NONE)).toBe(true);
  expect(isUsable({ kind: 'unusable', reason: 'no_api_key', origin })).toBe(false);
  expect(isUsable(undefined)).toBe(false);
});
