import { dataFolder } from '../data-folder.ts';
import type { Routes } from '../http/routes.ts';
import { DEFAULT_ACCOUNT, type KeySources } from './key.ts';
import type { OAuthSettings } from './oauth/oauth-settings.ts';
import type { SignInEntry } from './oauth/stored-sign-in.ts';

/** What the credentials for one gateway come from. */
export interface CredentialSources extends KeySources {
  readonly oauth: OAuthSettings;
  readonly routes: Routes;
}

/** The entry of a gateway's sign-in. */
export function signInEntry({ url, account = DEFAULT_ACCOUNT }: KeySources): SignInEntry {
  return { gateway: url.origin + url.pathname, account };
}

/** The folder of this user's data, where sign-ins are. */
export function userDataFolder(env: NodeJS.ProcessEnv): string {
  const home = process.platform === 'win32' ? env.USERPROFILE : env.HOME;
  // Not imported: its loading takes longer than all else here, and HOME is nearly always set.
  return dataFolder(process.platform, env, home || process.getBuiltinModule('node:os').homedir());
}
