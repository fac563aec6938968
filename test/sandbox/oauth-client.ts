import {
  createHash,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  sign,
} from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import type { Sandbox } from '../../src/sandbox/sandbox.ts';
import { UserAgent, type UserAnswers } from '../e2e/user-agent.ts';

// biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
type Json = Record<string, any>;

export interface HttpReply {
  status: number;
  headers: Headers;
  json: Json;
}

/** POSTs a form, as clients do to a token endpoint. */
export async function postForm(
  url: string,
  form: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<HttpReply> {
  const response = await fetch(url, { method: 'POST', headers, body: new URLSearchParams(form) });
  return { status: response.status, headers: response.headers, json: await jsonIn(response) };
}

export async function getJson(url: string): Promise<Json> {
  return jsonIn(await fetch(url));
}

async function jsonIn(response: Response): Promise<Json> {
  const text = await response.text();
  return text === '' ? {} : JSON.parse(text);
}

/** A listener as clients have one for the redirect: the parameters of each request to it. */
async function startCallback(): Promise<{ uri: string; received: URLSearchParams[] }> {
  const received: URLSearchParams[] = [];
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://127.0.0.1');
    received.push(searchParams);
    response.end('done');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`, received };
}

const verifier = 'a-verifier-of-the-tests-own-0123456789-abcdefghij';
const challenge = createHash('sha256').update(verifier).digest('base64url');

/** A signing key, and JWTs and DPoP proofs with it. */
export class TestKey {
  readonly #privateKey: KeyObject;
  readonly publicJwk: JsonWebKey;

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#privateKey = privateKey;
    this.publicJwk = publicKey.export({ format: 'jwk' });
  }

  jwt(claims: object, header: object = {}): string {
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
    const signed = `${encode({ alg: 'ES256', ...header })}.${encode(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), {
      key: this.#privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    return `${signed}.${signature.toString('base64url')}`;
  }

  /** A client assertion (RFC 7523 §3); `changes` replace claims. */
  assertion(clientId: string, audience: string, changes: object = {}): string {
    return this.jwt({
      iss: clientId,
      sub: clientId,
      aud: audience,
      jti: randomUUID(),
      exp: Math.floor(Date.now() / 1000) + 60,
      ...changes,
    });
  }

  /** A DPoP proof (RFC 9449 §4.2); `changes` replace claims. */
  proof(method: string, url: string, changes: object = {}): string {
    return this.jwt(
      {
        htm: method,
        htu: url,
        jti: randomUUID(),
        iat: Math.floor(Date.now() / 1000),
        ...changes,
      },
      { typ: 'dpop+jwt', jwk: this.publicJwk },
    );
  }
}

/** The authorization server of a sandbox that has one. */
export function serverOf({ oauth }: Sandbox): AuthorizationServer {
  if (oauth === undefined) throw new Error('the sandbox has no authorization server');
  return oauth;
}

export async function register(
  sandbox: Sandbox,
  redirectUri: string,
  changes: object = {},
): Promise<string> {
  const response = await fetch(`${serverOf(sandbox).issuer}/register`, {
    method: 'POST',
    body: JSON.stringify({
      client_name: 'test <client>',
      redirect_uris: [redirectUri],
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'none',
      ...changes,
    }),
  });
  return (await jsonIn(response)).client_id;
}

interface SignIn {
  clientId?: string;
  scope?: string;
  /** Added to the authorization request; '' leaves a parameter out. */
  request?: Record<string, string>;
  /** Added to the token request. */
  exchange?: Record<string, string>;
  headers?: Record<string, string>;
  answers?: UserAnswers;
}

/** Goes through a whole sign-in: the redirect's parameters, and the reply of the token endpoint. */
export async function signIn(
  sandbox: Sandbox,
  { scope = 'mcp:read offline_access', request, exchange, headers, answers, ...own }: SignIn = {},
) {
  const { issuer } = serverOf(sandbox);
  const callback = await startCallback();
  const clientId = own.clientId ?? (await register(sandbox, callback.uri));
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: callback.uri,
    scope,
    state: 'the state of a test',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    resource: sandbox.url,
    ...request,
  });
  const agent = new UserAgent();
  const page = await agent.open(`${issuer}/authorize?${query}`);
  if (page.html.includes('<form')) await agent.submit(page, { button: 'Allow', ...answers });
  const redirect = callback.received[0] ?? new URLSearchParams();
  const form = {
    grant_type: 'authorization_code',
    code: redirect.get('code') ?? '',
    redirect_uri: callback.uri,
    client_id: clientId,
    code_verifier: verifier,
    resource: sandbox.url,
    ...exchange,
  };
  const token = () => postForm(`${issuer}/token`, form, headers);
  return { page, redirect, form, clientId, agent, token };
}
