import { expect, it } from 'vitest';
import { isNewer } from '../../src/install/newer-version.ts';

it.each([
  ['0.1.0', '0.1.1'],
  ['0.9.0', '0.10.0'],
  ['0.10.9', '1.0.0'],
  ['1.0.0-beta.2', '1.0.0'],
  ['1.0.0-beta.2', '1.0.0-beta.10'],
])('%s comes before %s', (older, newer) => {
  expect([isNewer(newer, older), isNewer(older, newer), isNewer(older, older)]).toEqual([
    ...[true, false, false],
  ]);
});
