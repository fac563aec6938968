import type { CommandModule } from 'yargs';
import { DEFAULT_ACCOUNT } from '../../auth/key.ts';
import { PROXY_OPTIONS } from '../../settings/options.ts';
import { toSettings } from '../../settings/settings.ts';
import { Printer } from '../../terminal/printer.ts';
import { ownCacheFolder } from '../compile-cache.ts';
import { keychainError, withSlowNotice } from '../keychain-io.ts';

/**
 * `mcp-latchkey logout <url>`: removes a key from the keychain, and what the gateway's cache has for
 * the account. Exit 1 when there is no key, or when the keychain cannot be used.
 */
export const logoutCommand: CommandModule<object, { url: string }> = {
  command: 'logout <url>',
  describe: 'Remove an API key from the keychain',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 logout <url> [options]\n\nRemoves the API key from the keychain, and the cached handshake and lists.',
      )
      .positional('url', {
        type: 'string',
        demandOption: true,
        describe: 'URL of the MCP endpoint',
      })
      .options({
        account: { ...PROXY_OPTIONS.account, describe: 'Account name [default: default]' },
        'allow-http': { type: 'boolean', describe: 'The URL uses unencrypted http://' },
      }),
  async handler(argv) {
    const { url, account = DEFAULT_ACCOUNT } = toSettings(argv.url, argv, process.env);
    const { readKey, removeKey } = await import('../../auth/keychain.ts');
    const name = account === DEFAULT_ACCOUNT ? '' : `, account "${account}"`;
    const place = `for ${url.origin}${url.pathname}${name}`;
    // A keychain that is locked says of every key that there is nothing to remove.
    const before = await withSlowNotice(readKey(url, account));
    const after = 'error' in before ? before : await withSlowNotice(removeKey(url, account));
    const [text, isRemoved] =
      'error' in after
        ? [keychainError(after.error), false]
        : after.value
          ? [`Removed the key ${place} from the keychain.`, true]
          : [`The keychain has no key ${place}.`, false];
    new Printer(isRemoved ? process.stdout : process.stderr).result(
      isRemoved ? 'ok' : 'fail',
      text,
    );
    const folder = ownCacheFolder(process.env);
    const { removeCaches } = await import('../../bridge/gateway-cache/cache.ts');
    if (folder !== undefined && removeCaches(folder, url, account) > 0) {
      new Printer(process.stdout).marked('ok', `Removed the cached lists ${place}.`);
    }
    process.exitCode = isRemoved ? 0 : 1;
  },
};
