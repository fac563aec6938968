import { describe, expect, it } from 'vitest';
import { answer, type Respond, sendJson } from './loopback-gateway.ts';
import {
  ROGUE_CODE,
  ROGUE_REFRESH,
  ROGUE_SECRET,
  ROGUE_TOKEN,
  type Roguery,
  startRogueServer,
  tokens,
} from './rogue-server.ts';
import type { Json, RunningProxy } from './running-proxy.ts';
import { watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

// What an authorization server that is down, or speaks nonsense, does to a sign-in.

const RENEWED = 'renewed-access-token.0123456789-abcdef';
/** A token request may take 20 s. */
const LIMIT_MS = 60_000;

const respond =
  (status: number, body: object | string): Respond =>
  (_, response) => {
    const isPage = typeof body === 'string';
    response.writeHead(status, { 'content-type': isPage ? 'text/html' : 'application/json' });
    response.end(isPage ? body : JSON.stringify(body));
  };

/** What the token endpoint does, and what the user reads of it. */
const OUTAGES: [what: string, token: Respond, said: RegExp][] = [
  ['HTTP 503 and a web page', respond(503, '<h1>Down</h1>'), /HTTP 503/],
  ['HTTP 500 and a code of OAuth', respond(500, { error: 'invalid_grant' }), /HTTP 500/],
  ['HTTP 502 and tokens', respond(502, { access_token: RENEWED, token_type: 'bearer' }), /502/],
  ['HTTP 429', respond(429, { error: 'invalid_client' }), /HTTP 429/],
  ['JSON that breaks off', (_, response) => response.end('{"access_token":"'), /invalid response/],
  ['a web page', respond(200, '<h1>Hello</h1>'), /invalid response/],
  ['a closed connection', (_, response) => response.destroy(), /Cannot reach/],
  ['no answer', () => {}, /did not respond in time/],
];

/** A gateway whose token has expired where `roguery` says so, and a browser that agrees to all. */
async function setUp(roguery: (server: { origin: string }) => Roguery) {
  const watch = watchSecrets();
  watch.add(ROGUE_CODE, ROGUE_TOKEN, ROGUE_REFRESH, ROGUE_SECRET, RENEWED);
  const server = await startRogueServer(roguery);
  const browser = await startBrowser(watch.folder, async (agent, url) => agent.open(url));
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const args = ['--sign-in-wait', '40', '--start-patience', '3'];
  const proxy = (...more: string[]) => watch.proxy(server.url, [...args, ...more], env);
  return { server, browser, proxy };
}

/** A session that signed in at a server whose token endpoint then does as `token` says. */
async function signedIn() {
  let token: Respond | undefined;
  let good = ROGUE_TOKEN;
  const set = await setUp(() => ({
    ...(token === undefined ? {} : { token }),
    mcp: (received, response) => {
      if (received.headers.authorization !== `Bearer ${good}`) return false;
      answer(received, response);
      return true;
    },
  }));
  const proxy = set.proxy();
  expect(await proxy.initialize()).toHaveProperty('result');
  const expire = (other: Respond) => {
    good = RENEWED;
    token = other;
  };
  return { ...set, first: proxy, expire };
}

const messageOf = (reply: Json) => (reply.error as { message?: string } | undefined)?.message ?? '';

async function endAll(...proxies: RunningProxy[]): Promise<void> {
  for (const proxy of proxies) expect(await proxy.end()).toBe(0);
}

describe.each([
  ...OUTAGES,
  ['temporarily_unavailable', respond(400, { error: 'temporarily_unavailable' }), /temporarily/],
  ['server_error', respond(400, { error: 'server_error' }), /server_error/],
] as typeof OUTAGES)('a refresh that gets %s', (_, token, said) => {
  it('is an error that says so, opens no browser, and keeps the sign-in', {
    timeout: LIMIT_MS,
  }, async () => {
    const { server, browser, proxy, first, expire } = await signedIn();
    expire(token);
    const reply = await first.request(1, 'ping');
    expect(messageOf(reply)).toMatch(/^Sign-in outage \(HTTP 401\): /);
    expect(messageOf(reply)).toMatch(said);
    expect(reply.error).toMatchObject({ data: { reason: 'sign_in_required', retryable: true } });
    expect(browser.opened).toHaveLength(1);

    // Another process finds the sign-in as it was, once the server is well.
    expire(tokens({ access_token: RENEWED }));
    const second = proxy();
    expect(await second.initialize()).toHaveProperty('result');
    expect(browser.opened).toHaveLength(1);
    // So does this one.
    expect(await first.request(2, 'ping')).toHaveProperty('result');
    const grants = server.to('/token').map(({ body }) => new URLSearchParams(body));
    expect(grants.at(-1)?.get('refresh_token')).toBe(ROGUE_REFRESH);
    await endAll(first, second);
  });
});

it.each(['invalid_grant', 'invalid_client'])(
  'a refresh refused with %s opens one, as the sign-in has ended',
  async (error) => {
    const { browser, first, expire } = await signedIn();
    expire((received, response) =>
      new URLSearchParams(received.body).get('grant_type') === 'refresh_token'
        ? respond(400, { error })(received, response)
        : tokens({ access_token: RENEWED })(received, response),
    );
    expect(await first.request(1, 'ping')).toHaveProperty('result');
    expect(browser.opened).toHaveLength(2);
    await endAll(first);
  },
);

describe.each(OUTAGES)('a code whose exchange gets %s', (_, token, said) => {
  it('is an error that says so, and opens no second tab', { timeout: LIMIT_MS }, async () => {
    const { server, browser, proxy } = await setUp(() => ({ token }));
    const first = proxy();
    expect(messageOf(await first.initialize())).toMatch(said);
    expect((await browser.page()).html).toMatch(said);
    expect(messageOf(await first.request(2, 'ping'))).toMatch(/^Sign-in required/);
    expect(browser.opened).toHaveLength(1);
    expect(server.to('/register')).toHaveLength(1);
    await endAll(first);
  });
});

it('says so where the metadata of the authorization server gets HTTP 503', async () => {
  const { browser, proxy } = await setUp(() => ({ metadata: respond(503, '<h1>Down</h1>') }));
  const first = proxy();
  expect(messageOf(await first.initialize())).toMatch(/^Sign-in required .*HTTP 503/);
  expect(browser.opened).toEqual([]);
  await endAll(first);
});

it('says so where a registration gets HTTP 503, and not that none is possible', async () => {
  const { browser, proxy } = await setUp(() => ({ register: respond(503, '<h1>Down</h1>') }));
  const first = proxy();
  const message = messageOf(await first.initialize());
  expect(message).toMatch(/HTTP 503/);
  expect(message).not.toMatch(/client ID/);
  expect(browser.opened).toEqual([]);
  await endAll(first);
});

it('says that a service account has no token where the token endpoint gets HTTP 503, without blame', async () => {
  const { proxy } = await setUp(() => ({ token: respond(503, '<h1>Down</h1>') }));
  const first = proxy('--grant', 'client-credentials', '--client-id', 'service');
  const message = messageOf(await first.initialize());
  expect(message).toMatch(/^No access token .*HTTP 503.* Try again later\./);
  expect(message).not.toMatch(/--grant/);
  await endAll(first);
});

it('does not take a gateway with API keys for one whose sign-in is down', async () => {
  const { proxy } = await setUp(() => ({
    resource: respond(404, ''),
    metadata: respond(503, ''),
    register: (_, response) => sendJson(response, '[]'),
  }));
  const first = proxy();
  expect(messageOf(await first.initialize())).toMatch(/^No API key/);
  await endAll(first);
});
