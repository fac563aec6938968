import { channel } from 'node:diagnostics_channel';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Secrets } from '../../src/failures/secrets.ts';
import { createLog } from '../../src/log.ts';
import { SessionWatch } from '../../src/trace/session-watch.ts';
import { TraceFile } from '../../src/trace/trace-file.ts';
import type { ExchangeOutcome, ExchangeWatcher } from '../../src/transport/exchange-outcome.ts';

const plant = (): never => {
  throw new Error('planted');
};

const settings = {
  url: new URL('http://gateway.example/mcp'),
  traceBodies: 'all',
  traceMaxBytes: 1_000_000,
  logLevel: 'debug',
} as const;

/** A watch with a log, whose lines are resolved with one by one. */
function watchWith(own: ConstructorParameters<typeof SessionWatch>[0] = settings) {
  const watch = new SessionWatch(own);
  const lines: string[] = [];
  let wake = () => {};
  const log = createLog('error', (line) => {
    lines.push(line);
    wake();
  });
  watch.begin(new Secrets(() => ({ mask: (text: string) => text }) as never), log);
  const line = async () => {
    if (lines.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return lines.shift();
  };
  return { watch, line };
}

it('logs a bug in its constructor, and the session starts', async () => {
  const { line } = watchWith(Object.defineProperty({ ...settings }, 'traceFile', { get: plant }));
  expect(await line()).toContain('bug: Error: planted');
});

it('logs a bug at a connection that has opened', async () => {
  const { line } = watchWith();
  const socket = { encrypted: true, getProtocol: plant } as unknown as Socket;
  const tcp = new EventEmitter();
  channel('mcp-latchkey:connection').publish({ host: 'a', tcp, opening: Promise.resolve(socket) });
  expect(await line()).toContain('bug: Error: planted');
});

it('logs a bug at a connection that could not be opened', async () => {
  const { line } = watchWith();
  const error = Object.defineProperty(new Error('refused'), 'code', { get: plant });
  const tcp = new EventEmitter();
  channel('mcp-latchkey:connection').publish({ host: 'a', tcp, opening: Promise.reject(error) });
  expect(await line()).toContain('bug: Error: planted');
});

it('logs a bug at the end of an exchange', async () => {
  const { line } = watchWith();
  const outcome = Object.defineProperty({}, 'kind', { get: plant });
  const handler: { watcher: ExchangeWatcher | undefined } = { watcher: undefined };
  const options = { path: '/mcp', headers: [] };
  const request = new EventEmitter();
  channel('mcp-latchkey:request').publish({ request, method: 'POST', options, handler });
  handler.watcher?.onEnded(outcome as ExchangeOutcome);
  expect(await line()).toContain('bug: Error: planted');
});

it('logs a bug at its end, and the process ends', async () => {
  const end = vi.spyOn(TraceFile.prototype, 'end').mockRejectedValue(new Error('planted'));
  onTestFinished(() => end.mockRestore());
  const { watch, line } = watchWith({ ...settings, traceFile: '/dev/null' });
  await watch.end();
  expect(await line()).toContain('bug: Error: planted');
});

it('goes on when the log of its bugs fails as well', () => {
  const watch = new SessionWatch(settings);
  const log = { ...createLog('error', plant), info: plant };
  watch.begin(new Secrets(() => ({ mask: (text: string) => text }) as never), log);
  watch.received({ kind: 'request' } as never);
});
