import { readFileSync } from 'node:fs';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv';
import { describe, expect, it } from 'vitest';
import { type Option, PROXY_OPTIONS } from '../../../src/settings/options.ts';
import { parsePolicy } from '../../../src/settings/policy/parse-policy.ts';

const schema = JSON.parse(
  readFileSync(new URL('../../../docs/policy.schema.json', import.meta.url), 'utf8'),
);
const validate = new AjvJsonSchemaValidator().getValidator(schema);

const isParsed = (policy: unknown) => 'content' in parsePolicy(JSON.stringify(policy));

/** A value that each option of the proxy may have. */
const values = Object.entries<Option>(PROXY_OPTIONS).map(
  ([name, { type, array, path }]) =>
    [name, type === 'boolean' ? true : array ? ['tool:x'] : path ? '/etc/x' : 'x'] as const,
);

const GOOD: readonly object[] = [
  {},
  { $schema: 'https://gateway.example/policy.schema.json' },
  { contact: 'it@example.com', minimumVersion: '0.1.0' },
  { gateways: [] },
  { gateways: ['https://a.example', 'https://*.a.example:*', 'http://[::1]:80/', 'HTTP://a:8'] },
  { forbidden: ['header', 'trace', 'NODE_TLS_REJECT_UNAUTHORIZED'] },
  { required: Object.fromEntries(values) },
  { defaults: { timeout: 5, header: 'A: b', 'deny-tool': ['a', 'b'] } },
  { httpProxy: { url: 'http://proxy.example:3128', except: 'a.example' } },
  { filters: { 'allow-tool': ['get_*'], deny: ['prompt:x', 'resource:a:b'], 'read-only': true } },
  { audit: { file: '~/audit.jsonl' } },
  { audit: { file: '/var/log/audit.jsonl', required: true } },
];

const BAD: readonly unknown[] = [
  [],
  null,
  'x',
  { gateway: [] },
  { contact: '' },
  { contact: 'x'.repeat(101) },
  { minimumVersion: '1.2' },
  { gateways: 'https://a.example' },
  { gateways: ['https://a.example/mcp'] },
  { gateways: ['*'] },
  { gateways: ['https://*'] },
  { gateways: ['https://user@a.example'] },
  { forbidden: ['allow-htp'] },
  { forbidden: ['node_tls'] },
  { required: { tmeout: 5 } },
  { required: { 'allow-http': false } },
  { required: { ca: 'ca.pem' } },
  { required: { timeout: ['5'] } },
  { defaults: { header: [] } },
  { httpProxy: {} },
  { httpProxy: { url: 'http://user:password@proxy.example' } },
  { httpProxy: { url: 'socks5://proxy.example' } },
  { filters: { deny: ['x'] } },
  { filters: { 'deny-tool': 'x' } },
  { filters: { 'read-only': 'yes' } },
  { audit: {} },
  { audit: { file: 'audit.jsonl' } },
  { audit: { file: '/a', required: 'yes' } },
  { audit: true },
];

describe('parsePolicy and docs/policy.schema.json', () => {
  it.each(GOOD)('accept %j', (policy) => {
    expect(parsePolicy(JSON.stringify(policy))).not.toHaveProperty('problems');
    expect(validate(policy)).toMatchObject({ valid: true });
  });

  it.each(BAD.map((policy) => [policy]))('refuse %j', (policy) => {
    expect(isParsed(policy)).toBe(false);
    expect(validate(policy)).toMatchObject({ valid: false });
  });

  it.each(values)('know the option %s, required and forbidden', (name, value) => {
    for (const policy of [{ required: { [name]: value } }, { forbidden: [name] }]) {
      expect(isParsed(policy)).toBe(true);
      expect(validate(policy)).toMatchObject({ valid: true });
    }
  });

  it('know the same options', () => {
    expect(Object.keys(schema.definitions.options.properties)).toEqual(Object.keys(PROXY_OPTIONS));
  });
});

describe('parsePolicy', () => {
  it('refuses an option that is forbidden and set', () => {
    expect(isParsed({ forbidden: ['timeout'], required: { timeout: 5 } })).toBe(false);
    expect(isParsed({ forbidden: ['header'], defaults: { 'header-file': '/a' } })).toBe(false);
  });

  it('refuses an audit log where --audit-log is forbidden', () => {
    expect(isParsed({ forbidden: ['audit-log'], audit: { file: '/a' } })).toBe(false);
  });
});
