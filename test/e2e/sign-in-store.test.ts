import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { bundleScript, runScript } from '../child-script.ts';
import { runToEnd } from './running-proxy.ts';
import {
  missingForSecretService,
  type SecretService,
  startSecretService,
} from './secret-service.ts';

const missing = await missingForSecretService();

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
  void (async () => {
    const stored = secret === undefined ? undefined : await store.write(entry, signIn);
    const found = await store.read(entry);
    process.send?.({ stored, found }, () => process.exit());
  })();
`;

describe.skipIf(missing !== undefined)(
  `sign-ins with a Secret Service${missing === undefined ? '' : ` (skipped: ${missing} is not here)`}`,
  () => {
    let service: SecretService;
    beforeAll(async () => {
      service = await startSecretService();
    });
    afterAll(() => service.stop());

    let data: string;
    beforeEach(() => {
      data = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-sign-ins-')));
      onTestFinished(() => rmSync(data, { recursive: true }));
    });

    const run = async (
      script: string,
      args: string[],
      env: Record<string, string> = service.env,
    ) => {
      const [message] = await once(runScript(script, [data, ...args], env), 'message');
      return message;
    };

    // First, while the keyring has no key yet.
    it('have one key when eight processes store their first ones at once', async () => {
      const script = await bundleScript(SCRIPT);
      const accounts = Array.from({ length: 8 }, (_, index) => `account ${index}`);
      const results = await Promise.all(
        accounts.map((account) => run(script, [account, `secret of ${account}`])),
      );
      for (const { stored } of results) expect(stored).toEqual({ isLasting: true });
      for (const account of accounts) {
        const { found } = await run(script, [account]);
        expect(found).toHaveProperty('signIn.tokens.accessToken', `secret of ${account}`);
      }
      for (const name of readdirSync(join(data, 'mcp-latchkey', 'sign-ins'))) {
        const text = readFileSync(join(data, 'mcp-latchkey', 'sign-ins', name), 'utf8');
        expect(text).not.toContain('secret of');
      }
    });

    it('do not show their key among the API keys', async () => {
      const { stdout } = await runToEnd(['status'], '', service.env);
      expect(stdout).not.toContain('token-store-key');
    });

    it('are kept in memory where there is no keychain, and say so', async () => {
      const script = await bundleScript(SCRIPT);
      const env = { DBUS_SESSION_BUS_ADDRESS: '', DISPLAY: '', XDG_RUNTIME_DIR: data };
      const { stored, found } = await run(script, ['default', 'secret'], env);
      expect(stored).toEqual({
        isLasting: false,
        words: expect.stringMatching(
          /^the keychain cannot be reached, .*; without it, set a key with --store-key-command or --store-key-file$/,
        ),
      });
      expect(found).toHaveProperty('signIn.tokens.accessToken', 'secret');
      expect(await run(script, ['default'], env)).toEqual({ found: { kind: 'none' } });
    });

    it('count as not signed in while the keyring is locked', async () => {
      const script = await bundleScript(SCRIPT);
      await run(script, ['default', 'secret']);
      await service.lock();
      expect(await run(script, ['default'])).toMatchObject({
        found: { kind: 'unreadable', words: expect.stringContaining('the keychain is locked') },
      });
      expect(await run(script, ['other', 'secret'])).toMatchObject({
        stored: { isLasting: false, words: expect.stringContaining('the keychain is locked') },
      });
    });
  },
);
