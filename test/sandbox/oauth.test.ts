import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { UserAgent } from '../e2e/user-agent.ts';
import { getJson, postForm, register, serverOf, signIn, TestKey } from './oauth-client.ts';
import { call, post, request } from './post.ts';

const open: Sandbox[] = [];

async function start(oauth: SandboxOptions['oauth'] = {}) {
  const sandbox = await startSandbox({ oauth });
  open.push(sandbox);
  return sandbox;
}

afterEach(() => Promise.all(open.splice(0).map((sandbox) => sandbox.close())));

const sha256 = (text: string) => createHash('sha256').update(text).digest('base64url');
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';
const write = call('linear_add_comment', { id: 'ENG-41', text: 'seen' });

/** Signs in, and returns the token endpoint's answer. */
async function tokens(sandbox: Sandbox, options?: Parameters<typeof signIn>[1]) {
  const { token, clientId } = await signIn(sandbox, options);
  const { status, json } = await token();
  expect(status).toBe(200);
  return { ...json, clientId } as Record<string, string> & { clientId: string };
}

function refresh(sandbox: Sandbox, { refresh_token = '', clientId = '' }) {
  return postForm(`${serverOf(sandbox).issuer}/token`, {
    grant_type: 'refresh_token',
    refresh_token,
    client_id: clientId,
    resource: sandbox.url,
  });
}

describe('discovery', () => {
  it('leads from the challenge to the metadata of the authorization server', async () => {
    const sandbox = await start();
    const refused = await post(sandbox, request('ping'), { authorization: null });
    expect(refused.status).toBe(401);
    const challenge = refused.headers.get('www-authenticate') ?? '';
    expect(challenge).toMatch(/^Bearer scope="mcp:read", resource_metadata="/);
    const resource = await getJson(/resource_metadata="(.+?)"/.exec(challenge)?.[1] ?? '');
    const { issuer } = serverOf(sandbox);
    expect(resource).toMatchObject({
      resource: sandbox.url,
      authorization_servers: [issuer],
      scopes_supported: ['mcp:read', 'mcp:write'],
    });
    const metadata = await getJson(`${issuer}/.well-known/oauth-authorization-server`);
    expect(await getJson(`${issuer}/.well-known/openid-configuration`)).toEqual(metadata);
    expect(metadata).toMatchObject({
      issuer,
      code_challenge_methods_supported: ['S256'],
      authorization_response_iss_parameter_supported: true,
      client_id_metadata_document_supported: true,
      scopes_supported: ['mcp:read', 'mcp:write', 'offline_access'],
    });
    expect(new URL(issuer).origin).not.toBe(sandbox.origin);
  });

  it('offers nothing of it without the option, and accepts keys with it', async () => {
    const plain = await startSandbox();
    open.push(plain);
    expect(plain.oauth).toBeUndefined();
    const metadata = await getJson(`${plain.origin}/.well-known/oauth-protected-resource`);
    expect(metadata).not.toHaveProperty('authorization_servers');
    expect((await post(await start(), request('ping'))).status).toBe(200);
  });
});

describe('a sign-in', () => {
  it('asks the user, comes back with state and issuer, and opens the gateway', async () => {
    const sandbox = await start();
    const { page, redirect, token } = await signIn(sandbox);
    expect(page.html).toContain('Allow test &#60;client&#62;?');
    expect(page.html).not.toMatch(/<script|https?:\/\//);
    expect(page.headers.get('cache-control')).toBe('no-store');
    expect(redirect.get('state')).toBe('the state of a test');
    expect(redirect.get('iss')).toBe(serverOf(sandbox).issuer);
    const { json, headers } = await token();
    expect(headers.get('cache-control')).toBe('no-store');
    expect(json).toMatchObject({
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'mcp:read offline_access',
    });
    const reply = await post(sandbox, call('platform_whoami'), bearer(json.access_token));
    expect(reply.text).toContain('Ada Example');
  });

  it('signs in whom the user chooses, with what that user reaches', async () => {
    const sandbox = await start();
    const { access_token = '' } = await tokens(sandbox, {
      answers: { fields: { holder: 'Grace Example' } },
    });
    const reply = await post(sandbox, request('tools/list'), bearer(access_token));
    const names = reply.json.result.tools.map(({ name }: { name: string }) => name);
    expect(names.length).toBeGreaterThan(0);
    expect(names.every((name: string) => name.startsWith('linear_'))).toBe(true);
  });

  it('comes back with access_denied when the user refuses', async () => {
    const { redirect } = await signIn(await start(), { answers: { button: 'Deny' } });
    expect(redirect.get('error')).toBe('access_denied');
    expect(redirect.get('state')).toBe('the state of a test');
    expect(redirect.has('iss')).toBe(true);
    expect(redirect.has('code')).toBe(false);
  });

  it.each([
    ['without PKCE', { code_challenge: '' }, 'invalid_request'],
    ['with plain PKCE', { code_challenge_method: 'plain' }, 'invalid_request'],
    ['with another response type', { response_type: 'token' }, 'unsupported_response_type'],
    ['for another resource', { resource: 'https://other.example/mcp' }, 'invalid_target'],
    ['for a scope that there is not', { scope: 'admin' }, 'invalid_scope'],
  ])('is refused by redirect %s', async (_, changes, error) => {
    const { redirect } = await signIn(await start(), { request: changes });
    expect(redirect.get('error')).toBe(error);
  });

  it.each([
    ['an unknown client', { client_id: 'unknown' }],
    ["an address that is not the client's", { redirect_uri: 'http://127.0.0.1/elsewhere' }],
    ['an address on another host', { redirect_uri: 'https://evil.example/callback' }],
  ])('does not redirect for %s', async (_, changes) => {
    const { page, redirect } = await signIn(await start(), { request: changes });
    expect(page.status).toBe(400);
    expect(page.html).not.toContain('<form');
    expect([...redirect]).toEqual([]);
  });

  it('takes any port on loopback (RFC 8252)', async () => {
    const sandbox = await start();
    const clientId = await register(sandbox, 'http://127.0.0.1/callback');
    const { token } = await signIn(sandbox, { clientId });
    expect((await token()).status).toBe(200);
  });

  it.each([
    ['another verifier', { code_verifier: 'x'.repeat(43) }],
    ['another redirect URI', { redirect_uri: 'http://127.0.0.1:1/callback' }],
    ['another client', { client_id: 'sandbox-client' }],
  ])('gives no tokens for a code with %s', async (_, exchange) => {
    const { token } = await signIn(await start(), { exchange });
    expect(await token()).toMatchObject({ status: 400, json: { error: 'invalid_grant' } });
  });

  it('takes a code once', async () => {
    const { token } = await signIn(await start());
    expect((await token()).status).toBe(200);
    expect((await token()).json.error).toBe('invalid_grant');
  });

  it('takes an answer of the user once', async () => {
    const { agent, page } = await signIn(await start());
    const again = await agent.submit(page, { button: 'Allow' });
    expect(again).toMatchObject({ status: 400, html: expect.stringContaining('has expired') });
  });
});

describe('tokens', () => {
  it('are for the resource that was asked for', async () => {
    const sandbox = await start();
    const { access_token = '' } = await tokens(sandbox, {
      request: { resource: '' },
      exchange: { resource: '' },
    });
    const reply = await post(sandbox, request('ping'), bearer(access_token));
    expect(reply.status).toBe(401);
    expect(reply.headers.get('www-authenticate')).toContain('error="invalid_token"');
  });

  it('are refreshed, each time with another refresh token', async () => {
    const sandbox = await start();
    const first = await tokens(sandbox);
    const second = await refresh(sandbox, first);
    expect(second.status).toBe(200);
    expect(second.json.refresh_token).not.toBe(first.refresh_token);
    const reply = await post(sandbox, request('ping'), bearer(second.json.access_token));
    expect(reply.status).toBe(200);
  });

  it('all end when a refresh token is used a second time', async () => {
    const sandbox = await start();
    const first = await tokens(sandbox);
    const { json } = await refresh(sandbox, first);
    expect((await refresh(sandbox, first)).json.error).toBe('invalid_grant');
    const stolen = { ...json, clientId: first.clientId };
    expect((await refresh(sandbox, stolen)).json.error).toBe('invalid_grant');
    expect((await post(sandbox, request('ping'), bearer(json.access_token))).status).toBe(401);
  });

  it('come without a refresh token where offline_access was not asked for', async () => {
    expect(await tokens(await start(), { scope: 'mcp:read' })).not.toHaveProperty('refresh_token');
  });

  it('end by expiry, by revocation, and when the gateway is told', async () => {
    const sandbox = await start();
    const { issuer } = serverOf(sandbox);
    const status = async (token = '') =>
      (await post(sandbox, request('ping'), bearer(token))).status;
    const revoke = (token = '', clientId = '') =>
      postForm(`${issuer}/revoke`, { token, client_id: clientId });

    const one = await tokens(sandbox);
    expect((await revoke(one.access_token, one.clientId)).status).toBe(200);
    expect(await status(one.access_token)).toBe(401);
    expect((await refresh(sandbox, one)).status).toBe(200);

    const two = await tokens(sandbox);
    await revoke(two.refresh_token, one.clientId);
    expect(await status(two.access_token), 'revoked by another client').toBe(200);
    await revoke(two.refresh_token, two.clientId);
    expect(await status(two.access_token)).toBe(401);

    const three = await tokens(sandbox);
    serverOf(sandbox).expireAccess();
    expect(await status(three.access_token)).toBe(401);
    expect((await refresh(sandbox, three)).status).toBe(200);
    serverOf(sandbox).revokeAll();
    expect((await refresh(sandbox, three)).json.error).toBe('invalid_grant');
  });

  it('need mcp:write for a tool that changes something', async () => {
    const sandbox = await start();
    const { access_token = '' } = await tokens(sandbox);
    const refused = await post(sandbox, write, bearer(access_token));
    expect(refused.status).toBe(403);
    expect(refused.headers.get('www-authenticate')).toMatch(
      /^Bearer error="insufficient_scope", scope="mcp:write", error_description="The tool .+"/,
    );
    const more = await tokens(sandbox, { scope: 'mcp:read mcp:write' });
    expect((await post(sandbox, write, bearer(more.access_token ?? ''))).json.result).toBeDefined();
  });
});

describe('clients', () => {
  it.each([
    ['client_secret_basic', 'basic'],
    ['client_secret_post', 'post'],
  ])('that registered for %s must use it', async (token_endpoint_auth_method, way) => {
    const sandbox = await start();
    const { issuer } = serverOf(sandbox);
    const registration = await fetch(`${issuer}/register`, {
      method: 'POST',
      body: JSON.stringify({ grant_types: ['client_credentials'], token_endpoint_auth_method }),
    });
    expect(registration.status).toBe(201);
    const { client_id, client_secret } = (await registration.json()) as Record<string, string>;
    const basic = (secret: string) =>
      `Basic ${Buffer.from(`${client_id}:${secret}`).toString('base64')}`;
    const form = { grant_type: 'client_credentials' };
    const ask = (how: string, secret = client_secret ?? '') =>
      how === 'basic'
        ? postForm(`${issuer}/token`, form, { authorization: basic(secret) })
        : postForm(`${issuer}/token`, {
            ...form,
            client_id: client_id ?? '',
            client_secret: secret,
          });
    expect((await ask(way)).status).toBe(200);
    expect((await ask(way, 'wrong')).json.error).toBe('invalid_client');
    const other = await ask(way === 'basic' ? 'post' : 'basic');
    expect(other).toMatchObject({ status: 401, json: { error: 'invalid_client' } });
    expect(other.headers.get('www-authenticate')).toMatch(/^Basic /);
  });

  it('prove themselves with a signed assertion, for this server, in time, and once', async () => {
    const sandbox = await start();
    const { issuer } = serverOf(sandbox);
    const key = new TestKey();
    const id = await register(sandbox, '', {
      redirect_uris: [],
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [key.publicJwk] },
    });
    const ask = (client_assertion: string) =>
      postForm(`${issuer}/token`, {
        grant_type: 'client_credentials',
        resource: sandbox.url,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion,
      });
    const assertion = key.assertion(id, issuer);
    const { status, json } = await ask(assertion);
    expect(status).toBe(200);
    expect(json).not.toHaveProperty('refresh_token');
    const reply = await post(sandbox, call('platform_whoami'), bearer(json.access_token));
    expect(reply.text).toContain(id);
    for (const wrong of [
      assertion,
      key.assertion(id, 'https://other.example'),
      key.assertion(id, issuer, { exp: 1 }),
      new TestKey().assertion(id, issuer),
      key.jwt({ sub: id }, { alg: 'none' }),
      'not a JWT',
    ]) {
      expect((await ask(wrong)).json.error).toBe('invalid_client');
    }
  });

  it('introduce themselves by the document at their ID', async () => {
    const sandbox = await start();
    const { issuer } = serverOf(sandbox);
    const { token } = await signIn(sandbox, { clientId: `${issuer}/client.json` });
    expect((await token()).status).toBe(200);
  });

  it.each<[string, string, (id: string) => object]>([
    ['names another', '/c', () => ({ client_id: 'https://other.example/c' })],
    ['is endless', '/c', (id) => ({ client_id: id, client_name: 'x'.repeat(100_000) })],
    [
      'has a secret',
      '/c',
      (id) => ({ client_id: id, token_endpoint_auth_method: 'client_secret_post' }),
    ],
    ['has no path', '/', (id) => ({ client_id: id })],
  ])('are not known by a document that %s', async (_, path, changes) => {
    const server = createServer((_request, response) => {
      const document = { client_name: 'a', redirect_uris: ['http://127.0.0.1/callback'] };
      response.end(JSON.stringify({ ...document, ...changes(id) }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const id = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
    const { page } = await signIn(await start(), { clientId: id });
    server.close();
    expect(page.html).toContain('not registered');
  });

  it.each([
    ['a redirect beyond loopback without TLS', { redirect_uris: ['http://evil.example/'] }],
    [
      'a redirect that only begins like loopback',
      { redirect_uris: ['http://127.0.0.1.evil.example/'] },
    ],
    ['a redirect that runs script', { redirect_uris: ['javascript:alert(1)'] }],
    ['no redirect', { redirect_uris: [] }],
    ['an unknown grant', { grant_types: ['password'] }],
    ['an unknown authentication', { token_endpoint_auth_method: 'tls_client_auth' }],
    ['no key for signed assertions', { token_endpoint_auth_method: 'private_key_jwt' }],
  ])('are not registered with %s', async (_, changes) => {
    const sandbox = await start();
    const id = await register(sandbox, 'http://127.0.0.1/callback', changes);
    expect(id).toBeUndefined();
  });
});

describe('a device', () => {
  async function startDevice(sandbox: Sandbox) {
    const { issuer } = serverOf(sandbox);
    const client = { client_id: 'sandbox-client' };
    const { json } = await postForm(`${issuer}/device_authorization`, {
      ...client,
      resource: sandbox.url,
      scope: 'mcp:read offline_access',
    });
    const poll = () =>
      postForm(`${issuer}/token`, {
        ...client,
        grant_type: deviceGrant,
        device_code: json.device_code,
      });
    return { json, poll };
  }

  it('is signed in on another one, by a code that a person can type', async () => {
    const sandbox = await start();
    const { json, poll } = await startDevice(sandbox);
    expect((await poll()).json.error).toBe('authorization_pending');
    expect((await poll()).json.error).toBe('slow_down');
    const agent = new UserAgent();
    const wrong = await agent.submit(await agent.open(json.verification_uri), {
      fields: { user_code: 'AAAA-AAAA' },
    });
    expect(wrong.status).toBe(400);
    const typed = json.user_code.toLowerCase().replace('-', ' ');
    const consent = await agent.submit(wrong, { fields: { user_code: typed } });
    expect(consent.html).toContain('device in front of you');
    await agent.submit(consent, { button: 'Allow' });
    const { status, json: granted } = await poll();
    expect(status).toBe(200);
    expect(granted.refresh_token).toBeDefined();
    expect((await post(sandbox, request('ping'), bearer(granted.access_token))).status).toBe(200);
    expect((await poll()).json.error).toBe('invalid_grant');
  });

  it('gets access_denied when the user refuses', async () => {
    const { json, poll } = await startDevice(await start());
    const agent = new UserAgent();
    await agent.submit(await agent.open(json.verification_uri_complete), { button: 'Deny' });
    expect((await poll()).json.error).toBe('access_denied');
  });
});

describe('DPoP', () => {
  /** Signs in with a bound token. */
  async function bound(sandbox: Sandbox, key: TestKey) {
    const url = `${serverOf(sandbox).issuer}/token`;
    const first = await signIn(sandbox, { headers: { dpop: key.proof('POST', url) } });
    const refused = await first.token();
    expect(refused.json.error).toBe('use_dpop_nonce');
    const nonce = refused.headers.get('dpop-nonce');
    const { json } = await postForm(url, first.form, { dpop: key.proof('POST', url, { nonce }) });
    expect(json.token_type).toBe('DPoP');
    return { token: json.access_token as string, clientId: first.clientId, json, nonce };
  }

  it('binds tokens to a key, at the gateway with a nonce of its own', async () => {
    const sandbox = await start({ requiresDpop: true });
    const key = new TestKey();
    const { token } = await bound(sandbox, key);
    const ask = (proof: string, scheme = 'DPoP') =>
      post(sandbox, request('ping'), { authorization: `${scheme} ${token}`, dpop: proof });
    const hash = sha256(token);
    const first = await ask(key.proof('POST', sandbox.url, { ath: hash }));
    expect(first.status).toBe(401);
    expect(first.headers.get('www-authenticate')).toMatch(/^DPoP error="use_dpop_nonce"/);
    const nonce = first.headers.get('dpop-nonce');
    const good = { ath: hash, nonce };
    const proof = key.proof('POST', sandbox.url, good);
    expect((await ask(proof)).status).toBe(200);
    for (const wrong of [
      proof,
      key.proof('GET', sandbox.url, good),
      key.proof('POST', sandbox.origin, good),
      key.proof('POST', sandbox.url, { ...good, ath: sha256('another') }),
      key.proof('POST', sandbox.url, { ...good, iat: 1 }),
      new TestKey().proof('POST', sandbox.url, good),
    ]) {
      expect((await ask(wrong)).status).toBe(401);
    }
    const asBearer = await ask(key.proof('POST', sandbox.url, good), 'Bearer');
    expect(asBearer.status).toBe(401);
    serverOf(sandbox).rotateNonce();
    const late = await ask(key.proof('POST', sandbox.url, good));
    expect(late.headers.get('dpop-nonce')).not.toBe(nonce);
  });

  it('binds refresh tokens too, and gives none without a proof', async () => {
    const sandbox = await start({ requiresDpop: true });
    const url = `${serverOf(sandbox).issuer}/token`;
    const { token: unproved } = await signIn(sandbox);
    expect((await unproved()).json.error).toBe('invalid_dpop_proof');
    const key = new TestKey();
    const { json, clientId, nonce } = await bound(sandbox, key);
    const ask = (by: TestKey) =>
      postForm(
        url,
        { grant_type: 'refresh_token', refresh_token: json.refresh_token, client_id: clientId },
        { dpop: by.proof('POST', url, { nonce }) },
      );
    expect((await ask(new TestKey())).json.error).toBe('invalid_grant');
    expect((await ask(key)).json.token_type).toBe('DPoP');
  });
});

describe('faults', () => {
  it('expired: tokens last 5 seconds', async () => {
    expect(await tokens(await start({ fault: 'expired' }))).toMatchObject({ expires_in: 5 });
  });

  it('revoked: a refresh gets invalid_grant', async () => {
    const sandbox = await start({ fault: 'revoked' });
    const first = await tokens(sandbox);
    expect(first).toMatchObject({ expires_in: 5 });
    expect((await refresh(sandbox, first)).json.error).toBe('invalid_grant');
  });

  it('invalid-client: the registration is forgotten after the sign-in', async () => {
    const sandbox = await start({ fault: 'invalid-client' });
    const first = await tokens(sandbox);
    expect((await refresh(sandbox, first)).json.error).toBe('invalid_client');
    expect((await signIn(sandbox, { clientId: first.clientId })).page.status).toBe(400);
    expect((await tokens(sandbox)).access_token).toBeDefined();
  });

  it('insufficient-scope: mcp:write is never granted', async () => {
    const sandbox = await start({ fault: 'insufficient-scope' });
    const { access_token = '', scope } = await tokens(sandbox, { scope: 'mcp:read mcp:write' });
    expect(scope).toBe('mcp:read');
    expect((await post(sandbox, write, bearer(access_token))).status).toBe(403);
  });

  it('no-registration: only clients that are known sign in', async () => {
    const sandbox = await start({ fault: 'no-registration' });
    const { issuer } = serverOf(sandbox);
    const metadata = await getJson(`${issuer}/.well-known/oauth-authorization-server`);
    expect(metadata).not.toHaveProperty('registration_endpoint');
    expect(metadata.client_id_metadata_document_supported).toBe(false);
    expect(await register(sandbox, 'http://127.0.0.1/')).toBeUndefined();
    expect(await tokens(sandbox, { clientId: 'sandbox-client' })).toHaveProperty('access_token');
  });

  it('no-refresh-token: there is none', async () => {
    const sandbox = await start({ fault: 'no-refresh-token' });
    expect(await tokens(sandbox)).not.toHaveProperty('refresh_token');
  });

  it('no-resource: the parameter is refused, and not needed', async () => {
    const sandbox = await start({ fault: 'no-resource' });
    const { redirect } = await signIn(sandbox);
    expect(redirect.get('error_description')).toContain('AADSTS9010010');
    const without = { request: { resource: '' }, exchange: { resource: '' } };
    const { access_token = '' } = await tokens(sandbox, without);
    expect((await post(sandbox, request('ping'), bearer(access_token))).status).toBe(200);
  });

  it('wrong-iss and wrong-issuer: another issuer is named', async () => {
    const { redirect } = await signIn(await start({ fault: 'wrong-iss' }));
    expect(redirect.get('iss')).toBe('https://other-issuer.example');
    const { issuer } = serverOf(await start({ fault: 'wrong-issuer' }));
    const metadata = await getJson(`${issuer}/.well-known/oauth-authorization-server`);
    expect(metadata.issuer).toBe('https://other-issuer.example');
  });

  it('slow: does not answer soon, and closes at once', async () => {
    const sandbox = await start({ fault: 'slow' });
    const url = `${serverOf(sandbox).issuer}/.well-known/oauth-authorization-server`;
    await expect(fetch(url, { signal: AbortSignal.timeout(300) })).rejects.toThrow();
    const cut = expect(fetch(url)).rejects.toThrow();
    await expect.poll(() => serverOf(sandbox).requests.length).toBe(2);
    await sandbox.close();
    await cut;
  });
});

it('keeps every code, token and secret that it gave out, for tests to search for', async () => {
  const sandbox = await start();
  const { token, redirect } = await signIn(sandbox);
  const { json } = await token();
  const { secrets } = serverOf(sandbox);
  for (const secret of [redirect.get('code'), json.access_token, json.refresh_token]) {
    expect(secrets.has(secret)).toBe(true);
  }
});
