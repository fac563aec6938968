import { once } from 'node:events';
import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { MessageWriter } from '../../src/stdio/message-writer.ts';

/** Takes each write when the test says so; with `isFast`, at once. */
class Output extends Writable {
  readonly written: string[] = [];
  #taken: (() => void) | undefined;
  readonly #isFast: boolean;

  constructor(isFast: boolean) {
    super();
    this.#isFast = isFast;
  }

  override _write(chunk: Buffer, _: string, taken: () => void): void {
    this.written.push(chunk.toString());
    if (this.#isFast) taken();
    else this.#taken = taken;
  }

  take(): void {
    this.#taken?.();
  }
}

const LARGE = 'x'.repeat(16 * 1024);
const turnOver = () => new Promise((resolve) => setImmediate(resolve));

it('writes the first message of a turn at once, and those that follow it as one buffer', async () => {
  const output = new Output(true);
  const writer = new MessageWriter(output);
  for (const text of ['1', '2', '3']) writer.write([Buffer.from(text)]);
  expect(output.written).toEqual(['1\n']);
  await turnOver();
  expect(output.written).toEqual(['1\n', '2\n3\n']);
  writer.write([Buffer.from('4')]);
  expect(output.written.at(-1)).toBe('4\n');
});

it('keeps the order of small and large messages', async () => {
  const output = new Output(true);
  const writer = new MessageWriter(output);
  for (const text of ['1', '2', LARGE, '3']) writer.write([Buffer.from(text)]);
  await turnOver();
  expect(output.written.join('')).toBe(`1\n2\n${LARGE}\n3\n`);
});

it('collects no more than 64 KiB in a turn', () => {
  const output = new Output(true);
  const writer = new MessageWriter(output);
  for (let count = 0; count <= 64; count++) writer.write([Buffer.alloc(1023, 'x')]);
  expect(output.written.map(({ length }) => length)).toEqual([1024, 64 * 1024]);
});

it('is congested until a slow output has taken what was written', async () => {
  const output = new Output(false);
  const writer = new MessageWriter(output);
  expect(writer.congested()).toBeUndefined();
  writer.write([Buffer.from(LARGE)]);
  const drained = writer.congested();
  expect(drained).toBeDefined();
  const drain = once(output, 'drain');
  output.take();
  output.take();
  await drain;
  await drained;
  expect(writer.congested()).toBeUndefined();
});

it('flushes what it has collected', async () => {
  const output = new Output(true);
  const writer = new MessageWriter(output);
  writer.write([Buffer.from('1')]);
  writer.write([Buffer.from('2')]);
  await writer.flush();
  expect(output.written.join('')).toBe('1\n2\n');
});
