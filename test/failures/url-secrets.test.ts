import { describe, expect, it } from 'vitest';
import { displayUrl, isSecretValue, looksLikeToken } from '../../src/failures/url-secrets.ts';

describe('looksLikeToken', () => {
  it.each([
    '3f2a9c1e-7b4d-4e2a-9f1b-0c8d7e6f5a4b',
    'NDUyZjAxYjctNGM5Zi00ZTk2LWI1ZTQ6MTIzNDU2Nzg%3D',
    'V1StGXR8_Z5jdHi6B-myT',
    'sk_live_51H8abcXYZ987654321',
    '9f86d081884c7d659a2feaa0c55ad015',
    'QwErTyUiOpAsDfGhJkLz',
    'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl',
    '01HQZX3V9K7M2N4P6R8T0W1Y3A',
  ])('takes %s for one', (word) => {
    expect(looksLikeToken(word)).toBe(true);
  });

  it.each([
    'mcp',
    'v1',
    '2025-11-25',
    'model-context-protocol-server',
    'my-company-production-gateway-2',
    'mcp-server-v2-eu1-west4',
    'ListOrganizationMembers',
    'oauth-protected-resource',
    'streamable_http_endpoint',
    'production2024-internal',
    'api.example.com',
    '',
  ])('leaves %s', (word) => {
    expect(looksLikeToken(word)).toBe(false);
  });
});

describe('displayUrl', () => {
  it.each([
    ['https://api.kindo.ai/v1/mcp?integrations=linear', 'https://api.kindo.ai/v1/mcp'],
    [
      'https://mcp.zapier.com/api/mcp/s/NDUyZjAxYjctNGM5Zi00ZTk2LWI1/mcp',
      'https://mcp.zapier.com/api/mcp/s/[secret]/mcp',
    ],
    [
      'https://mcp.pipedream.net/3f2a9c1e-7b4d-4e2a-9f1b-0c8d7e6f5a4b/slack?x=1',
      'https://mcp.pipedream.net/[secret]/slack',
    ],
  ])('of %s is %s', (url, shown) => {
    expect(displayUrl(new URL(url))).toBe(shown);
    expect(displayUrl(new URL(shown))).toBe(shown);
  });
});

describe('isSecretValue', () => {
  it.each([
    ['x-api-key', 'abc', true],
    ['cookie', 'session', true],
    ['x-tenant', 'acme-7f3d9', true],
    ['accessToken', 'abcdef', true],
    ['sid', 'abcdef', true],
    ['x-session-mode', 'auto', false],
    ['x-author', 'development', false],
    ['accept-language', 'en', false],
    ['x-environment', 'production', false],
    ['x-team', 'customer support', false],
    ['version', '2025-06-18', false],
    ['x-number', '12345', false],
  ])('of %s: %s is %s', (name, value, isSecret) => {
    expect(isSecretValue(name, value)).toBe(isSecret);
  });
});
