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

  it.each([
    ['a member', '{"gateways":["https://a.example"],\n"gateways":[]}', 'gateways', 2, 1],
    ['one in another case', '{\r\n"forbidden":[],\r\n"Forbidden":["header"]}', 'Forbidden', 3, 2],
    ['one with a long s', '{"$schema":"x","$\u017fchema":"x"}', '$\u017fchema', 1, 1],
    ['an escaped one', '{"contact":"a","cont\\u0061ct":"b"}', 'contact', 1, 1],
    [
      'one of an object in it',
      '{"filters":{"deny":["tool:x"],\n"read-only":true,\n"deny":["tool:y"]}}',
      'deny',
      3,
      1,
    ],
    ['an option', '{"required":{"timeout":5,"timeout":6}}', 'timeout', 1, 1],
    ['one that is not known', '{"x":[{"y":1},{"y":1,"y":2}]}', 'y', 1, 1],
    ['one after a text like a member', '{"contact":"\\"a\\":{",\n"contact":"b"}', 'contact', 2, 1],
  ])('refuses %s that is repeated', (_, text, name, line, firstLine) => {
    const words = `${JSON.stringify(name)} repeats a member of line ${firstLine}`;
    expect(parsePolicy(text)).toMatchObject({
      problems: expect.arrayContaining([{ words, path: [], line }]),
    });
  });

  it('allows the same member in two objects, and a text that is like a member', () => {
    const text = '{"required":{"timeout":5},"defaults":{"connect-timeout":5},"contact":"contact"}';
    expect(parsePolicy(text)).toHaveProperty('content');
    const nested = '{"required":{"header":"A: b"},"defaults":{"header":"C: d"}}';
    expect(parsePolicy(nested)).toHaveProperty('content');
  });

  it('reads a megabyte of nested lists, of escapes, and of letters', () => {
    for (const text of [
      `{"x":${'['.repeat(500_000)}${']'.repeat(500_000)}}`,
      `{"x":"${'\\n'.repeat(500_000)}"}`,
      `{"x":"${'a'.repeat(1_000_000)}"}`,
    ]) {
      expect(parsePolicy(text)).toMatchObject({ problems: [{ path: ['x'] }] });
    }
  });
});
