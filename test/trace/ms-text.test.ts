import fc from 'fast-check';
import { expect, it } from 'vitest';
import { msText } from '../../src/trace/ms-text.ts';

it.each([
  [0, '0'],
  [7, '7'],
  [7.5, '7.5'],
  [7.05, '7.05'],
  [7.25, '7.25'],
  [7.999, '8'],
])('%d ms are %s', (ms, text) => {
  expect(msText(ms)).toBe(text);
});

it('is the text of the number, to a hundredth', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e12 }), (hundredths) => {
      expect(msText(hundredths / 100)).toBe(String(hundredths / 100));
    }),
  );
});
