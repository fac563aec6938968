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
        '$0 logout <url> [options]\n\nRemoves the API key from the keychain, and the handshake and lists from the cache.',
      )
      .positional('url', { type: 'string', demandOption: true, describe: 'The MCP endpoint' })
      .options({
        account: { ...PROXY_OPTIONS.account, describe: 'the account of the key (default)' },
        'allow-http': { type: 'boolean', describe: 'the URL is plain http://' },
      }),
  async handler(argv) {
    const { url, account = DEFAULT_ACCOUNT } = toSettings(argv.url, argv, process.env);
    const { readKey, removeKey } = await import('../../auth/keychain.ts');
    const place = `for ${url.origin}${url.pathname}, account ${account}`;
    // A keychain that is locked says of every key that there is nothing to remove.
    const before = await withSlowNotice(readKey(url, account));
    const after = 'error' in before ? before : await withSlowNotice(removeKey(url, account));
    const [text, isRemoved] =
      'error' in after
        ? [keychainError(after.error), false]
        : after.value
          ? [`Removed from the keychain: the key ${place}.`, true]
          : [`There is no key in the keychain ${place}.`, false];
    new Printer(isRemoved ? process.stdout : process.stderr).text(text);
    const folder = ownCacheFolder(process.env);
    const { removeCaches } = await import('../../bridge/gateway-cache/cache.ts');
    if (folder !== undefined && removeCaches(folder, url, account) > 0) {
      new Printer(process.stdout).text(`Removed from the cache: the handshake and lists ${place}.`);
    }
    process.exitCode = isRemoved ? 0 : 1;
  },
};
