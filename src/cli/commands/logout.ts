import type { CommandModule } from 'yargs';
import { signInEntry, userDataFolder } from '../../auth/credential-sources.ts';
import { DEFAULT_ACCOUNT } from '../../auth/key.ts';
import { hasSignIn } from '../../auth/oauth/sign-in-file.ts';
import { type OptionName, PROXY_OPTIONS, pickOptions } from '../../settings/options.ts';
import { type ProxySettings, toSettings } from '../../settings/settings.ts';
import { asSentence, Printer } from '../../terminal/printer.ts';
import { ownCacheFolder } from '../compile-cache.ts';
import { keychainError, withSlowNotice } from '../keychain-io.ts';
import { surroundingsOf } from './login-sign-in.ts';

/**
 * `mcp-latchkey logout <url>`: removes the key from the keychain, the sign-in with its tokens, which
 * are revoked, and what the gateway's cache has for the account. Exit 1 when there is neither, and when
 * the keychain failed.
 */
export const logoutCommand: CommandModule<object, { url: string }> = {
  command: 'logout <url>',
  describe: 'Sign out, and remove an API key from the keychain',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 logout <url> [options]\n\nRemoves the sign-in and revokes its tokens. Removes the API key from the keychain, and the cached handshake and lists.',
      )
      .positional('url', {
        type: 'string',
        demandOption: true,
        describe: 'URL of the MCP endpoint',
      })
      .options({
        account: {
          ...PROXY_OPTIONS.account,
          describe: 'Account of the key or sign-in [default: default]',
        },
        'allow-http': { type: 'boolean', describe: 'The URL uses unencrypted http://' },
        ...pickOptions(ROUTE_OPTIONS),
      }),
  async handler(argv) {
    const settings = toSettings(argv.url, argv, process.env, null);
    const { url, account = DEFAULT_ACCOUNT } = settings;
    const name = account === DEFAULT_ACCOUNT ? '' : `, account "${account}"`;
    const gateway = `${url.origin}${url.pathname}${name}`;
    const place = `for ${gateway}`;
    const isSignedOut = await signOutOf(settings, `of ${gateway}`);
    const { readKey, removeKey } = await import('../../auth/keychain.ts');
    // A keychain that is locked says of every key that there is nothing to remove.
    const before = await withSlowNotice(readKey(url, account));
    const after = 'error' in before ? before : await withSlowNotice(removeKey(url, account));
    const isRemoved = 'value' in after && after.value === true;
    // Without a keychain there is no key, and who has signed in needs none.
    const isFailed = 'error' in after && !(isSignedOut && after.error.isAbsent);
    if (isRemoved) {
      new Printer(process.stdout).result('ok', `Removed the key ${place} from the keychain.`);
    } else if (isFailed) new Printer(process.stderr).result('fail', keychainError(after.error));
    else if (!isSignedOut) {
      new Printer(process.stderr).failure(`found no key and no sign-in ${place}`);
    }
    const folder = ownCacheFolder(process.env);
    const { removeCaches } = await import('../../bridge/gateway-cache/cache.ts');
    if (folder !== undefined && removeCaches(folder, url, account) > 0) {
      new Printer(process.stdout).marked('ok', asSentence(`removed the cached lists ${place}`));
    }
    process.exitCode = (isRemoved || isSignedOut) && !isFailed ? 0 : 1;
  },
};

/** What leads to the authorization server, and opens the stored sign-in. */
const ROUTE_OPTIONS = [
  'client-key',
  'store-key-command',
  'store-key-file',
  'connect-timeout',
  'ca',
  'cert',
  'key-pem',
  'key-pem-passphrase-env',
] as const satisfies readonly OptionName[];

/** Whether there was a sign-in, which is removed now. */
async function signOutOf(settings: ProxySettings, place: string): Promise<boolean> {
  if (!hasSignIn(userDataFolder(process.env), signInEntry(settings))) return false;
  const { signOut } = await import('../../auth/oauth/user-sign-in.ts');
  const { found, isRemoved, isRevoked } = await signOut(surroundingsOf(settings));
  if (!isRemoved) return false;
  const out = new Printer(process.stdout);
  out.marked('ok', asSentence(`signed out ${place}`));
  if (found.kind === 'found' && isRevoked) out.text('The tokens are revoked.', 2);
  else if (found.kind === 'unreadable') out.note(`The tokens were not revoked: ${found.words}.`);
  else if (found.kind === 'found' && found.signIn.tokens !== undefined) {
    out.note(
      'The tokens were not revoked: the authorization server did not confirm it. They may work until they expire.',
    );
  }
  return true;
}
