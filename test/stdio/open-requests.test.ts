import { expect, it } from 'vitest';
import { readMessages } from '../../src/jsonrpc/message.ts';
import { OpenRequest, OpenRequests } from '../../src/stdio/open-requests.ts';

const requestOf = (id: number | string) => {
  const [message] = readMessages(
    Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, method: 'ping' })),
  ).messages;
  if (message?.kind !== 'request') throw new Error('not a request');
  return new OpenRequest(message, () => {});
};
const idsOf = (all: OpenRequests) => [...all].map(({ request }) => request.id.raw).sort();

it('has what was added, until it is deleted, once', () => {
  const all = new OpenRequests();
  const [one, two, three] = [requestOf(1), requestOf(2), requestOf(3)] as const;
  for (const item of [one, two, three]) all.add(item);
  expect(all.delete(one)).toBe(true);
  expect(all.delete(one)).toBe(false);
  expect([all.has(one), all.has(two), all.has(three)]).toEqual([false, true, true]);
  expect(idsOf(all)).toEqual(['2', '3']);
  expect(all.delete(three)).toBe(true);
  expect(all.delete(two)).toBe(true);
  expect(idsOf(all)).toEqual([]);
});

it('finds the newest of those with the same id, in whatever order they are kept', () => {
  const all = new OpenRequests();
  const items = [requestOf(7), requestOf('7'), requestOf(7), requestOf(8), requestOf(7)];
  for (const item of items) all.add(item);
  const { key } = (items[0] as OpenRequest).request.id;
  expect(all.withId(key)).toBe(items[4]);
  // The last one takes its place.
  all.delete(items[0] as OpenRequest);
  expect(all.withId(key)).toBe(items[4]);
  all.delete(items[4] as OpenRequest);
  expect(all.withId(key)).toBe(items[2]);
  all.delete(items[2] as OpenRequest);
  expect(all.withId(key)).toBeUndefined();
  expect(all.withId(undefined)).toBeUndefined();
});

it('can be emptied by a loop over it', () => {
  const all = new OpenRequests();
  for (let id = 0; id < 100; id++) all.add(requestOf(id));
  let seen = 0;
  for (const item of all) {
    seen++;
    all.delete(item);
  }
  expect([seen, idsOf(all)]).toEqual([100, []]);
});
