import { expect, it } from 'vitest';
import type { Step } from '../../src/trace/steps.ts';
import { stepText } from '../../src/trace/trace-text.ts';

const step = {
  ms: 1616,
  from: 'proxy',
  to: 'gateway',
  text: `log, debug: written to the cache: /home/ada/${'long/'.repeat(10)}file.json, again`,
  isFailure: true,
} as Step;
const plain = (_: unknown, text: string) => text;

it('keeps what a step says in its column, and a long word whole', () => {
  expect(stepText(step, plain, 80).split('\n')).toEqual([
    '    1.616 s  proxy → gateway ✗ log, debug: written to the cache:',
    `${' '.repeat(31)}/home/ada/${'long/'.repeat(10)}file.json,`,
    `${' '.repeat(31)}again`,
  ]);
});

it.each([undefined, 40])('shows a step in one line for a width of %s', (columns) => {
  expect(stepText(step, plain, columns)).toBe(`    1.616 s  proxy → gateway ✗ ${step.text}`);
});
