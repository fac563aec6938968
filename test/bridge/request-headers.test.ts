import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AnnotatedTool,
  annotatedTools,
  headersOf,
  type MirroredArgument,
} from '../../src/bridge/request-headers.ts';
import { META } from '../../src/bridge/revisions.ts';
import type { Request } from '../../src/jsonrpc/message.ts';

function request(method: string, params: object): Request {
  const message = { jsonrpc: '2.0', id: 1, method, params };
  const id = { raw: '1', key: 'n1' };
  return { kind: 'request', id, method, bytes: Buffer.from(JSON.stringify(message)) };
}

function headers(
  method: string,
  params: object,
  mirrored?: MirroredArgument[],
): Record<string, string> {
  const list = headersOf(request(method, params), mirrored);
  const pairs: [string, string][] = [];
  for (let at = 0; at < list.length; at += 2) {
    pairs.push([list[at] as string, list[at + 1] as string]);
  }
  return Object.fromEntries(pairs);
}

/** As a gateway reads it (MCP 2026-07-28, Streamable HTTP §Value Encoding). */
function decoded(value: string): string {
  const [, base64] = /^=\?base64\?(.*)\?=$/s.exec(value) ?? [];
  return base64 === undefined ? value : Buffer.from(base64, 'base64').toString('utf8');
}

describe('the headers of a request', () => {
  const _meta = { [META.protocolVersion]: '2026-07-28' };

  it.each([
    ['tools/call', { name: 'a', uri: 'b' }, 'a'],
    ['prompts/get', { name: 'a', uri: 'b' }, 'a'],
    ['resources/read', { name: 'a', uri: 'b' }, 'b'],
    ['tools/list', { name: 'a', uri: 'b' }, undefined],
  ])('repeat method, revision and name of %s', (method, params, name) => {
    expect(headers(method, { ...params, _meta })).toEqual({
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': method,
      ...(name === undefined ? {} : { 'mcp-name': name }),
    });
  });

  it.each([
    ['us-west1', 'us-west1'],
    ['Hello, 世界', '=?base64?SGVsbG8sIOS4lueVjA==?='],
    [' padded ', '=?base64?IHBhZGRlZCA=?='],
    ['line1\nline2', '=?base64?bGluZTEKbGluZTI=?='],
    ['=?base64?literal?=', '=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?='],
  ])('carry %j as the specification does', (name, expected) => {
    expect(headers('tools/call', { name })['mcp-name']).toBe(expected);
  });

  it('carry any text so that no header can break and a gateway reads the same', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary-ascii' }), (a, b) => {
        for (const name of [a, b, ` ${a}`, `=?base64?${b}?=`]) {
          const value = headers('tools/call', { name })['mcp-name'] as string;
          expect(value).toMatch(/^[\x20-\x7e\t]*$/);
          expect(value.trim()).toBe(value);
          expect(decoded(value)).toBe(name);
        }
      }),
    );
  });

  it('leave out a revision that no header can carry', () => {
    const meta = { [META.protocolVersion]: 'x\r\nauthorization: y' };
    expect(headers('ping', { _meta: meta })).toEqual({ 'mcp-method': 'ping' });
  });

  it('mirror the arguments that the tool asks for, if there are any', () => {
    const mirrored = [
      { header: 'Region', path: ['region'] },
      { header: 'Count', path: ['deep', 'count'] },
      { header: 'Dry', path: ['dry'] },
      { header: 'Null', path: ['nothing'] },
      { header: 'Absent', path: ['absent', 'toString'] },
      { header: 'Object', path: ['deep'] },
    ];
    const args = { region: 'é', deep: { count: -7 }, dry: false, nothing: null };
    expect(headers('tools/call', { name: 't', arguments: args }, mirrored)).toEqual({
      'mcp-method': 'tools/call',
      'mcp-name': 't',
      'mcp-param-Region': '=?base64?w6k=?=',
      'mcp-param-Count': '-7',
      'mcp-param-Dry': 'false',
    });
  });
});

describe('a tool of tools/list', () => {
  const read = (inputSchema: unknown): AnnotatedTool | undefined => {
    const tools = [{ name: 't', description: 'x-mcp-header', inputSchema }];
    return annotatedTools(Buffer.from(JSON.stringify({ result: { tools } })))?.[0];
  };
  const string = (name: unknown) => ({ type: 'string', 'x-mcp-header': name });

  it('has its annotated arguments at any depth of properties', () => {
    const properties = {
      a: string('A'),
      // An argument may have the name of a keyword, or of the annotation itself.
      properties: {
        type: 'object',
        properties: { items: { type: 'integer', 'x-mcp-header': 'B' } },
      },
      'x-mcp-header': { type: 'boolean', 'x-mcp-header': 'C-d' },
      plain: { type: 'string', default: { 'x-mcp-header': 'no annotation, but data' } },
    };
    const tool = read({ type: 'object', properties });
    expect(tool).toHaveProperty('mirrored');
    expect(tool).toHaveProperty(
      'mirrored',
      expect.arrayContaining([
        { header: 'A', path: ['a'] },
        { header: 'B', path: ['properties', 'items'] },
        { header: 'C-d', path: ['x-mcp-header'] },
      ]),
    );
  });

  it.each([
    ['an empty name', { properties: { a: string('') } }],
    ['a name with a space', { properties: { a: string('a b') } }],
    ['a name with a line end', { properties: { a: string('a\r\nb') } }],
    ['a name beyond ASCII', { properties: { a: string('é') } }],
    ['no string for a name', { properties: { a: string(1) } }],
    ['a type that is a number', { properties: { a: { type: 'number', 'x-mcp-header': 'A' } } }],
    ['no type', { properties: { a: { 'x-mcp-header': 'A' } } }],
    ['an object', { properties: { a: { type: 'object', 'x-mcp-header': 'A' } } }],
    ['two of the same name', { properties: { a: string('Same'), b: string('sAME') } }],
    ['the root', { type: 'string', 'x-mcp-header': 'A' }],
    ['items', { properties: { a: { type: 'array', items: string('A') } } }],
    ['oneOf', { properties: { a: { oneOf: [string('A')] } } }],
    ['$defs', { $defs: { a: string('A') }, properties: { a: { $ref: '#/$defs/a' } } }],
    ['properties behind oneOf', { oneOf: [{ properties: { a: string('A') } }] }],
    ['additionalProperties', { additionalProperties: string('A') }],
  ])('is invalid with its annotation on %s', (_, schema) => {
    expect(read(schema)).toMatchObject({ name: 't', why: expect.any(String) });
  });

  it('has nothing to mirror without an annotation, and none is read where there is none', () => {
    expect(read({ properties: { a: { type: 'string' } } })).toEqual({ name: 't', mirrored: [] });
    expect(annotatedTools(Buffer.from('{"result":{"tools":[{"name":"t"}]}}'))).toBeUndefined();
  });

  it('may come in any shape without harm', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (schema) => {
        read(schema);
        read({ properties: schema, items: { 'x-mcp-header': schema } });
      }),
    );
  });

  it.each([
    [100, 'mirrored'],
    [300_000, 'why'],
  ])('may be nested %d deep: it is read in time that grows with it', (depth, outcome) => {
    const schema =
      '{"properties":{"a":'.repeat(depth) + JSON.stringify(string('A')) + '}}'.repeat(depth);
    const reply = `{"result":{"tools":[{"name":"t","inputSchema":${schema}}]}}`;
    expect(annotatedTools(Buffer.from(reply))?.[0]).toHaveProperty(outcome);
  });
});
