import {
  ElicitationCompleteNotificationSchema,
  UrlElicitationRequiredError,
} from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, test } from 'vitest';
import { UserAgent } from '../e2e/user-agent.ts';
import { startWaitingSignIn } from '../e2e/waiting-sign-in.ts';
import { missing } from './installed-peers.ts';
import { connectModernClient } from './modern-session.ts';
import { connectSdkClient } from './sdk-session.ts';

// A sign-in that the user has not finished in time, in the SDK's clients of both eras.

const CALL = { name: 'run', arguments: {} };
/** By then the sign-in has a link. It is kept in memory: a client's child is not the test's own. */
const WAIT = { MCP_LATCHKEY_SIGN_IN_WAIT: '5', MCP_LATCHKEY_STORE_KEY: '' };
const capabilities = { elicitation: { url: {} } };
const eras = ['legacy', 'modern'] as const;

describe("the SDK's client of 2025-11-25", () => {
  test.for(eras)(
    'shows the link of a %s gateway, hears of the end, and calls again',
    async (era, context) => {
      const signIn = await startWaitingSignIn(era);
      const { client } = await connectSdkClient(context, signIn.server.url, {
        env: { ...signIn.env, ...WAIT },
        capabilities,
      });
      const completed = new Promise<string>((resolve) => {
        client.setNotificationHandler(ElicitationCompleteNotificationSchema, ({ params }) =>
          resolve(params.elicitationId),
        );
      });
      const error = await client.callTool(CALL).then(
        () => undefined,
        (rejected: unknown) => rejected,
      );
      expect(error).toBeInstanceOf(UrlElicitationRequiredError);
      const [elicitation] = (error as UrlElicitationRequiredError).elicitations;
      await new UserAgent().open(elicitation?.url ?? '');
      expect(await completed).toBe(elicitation?.elicitationId);
      expect(await client.callTool(CALL)).toMatchObject({ content: [{ text: 'It ran.' }] });
      expect(signIn.runs()).toHaveLength(1);
    },
  );
});

describe.skipIf(missing('modernClient'))("the SDK's client of 2026-07-28", () => {
  test.for(eras)(
    'shows the link of a %s gateway, and the call runs by itself',
    async (era, context) => {
      const signIn = await startWaitingSignIn(era);
      const shown: string[] = [];
      const { client } = await connectModernClient(context, signIn.server.url, {
        env: { ...signIn.env, ...WAIT },
        capabilities,
        prepare: (client) =>
          client.setRequestHandler('elicitation/create', ({ params }) => {
            if (params.mode !== 'url') return { action: 'cancel' };
            shown.push(params.url);
            void new UserAgent().open(params.url);
            return { action: 'accept' };
          }),
      });
      expect(await client.callTool(CALL)).toMatchObject({ content: [{ text: 'It ran.' }] });
      expect(shown).toHaveLength(1);
      expect(signIn.runs()).toHaveLength(1);
    },
  );

  test('gets an error when the user declines', async (context) => {
    const signIn = await startWaitingSignIn('modern');
    const { client } = await connectModernClient(context, signIn.server.url, {
      env: { ...signIn.env, ...WAIT },
      capabilities,
      prepare: (client) =>
        client.setRequestHandler('elicitation/create', () => ({ action: 'decline' })),
    });
    await expect(client.callTool(CALL)).rejects.toThrow(/^Sign-in required/);
    expect(signIn.runs()).toHaveLength(0);
  });
});
