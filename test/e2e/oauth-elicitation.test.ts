import { describe, expect, it } from 'vitest';
import { CAPABILITIES, modern } from './modern-messages.ts';
import type { Json, RunningProxy } from './running-proxy.ts';
import { UserAgent } from './user-agent.ts';
import { deny, startWaitingSignIn, type WaitingSignIn } from './waiting-sign-in.ts';

// A sign-in that the user has not finished in time, for clients that can show its link.

const CALL = { name: 'run', arguments: {} };
const COMPLETE = 'notifications/elicitation/complete';
const INPUT = 'mcp-latchkey:sign-in';
const URLS = { elicitation: { url: {} } };

interface Required {
  code: number;
  message: string;
  data: { reason: string; elicitations?: Record<string, string>[] };
}

const errorOf = ({ error }: Json) => error as Required;

function start({ watch, server, env }: WaitingSignIn, ...args: string[]): RunningProxy {
  return watch.proxy(server.url, args, env);
}

/** A session with a client of 2025-11-25. */
async function session(signIn: WaitingSignIn, capabilities: Json, ...args: string[]) {
  const proxy = start(signIn, ...args);
  const params = { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'c' } };
  const reply = await proxy.request('init', 'initialize', params);
  proxy.notify('notifications/initialized');
  return { proxy, reply };
}

/** Opens the link as the user, who agrees. */
const follow = (link: string | undefined) => new UserAgent().open(link ?? '');

const completions = (proxy: RunningProxy) =>
  proxy.messages.filter(({ method }) => method === COMPLETE).map(({ params }) => params);

/** Sends the request until its sign-in has a link, which takes a moment from when it has begun. */
async function untilLink(
  proxy: RunningProxy,
  params: Json,
  isLink: (reply: Json) => boolean,
): Promise<Json> {
  for (let id = 100; ; id++) {
    const reply = await proxy.request(id, 'tools/call', params);
    if (isLink(reply) || id === 120) return reply;
  }
}

/** What a client of 2025-11-25 gets for a call. */
const required = async (proxy: RunningProxy) =>
  errorOf(await untilLink(proxy, CALL, ({ error }) => (error as Required)?.code === -32042));

describe.each(['legacy', 'modern'] as const)('a client of 2025-11-25 and a %s gateway', (era) => {
  it('gets the link as an error, hears when the sign-in is done, and its next call runs', async () => {
    const signIn = await startWaitingSignIn(era);
    const { proxy } = await session(signIn, URLS);
    const { code, message, data } = await required(proxy);
    expect(code).toBe(-32042);
    expect(message).toMatch(/^Sign-in required .* is waiting for your sign-in\./);
    expect(data.reason).toBe('sign_in_required');
    const { host } = new URL(signIn.server.url);
    const [elicitation, ...others] = data.elicitations ?? [];
    expect(others).toEqual([]);
    expect(elicitation).toEqual({
      mode: 'url',
      elicitationId: expect.stringMatching(/^[\w-]{36}$/),
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/sign-in\/[\w-]+$/),
      message: `Sign in to ${host}.`,
    });
    expect(signIn.runs()).toHaveLength(0);

    expect((await follow(elicitation?.url)).html).toContain('signed in');
    await proxy.message(({ method }) => method === COMPLETE);
    expect(completions(proxy)).toEqual([{ elicitationId: elicitation?.elicitationId }]);
    expect(await proxy.request(2, 'tools/call', CALL)).toHaveProperty('result');
    expect(signIn.runs()).toHaveLength(1);
    // A browser may take longer to start than the user who follows the link.
    await expect.poll(() => signIn.browser.opened).toHaveLength(1);
    expect(await proxy.end()).toBe(0);
  });
});

it('gets the same link for each call that comes meanwhile, and hears of it once', async () => {
  const signIn = await startWaitingSignIn('legacy');
  const { proxy } = await session(signIn, URLS);
  await required(proxy);
  const ids = [1, 2, 3];
  const replies = await Promise.all(ids.map((id) => proxy.request(id, 'tools/call', CALL)));
  const elicitations = replies.map((reply) => errorOf(reply).data.elicitations?.[0]);
  const [first] = elicitations;
  expect(elicitations).toEqual([first, first, first]);
  await follow(first?.url);
  await proxy.message(({ method }) => method === COMPLETE);
  expect(await proxy.request(4, 'tools/call', CALL)).toHaveProperty('result');
  expect(completions(proxy)).toHaveLength(1);
  await expect.poll(() => signIn.browser.opened).toHaveLength(1);
  await proxy.end();
});

it.each<[string, Json, string[]]>([
  ['declares nothing', {}, []],
  ['declares forms only', { elicitation: { form: {} } }, []],
  ['declares elicitation without modes, which means forms', { elicitation: {} }, []],
  ['has --elicit-url off', URLS, ['--elicit-url', 'off']],
])('gets the error as before if the client %s', async (_, capabilities, args) => {
  const { proxy } = await session(await startWaitingSignIn('legacy'), capabilities, ...args);
  const isWaiting = ({ error }: Json) => /is waiting for/.test((error as Required).message);
  const { code, message, data } = errorOf(await untilLink(proxy, CALL, isWaiting));
  expect([code, data.elicitations]).toEqual([-32003, undefined]);
  expect(message).toMatch(/is waiting for your sign-in/);
  await proxy.end();
});

it('uses what the user finishes after the wait, also where it is kept in memory only', async () => {
  const signIn = await startWaitingSignIn('legacy');
  signIn.env.MCP_LATCHKEY_STORE_KEY = '';
  const { proxy } = await session(signIn, URLS);
  const { data } = await required(proxy);
  await follow(data.elicitations?.[0]?.url);
  await proxy.message(({ method }) => method === COMPLETE);
  expect(await proxy.request(2, 'tools/call', CALL)).toHaveProperty('result');
  await expect.poll(() => signIn.browser.opened).toHaveLength(1);
  await proxy.end();
});

it('gets the error as before for initialize', async () => {
  const signIn = await startWaitingSignIn('legacy', undefined, () => true);
  const { proxy, reply } = await session(signIn, URLS);
  expect(errorOf(reply).code).toBe(-32003);
  await proxy.end();
});

it('gets no second tab and no link after the user has denied the sign-in', async () => {
  const signIn = await startWaitingSignIn('legacy', ({ origin }) => ({
    authorize: deny(origin),
  }));
  const { proxy } = await session(signIn, URLS);
  const shown = await required(proxy);
  expect(shown.code).toBe(-32042);
  await follow(shown.data.elicitations?.[0]?.url);
  await proxy.message(({ method }) => method === COMPLETE);
  expect(errorOf(await proxy.request(2, 'tools/call', CALL)).code).toBe(-32003);
  await expect.poll(() => signIn.browser.opened.length).toBeGreaterThan(0);
  await proxy.end();
  expect(signIn.browser.opened).toHaveLength(1);
});

it.each(['legacy', 'modern'] as const)(
  'ends at once with a link shown that no one follows (%s)',
  async (era) => {
    const signIn = await startWaitingSignIn(era);
    const { proxy } = await session(signIn, URLS);
    expect((await required(proxy)).code).toBe(-32042);
    expect(await proxy.request(2, 'ping')).toHaveProperty('result');
    expect(await proxy.end()).toBe(0);
  },
);

it('opens no browser for what no client waits for', async () => {
  const requires = (asked: unknown) => asked === 'notifications/initialized' || asked === undefined;
  const signIn = await startWaitingSignIn('legacy', undefined, requires);
  const { proxy } = await session(signIn, URLS);
  // The event stream is rejected too.
  await proxy.until(() => /could not deliver notifications\/initialized/.test(proxy.stderr));
  expect(await proxy.request(1, 'tools/call', CALL)).toHaveProperty('result');
  await proxy.end();
  expect(signIn.browser.opened).toEqual([]);
});

/** A call of a client of 2026-07-28. */
const params = (more: Json = {}, capabilities: Json = CAPABILITIES) =>
  modern({ ...CALL, ...more }, { 'io.modelcontextprotocol/clientCapabilities': capabilities });

const linkIn = ({ result }: Json) => {
  const { resultType, inputRequests } = result as Json & {
    inputRequests: Record<string, { method: string; params: Record<string, string> }>;
  };
  expect([resultType, Object.keys(inputRequests)]).toEqual(['input_required', [INPUT]]);
  return inputRequests[INPUT];
};

const linked = async (proxy: RunningProxy) =>
  linkIn(await untilLink(proxy, params(), ({ result }) => result !== undefined));

describe.each(['legacy', 'modern'] as const)('a client of 2026-07-28 and a %s gateway', (era) => {
  it('gets the link as an input request, and its retry waits for the sign-in', async () => {
    const signIn = await startWaitingSignIn(era);
    // A busy computer may need more than a second to open the link.
    const proxy = start(signIn, '--sign-in-wait', '5');
    const request = await linked(proxy);
    const { host } = new URL(signIn.server.url);
    expect(request).toEqual({
      method: 'elicitation/create',
      params: {
        mode: 'url',
        message: `Sign in to ${host}.`,
        url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/sign-in\/[\w-]+$/),
      },
    });
    const inputResponses = { [INPUT]: { action: 'accept' } };
    const retried = proxy.request(2, 'tools/call', params({ inputResponses }));
    await follow(request?.params.url);
    expect(await retried).toMatchObject({ result: { content: [{ text: 'It ran.' }] } });
    expect(signIn.runs()).toHaveLength(1);
    expect(JSON.stringify(signIn.server.received)).not.toContain('inputResponses');
    expect(completions(proxy)).toEqual([]);
    expect(await proxy.end()).toBe(0);
  });

  it('is shown the link again if it retries too soon', async () => {
    const signIn = await startWaitingSignIn(era);
    const proxy = start(signIn);
    const first = await linked(proxy);
    const inputResponses = { [INPUT]: { action: 'accept' } };
    const retry = await proxy.request(2, 'tools/call', params({ inputResponses }));
    expect(linkIn(retry)).toEqual(first);
    await expect.poll(() => signIn.browser.opened).toHaveLength(1);
    await proxy.end();
  });

  it.each([{ action: 'decline' }, { action: 'cancel' }, {}, null, 7, [], 'accept'])(
    'gets an error at once for the answer %j, and nothing is sent',
    async (given) => {
      const signIn = await startWaitingSignIn(era);
      const proxy = start(signIn);
      await linked(proxy);
      const before = signIn.server.received.length;
      const inputResponses = { [INPUT]: given };
      const { code, message } = errorOf(
        await proxy.request(2, 'tools/call', params({ inputResponses })),
      );
      expect(code).toBe(-32003);
      expect(message).toMatch(/requires you to sign in.* Run `/);
      expect(signIn.server.received).toHaveLength(before);
      expect(await proxy.end()).toBe(0);
    },
  );
});

it.each(['accept', 'decline'])(
  'a retry after a restart reaches the gateway without the answer "%s" to the old link',
  async (action) => {
    const signIn = await startWaitingSignIn('modern');
    const first = start(signIn);
    const request = await linked(first);
    await first.end();
    await follow(request?.params.url);
    const proxy = start(signIn);
    const inputResponses = { [INPUT]: { action }, theirs: { action: 'accept' } };
    const reply = await proxy.request(2, 'tools/call', params({ inputResponses }));
    expect(reply).toMatchObject({ result: { content: [{ text: 'It ran.' }] } });
    const received = JSON.stringify(signIn.server.received);
    expect(received).not.toContain(INPUT);
    expect(received).toContain('theirs');
    await proxy.end();
  },
);

it('the first error has the link, also with --sign-in-wait 0', async () => {
  const signIn = await startWaitingSignIn('modern');
  const proxy = start(signIn, '--sign-in-wait', '0');
  const reply = await proxy.request(1, 'tools/call', params());
  expect(linkIn(reply)?.params.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/sign-in\//);
  await proxy.end();
});

it.each<[string, string, Json]>([
  ['a method whose result cannot ask for input', 'tools/list', params()],
  ['a client that cannot show links', 'tools/call', params({}, { elicitation: { form: {} } })],
  ["an answer to the gateway's own question", 'tools/call', params({ requestState: 'its' })],
  [
    'answers for the gateway',
    'tools/call',
    params({ inputResponses: { a: { action: 'accept' } } }),
  ],
])('%s of 2026-07-28 gets the error', async (_, method, given) => {
  const requires = (asked: unknown) => asked === 'tools/call' || asked === 'tools/list';
  const proxy = start(await startWaitingSignIn('modern', undefined, requires));
  await linked(proxy);
  expect(errorOf(await proxy.request(1, method, given)).code).toBe(-32003);
  await proxy.end();
});
