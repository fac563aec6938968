import { expect, it } from 'vitest';
import { OpenCalls } from '../../src/trace/open-calls.ts';

it('finds the oldest that fits, keeps the order, and forgets the oldest of too many', () => {
  const calls = new OpenCalls<{ id: number }>(3);
  const [one, two, three, four] = [{ id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }];
  for (const call of [one, two, three, four]) calls.add(call);
  expect(calls.all()).toEqual([two, three, four]);
  expect(calls.find(({ id }) => id > 2)).toBe(three);
  expect(calls.remove(three)).toBe(true);
  expect(calls.remove(three)).toBe(false);
  expect(calls.all()).toEqual([two, four]);
  expect(calls.find(({ id }) => id === 3)).toBeUndefined();
});
