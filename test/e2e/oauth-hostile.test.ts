import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import { type Respond, sendJson, startGateway } from './loopback-gateway.ts';
import {
  metadataOf,
  ROGUE_CODE,
  ROGUE_REFRESH,
  ROGUE_SECRET,
  ROGUE_TOKEN,
  type Roguery,
  redirectBack,
  startRogueServer,
  tokens,
} from './rogue-server.ts';
import { type SecretWatch, watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

/** Longest that a request may wait for a server that makes every answer wait: clients give up after 60 s. */
const LIMIT_MS = 45_000;
/** … and for one that answers at once. */
const PROMPT_LIMIT_MS = 20_000;
/** More than the socket buffers and what is read before a body is known to be too long. */
const MOST_BYTES = 16 * 1024 * 1024;
const ESCAPES = '\u001b[2J\u001b]0;owned\u0007\u009b31m\r\n\u202e<script>';
const LONG = `${ESCAPES}${'A'.repeat(10 * 1024 * 1024)}${ESCAPES}`;

/** Has the proxy sign in at a server, and says what its client gets for its first request. */
async function signIn(
  watch: SecretWatch,
  roguery: Parameters<typeof startRogueServer>[0],
  waitSeconds = 40,
) {
  const server = await startRogueServer(roguery);
  const browser = await startBrowser(watch.folder, async (agent, url) => agent.open(url));
  watch.add(ROGUE_CODE, ROGUE_TOKEN, ROGUE_REFRESH, ROGUE_SECRET);
  // As on a desktop, which the machine of a test may not be.
  const desktop = { DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const proxy = watch.proxy(
    server.url,
    ['--auth', 'oauth', '--sign-in-wait', String(waitSeconds)],
    {
      ...browser.env,
      ...desktop,
    },
  );
  const started = performance.now();
  const reply = (await proxy.initialize()) as { error?: { code: number; message: string } };
  const ms = performance.now() - started;
  for (const parameters of server.parameters()) watch.add(parameters.get('code_verifier'));
  const said = JSON.stringify(reply.error ?? {}) + proxy.stderr;
  expect(said).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  expect(said).not.toMatch(/^ {4}at |TypeError|RangeError|SyntaxError/m);
  return { reply, message: reply.error?.message ?? '', said, ms, server, browser, proxy };
}

/** A server that answers the request with a body without end; `sent` bytes have been taken so far. */
function endless(type: string, start: string) {
  const counted = { sent: 0 };
  const respond: Respond = (_, response) => {
    response.writeHead(200, { 'content-type': type });
    const chunk = 'x'.repeat(65_536);
    const more = () => {
      while (!response.destroyed && response.write(chunk)) counted.sent += chunk.length;
      counted.sent += chunk.length;
    };
    response.on('error', () => {}).on('drain', more);
    response.write(start);
    more();
  };
  return { respond, counted };
}

/** A byte now and then, for as long as the client stays. */
const drip: Respond = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  const timer = setInterval(() => response.write(' '), 100);
  response.once('close', () => clearInterval(timer));
};

const html: Respond = (_, response) => {
  response.writeHead(200, { 'content-type': 'text/html' });
  response.end(`<!doctype html><title>Sign in ${ESCAPES}</title><script>alert(1)</script>`);
};

const redirect =
  (location: string, status = 307): Respond =>
  (_, response) =>
    response.writeHead(status, { location }).end();

const refuse =
  (body: object, status = 400): Respond =>
  (_, response: ServerResponse) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };

/** A server on another origin, which must not be asked for anything. */
async function elsewhere() {
  const { received, url } = await startGateway((_, response) => {
    sendJson(response, { client_id: 'elsewhere', access_token: 'elsewhere' });
  });
  return { received, url };
}

it('signs in where the server is honest, so that what follows fails for its own reason', async () => {
  const { reply, server } = await signIn(watchSecrets(), () => ({}));
  expect(reply).toHaveProperty('result');
  expect(server.to('/token')).toHaveLength(1);
});

/** What a server does, what the user reads, and the paths that must not be asked. */
type Case = [
  what: string,
  roguery: (server: { origin: string }) => Roguery,
  said: RegExp,
  never: string[],
];

const ofMetadata = (changes: object): Case[1] => {
  return ({ origin }) => ({
    metadata: (_, response) => sendJson(response, metadataOf(origin, changes as never)),
  });
};

const resource = (body: unknown): Case[1] => {
  return () => ({ resource: (_, response) => sendJson(response, body as string) });
};

describe.each<Case>([
  // The gateway's metadata.
  [
    'metadata of another resource',
    resource({
      resource: 'https://evil.example/mcp',
      authorization_servers: ['https://evil.example'],
    }),
    /resource|evil\.example/,
    ['/authorize', '/token', '/register'],
  ],
  [
    'an authorization server on a private network, behind plain HTTP',
    ({ origin }) => ({
      resource: (_, response) =>
        sendJson(response, {
          resource: `${origin}/v1/mcp`,
          authorization_servers: ['http://10.0.0.1'],
        }),
    }),
    /./,
    ['/token', '/register'],
  ],
  [
    'an authorization server that is a file',
    ({ origin }) => ({
      resource: (_, response) =>
        sendJson(response, {
          resource: `${origin}/v1/mcp`,
          authorization_servers: ['file:///etc/passwd'],
        }),
    }),
    /./,
    ['/token', '/register'],
  ],

  // The authorization server's metadata.
  [
    'another issuer',
    ofMetadata({ issuer: 'https://evil.example' }),
    /evil\.example/,
    ['/authorize', '/token', '/register'],
  ],
  [
    'an issuer that differs by a slash',
    ({ origin }) => ofMetadata({ issuer: `${origin}/` })({ origin }),
    /issuer/,
    ['/authorize', '/token', '/register'],
  ],
  [
    'an issuer with escape sequences',
    ofMetadata({ issuer: ESCAPES }),
    /./,
    ['/authorize', '/token'],
  ],
  ...[
    'javascript:alert(document.cookie)',
    'file:///etc/passwd',
    'data:text/html,<script>alert(1)</script>',
    'vbscript:msgbox(1)',
    'http://evil.example/authorize',
    'https://user:password@evil.example/authorize',
    'https://evil.example/\u0000',
    '--help',
    '',
    7,
  ].map<Case>((authorization_endpoint) => [
    `the authorization endpoint ${JSON.stringify(authorization_endpoint)}`,
    ofMetadata({ authorization_endpoint }),
    /authorization.?endpoint|metadata/i,
    ['/token'],
  ]),
  [
    'a token endpoint without TLS',
    ofMetadata({ token_endpoint: 'http://evil.example/token' }),
    /https/,
    ['/authorize'],
  ],
  [
    'no token endpoint',
    ofMetadata({ token_endpoint: undefined }),
    /token endpoint/,
    ['/authorize'],
  ],
  [
    'a registration endpoint without TLS',
    ofMetadata({ registration_endpoint: 'http://evil.example/r' }),
    /https/,
    ['/authorize'],
  ],
  [
    'no PKCE',
    ofMetadata({ code_challenge_methods_supported: undefined }),
    /PKCE/,
    ['/authorize', '/token'],
  ],
  [
    'plain PKCE only',
    ofMetadata({ code_challenge_methods_supported: ['plain'] }),
    /PKCE/,
    ['/authorize', '/token'],
  ],
  [
    'lists that are not lists',
    ofMetadata({ code_challenge_methods_supported: 'S256-or-not' }),
    /PKCE|metadata/,
    ['/token'],
  ],
  [
    'metadata that is a list',
    () => ({ metadata: (_, response) => sendJson(response, '[]') }),
    /./,
    ['/token'],
  ],
  ['metadata that is a web page', () => ({ metadata: html }), /./, ['/token']],
  [
    'metadata from a file',
    () => ({ metadata: redirect('file:///etc/passwd', 302) }),
    /./,
    ['/token'],
  ],
  [
    'metadata 100,000 levels deep',
    () => ({ metadata: (_, response) => sendJson(response, '['.repeat(100_000)) }),
    /./,
    ['/token'],
  ],

  // Registration.
  [
    'a registration refused at length',
    () => ({ register: refuse({ error: 'invalid_client_metadata', error_description: LONG }) }),
    /registration/,
    ['/authorize'],
  ],
  ['a registration that is a web page', () => ({ register: html }), /regist/, ['/authorize']],
  [
    'a client ID that is a number',
    () => ({ register: (_, response) => sendJson(response, { client_id: 7 }) }),
    /regist/,
    ['/authorize'],
  ],
  [
    'a client ID of 10 MB',
    () => ({
      register: (_, response) => sendJson(response, { client_id: 'x'.repeat(10_000_000) }),
    }),
    /regist|answer|address/,
    ['/authorize'],
  ],

  // The redirect.
  [
    'a redirect of another issuer (a mix-up)',
    () => ({
      authorize: (received, response) =>
        redirectBack(received, response, { code: ROGUE_CODE, iss: 'https://evil.example' }),
    }),
    /is not from/,
    ['/token'],
  ],
  [
    'a redirect without the issuer that was promised',
    () => ({
      authorize: (received, response) => redirectBack(received, response, { code: ROGUE_CODE }),
    }),
    /is not from/,
    ['/token'],
  ],
  [
    'an error of another issuer, whose text is not shown',
    () => ({
      authorize: (received, response) =>
        redirectBack(received, response, {
          error: 'visit',
          error_description: 'evil.example',
          iss: 'https://evil.example',
        }),
    }),
    /^(?!.*visit)(?!.*evil\.example).*is not from/,
    ['/token'],
  ],
  [
    'an error with escape sequences',
    ({ origin }) => ({
      authorize: (received, response) =>
        redirectBack(received, response, {
          error: 'server_error',
          error_description: ESCAPES.repeat(100),
          iss: origin,
        }),
    }),
    /server_error/,
    ['/token'],
  ],
  [
    'neither a code nor an error',
    ({ origin }) => ({
      authorize: (received, response) => redirectBack(received, response, { iss: origin }),
    }),
    /./,
    ['/token'],
  ],

  // Tokens.
  [
    'a refusal of 10 MB with escape sequences',
    () => ({ token: refuse({ error: 'invalid_grant', error_description: LONG }) }),
    /./,
    [],
  ],
  [
    'an error code that is a list',
    () => ({ token: refuse({ error: ['a'], error_description: {} }) }),
    /./,
    [],
  ],
  ['tokens that are a web page', () => ({ token: html }), /./, []],
  ['tokens from a file', () => ({ token: redirect('file:///etc/passwd') }), /./, []],
  ...[
    `${ROGUE_TOKEN}\r\nX-Injected: 1`,
    `${ROGUE_TOKEN}\n`,
    `${ROGUE_TOKEN} and more`,
    `tökén-${ROGUE_TOKEN}`,
    `\u0000${ROGUE_TOKEN}`,
    'x'.repeat(1_000_000),
    '',
    7,
    null,
  ].map<Case>((access_token) => [
    `the access token ${JSON.stringify(access_token).slice(0, 60)}`,
    () => ({ token: tokens({ access_token }) }),
    /access token|invalid response/,
    [],
  ]),
  ['a token type that is unknown', () => ({ token: tokens({ token_type: 'mac' }) }), /./, []],
  ['a token type that is a list', () => ({ token: tokens({ token_type: ['Bearer'] }) }), /./, []],
])('%s', { timeout: PROMPT_LIMIT_MS + 10_000 }, (_, roguery, said, never) => {
  it('ends with words, in time, and leaks nothing', async () => {
    const { message, ms, server, said: all, ...rest } = await signIn(watchSecrets(), roguery);
    const { proxy, browser } = rest;
    expect(message).toMatch(/^[A-Z].{20,600}$/);
    expect(all).toMatch(said);
    expect(ms).toBeLessThan(PROMPT_LIMIT_MS);
    expect(browser.opened.length).toBeLessThan(2);
    for (const path of never) expect(server.to(path), path).toHaveLength(0);
    expect(await proxy.request(2, 'ping')).toHaveProperty('error');
    expect(await proxy.end()).toBe(0);
    expect(proxy.messages.map(({ id }) => id)).toEqual(['init', 2]);
  });
});

describe.each<[string, keyof Roguery, string, string]>([
  ['metadata of the resource', 'resource', 'application/json', '{"resource":"'],
  ['metadata', 'metadata', 'application/json', '{"issuer":"'],
  ['a registration', 'register', 'application/json', '{"client_id":"'],
  ['tokens', 'token', 'application/json', '{"access_token":"'],
  ['a web page in place of tokens', 'token', 'text/html', '<!doctype html>'],
])('%s without end', (_, where, type, start) => {
  it('is cut off', async () => {
    const { respond, counted } = endless(type, start);
    const { reply } = await signIn(watchSecrets(), () => ({ [where]: respond }));
    expect(reply).toHaveProperty(where === 'resource' ? 'result' : 'error');
    expect(counted.sent).toBeLessThan(MOST_BYTES);
  });
});

it('gives up metadata, a registration and tokens that come in slow drips', {
  timeout: LIMIT_MS + 10_000,
}, async () => {
  const drips = ['resource', 'metadata', 'register', 'token'].map(async (where) => {
    const { ms, reply, message } = await signIn(watchSecrets(), () => ({ [where]: drip }));
    // Without metadata of the resource, there is still the server at the gateway's own origin.
    expect(reply, where).toHaveProperty(where === 'resource' ? 'result' : 'error');
    expect(ms, where).toBeLessThan(LIMIT_MS);
    if (where !== 'resource') expect(message).toContain('did not respond in time');
  });
  await Promise.all(drips);
});

describe.each<[string, keyof Roguery]>([
  ['the metadata of the resource', 'resource'],
  ['the metadata', 'metadata'],
  ['a registration', 'register'],
  ['the token request', 'token'],
])('a redirect of %s to another origin', (_, where) => {
  it.each([301, 302, 303, 307, 308])('is not followed (%s)', async (status) => {
    const other = await elsewhere();
    const { reply } = await signIn(watchSecrets(), () => ({
      [where]: redirect(other.url, status),
    }));
    expect(reply).toHaveProperty(where === 'resource' ? 'result' : 'error');
    expect(other.received).toEqual([]);
  });
});

it('does not send the code of an honest server to another that names its sign-in page (a mix-up)', async () => {
  const watch = watchSecrets();
  const honest = await startRogueServer(() => ({}));
  const { message, server } = await signIn(watch, ({ origin }) => ({
    metadata: (_, response) =>
      sendJson(
        response,
        metadataOf(origin, { authorization_endpoint: `${honest.origin}/authorize` }),
      ),
  }));
  expect(message).toMatch(/is not from/);
  expect(honest.to('/authorize')).toHaveLength(1);
  expect(server.to('/token')).toEqual([]);
});

it('opens one tab where the gateway rejects what a sign-in brings, also for what is asked next', async () => {
  const { message, browser, proxy, server } = await signIn(watchSecrets(), () => ({
    token: tokens({ access_token: 'good-for-another-gateway' }),
  }));
  expect(message).toMatch(/^Access token rejected/);
  expect(server.to('/token')).toHaveLength(1);
  const next = (await proxy.request(2, 'ping')) as { error: { message: string } };
  expect(next.error.message).toMatch(/^Sign-in required|^Sign in/);
  expect(browser.opened).toHaveLength(1);
});

it('counts the wait for the sign-in from the start of the request', async () => {
  const roguery = { resource: drip, authorize: () => {} };
  const { message, ms, server } = await signIn(watchSecrets(), () => roguery, 6);
  expect(message).toMatch(/^Sign-in required|^Sign in/);
  await expect.poll(() => server.to('/authorize')).toHaveLength(1);
  // 5 s of metadata, and not 6 s after that.
  expect(ms).toBeLessThan(9_000);
});
