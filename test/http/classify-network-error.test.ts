import { expect, it } from 'vitest';
import { classifyNetworkError } from '../../src/http/classify-network-error.ts';

it.each([
  [10_000, 'no connection to gateway.example in 10 seconds'],
  // The system has a limit of its own.
  [0, 'no connection to gateway.example'],
])('says with a limit of %i ms that %s', (connectTimeoutMs, detail) => {
  const error = Object.assign(new Error('connect ETIMEDOUT'), { code: 'ETIMEDOUT' });
  const settings = { gateway: 'https://gateway.example/v1/mcp', connectTimeoutMs, timeoutMs: 0 };
  expect(classifyNetworkError(error, settings)).toEqual({
    networkCause: 'connect-timeout',
    detail,
  });
});
