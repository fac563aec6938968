import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { Headers, RequestControl } from '../../src/http/request.ts';
import { Exchange, type Expectation } from '../../src/transport/exchange.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import type { MessageObserver } from '../../src/transport/transport.ts';

const ID = { raw: '1', key: 'n1' };
const LIMIT = 4096;

/** The route's side of one request: keeps to what it was told, in the order that a route does. */
class HttpTrace implements RequestControl {
  aborted = false;
  paused = false;
  #resumed: (() => void) | undefined;
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.#resumed?.();
  }

  abort(reason: Error): void {
    if (this.aborted) return;
    this.aborted = true;
    this.#exchange.onResponseError(reason);
  }

  async send(status: number, headers: Headers, chunks: Buffer[], error?: Error): Promise<void> {
    const exchange = this.#exchange;
    exchange.onRequestStart(this);
    if (!this.aborted) exchange.onResponseStart(status, headers);
    for (const chunk of chunks) {
      if (this.aborted) return;
      exchange.onResponseData(chunk);
      if (!this.paused) continue;
      await new Promise<void>((resolve) => {
        this.#resumed = resolve;
        if (!this.paused || this.aborted) resolve();
      });
    }
    if (this.aborted) return;
    if (error === undefined) exchange.onResponseEnd();
    else exchange.onResponseError(error);
  }
}

interface Outcome {
  end: ExchangeOutcome;
  exchange: Exchange;
  /** What was delivered, as values. */
  messages: unknown[];
}

interface Answer {
  due?: Expectation;
  status?: number;
  headers: Headers;
  chunks: Buffer[];
  error?: Error;
  /** Whether the client is slow. */
  isSlow?: boolean;
}

/** Lets an exchange take an answer. Rejects when it throws or does not end. */
async function take(answer: Answer): Promise<Outcome> {
  const { due = ID, status = 200, headers, chunks, error, isSlow = false } = answer;
  const messages: unknown[] = [];
  let hasEnded = false;
  const observer: MessageObserver = {
    onMessage: ({ bytes }) => {
      expect(bytes.includes('\n') || bytes.includes('\r')).toBe(false);
      messages.push(JSON.parse(bytes.toString()));
    },
    congested: () => (isSlow ? new Promise((resolve) => setImmediate(resolve)) : undefined),
  };
  const exchange = new Exchange(due, observer, LIMIT);
  const ended = exchange.ended.then((end) => {
    hasEnded = true;
    return end;
  });
  await new HttpTrace(exchange).send(status, headers, chunks, error);
  const end = await ended;
  expect(hasEnded).toBe(true);
  return { end, exchange, messages };
}

/** Cuts bytes at these places, given as parts of the whole. */
function cutAt(bytes: Buffer, places: number[]): Buffer[] {
  const ends = places.map((place) => Math.floor(place * bytes.length)).sort((a, b) => a - b);
  return [...ends, bytes.length].map((end, at) => bytes.subarray(ends[at - 1] ?? 0, end));
}

const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });

const member = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.jsonValue({ maxDepth: 3 }),
);
const message = fc
  .oneof(
    fc.record({ method: fc.constantFrom('notifications/a', 'é😀'), params: member }),
    fc.record({ id: fc.constantFrom(1, 2, 'x'), method: fc.constant('ping') }),
    fc.record({ id: fc.constantFrom(1, 1.0, 2, '1'), result: member }),
    fc.record({
      id: fc.constantFrom(1, 2),
      error: fc.record({ code: fc.integer(), data: member }),
    }),
  )
  .map((members) => ({ jsonrpc: '2.0', ...members }));
const noMessage = fc.oneof(
  fc.constantFrom<unknown>(5, null, 'x', {}, { jsonrpc: '1.0', id: 1, result: {} }, [[]], []),
  fc.record({ jsonrpc: fc.constant('2.0'), id: fc.constantFrom(null, true, {}), result: member }),
);
const payload = fc.oneof(
  { weight: 4, arbitrary: message },
  { weight: 1, arbitrary: noMessage },
  { weight: 1, arbitrary: fc.array(fc.oneof(message, noMessage), { maxLength: 3 }) },
);

type Value = Record<string, unknown>;

/** The messages in a payload, by the book (JSON-RPC 2.0 §4, §5). */
function messagesIn(value: unknown): Value[] {
  if (Array.isArray(value)) return value.filter((one) => !Array.isArray(one)).flatMap(messagesIn);
  const { jsonrpc, id, method, result, error } = (value ?? {}) as Value;
  const isId = typeof id === 'string' || typeof id === 'number';
  const isRequest = typeof method === 'string' && (id === undefined || isId);
  const isReply = isId && method === undefined && (result === undefined) !== (error === undefined);
  return jsonrpc === '2.0' && (isRequest || isReply) ? [value as Value] : [];
}

const isReply = ({ id, method }: Value) => id === 1 && method === undefined;

interface EventSource {
  fields: string[];
  ends: string[];
}

const endOfLine = fc.constantFrom('\n', '\r\n', '\r');
const field = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 10 }).map((text) => `:${text}`),
  fc.constantFrom(
    'id: 7',
    'id:8',
    'id',
    'id: a\u0000b',
    'id: \u0001',
    'retry: 5',
    'retry: x',
    'data',
  ),
  fc.constantFrom('event: message', 'event:', 'event: other', 'unknown: x', '\u0000', 'data : x'),
);
const dataFields = fc
  .tuple(payload, fc.constantFrom(undefined, 1), fc.constantFrom('data:', 'data: '))
  .map(([value, indent, name]) =>
    JSON.stringify(value, null, indent)
      .split('\n')
      .map((line) => name + line),
  );
const event: fc.Arbitrary<EventSource> = fc
  .tuple(
    fc.array(field, { maxLength: 2 }),
    fc.option(dataFields, { nil: [] }),
    fc.array(field, { maxLength: 2 }),
  )
  .map((fields) => fields.flat().filter((text) => !/[\r\n]/.test(text)))
  .chain((fields) =>
    fc.record({
      fields: fc.constant(fields),
      ends: fc.array(endOfLine, { minLength: fields.length + 1, maxLength: fields.length + 1 }),
    }),
  );
const eventStream = fc
  .tuple(fc.constantFrom('', '\ufeff'), fc.array(event, { maxLength: 8 }))
  .map(([mark, all]) =>
    Buffer.from(
      mark +
        all
          .map(({ fields, ends }) => [...fields, ''].map((line, at) => line + ends[at]).join(''))
          .join(''),
    ),
  );

/** The data of the events in a stream, and the last id, by the book (WHATWG HTML §9.2.6). */
function decodeEvents(bytes: Buffer): { data: string[]; lastId: string | undefined } {
  const lines = bytes
    .toString()
    .replace(/^\ufeff/, '')
    .split(/\r\n|\r|\n/);
  // What no line end follows.
  lines.pop();
  const all: string[] = [];
  let lastId: string | undefined;
  let current: { data: string[]; type: string; id?: string } = { data: [], type: '' };
  for (const line of lines) {
    if (line === '') {
      if (current.id !== undefined) lastId = current.id;
      const data = current.data.join('\n');
      if (data !== '' && (current.type === '' || current.type === 'message')) all.push(data);
      current = { data: [], type: '' };
    }
    const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === 'data') current.data.push(value);
    if (name === 'event') current.type = value;
    if (name === 'id' && !value.includes('\0')) current.id = value;
  }
  return { data: all, lastId };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Of a batch that is broken, the messages before the break count here: leave that out.
    fc.pre(!text.trimStart().startsWith('['));
    return undefined;
  }
}

const codings: Record<string, (bytes: Buffer) => Buffer> = {
  '': (bytes) => bytes,
  gzip: gzipSync,
  br: brotliCompressSync,
  'deflate with header': deflateSync,
  'deflate without': deflateRawSync,
};
const coding = fc.constantFrom(...Object.keys(codings));

const headersFor = (type: string, coded: string): Headers => ({
  'content-type': type,
  ...(coded === '' ? {} : { 'content-encoding': coded.split(' ')[0] as string }),
});

describe('an exchange, fed with anything', () => {
  it('delivers of an event stream what its events hold, however it is cut, coded and ended', async () => {
    const way = fc.record({
      cuts: places,
      coded: coding,
      isSlow: fc.boolean(),
      breaks: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(eventStream, way, async (bytes, { cuts, coded, isSlow, breaks }) => {
        fc.pre(bytes.length < LIMIT);
        const body = (codings[coded] as (bytes: Buffer) => Buffer)(bytes);
        const { end, exchange, messages } = await take({
          headers: headersFor('text/event-stream', coded),
          chunks: cutAt(body, cuts),
          isSlow,
          ...(breaks ? { error: new Error('reset') } : {}),
        });
        const { data, lastId } = decodeEvents(bytes);
        const expected = data.flatMap((text) => messagesIn(parsed(text)));
        // What follows the reply may still be in the decoder.
        const isAllThere = () => messages.length >= expected.length;
        await vi.waitUntil(isAllThere, { interval: 1 }).catch(() => {});
        expect(messages).toEqual(expected);
        expect(end.kind).toBe(expected.some(isReply) ? 'replied' : 'transport-error');
        if (end.kind === 'replied') return;
        expect(exchange.lastEventId).toBe(/^[7-8]$/.test(lastId ?? '') ? lastId : undefined);
      }),
      { numRuns: 400 },
    );
  });

  it('delivers of an event stream that breaks off the events that were whole', async () => {
    await fc.assert(
      fc.asyncProperty(
        eventStream,
        places,
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (bytes, cuts, where) => {
          const received = bytes.subarray(0, Math.floor(where * bytes.length));
          const { end, messages } = await take({
            headers: headersFor('text/event-stream', ''),
            chunks: cutAt(received, cuts),
            error: new Error('reset'),
          });
          const expected = decodeEvents(received).data.flatMap((text) => messagesIn(parsed(text)));
          expect(messages).toEqual(expected);
          expect(end.kind).toBe(expected.some(isReply) ? 'replied' : 'transport-error');
        },
      ),
      { numRuns: 400 },
    );
  });

  it('delivers of a JSON body the messages in it, however it is cut and coded', async () => {
    await fc.assert(
      fc.asyncProperty(
        payload,
        fc.constantFrom(0, 1),
        places,
        coding,
        async (value, indent, cuts, coded) => {
          const bytes = Buffer.from(JSON.stringify(value, null, indent));
          fc.pre(bytes.length <= LIMIT);
          const { end, messages } = await take({
            headers: headersFor('application/json; charset=utf-8', coded),
            chunks: cutAt((codings[coded] as (bytes: Buffer) => Buffer)(bytes), cuts),
          });
          expect(messages).toEqual(messagesIn(parsed(bytes.toString())));
          expect(end.kind).toBe(messagesIn(value).some(isReply) ? 'replied' : 'not-mcp');
        },
      ),
      { numRuns: 400 },
    );
  });

  it('takes any bytes of any type in any coding without throwing, and ends', async () => {
    const type = fc.constantFrom(
      ...['application/json', 'text/event-stream', 'text/html', 'text/plain', '', ';', 'x/y+json'],
    );
    const codingOrNot = fc.constantFrom(
      '',
      'gzip',
      'br',
      'deflate',
      'zstd',
      'identity',
      'gzip, br',
    );
    const due = fc.constantFrom<Expectation>(ID, 'acceptance', 'stream');
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 3 * LIMIT }),
      fc
        .array(fc.constantFrom(0x0a, 0x0d, 0x3a, 0x20, 0x64, 0x00, 0x7b), { maxLength: 100 })
        .map((all) => Uint8Array.from(all)),
      eventStream,
    );
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          due,
          type,
          coding: codingOrNot,
          status: fc.constantFrom(200, 202, 299, 301, 404, 500),
        }),
        fc.record({ bytes, cuts: places, isSlow: fc.boolean(), breaks: fc.boolean() }),
        async ({ due, type, coding, status }, { bytes, cuts, isSlow, breaks }) => {
          const { end } = await take({
            due,
            status,
            headers: headersFor(type, coding),
            chunks: cutAt(Buffer.from(bytes), cuts),
            isSlow,
            ...(breaks ? { error: new Error('reset') } : {}),
          });
          if (status >= 300) expect(end).toMatchObject({ kind: 'http-error', status });
          else if (due === 'acceptance') expect(end.kind).toBe('accepted');
          else expect(end.kind).toMatch(/^(?:replied|accepted|not-mcp|too-large|transport-error)$/);
        },
      ),
      { numRuns: 600 },
    );
  });
});

describe('an exchange', () => {
  const reply = 'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n';
  const observer: MessageObserver = { onMessage: () => {}, congested: () => undefined };

  it('takes a message of the limit and none that is larger', async () => {
    for (const [length, kind] of [
      [LIMIT, 'replied'],
      [LIMIT + 1, 'too-large'],
    ] as const) {
      const empty = '{"jsonrpc":"2.0","id":1,"result":""}';
      const json = empty.replace('""', `"${'x'.repeat(length - empty.length)}"`);
      for (const [type, body] of [
        ['application/json', json],
        ['text/event-stream', `id: 1\ndata: ${json}\n\n`],
      ] as const) {
        const { end } = await take({
          headers: headersFor(type, ''),
          chunks: cutAt(Buffer.from(body), [0.5]),
        });
        expect(end.kind).toBe(kind);
      }
    }
  });

  it('lets no stream stay open for long behind its reply', async () => {
    vi.useFakeTimers();
    try {
      const exchange = new Exchange(ID, observer, LIMIT);
      const wire = new HttpTrace(exchange);
      exchange.onRequestStart(wire);
      exchange.onResponseStart(200, headersFor('text/event-stream', ''));
      exchange.onResponseData(Buffer.from(reply));
      expect((await exchange.ended).kind).toBe('replied');
      vi.advanceTimersByTime(9_000);
      expect(wire.aborted).toBe(false);
      vi.advanceTimersByTime(2_000);
      expect(wire.aborted).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is aborted before it is connected, and takes nothing', async () => {
    const exchange = new Exchange(ID, observer, LIMIT);
    exchange.abort();
    const wire = new HttpTrace(exchange);
    await wire.send(200, headersFor('text/event-stream', ''), [Buffer.from(reply)]);
    expect(wire.aborted).toBe(true);
    expect((await exchange.ended).kind).toBe('aborted');
  });

  it('knows whether a request that failed was sent', async () => {
    const never = new Exchange(ID, observer, LIMIT);
    never.onResponseError(new Error('refused'));
    expect(await never.ended).toMatchObject({ kind: 'transport-error', sent: false });
    const sent = new Exchange(ID, observer, LIMIT);
    sent.onRequestStart(new HttpTrace(sent));
    sent.onResponseError(new Error('reset'));
    expect(await sent.ended).toMatchObject({ kind: 'transport-error', sent: true });
  });
});

describe('a refusal', () => {
  const own = '{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no session"}}';
  const other = own.replace('"id":1', '"id":2');
  const refusal = async (type: string, body: string, error?: Error) => {
    const chunks = [Buffer.from(body)];
    const broken = error === undefined ? {} : { error };
    const headers = { 'content-type': type };
    const { end } = await take({ status: 404, headers, chunks, ...broken });
    return end;
  };

  it.each([
    ['application/json', own],
    ['application/problem+json', own],
    ['text/plain', own],
    ['', own],
    ['application/json', `[${other},${own}]`],
    ['text/event-stream', `event: message\ndata: ${own}\n\n`],
    ['text/event-stream', `data: {"jsonrpc":"2.0","method":"n"}\n\ndata:${own}\r\n\r\n`],
  ])('has the reply in it, whatever its type is: %j', async (type, body) => {
    expect(await refusal(type, body)).toMatchObject({ reply: { isError: true, id: ID } });
  });

  it.each([
    ['application/json', other],
    ['text/plain', `Error: ${own}`],
    ['text/html', '<html>session</html>'],
    ['text/event-stream', 'data: session\n\n'],
    ['application/json', ''],
  ])('has no reply in it: %j', async (type, body) => {
    const end = await refusal(type, body);
    expect(end).not.toHaveProperty('reply');
    expect(end).not.toHaveProperty('isReplyCut');
  });

  it('says where a reply may have been cut off', async () => {
    const reset = new Error('reset');
    expect(await refusal('application/json', own.slice(0, -5), reset)).toMatchObject({
      isReplyCut: true,
    });
    const long = `{"data":"${'x'.repeat(70_000)}",${own.slice(1)}`;
    expect(await refusal('application/json', long)).toMatchObject({ isReplyCut: true });
    expect(await refusal('application/json', own, reset)).toMatchObject({ reply: { id: ID } });
    for (const body of ['<html>', 'Not Found', '']) {
      expect(await refusal('text/html', body, reset)).not.toHaveProperty('isReplyCut');
    }
  });
});
