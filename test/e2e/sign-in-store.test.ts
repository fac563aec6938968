import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { bundleScript, runScript } from '../child-script.ts';
import { runToEnd } from './running-proxy.ts';
import {
  type Keychain,
  missingForKeychain,
  missingForSecretService,
  startKeychain,
  startSecretService,
} from './secret-service.ts';

const missing = await missingForKeychain();
const noService = await missingForSecretService();

const SCRIPT = `
  import { openSignInStore } from './src/auth/oauth/sign-in-store.ts';
  import { createLog } from './src/log.ts';
  const [, , data, account, secret] = process.argv as string[];
  const store = openSignInStore(data!, {}, createLog('error', () => {}));
  const entry = { gateway: 'https://mcp.example/mcp', account: account! };
  const signIn = {
    server: { issuer: 'https://as.example', tokenEndpoint: 'https://as.example/token' },
    registration: { kind: 'dynamic', clientId: 'c', authMethod: 'none', redirectUris: [] },
    tokens: { accessToken: secret!, tokenType: 'Bearer', receivedAt: 1 },
    signedInAt: 1,
  } as const;
  process.once('message', async () => {
    const stored = secret === undefined ? undefined : await store.write(entry, signIn);
    const found = await store.read(entry);
    process.send?.({ stored, found }, () => process.exit());
  });
  process.send?.('ready');
`;

describe.skipIf(missing !== undefined)(
  `sign-ins with a keychain${missing === undefined ? '' : ` (skipped: ${missing} is not here)`}`,
  () => {
    let service: Keychain;
    beforeAll(async () => {
      service = await startKeychain();
    });
    afterAll(() => service.stop());

    let data: string;
    beforeEach(() => {
      data = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-sign-ins-')));
      onTestFinished(() => rmSync(data, { recursive: true }));
    });

    /** Runs one process for each list of arguments, all at once, for what they found. */
    const runAll = async (script: string, lists: string[][], env = service.env) => {
      const children = lists.map((args) => runScript(script, [data, ...args], env));
      await Promise.all(children.map((child) => once(child, 'message')));
      return Promise.all(
        children.map(async (child) => {
          child.send('go');
          const [message] = await once(child, 'message');
          return message;
        }),
      );
    };

    const run = async (script: string, args: string[], env = service.env) =>
      (await runAll(script, [args], env))[0];

    // First, while the keyring has no key yet.
    it('have one key when eight processes store their first ones at once', {
      timeout: 120_000,
    }, async () => {
      const script = await bundleScript(SCRIPT);
      const accounts = Array.from({ length: 8 }, (_, index) => `account ${index}`);
      const lists = accounts.map((account) => [account, `secret of ${account}`]);
      const results = await runAll(script, lists);
      for (const { stored } of results) expect(stored).toEqual({ isLasting: true });
      const read = await runAll(
        script,
        accounts.map((account) => [account]),
      );
      expect(read.map(({ found }) => found.signIn.tokens.accessToken)).toEqual(
        accounts.map((account) => `secret of ${account}`),
      );
      for (const name of readdirSync(join(data, 'mcp-latchkey', 'sign-ins'))) {
        const text = readFileSync(join(data, 'mcp-latchkey', 'sign-ins', name), 'utf8');
        expect(text).not.toContain('secret of');
      }
    });

    it('do not show their key among the API keys', async () => {
      const { stdout } = await runToEnd(['status'], '', service.env);
      expect(stdout).not.toContain('token-store-key');
    });

    it.skipIf(noService !== undefined)(
      'are kept in memory where there is no keychain, and say so',
      async () => {
        const script = await bundleScript(SCRIPT);
        const env = { DBUS_SESSION_BUS_ADDRESS: '', DISPLAY: '', XDG_RUNTIME_DIR: data };
        const { stored, found } = await run(script, ['default', 'secret'], env);
        expect(stored).toEqual({
          isLasting: false,
          words:
            'the keychain needs a D-Bus session. Without a keychain, use --store-key-command or --store-key-file',
        });
        expect(found).toHaveProperty('signIn.tokens.accessToken', 'secret');
        expect(await run(script, ['default'], env)).toEqual({ found: { kind: 'none' } });
      },
    );

    it.skipIf(noService !== undefined)(
      'count as not signed in while the keyring is locked',
      async () => {
        const script = await bundleScript(SCRIPT);
        const locked = await startSecretService();
        onTestFinished(() => locked.stop());
        await run(script, ['default', 'secret'], locked.env);
        await locked.lock();
        expect(await run(script, ['default'], locked.env)).toMatchObject({
          found: { kind: 'unreadable', words: expect.stringContaining('the keychain is locked') },
        });
        expect(await run(script, ['other', 'secret'], locked.env)).toMatchObject({
          stored: { isLasting: false, words: expect.stringContaining('the keychain is locked') },
        });
      },
    );
  },
);
