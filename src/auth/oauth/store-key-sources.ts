import type { OAuthSettings } from './oauth-settings.ts';

/** Where the key that sign-ins are encrypted with comes from, in this order, and then the keychain. */
export interface StoreKeySources {
  /** `--store-key-command`: prints the key. */
  readonly command?: string | undefined;
  /** `--store-key-file` */
  readonly file?: string | undefined;
  /** The value of `MCP_LATCHKEY_STORE_KEY`. */
  readonly value?: string | undefined;
}

/** Where the user has set the key to be. */
export function storeKeySources(
  { storeKeyCommand, storeKeyFile }: OAuthSettings,
  env: NodeJS.ProcessEnv,
): StoreKeySources {
  return { command: storeKeyCommand, file: storeKeyFile, value: env.MCP_LATCHKEY_STORE_KEY };
}

/** Whether none of the sources is set, so that the keychain has the key. */
export function isInKeychain({ command, file, value = '' }: StoreKeySources): boolean {
  return command === undefined && file === undefined && value.trim() === '';
}
