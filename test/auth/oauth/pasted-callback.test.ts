import { get } from 'node:http';
import { expect, it, onTestFinished } from 'vitest';
import { openCallbackServer } from '../../../src/auth/oauth/callback-server.ts';
import { withPastedCallback } from '../../../src/auth/oauth/pasted-callback.ts';

const STATE = 'the-right-state';
const never = new AbortController().signal;

/** A callback server that also gets what is pasted; `others` counts the lines that were not it. */
async function open(...pasted: string[]) {
  const server = await openCallbackServer({ gatewayHost: 'mcp.example' });
  onTestFinished(() => server.close());
  const seen = { others: 0 };
  async function* lines() {
    yield* pasted;
  }
  const both = withPastedCallback(server, lines(), () => {
    seen.others++;
  });
  return { server: both, seen };
}

it.each([
  ['the whole address', `http://127.0.0.1:3456/callback?code=a%2Bb&state=${STATE}`],
  ['with white space around it', `  http://127.0.0.1:3456/callback?code=a%2Bb&state=${STATE} \r`],
  ['with a fragment', `http://127.0.0.1:3456/callback?code=a%2Bb&state=${STATE}#here`],
  ['what follows the host', `/callback?state=${STATE}&code=a%2Bb`],
  ['the query', `?state=${STATE}&code=a%2Bb`],
])('takes the redirect from what is pasted: %s', async (_, line) => {
  const { server, seen } = await open(line);
  const { parameters, succeed, fail } = await server.callback(STATE, never);
  expect(parameters.get('code')).toBe('a+b');
  // There is no page to show.
  await succeed();
  await fail('It failed.');
  expect(seen.others).toBe(0);
});

it('goes on after lines that are not the redirect, and counts no empty ones', async () => {
  const { server, seen } = await open(
    '',
    'a-code-alone',
    'http://127.0.0.1:3456/callback?code=c',
    'http://127.0.0.1:3456/callback?code=c&state=another-state',
    `http://127.0.0.1:3456/callback?code=c&code=d&state=${STATE}`,
    `http://127.0.0.1:3456/callback?state=${STATE}&state=${STATE}`,
    '   ',
    `http://127.0.0.1:3456/callback?error=access_denied&state=${STATE}`,
  );
  const { parameters } = await server.callback(STATE, never);
  expect(parameters.get('error')).toBe('access_denied');
  expect(seen.others).toBe(5);
});

it('still takes the redirect of a browser when nothing more can be pasted', async () => {
  const { server } = await open('not the address');
  const received = server.callback(STATE, never);
  get(`http://127.0.0.1:${server.port}/callback?code=c&state=${STATE}`).on('error', () => {});
  const { parameters, succeed } = await received;
  expect(parameters.get('code')).toBe('c');
  await succeed();
});

it('ends when the sign-in does', async () => {
  const { server } = await open();
  const ended = new AbortController();
  const received = server.callback(STATE, ended.signal);
  ended.abort(new Error('too late'));
  await expect(received).rejects.toThrow('too late');
});
