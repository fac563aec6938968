import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { type DeviceCode, signInByDevice } from '../../../src/auth/oauth/device-grant.ts';
import type { OAuthSettings } from '../../../src/auth/oauth/oauth-settings.ts';
import type { SignInContext } from '../../../src/auth/oauth/sign-in-context.ts';
import { openSignInStore } from '../../../src/auth/oauth/sign-in-store.ts';
import { createLog } from '../../../src/log.ts';
import { type Received, startGateway } from '../../e2e/loopback-gateway.ts';

const SETTINGS: OAuthSettings = {
  auth: 'oauth',
  grant: 'device-code',
  callbackHost: '127.0.0.1',
  signInWaitMs: 1_000,
  opensBrowser: false,
  signIn: 'error',
  sendsResource: true,
  authorizeParameters: [],
};
const DEVICE = {
  device_code: 'device-4711',
  user_code: 'ABCD-EFGH',
  expires_in: 60,
  interval: 0.02,
};
const TOKENS = { access_token: 'access-4712', token_type: 'Bearer', refresh_token: 'refresh-4713' };

type Answer = readonly [status: number, body: object];
const refuse = (error: string): Answer => [400, { error }];

/**
 * An authorization server that answers the device request with `device`, and each poll with the next
 * of `polls`; undefined closes the connection, and the last one is repeated.
 */
async function setUp(device: object, ...polls: (Answer | undefined)[]) {
  const gateway = await startGateway(({ target }, response) => {
    const answer = () => {
      if (target === '/register') return [201, { client_id: 'c' }] as const;
      if (target === '/device') return [200, device] as const;
      return polls.length > 1 ? polls.shift() : polls[0];
    };
    const [status, body] = answer() ?? [];
    if (status === undefined) return void response.destroy();
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  const { origin } = new URL(gateway.url);
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-device-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const shown: DeviceCode[] = [];
  const ended = new AbortController();
  const context: SignInContext = {
    url: gateway.url,
    gatewayAddress: '127.0.0.1',
    routes: { connectTimeoutMs: 5_000, proxyVariables: {} },
    settings: SETTINGS,
    discovered: {
      server: {
        issuer: origin,
        token_endpoint: `${origin}/token`,
        registration_endpoint: `${origin}/register`,
        device_authorization_endpoint: `${origin}/device`,
      },
      resource: gateway.url,
      requiresDpop: false,
      isAssumed: false,
    },
    challengedScope: 'mcp:read',
    isStepUp: false,
    needsDpop: false,
  };
  const signIn = () =>
    signInByDevice(
      { entry: { gateway: gateway.url, account: 'default' }, context },
      {
        store: openSignInStore(
          folder,
          {},
          createLog('error', () => {}),
        ),
        show: (code) => void shown.push(code),
        signal: ended.signal,
      },
    );
  const sent = (path: string) =>
    gateway.received
      .filter(({ target }: Received) => target === path)
      .map(({ body }) => Object.fromEntries(new URLSearchParams(body)));
  return { signIn, shown, sent, ended, origin, url: gateway.url };
}

const page = { verification_uri: 'https://as.example/device' };

it('shows the code, asks until the user has decided, and names the resource each time', async () => {
  const pending = refuse('authorization_pending');
  const { signIn, shown, sent, url } = await setUp({ ...DEVICE, ...page }, pending, pending, [
    200,
    TOKENS,
  ]);
  const { tokens, resource, requestedScopes } = await signIn();
  expect(tokens).toMatchObject({ accessToken: 'access-4712', refreshToken: 'refresh-4713' });
  expect({ resource, requestedScopes }).toEqual({ resource: url, requestedScopes: 'mcp:read' });
  const verificationUri = 'https://as.example/device';
  expect(shown).toEqual([{ userCode: 'ABCD-EFGH', verificationUri, scopes: 'mcp:read' }]);
  expect(sent('/device')).toEqual([{ client_id: 'c', scope: 'mcp:read', resource: url }]);
  expect(sent('/token')).toHaveLength(3);
  expect(sent('/token')[2]).toEqual({
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    device_code: 'device-4711',
    client_id: 'c',
    resource: url,
  });
});

it('goes on after a connection that broke off (RFC 8628 §3.5)', async () => {
  const { signIn, sent } = await setUp({ ...DEVICE, ...page }, undefined, [200, TOKENS]);
  expect((await signIn()).tokens?.accessToken).toBe('access-4712');
  expect(sent('/token')).toHaveLength(2);
});

it.each([
  ['the user refuses', refuse('access_denied'), /denied/],
  ['the code has expired', refuse('expired_token'), /did not enter the code in time/],
  ['the server refuses it otherwise', refuse('invalid_grant'), /rejected .*invalid_grant/],
])('ends in words where %s', async (_, answer, words) => {
  const { signIn, sent } = await setUp({ ...DEVICE, ...page }, answer);
  await expect(signIn()).rejects.toThrow(words);
  expect(sent('/token')).toHaveLength(1);
});

it('ends when the code expires, however long the server would let it ask', async () => {
  const device = { ...DEVICE, ...page, expires_in: 0.1 };
  const { signIn } = await setUp(device, refuse('authorization_pending'));
  await expect(signIn()).rejects.toThrow(/did not enter the code in time/);
});

it('ends when it is cancelled between two questions', async () => {
  const device = { ...DEVICE, ...page, interval: 30 };
  const { signIn, ended, sent, shown } = await setUp(device, refuse('authorization_pending'));
  const made = signIn();
  setImmediate(function end() {
    if (shown.length === 0) setImmediate(end);
    else ended.abort();
  });
  await expect(made).rejects.toThrow(/cancelled/);
  expect(sent('/token')).toEqual([]);
});

it.each([
  'http://evil.example/device',
  'javascript:alert(1)',
  'file:///etc/passwd',
  'https://10.0.0.1/ \u001b[2J',
])('shows no page at %j', async (verification_uri) => {
  const { signIn, shown, sent } = await setUp({ ...DEVICE, verification_uri }, [200, TOKENS]);
  await expect(signIn()).rejects.toThrow(/https/);
  expect(shown).toEqual([]);
  expect(sent('/token')).toEqual([]);
});

it('cleans the code that it shows', async () => {
  const user_code = `AB\u001b[2J\u202eCD${'E'.repeat(1_000)}`;
  const { signIn, shown } = await setUp({ ...DEVICE, ...page, user_code }, [200, TOKENS]);
  await signIn();
  expect(shown[0]?.userCode).toMatch(/^AB[^\u0000-\u001f\u007f-\u009f\u202e]{0,70}$/);
});
