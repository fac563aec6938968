import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  fetchMetadata,
  type MetadataGet,
  metadataUrls,
  validateMetadata,
} from '../../src/auth/protected-resource-metadata.ts';
import { isLoopbackHost } from '../../src/http/loopback.ts';
import { rounds } from '../property-rounds.ts';

const GATEWAY = new URL('https://api.example.com/v1/mcp');
const LOCAL = new URL('http://127.0.0.1:8080/v1/mcp');
// Joiners are not among these: they may stand inside an emoji or an Indic word.
const VISIBLE = /^[^\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069\u200b\u{e0000}-\u{e007f}]{1,2100}$/u;
const WELL_KNOWN = 'https://api.example.com/.well-known/oauth-protected-resource';

describe('isLoopbackHost', () => {
  it.each([
    'localhost',
    'LOCALHOST',
    'localhost.',
    'a.b.localhost',
    '127.0.0.1',
    '127.255.0.9',
    '[::1]',
    '::1',
  ])('says yes to %s', (host) => {
    expect(isLoopbackHost(host)).toBe(true);
  });

  it.each([
    ...[
      'localhost.example.com',
      'notlocalhost',
      '.localhost',
      '127.example.com',
      '127.0.0.1.nip.io',
    ],
    ...[
      '128.0.0.1',
      '10.0.0.1',
      '0.0.0.0',
      '[::]',
      '[::2]',
      '[fe80::1]',
      '127.1',
      '127.0.0.256',
      '',
    ],
  ])('says no to %j', (host) => {
    expect(isLoopbackHost(host)).toBe(false);
  });

  it.each([
    'http://0x7f.1/',
    'http://2130706433/',
    'http://[0:0:0:0:0:0:0:1]/',
    'http://LocalHost/',
  ])('says yes to %s once the URL parser has read it', (url) => {
    expect(isLoopbackHost(new URL(url).hostname)).toBe(true);
  });
});

describe('metadataUrls', () => {
  const urls = (endpoint: string, challengeUrl?: string) =>
    metadataUrls(new URL(endpoint), challengeUrl).map(String);

  it("asks the challenge's URL first, then the well-known path with the endpoint's behind it, then the origin's", () => {
    expect(urls(GATEWAY.href, 'https://meta.example.net/prm?x=y#z')).toEqual([
      'https://meta.example.net/prm?x=y',
      `${WELL_KNOWN}/v1/mcp`,
      WELL_KNOWN,
    ]);
    expect(urls(GATEWAY.href)).toEqual([`${WELL_KNOWN}/v1/mcp`, WELL_KNOWN]);
  });

  it('asks no URL twice', () => {
    expect(urls(GATEWAY.href, WELL_KNOWN)).toEqual([WELL_KNOWN, `${WELL_KNOWN}/v1/mcp`]);
    expect(urls('https://api.example.com')).toEqual([WELL_KNOWN]);
  });

  it('keeps the query, and drops the slash behind the host (RFC 9728 §3.1)', () => {
    expect(urls('https://api.example.com/?k=v')).toEqual([`${WELL_KNOWN}?k=v`, WELL_KNOWN]);
    expect(urls('https://api.example.com/v1/mcp?integrations=linear')[0]).toBe(
      `${WELL_KNOWN}/v1/mcp?integrations=linear`,
    );
    expect(urls('https://api.example.com/a%2Fb/')[0]).toBe(`${WELL_KNOWN}/a%2Fb/`);
  });

  it('keeps the port, and takes away user name, password and fragment', () => {
    expect(urls('https://me:secret@api.example.com:8443/mcp#top')).toEqual([
      'https://api.example.com:8443/.well-known/oauth-protected-resource/mcp',
      'https://api.example.com:8443/.well-known/oauth-protected-resource',
    ]);
  });

  it.each([
    ...[
      'http://api.example.com/m',
      'ftp://api.example.com/m',
      'file:///etc/passwd',
      'javascript:alert(1)',
    ],
    ...[
      '/relative',
      'api.example.com/m',
      'https://',
      'https:api.example.com/m',
      'https:\\\\a.example\\m',
    ],
    ...[
      'https://me:pw@a.example/m',
      'https://me@a.example/m',
      ' https://a.example/m',
      'https://a.example/m\n',
    ],
    ...[
      'https://a.example/\u202em',
      'https://аpple.example/m',
      `https://a.example/${'m'.repeat(3000)}`,
    ],
    // A gateway elsewhere must not have services of this computer called.
    ...['http://127.0.0.1:631/', 'https://localhost/', 'http://[::1]:9200/', 'http://0x7f000001/'],
    '',
  ])('skips the challenge %j', (challengeUrl) => {
    expect(urls(GATEWAY.href, challengeUrl)).toEqual([`${WELL_KNOWN}/v1/mcp`, WELL_KNOWN]);
  });

  it('allows http for an endpoint on this computer, and nowhere else', () => {
    expect(urls(LOCAL.href, 'http://localhost:9000/m')).toEqual([
      'http://localhost:9000/m',
      'http://127.0.0.1:8080/.well-known/oauth-protected-resource/v1/mcp',
      'http://127.0.0.1:8080/.well-known/oauth-protected-resource',
    ]);
    expect(urls(LOCAL.href, 'http://10.0.0.1/m')).toHaveLength(2);
    expect(urls('http://10.0.0.1/v1/mcp')).toEqual([]);
  });
});

describe('validateMetadata', () => {
  const accepts = (resource: unknown, endpoint: URL = GATEWAY) =>
    validateMetadata({ resource }, endpoint).ok;

  it.each([
    ...[
      'https://api.example.com/v1/mcp',
      'https://api.example.com/v1/mcp/',
      'https://api.example.com/v1',
    ],
    ...['https://api.example.com/v1/', 'https://api.example.com/', 'https://api.example.com'],
    ...['HTTPS://API.example.com/v1/mcp', 'https://api.example.com:443/v1/mcp'],
    ...['https://api.example.com/v1/mcp?', 'https://api.example.com/x/../v1/mcp'],
  ])('accepts the resource %s for https://api.example.com/v1/mcp', (resource) => {
    expect(accepts(resource)).toBe(true);
  });

  it.each([
    ...[
      'https://api.example.com/v1/mcp/x',
      'https://api.example.com/v1/mc',
      'https://api.example.com/v',
    ],
    ...[
      'https://api.example.com/V1/mcp',
      'https://api.example.com//v1/mcp',
      'https://api.example.com//',
    ],
    ...[
      'https://api.example.com/v1%2Fmcp',
      'https://api.example.com/%761/mcp',
      'https://api.example.com/v1;x',
    ],
    ...[
      'http://api.example.com/v1/mcp',
      'https://api.example.com:444/v1/mcp',
      'wss://api.example.com/v1/mcp',
    ],
    ...[
      'https://example.com/v1/mcp',
      'https://api.example.com.evil.net/v1/mcp',
      'https://api.example.com./v1/mcp',
    ],
    ...['https://me:pw@api.example.com/v1/mcp', 'https://api.example.com@evil.net/v1/mcp'],
    ...[
      'https://api.example.com/v1/mcp#x',
      'https://api.example.com/v1/mcp#',
      'https://api.example.com/v1/mcp?a=b',
    ],
    ...[
      'blob:https://api.example.com/v1/mcp',
      'https:api.example.com/v1/mcp',
      'https:/api.example.com/v1/mcp',
    ],
    ...[
      'https:\\\\api.example.com\\v1',
      'https://api.example.com\\v1',
      '/v1/mcp',
      'api.example.com/v1/mcp',
      '',
    ],
    ...[
      ' https://api.example.com/v1/mcp',
      'https://api.example.com/v1/\tmcp',
      'https://api.example.com/v1/mcp\n',
    ],
    `https://api.example.com/v1/mcp?${'x'.repeat(3000)}`,
  ])('refuses the resource %j', (resource) => {
    expect(accepts(resource)).toBe(false);
  });

  it('lets the endpoint alone carry a query, or both the same on the same path', () => {
    const filtered = new URL('https://api.example.com/v1/mcp?integrations=linear');
    expect(accepts('https://api.example.com/v1/mcp', filtered)).toBe(true);
    expect(accepts('https://api.example.com/v1/mcp?integrations=linear', filtered)).toBe(true);
    expect(accepts('https://api.example.com/v1?integrations=linear', filtered)).toBe(false);
    expect(accepts('https://api.example.com/v1/mcp?integrations=github', filtered)).toBe(false);
  });

  it('does not care about a slash at the end of either', () => {
    expect(
      accepts('https://api.example.com/v1/mcp', new URL('https://api.example.com/v1/mcp/')),
    ).toBe(true);
    expect(accepts('https://api.example.com', new URL('https://api.example.com'))).toBe(true);
  });

  it.each([
    null,
    undefined,
    1,
    'x',
    [],
    [{ resource: GATEWAY.href }],
    {},
    { resource: [GATEWAY.href] },
  ])('refuses %j', (json) => {
    expect(validateMetadata(json, GATEWAY).ok).toBe(false);
  });

  it('says why it refuses, with nothing in it that a terminal would act on', () => {
    const evil = `https://evil.example/\u001b[31m\u202e${'x'.repeat(1000)}`;
    const validated = validateMetadata({ resource: evil }, GATEWAY);
    const why = validated.ok ? '' : validated.why;
    expect(why).toMatch(
      /^the document is about https:\/\/evil\.example\/x+…, which is not this gateway$/,
    );
    expect(why.length).toBeLessThan(300);
  });

  it('takes over the fields it knows, in their own types', () => {
    expect(
      validateMetadata(
        {
          resource: 'https://api.example.com/v1/mcp',
          resource_name: 'Example gateway 👩‍💻',
          resource_documentation: 'https://docs.example.com/mcp',
          authorization_servers: ['https://login.example.com', 'https://login2.example.com/t'],
          bearer_methods_supported: ['header', 'body'],
          scopes_supported: ['mcp:tools', 'files:read'],
          jwks_uri: 'https://api.example.com/jwks',
          'resource_name#de': 'Beispiel',
        },
        GATEWAY,
      ),
    ).toEqual({
      ok: true,
      metadata: {
        resource: 'https://api.example.com/v1/mcp',
        resourceName: 'Example gateway 👩‍💻',
        resourceDocumentation: 'https://docs.example.com/mcp',
        authorizationServers: ['https://login.example.com', 'https://login2.example.com/t'],
        bearerMethodsSupported: ['header', 'body'],
        scopesSupported: ['mcp:tools', 'files:read'],
      },
    });
  });

  const field = (name: string, value: unknown, endpoint: URL = GATEWAY) => {
    const validated = validateMetadata({ resource: endpoint.href, [name]: value }, endpoint);
    if (!validated.ok) throw new Error(validated.why);
    const { resource: _, ...fields } = validated.metadata;
    return Object.values(fields)[0];
  };

  it.each([
    ['resource_name', 7],
    ['resource_name', ''],
    ['resource_name', 'x'.repeat(101)],
    ['resource_name', 'Exa\u001b[31mmple'],
    ['resource_name', 'Example\u202eelpmaxE'],
    ['resource_name', 'Example\nHTTP 200'],
    ['resource_documentation', 'javascript:alert(1)'],
    ['resource_documentation', 'http://docs.example.com'],
    ['resource_documentation', 'https://me:pw@docs.example.com'],
    ['resource_documentation', 'http://127.0.0.1:631/delete'],
    ['resource_documentation', 'https://docs.example.com/ Call +1 555'],
    ['resource_documentation', ['https://docs.example.com']],
    ['authorization_servers', 'https://login.example.com'],
    ['authorization_servers', ['http://login.example.com', 'ftp://x', 7, null]],
    ['bearer_methods_supported', 'header'],
    ['bearer_methods_supported', ['body', 7]],
    ['bearer_methods_supported', ['body', 'two words']],
    ['bearer_methods_supported', Array.from({ length: 200 }, () => 'body')],
    ['scopes_supported', ['two words', 'a"b', '', 'x'.repeat(201), '\u001b']],
    ['scopes_supported', { length: 1, 0: 'a' }],
  ])('leaves out a %s that is not fit to use (%#)', (name, value) => {
    expect(field(name, value)).toBeUndefined();
  });

  it('keeps the good entries of a list of URLs or scopes, at most 100', () => {
    expect(field('authorization_servers', ['http://a.example', 'https://b.example'])).toEqual([
      'https://b.example',
    ]);
    expect(
      field(
        'scopes_supported',
        Array.from({ length: 5000 }, (_, i) => `s${i}`),
      ),
    ).toHaveLength(100);
  });

  it('tells no bearer methods from none named', () => {
    expect(field('bearer_methods_supported', [])).toEqual([]);
    expect(field('bearer_methods_supported', undefined)).toBeUndefined();
  });

  it('shows links to this computer only where the gateway is on it', () => {
    expect(field('resource_documentation', 'http://localhost:3000/docs', LOCAL)).toBe(
      'http://localhost:3000/docs',
    );
    expect(field('authorization_servers', ['http://[::1]:9000'], LOCAL)).toEqual([
      'http://[::1]:9000',
    ]);
  });

  it('accepts nothing but the endpoint and its parents on the same origin', () => {
    const part = (...texts: string[]) => fc.constantFrom(...texts);
    const usually = <T>(value: T, ...others: T[]) =>
      fc.oneof({ weight: 6, arbitrary: fc.constant(value) }, fc.constantFrom(...others));
    const resource = fc
      .tuple(
        usually('https://', 'http://', 'https:', 'HTTPS://', 'blob:https://', '//', 'wss://', ''),
        usually('', 'me@', 'me:pw@', 'api.example.com@', '@'),
        usually(
          'api.example.com',
          'API.EXAMPLE.COM',
          'example.com',
          'evil.net',
          'api.example.com.',
          '[::1]',
          '',
        ),
        usually('', ':443', ':0443', ':80', ':8443', ':'),
        fc.array(
          part(
            '/',
            '/v1',
            '/mcp',
            '/v1/mcp',
            '/..',
            '/.',
            '/%2e%2e',
            '%2f',
            '\\',
            '/V1',
            ';',
            '\t',
            '/v',
          ),
          { maxLength: 4 },
        ),
        usually('', '?', '?a=b', '?integrations=linear', '#', '#x'),
      )
      .map(
        ([scheme, user, host, port, path, tail]) =>
          scheme + user + host + port + path.join('') + tail,
      );
    const endpoint = part('', '?integrations=linear').map((query) => new URL(GATEWAY.href + query));
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.oneof({ weight: 9, arbitrary: resource }, fc.string()),
        endpoint,
        (resource, endpoint) => {
          if (!accepts(resource, endpoint)) return;
          accepted += 1;
          expect(oracle(resource, endpoint)).toBe('same or parent');
        },
      ),
      { numRuns: rounds(5000) },
    );
    expect(accepted).toBeGreaterThan(rounds(200));
  });

  it('accepts every parent of any endpoint', () => {
    const segment = fc.string({
      unit: fc.constantFrom(...'abAB09-_~!$,;=:@'),
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(
        fc.array(segment, { maxLength: 5 }),
        fc.nat(),
        fc.boolean(),
        (segments, cut, slash) => {
          const endpoint = new URL(`https://h.example:8443/${segments.join('/')}`);
          const parent = segments.slice(0, cut % (segments.length + 1)).join('/');
          expect(
            accepts(
              `https://h.example:8443/${parent}${slash && parent !== '' ? '/' : ''}`,
              endpoint,
            ),
          ).toBe(true);
        },
      ),
    );
  });

  it('never throws, and what it lets through is short, visible and typed', () => {
    const nasty = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.webUrl(),
      fc.constantFrom('https://x', 'header', '\u001b[0m', 'http://localhost/'),
    );
    const value = fc.oneof(nasty, fc.array(fc.oneof(nasty, fc.anything())), fc.anything());
    const document = fc.record(
      {
        resource: fc.oneof(fc.constant(GATEWAY.href), value),
        resource_name: value,
        resource_documentation: value,
        authorization_servers: value,
        bearer_methods_supported: value,
        scopes_supported: value,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(document, fc.anything()), (json) => {
        const validated = validateMetadata(json, GATEWAY);
        if (!validated.ok) {
          expect(validated.why).toMatch(VISIBLE);
          return;
        }
        for (const [name, value] of Object.entries(validated.metadata)) {
          for (const text of [value].flat()) {
            expect(typeof text).toBe('string');
            expect(text).toMatch(VISIBLE);
            if (/Documentation|Servers/.test(name))
              expect(text).toMatch(/^https:\/\/[\x21-\x7e]+$/);
          }
        }
      }),
      { numRuns: rounds(1000) },
    );
  });
});

/** RFC 3986 written out, independent of the URL parser: what should be accepted at most. */
function oracle(resource: string, endpoint: URL): string {
  const match = /^https:\/\/(?:@)?([^/?#@\\]+)([^?#\\]*)(?:\?([^#]*))?$/i.exec(resource);
  if (match === null) return 'no plain https URL';
  const [, authority = '', path = '', query = ''] = match;
  if (authority.toLowerCase().replace(/:0*443$|:$/, '') !== 'api.example.com')
    return 'another host';
  const segments: string[] = [];
  for (const segment of path.split('/').slice(1)) {
    const plain = segment.replaceAll(/%2e/gi, '.');
    if (plain === '..') segments.pop();
    else if (plain !== '.') segments.push(segment);
  }
  // Of `/v1/`, `/x/..` and `/.` only the slash at the end is left.
  const named = segments.at(-1) === '' ? segments.slice(0, -1) : segments;
  const own = endpoint.pathname.split('/').slice(1);
  if (named.some((segment, i) => segment !== own[i])) return 'another path';
  if (query === '') return 'same or parent';
  if (`?${query}` !== endpoint.search) return 'another query';
  return named.length === own.length ? 'same or parent' : "a parent with the endpoint's query";
}

describe('fetchMetadata', () => {
  let seen: IncomingMessage[] = [];
  let answers: Record<string, (response: ServerResponse) => void> = {};
  const server = createServer((incoming, response) => {
    seen.push(incoming);
    const answer = answers[incoming.url ?? ''];
    if (answer === undefined) response.writeHead(404).end('nothing here');
    else answer(response);
  });
  let endpoint = LOCAL;
  const PATH = '/.well-known/oauth-protected-resource';

  beforeEach(async () => {
    seen = [];
    answers = {};
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    endpoint = new URL(
      `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/mcp?filter=secret`,
    );
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  /** A plain node:http transport that keeps to its limits. */
  const get: MetadataGet = async (url, { maxBytes, timeoutMs, signal }) => {
    const outgoing = request(url, { signal, timeout: timeoutMs, agent: false }).end();
    outgoing.on('timeout', () => outgoing.destroy(new Error('timed out')));
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    let bytes = 0;
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) response.destroy(new Error('too long'));
    });
    const contentType = response.headers['content-type'];
    return {
      status: response.statusCode ?? 0,
      body: await buffer(response),
      ...(contentType === undefined ? {} : { contentType }),
    };
  };
  const json = (body: unknown) => (response: ServerResponse) =>
    void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const run = (options: Parameters<typeof fetchMetadata>[3] = {}, transport = get) =>
    fetchMetadata(
      metadataUrls(endpoint, `${endpoint.origin}/challenge`),
      endpoint,
      transport,
      options,
    );
  const paths = () => seen.map(({ url }) => url);

  it("takes the challenge's document, and asks no further", async () => {
    answers['/challenge'] = json({ resource: endpoint.origin, resource_name: 'Gateway' });
    expect(await run()).toEqual({ resource: endpoint.origin, resourceName: 'Gateway' });
    expect(paths()).toEqual(['/challenge']);
  });

  it('goes on to the well-known paths, in order, and sends no key', async () => {
    answers[PATH] = json({ resource: endpoint.origin });
    expect(await run()).toEqual({ resource: endpoint.origin });
    expect(paths()).toEqual(['/challenge', `${PATH}/v1/mcp?filter=secret`, PATH]);
    for (const { headers } of seen) {
      expect(headers).not.toHaveProperty('authorization');
      expect(headers).not.toHaveProperty('x-api-key');
    }
  });

  it('goes on when a document is about something else', async () => {
    answers['/challenge'] = json({ resource: 'https://evil.example/', resource_name: 'Evil' });
    answers[PATH] = json({ resource: endpoint.origin, resource_name: 'Real' });
    expect(await run()).toMatchObject({ resourceName: 'Real' });
  });

  it('tells for each URL why it failed, without the query', async () => {
    answers['/challenge'] = (response) => response.writeHead(302, { location: '/elsewhere' }).end();
    answers[`${PATH}/v1/mcp?filter=secret`] = (response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in</html>');
    answers[PATH] = (response) => response.writeHead(503).end();
    const { origin } = endpoint;
    expect(await run()).toEqual({
      why: `${origin}/challenge: HTTP 302, and redirects are not followed; ${origin}${PATH}/v1/mcp: no JSON (text/html); ${origin}${PATH}: HTTP 503`,
    });
    expect(paths()).not.toContain('/elsewhere');
  });

  it('reads at most 64 KiB', async () => {
    const document = JSON.stringify({ resource: endpoint.origin });
    const padded = (length: number) => document + ' '.repeat(length - document.length);
    answers['/challenge'] = (response) => response.end(padded(65_537));
    answers[`${PATH}/v1/mcp?filter=secret`] = (response) => response.end('x'.repeat(10_000_000));
    answers[PATH] = (response) => response.end(padded(65_536));
    expect(await run()).toEqual({ resource: endpoint.origin });
    expect(paths()).toHaveLength(3);
  });

  it('reads at most 64 KiB from a transport that does not keep to it either', async () => {
    const body = Buffer.from(JSON.stringify({ resource: endpoint.origin }).padEnd(65_537));
    expect(await run({}, async () => ({ status: 200, body }))).toEqual({
      why: expect.stringContaining('/challenge: more than 65536 bytes; '),
    });
  });

  it('takes a byte order mark, and neither broken UTF-8 nor 60,000 open brackets', async () => {
    answers['/challenge'] = (response) =>
      response.end(
        Buffer.from(`{"resource":"${endpoint.origin}","resource_name":"Caf\xe9"}`, 'latin1'),
      );
    answers[`${PATH}/v1/mcp?filter=secret`] = (response) => response.end('['.repeat(60_000));
    answers[PATH] = (response) =>
      response.end(`\ufeff${JSON.stringify({ resource: endpoint.origin })}`);
    expect(await run()).toEqual({ resource: endpoint.origin });
  });

  it('gives up after the time for all URLs together, also with a transport that never does', async () => {
    answers['/challenge'] = () => {};
    for (const transport of [get, () => new Promise<never>(() => {})]) {
      const started = performance.now();
      const result = await run({ timeoutMs: 150 }, transport);
      expect(performance.now() - started).toBeLessThan(5_000);
      expect(result).toEqual({
        why: expect.stringMatching(
          /^http:\/\/127\.0\.0\.1:\d+\/challenge: (?:no answer in time|timed out)/,
        ),
      });
    }
  });

  it('allows 5,000 ms unless told otherwise, and tells the transport what is left', async () => {
    const allowed: number[] = [];
    await run({}, async (_url, { timeoutMs }) => {
      allowed.push(timeoutMs);
      const started = performance.now();
      while (performance.now() - started < 20);
      return { status: 404, body: Buffer.alloc(0) };
    });
    expect(allowed[0]).toBeGreaterThan(4900);
    expect(allowed[0]).toBeLessThanOrEqual(5000);
    expect(allowed[2]).toBeLessThanOrEqual(5000 - 39);
  });

  it('stops when told to', async () => {
    const stop = new AbortController();
    answers['/challenge'] = () => stop.abort();
    expect(await run({ signal: stop.signal })).toEqual({
      why: `${endpoint.origin}/challenge: stopped`,
    });
    expect(await run({ signal: stop.signal })).toEqual({ why: 'stopped' });
    expect(paths()).toEqual(['/challenge']);
  });

  it('says what the network said, cleaned, whatever the transport throws', async () => {
    const thrown = [
      new Error('bad\u001b[31m\nnews'),
      Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }),
      undefined,
    ];
    const result = await run({}, () => {
      throw thrown.shift();
    });
    const { origin } = endpoint;
    expect(result).toEqual({
      why: `${origin}/challenge: bad news; ${origin}${PATH}/v1/mcp: ECONNREFUSED; ${origin}${PATH}: the request failed`,
    });
  });

  it('says so when there is nowhere to ask', async () => {
    expect(await fetchMetadata([], endpoint, get)).toEqual({
      why: 'there is no https address to fetch it from',
    });
  });
});
