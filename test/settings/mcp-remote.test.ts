import { describe, expect, it } from 'vitest';
import { fromMcpRemote } from '../../src/settings/mcp-remote.ts';
import { readProxySettings } from '../../src/settings/settings.ts';

const URL_OF_GATEWAY = 'https://gateway.example/mcp';

const settingsOf = (...words: string[]) => readProxySettings([URL_OF_GATEWAY, ...words], {});

describe('a command line of mcp-remote', () => {
  it.each([
    [['--transport', 'http-first'], { transport: 'auto' }],
    [['--transport', 'sse-first'], { transport: 'auto' }],
    [['--transport=http-only'], { transport: 'http' }],
    [['--transport', 'sse-only'], { transport: 'sse' }],
    [['--debug'], { logLevel: 'debug' }],
    [['--silent'], { logLevel: 'error' }],
    [['--debug', '--silent'], { logLevel: 'debug' }],
    [['--silent', '--debug'], { logLevel: 'debug' }],
    [['--body-timeout', '0'], { timeoutMs: 0 }],
    [['--body-timeout', '0', '--headers-timeout', '60'], { timeoutMs: 0 }],
    [['--headers-timeout', '60'], { timeoutMs: 60_000 }],
    [['--keep-alive'], { pingIntervalMs: 30_000 }],
    [['--ping-interval', '60', '--keep-alive'], { pingIntervalMs: 60_000 }],
  ])('%j means the same here', (words, expected) => {
    expect(settingsOf(...words)).toMatchObject(expected);
  });

  it('may have a port, and options that do nothing here', () => {
    const { url, warnings } = settingsOf(
      ...['9696', '--host', '127.0.0.1', '--enable-proxy', '--auth-timeout=60', '--ipv4'],
    );
    expect(url.href).toBe(URL_OF_GATEWAY);
    expect(warnings).toEqual([
      'the port of mcp-remote is --callback-port here',
      '--host of mcp-remote is --callback-host here',
      '--enable-proxy of mcp-remote is not needed here',
      '--auth-timeout of mcp-remote has no counterpart here and is left out',
      '--ipv4 of mcp-remote is not needed here',
    ]);
  });

  it('may name another host or tools to leave out', () => {
    const { warnings, filters, oauth } = settingsOf('--host', 'pc.lan', '--ignore-tool', 'drop*');
    expect(warnings).toEqual([
      '--host of mcp-remote has no counterpart here and is left out',
      '--ignore-tool of mcp-remote is --deny-tool here',
    ]);
    expect(oauth.callbackHost).toBe('127.0.0.1');
    expect(filters).toHaveLength(1);
  });

  it('keeps the headers, whose values may look like options', () => {
    const { headers } = settingsOf('--debug', '--header', 'X-Note: --host', '-H', 'X-Port:9696');
    expect([...headers]).toEqual([
      ['x-note', '--host'],
      ['x-port', '9696'],
    ]);
  });

  it('never has a value in its notes', () => {
    const secret = '{"client_secret":"s3cret"}';
    const { warnings } = settingsOf(`--static-oauth-client-info=${secret}`, '--resource', 's3cret');
    expect(warnings).toHaveLength(2);
    expect(warnings.join()).not.toContain('s3cret');
  });

  it('is refused as any other where it has more that neither program knows', () => {
    expect(() => settingsOf('--debug', '--no-such')).toThrow('unknown option --no-such');
    expect(() => settingsOf('--debug', 'sk-live-0123456789')).toThrow('expected one URL');
    expect(() => settingsOf('--host')).not.toThrow();
    expect(() => settingsOf('123456')).toThrow('expected one URL');
  });
});

it('a command line without an option of mcp-remote is left alone', () => {
  const words = [URL_OF_GATEWAY, '--transport', 'http', '-H', 'X-A: --debug', '--allow-http'];
  expect(fromMcpRemote(words)).toBeUndefined();
  expect(readProxySettings(words, {}).warnings).toEqual([]);
});
