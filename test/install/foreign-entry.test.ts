import { describe, expect, it } from 'vitest';
import { foreignEntry } from '../../src/install/foreign-entry.ts';

const GATEWAY = 'https://gateway.example/mcp';
const KEY = 'k3y-0123456789abcdef';
const npx = (...args: string[]) => ({ command: 'npx', args });

describe('an entry of another bridge', () => {
  it.each([
    ['by npx', npx('-y', 'mcp-remote', GATEWAY)],
    ['of a version', npx('mcp-remote@latest', GATEWAY)],
    ['by a package and its command', npx('-p', 'mcp-remote@0.1.29', 'mcp-remote', GATEWAY)],
    ['by cmd', { command: 'cmd', args: ['/c', 'npx', '-y', 'mcp-remote', GATEWAY] }],
    ['by bunx', { command: 'bunx', args: ['mcp-remote', GATEWAY] }],
    ['by its file', { command: '/n/node', args: ['/x y/mcp-remote/dist/proxy.js', GATEWAY] }],
    ['as OpenCode writes it', { type: 'local', command: ['npx', '-y', 'mcp-remote', GATEWAY] }],
    ['as Goose writes it', { type: 'stdio', cmd: 'npx', args: ['-y', 'mcp-remote', GATEWAY] }],
    ['of supergateway', npx('-y', 'supergateway', '--sse', GATEWAY)],
    ['of supergateway by HTTP', npx('-y', 'supergateway', '--streamableHttp', GATEWAY)],
    [
      'of supergateway in Docker',
      {
        command: 'docker',
        args: ['run', '-i', '--rm', 'supercorp/supergateway', '--sse', GATEWAY],
      },
    ],
    ['of mcp-proxy', { command: 'mcp-proxy', args: ['--transport=streamablehttp', GATEWAY] }],
    ['of mcp-proxy by uvx', { command: 'uvx', args: ['mcp-proxy', GATEWAY] }],
    ['of mcp-proxy by its path', { command: 'C:\\bin\\mcp-proxy.exe', args: [GATEWAY] }],
  ])('%s is found', (_, value) => {
    expect(foreignEntry(value)).toMatchObject({ url: new URL(GATEWAY), words: [GATEWAY] });
  });

  it.each([
    ['another program', { command: 'node', args: ['server.js', GATEWAY] }],
    ['this program', npx('-y', 'mcp-latchkey', GATEWAY, '--account', 'mcp-remote')],
    ['supergateway as a server', npx('-y', 'supergateway', '--stdio', 'npx x', '--port', '8000')],
    ['mcp-proxy as a server', { command: 'mcp-proxy', args: ['--port=8080', 'uvx', 'mcp-fetch'] }],
    ['a URL without a key', { url: GATEWAY, headers: { 'X-Team': 'a' } }],
    [
      'a URL with a key from its client',
      { url: GATEWAY, headers: { Authorization: 'Bearer ${input:key}' } },
    ],
    ['nothing at all', {}],
  ])('is not %s', (_, value) => {
    expect(foreignEntry(value)).toBeUndefined();
  });

  const bearer = { key: KEY, words: [GATEWAY] };
  const apiKey = { key: KEY, words: [GATEWAY, '--key-header', 'X-Api-Key'] };
  it.each([
    ['in a header', npx('mcp-remote', GATEWAY, '--header', `Authorization: Bearer ${KEY}`), bearer],
    [
      'in a header of another name',
      npx('mcp-remote', GATEWAY, '--header', `X-Api-Key:${KEY}`),
      apiKey,
    ],
    [
      'in a variable',
      { ...npx('mcp-remote', GATEWAY, '--header', 'Authorization: Bearer ${T}'), env: { T: KEY } },
      { ...bearer, spentVariables: ['T'] },
    ],
    [
      'with its scheme in a variable',
      {
        ...npx('mcp-remote', GATEWAY, '--header', 'Authorization:${T}'),
        env: { T: `Bearer ${KEY}` },
      },
      { ...bearer, spentVariables: ['T'] },
    ],
    [
      'in a variable that another header has as well',
      {
        ...npx('mcp-remote', GATEWAY, '--header', 'Authorization:${T}', '--header', 'X-B: ${T}'),
        env: { T: KEY },
      },
      { key: KEY, words: [GATEWAY, '--header', 'X-B: @{T}'], spentVariables: [] },
    ],
    ['of supergateway', npx('supergateway', '--sse', GATEWAY, '--oauth2Bearer', KEY), bearer],
    [
      'of mcp-proxy',
      { command: 'mcp-proxy', args: [GATEWAY, '-H', 'Authorization', `Bearer ${KEY}`] },
      bearer,
    ],
    [
      'of mcp-proxy in a variable',
      { command: 'mcp-proxy', args: [GATEWAY], env: { API_ACCESS_TOKEN: KEY } },
      { ...bearer, spentVariables: ['API_ACCESS_TOKEN'] },
    ],
    ['beside a URL', { url: GATEWAY, headers: { Authorization: `Bearer ${KEY}` } }, bearer],
    ['beside a URL of Windsurf', { serverUrl: GATEWAY, headers: { 'X-Api-Key': KEY } }, apiKey],
    ['beside a URL of Goose', { type: 'sse', uri: GATEWAY, headers: { 'X-Api-Key': KEY } }, apiKey],
    [
      'beside a URL of Codex',
      { url: GATEWAY, http_headers: { Authorization: `Bearer ${KEY}` } },
      bearer,
    ],
  ])('gives its key away: %s', (_, value, expected) => {
    const found = foreignEntry(value);
    expect(found).toMatchObject(expected);
    expect(JSON.stringify({ ...found, key: '' })).not.toContain(KEY);
  });

  it.each([
    [
      'from the environment',
      npx('mcp-remote', GATEWAY, '--header', 'Authorization: Bearer ${T}'),
      {},
    ],
    [
      'from its client, by a variable',
      {
        ...npx('mcp-remote', GATEWAY, '--header', 'Authorization: Bearer ${T}'),
        env: { T: '${input:key}' },
      },
      {},
    ],
  ])('keeps the name of a key %s', (_, value, env) => {
    const words = [GATEWAY, '--header', 'Authorization: Bearer @{T}'];
    expect(foreignEntry(value)).toMatchObject({ words, env, spentVariables: [] });
    expect(foreignEntry(value)).not.toHaveProperty('key');
  });

  it('gets a key from its client by a variable, not by the command line', () => {
    const value = npx('mcp-remote', GATEWAY, '--header', 'Authorization: Bearer ${input:key}');
    const env = { MCP_LATCHKEY_API_KEY: 'Bearer ${input:key}' };
    expect(foreignEntry(value)).toMatchObject({ words: [GATEWAY], env });
  });

  it('keeps what is not a key, with the options that are the same or similar here', () => {
    const value = npx(
      ...[
        'mcp-remote',
        GATEWAY,
        '--transport',
        'sse-only',
        '--allow-http',
        '--debug',
        '--host',
        'x',
      ],
      ...['--header', 'X-Team: a b', '--header', 'Accept: */*'],
    );
    expect(foreignEntry(value)).toMatchObject({
      words: [
        ...[GATEWAY, '--transport', 'sse', '--log-level', 'debug', '--allow-http'],
        ...['--header', 'X-Team: a b'],
      ],
      notes: [
        '--transport sse-only of mcp-remote is --transport sse here',
        '--debug of mcp-remote is --log-level debug here',
        '--host of mcp-remote has no counterpart here and is left out',
        'the header Accept is set by the proxy itself',
      ],
    });
  });

  it.each([
    ['a key in the URL', npx('mcp-remote', `${GATEWAY}?api_key=${KEY}`), '(parameter api_key)'],
    [
      'Basic',
      npx('mcp-remote', GATEWAY, '--header', `Authorization: Basic ${KEY}`),
      'cannot be stored',
    ],
    [
      'two keys',
      { url: GATEWAY, headers: { 'X-Api-Key': KEY, Authorization: KEY } },
      'several keys',
    ],
    ['an unknown option', npx('mcp-remote', GATEWAY, '--such', KEY), 'unknown option --such'],
    [
      'OAuth',
      { command: 'mcp-proxy', args: [GATEWAY, '--client-id', 'a', '--client-secret', KEY] },
      'no counterpart',
    ],
    ['plain http', npx('supergateway', '--sse', 'http://gateway.example'), 'is unencrypted'],
  ])('stays where it has %s, for a reason without the key', (_, value, why) => {
    const found = foreignEntry(value);
    expect(found).toHaveProperty('why', expect.stringContaining(why));
    expect(JSON.stringify(found)).not.toContain(KEY);
  });
});
