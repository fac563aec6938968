import type { LookupFunction } from 'node:net';
import { ByteCollector } from './byte-collector.ts';
import type { Headers, HttpRequest, RequestControl } from './request.ts';
import type { Routes } from './routes.ts';

/** One request, and how much of an answer it may have. */
export interface BoundedRequest {
  readonly method: 'GET' | 'POST';
  /** Names and values by turns. */
  readonly headers: string[];
  readonly body?: Buffer;
  /** Of the answer's body; one byte more is read, so that a longer one can be told. */
  readonly maxBytes: number;
  /** For the whole answer, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Looks names up where no HTTP proxy does. */
  readonly lookup?: LookupFunction | undefined;
}

export interface BoundedAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}

/** The whole answer did not come in time, or it is not waited for any more. */
export class NoAnswerInTime extends Error {}

/**
 * Sends one request over a connection of its own, and follows no redirect. Rejects with what went
 * wrong on the way, also when the answer takes longer than `timeoutMs` or `signal` aborts.
 */
export async function requestBounded(
  url: URL,
  { method, headers, body, maxBytes, timeoutMs, signal, lookup }: BoundedRequest,
  routes: Routes,
): Promise<BoundedAnswer> {
  const route = routes.open(url.origin, lookup === undefined ? {} : { lookup });
  let timer: NodeJS.Timeout | undefined;
  let giveUp = () => {};
  try {
    return await new Promise<BoundedAnswer>((resolve, reject) => {
      giveUp = () => reject(new NoAnswerInTime('no answer in time'));
      timer = setTimeout(giveUp, timeoutMs);
      if (signal?.aborted) giveUp();
      signal?.addEventListener('abort', giveUp, { once: true });
      const collected = new ByteCollector({ limitBytes: maxBytes + 1 });
      let control: RequestControl | undefined;
      let head: Pick<BoundedAnswer, 'status' | 'headers'> = { status: 0, headers: {} };
      const finish = () => resolve({ ...head, body: collected.take() });
      const request: HttpRequest = {
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers,
        ...(body === undefined ? {} : { body }),
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
      };
      let length = 0;
      route.dispatch(request, {
        onRequestStart: (started) => {
          control = started;
        },
        onResponseStart: (status, received) => {
          head = { status, headers: received };
        },
        onResponseData: (chunk) => {
          collected.push(chunk);
          length += chunk.length;
          if (length <= maxBytes) return;
          finish();
          control?.abort(new Error('too long'));
        },
        onResponseEnd: finish,
        onResponseError: reject,
      });
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
    void route.destroy();
  }
}
