import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { type Fault, FaultGateway, type Framing, type Stage } from './fault-gateway.ts';
import { type Json, RunningProxy, startProxy } from './running-proxy.ts';

const STAGES: Stage[] = [
  'behind the request',
  'within the head',
  'behind the head',
  'within the body',
  'between events',
  'behind the reply',
];

const faults: Fault[] = STAGES.flatMap((stage) =>
  (['reset', 'close'] as const).flatMap((by) =>
    (['json', 'events'] as const).flatMap((format) =>
      (['length', 'chunks', 'end'] as Framing[])
        .map((framing) => ({ stage, by, format, framing }))
        .filter(isPossible),
    ),
  ),
);

/** HTTP takes a body that the end of the connection ends for whole, wherever that is. */
function looksWhole({ stage, format, framing }: Fault): boolean {
  const isInBody = stage === 'behind the head' || stage === 'within the body';
  return isInBody && format === 'json' && framing === 'end';
}

function isPossible({ stage, by, format, framing }: Fault): boolean {
  if (stage === 'between events' && format === 'json') return false;
  // That is a whole body.
  return !(stage === 'behind the reply' && framing === 'end' && by === 'close');
}

const RESULT_OR_LOST = expect.stringMatching(/^(?:result|interrupted)$/);
const ANY_OUTCOME = expect.stringMatching(/^(?:result|interrupted|invalid_response)$/);

const inWords = ({ stage, by, format, framing }: Fault) =>
  `${by} ${stage}, ${format}, framed by ${framing}`;

/** `result`, or the reason of the error. */
function outcome(reply: Json): unknown {
  if ('result' in reply) return 'result';
  return (reply.error as { data?: Json }).data?.reason;
}

/** The replies with this id, of all that was written. */
const replies = (proxy: RunningProxy, id: string) =>
  proxy.messages.filter((message) => message.id === id && !('method' in message));

const modes = [false, true].flatMap((sessions) =>
  [false, true].map((eventIds) => ({ sessions, eventIds })),
);

const call = (proxy: RunningProxy, name: string, effect: string, fault?: Fault) =>
  proxy.request(effect, 'tools/call', {
    name,
    arguments: { effect, fault },
    _meta: { progressToken: effect },
  });

describe.each(modes)('with sessions: $sessions, with event ids: $eventIds', (mode) => {
  it(`an answer that breaks off in any of ${faults.length} ways is one reply, and no call runs twice`, async () => {
    const gateway = await FaultGateway.start(mode);
    const proxy = startProxy(gateway.url);
    await proxy.initialize('2025-11-25');
    await proxy.request('list', 'tools/list');

    const outcomes = await Promise.all(
      faults.map(async (fault) => {
        const [writes, reads] = [`writes: ${inWords(fault)}`, `reads: ${inWords(fault)}`];
        return {
          fault: inWords(fault),
          writes: outcome(await call(proxy, 'writes', writes, fault)),
          wrote: gateway.effects.get(writes),
          reads: outcome(await call(proxy, 'reads', reads, fault)),
        };
      }),
    );

    expect(outcomes).toEqual(
      faults.map((fault) => {
        const isResumed =
          mode.eventIds &&
          fault.format === 'events' &&
          ['within the body', 'between events'].includes(fault.stage);
        const hasReply = isResumed || fault.stage === 'behind the reply';
        const [writes, reads] = looksWhole(fault)
          ? ['invalid_response', 'invalid_response']
          : [hasReply ? 'result' : 'interrupted', 'result'];
        // Windows drops what was not read before a reset, also what a stream could be resumed from.
        if (process.platform === 'win32' && fault.by === 'reset') {
          const [written, read] = looksWhole(fault)
            ? [ANY_OUTCOME, ANY_OUTCOME]
            : [RESULT_OR_LOST, 'result'];
          return { fault: inWords(fault), writes: written, wrote: 1, reads: read };
        }
        return { fault: inWords(fault), writes, wrote: 1, reads };
      }),
    );
    for (const fault of faults) {
      for (const name of ['writes', 'reads']) {
        expect(replies(proxy, `${name}: ${inWords(fault)}`)).toHaveLength(1);
      }
    }
    const progress = proxy.messages
      .filter(({ method }) => method === 'notifications/progress')
      .map(({ params }) => JSON.stringify(params));
    expect(new Set(progress).size, 'a message was delivered twice').toBe(progress.length);

    expect(await call(proxy, 'writes', 'afterwards')).toHaveProperty('result');
    expect(gateway.handshakes).toBe(1);
    expect(await proxy.end()).toBe(0);
  });

  it.each(['reset', 'close'] as const)(
    'a connection that ends by %s before anything is read is one reply, and no call runs twice',
    async (by) => {
      const gateway = await FaultGateway.start(mode);
      const proxy = startProxy(gateway.url);
      await proxy.initialize('2025-11-25');
      await proxy.request('list', 'tools/list');
      await gateway.askedForStream;
      const broken = async (name: string) => {
        gateway.dropConnections();
        gateway.nextConnection = by;
        return [outcome(await call(proxy, name, name)), gateway.effects.get(name)];
      };
      // A reset may come before the request has left: then it is sent again.
      expect([
        ['interrupted', undefined],
        ['result', 1],
      ]).toContainEqual(await broken('writes'));
      expect(await broken('reads')).toEqual(['result', 1]);
      expect(await call(proxy, 'writes', 'afterwards')).toHaveProperty('result');
      expect(proxy.messages).toHaveLength(5);
      expect(gateway.handshakes).toBe(1);
    },
  );

  it('a gateway that does not accept for a while does each call once', async () => {
    const gateway = await FaultGateway.start(mode);
    const proxy = startProxy(gateway.url);
    await proxy.initialize('2025-11-25');
    gateway.stop();
    const writes = call(proxy, 'writes', 'writes');
    await proxy.until(() => proxy.stderr.includes('attempt 1 failed'));
    await gateway.listen();
    expect(outcome(await writes)).toBe('result');
    expect(gateway.effects.get('writes')).toBe(1);
    expect(proxy.messages).toHaveLength(2);
    expect(gateway.handshakes).toBe(mode.sessions ? 2 : 1);
  });
});

it('a gateway that is restarted 200 times loses no reply and does nothing twice', async () => {
  const gateway = await FaultGateway.start({ sessions: true });
  const proxy = startProxy(gateway.url, { args: ['--log-level', 'error'] });
  await proxy.initialize('2025-11-25');
  await proxy.request('list', 'tools/list');
  gateway.callMs = 5;

  let restarts = 0;
  const ids: string[] = [];
  const isOver = () => restarts >= 200;
  const restart = async () => {
    while (!isOver()) {
      await sleep(30);
      gateway.stop();
      // Every other time there is no listener for a while.
      await sleep(restarts % 2 === 0 ? 0 : 15);
      await gateway.listen();
      restarts++;
    }
  };
  const work = async (worker: number) => {
    for (let n = 0; !isOver(); n++) {
      const name = n % 4 === 3 ? 'reads' : 'writes';
      const effect = `${name} ${worker} ${n}`;
      ids.push(effect);
      await call(proxy, name, effect);
    }
  };
  await Promise.all([restart(), ...Array.from({ length: 16 }, (_, worker) => work(worker))]);
  await call(proxy, 'writes', 'afterwards');

  const counts = new Map<unknown, number>();
  const wrong: unknown[] = [];
  for (const { id } of proxy.messages) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const reply of proxy.messages) {
    const id = String(reply.id);
    if (!ids.includes(id)) continue;
    const done = gateway.effects.get(id) ?? 0;
    const how = outcome(reply);
    const isRight =
      how === 'result'
        ? done === 1 || (id.startsWith('reads') && done > 1)
        : id.startsWith('reads') || (how === 'interrupted' ? done <= 1 : done === 0);
    if (!isRight || counts.get(id) !== 1) wrong.push({ reply, done, times: counts.get(id) });
  }
  expect(wrong).toEqual([]);
  expect(ids.filter((id) => counts.get(id) !== 1)).toEqual([]);
  expect(replies(proxy, 'afterwards')).toMatchObject([{ result: { count: 1 } }]);
});

describe('a machine that sleeps', () => {
  const onStream = new EventEmitter();
  const server = createServer((request, response) => {
    request.setEncoding('utf8').on('data', (body) => {
      const { id } = JSON.parse(body);
      response.setHeader('content-type', 'application/json');
      if (id === undefined) response.writeHead(202).end();
      else response.end(JSON.stringify({ jsonrpc: '2.0', id, result: {} }));
    });
    if (request.method !== 'GET') return;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('id: before\ndata: {"jsonrpc":"2.0","method":"notifications/x"}\n\n');
    onStream.emit('open', request.headers['last-event-id']);
  });
  let proxy: RunningProxy | undefined;
  afterAll(() => {
    proxy?.child.kill('SIGKILL');
    server.closeAllConnections();
    server.close();
  });

  /** Stops the program for as long as it takes to notice, and lets it go on. */
  async function sleepAndWake() {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    proxy = new RunningProxy([`http://127.0.0.1:${port}/v1/mcp`, '--log-level', 'debug'], {});
    await proxy.initialize();
    await proxy.message(({ method }) => method === 'notifications/x');
    const opened = once(onStream, 'open');
    proxy.child.kill('SIGSTOP');
    await sleep(15_500);
    const start = performance.now();
    proxy.child.kill('SIGCONT');
    const [lastEventId] = await opened;
    return { afterMs: performance.now() - start, lastEventId, log: proxy.stderr };
  }

  // Takes sixteen seconds: it sleeps while the tests above run. Windows has no signal for it.
  const woken = process.platform === 'win32' ? new Promise<never>(() => {}) : sleepAndWake();

  it('has its GET stream again as soon as it wakes, after the last event', async () => {
    const { afterMs, lastEventId, log } = await woken;
    expect(afterMs).toBeLessThan(5_000);
    expect(lastEventId).toBe('before');
    expect(log).not.toMatch(/ warn| error/);
  });
});
