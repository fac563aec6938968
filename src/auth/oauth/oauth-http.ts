import type { LookupFunction } from 'node:net';
import { NETWORK_CAUSES } from '../../failures/network-causes.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { lookupFor, mayLeadTo } from '../../http/address-policy.ts';
import { type BoundedAnswer, NoAnswerInTime, requestBounded } from '../../http/bounded-request.ts';
import { classifyNetworkError } from '../../http/classify-network-error.ts';
import { isLoopbackHost } from '../../http/loopback.ts';
import type { Headers as ReceivedHeaders } from '../../http/request.ts';
import type { Routes } from '../../http/routes.ts';
import type { MetadataGet } from '../protected-resource-metadata.ts';
import { SignInError } from './stored-sign-in.ts';

/** Of metadata, a registration or tokens; an access token with many claims takes some kB. */
const MAX_BYTES = 256 * 1024;
const TIMEOUT_MS = 20_000;

type Limits = Parameters<MetadataGet>[1];

interface Exchange {
  readonly method: 'GET' | 'POST';
  /** By name in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: ReceivedHeaders;
  /** Undefined where the body is not a JSON object. */
  readonly json: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Requests to authorization servers: by the user's routes, https only except on this computer, no
 * redirect followed, 256 KiB and 20 s at most. `gatewayAddress`: where the gateway was reached, which
 * must not lead to this computer or a private network unless it is there too; undefined where the
 * user has named the server.
 */
export class OAuthHttp {
  readonly #routes: Routes;
  readonly #gatewayAddress: string | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(routes: Routes, gatewayAddress: string | undefined, signal?: AbortSignal) {
    this.#routes = routes;
    this.#gatewayAddress = gatewayAddress;
    this.#signal = signal;
  }

  /** Whether a request may go to this URL, or a browser. */
  isAllowed(text: unknown): text is string {
    if (
      typeof text !== 'string' ||
      text.length > 2048 ||
      !/^https?:\/\/[\x21-\x7e]+$/i.test(text)
    ) {
      return false;
    }
    if (!URL.canParse(text)) return false;
    const { protocol, hostname, username, password } = new URL(text);
    if (username !== '' || password !== '') return false;
    if (protocol !== 'https:' && !isLoopbackHost(hostname)) return false;
    return this.#gatewayAddress === undefined || mayLeadTo(hostname, this.#gatewayAddress);
  }

  /** As `fetchMetadata` asks for a document. Rejects where there is no answer. */
  async get(url: URL, { maxBytes, timeoutMs, signal }: Limits): ReturnType<MetadataGet> {
    const lookup = this.#lookup();
    const headers = ['accept', 'application/json'];
    const request = { method: 'GET', headers, maxBytes, timeoutMs, signal, lookup } as const;
    const { status, headers: received, body } = await requestBounded(url, request, this.#routes);
    return { status, contentType: String(received['content-type'] ?? ''), body };
  }

  /** Rejects with SignInError where there is no answer. */
  async getJson(url: string): Promise<JsonAnswer> {
    return this.#json(url, { method: 'GET', headers: { accept: 'application/json' } });
  }

  /** Rejects with SignInError where there is no answer. */
  async postJson(url: string, value: object): Promise<JsonAnswer> {
    const headers = { accept: 'application/json', 'content-type': 'application/json' };
    return this.#json(url, { method: 'POST', headers, body: JSON.stringify(value) });
  }

  /** As `getJson`, for a form; `headers` by name in lower case. */
  async postForm(
    url: string,
    body: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<JsonAnswer> {
    return this.#json(url, { method: 'POST', headers, body });
  }

  #lookup(): LookupFunction | undefined {
    return this.#gatewayAddress === undefined ? undefined : lookupFor(this.#gatewayAddress);
  }

  async #json(url: string, exchange: Exchange): Promise<JsonAnswer> {
    const { status, headers, body } = await this.#send(url, exchange);
    return { status, headers, json: body.length > MAX_BYTES ? undefined : jsonObject(body) };
  }

  async #send(text: string, { method, headers, body }: Exchange): Promise<BoundedAnswer> {
    const url = new URL(text);
    if (!this.isAllowed(text)) {
      throw new SignInError(
        `Cannot use ${cleanNetworkText(url.origin, 200)} to sign in. It must use https and not be on a private network.`,
      );
    }
    const request = {
      method,
      headers: Object.entries(headers).flat(),
      ...(body === undefined ? {} : { body: Buffer.from(body) }),
      maxBytes: MAX_BYTES,
      timeoutMs: TIMEOUT_MS,
      signal: this.#signal,
      lookup: this.#lookup(),
    };
    try {
      return await requestBounded(url, request, this.#routes);
    } catch (error) {
      throw unreachable(url, error as Error, this.#routes.connectTimeoutMs);
    }
  }
}

/**
 * The authorization server does not answer, or answers that it cannot now: nothing is known about
 * what it has of the sign-in, and it may pass.
 */
export class UnavailableServer extends SignInError {}

/** Throws UnavailableServer for a status that says so (RFC 9110 §15.6, RFC 6585 §4). */
export function assertAvailable(url: string, status: number): void {
  if (status < 500 && status !== 429) return;
  throw new UnavailableServer(`${new URL(url).host} responded with HTTP ${status}.`);
}

function unreachable(url: URL, error: Error, connectTimeoutMs: number): UnavailableServer {
  return new UnavailableServer(
    error instanceof NoAnswerInTime
      ? `${url.host} did not respond in time.`
      : `Cannot reach ${url.host}: ${whyUnreachable(url, error, connectTimeoutMs)}.`,
  );
}

function whyUnreachable({ href, host }: URL, error: Error, connectTimeoutMs: number): string {
  const settings = { gateway: href, connectTimeoutMs, timeoutMs: TIMEOUT_MS };
  const { networkCause, detail } = classifyNetworkError(error, settings);
  return cleanNetworkText(detail ?? NETWORK_CAUSES[networkCause].what(host), 200);
}

function jsonObject(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
