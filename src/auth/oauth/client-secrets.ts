import type { Log } from '../../log.ts';
import { readPrivate, UnusableFile } from '../../private-path.ts';
import { environmentValue, MAX_FILE_BYTES, textOf } from '../key.ts';
import { privateKeyFrom } from './jwt.ts';
import type { OAuthSettings } from './oauth-settings.ts';
import { SignInError } from './stored-sign-in.ts';

/** The client's own secrets, read from where the options say. Throws SignInError where one cannot be used. */
export function clientSecrets(
  { clientSecretEnv, clientSecretFile, clientKeyFile }: OAuthSettings,
  env: NodeJS.ProcessEnv,
  log: Log,
): { readonly clientSecret?: string; readonly clientKey?: string } {
  const clientSecret =
    clientSecretFile !== undefined
      ? read('client-secret-file', clientSecretFile, log).trim()
      : clientSecretEnv === undefined
        ? undefined
        : environmentValue(clientSecretEnv, env);
  if (clientSecretEnv !== undefined && clientSecret === undefined) {
    throw new SignInError(`The variable ${clientSecretEnv} of --client-secret-env is not set.`);
  }
  if (clientSecret === '') throw new SignInError("The client's secret is empty.");
  const clientKey =
    clientKeyFile === undefined ? undefined : read('client-key', clientKeyFile, log);
  if (clientKey !== undefined) {
    try {
      privateKeyFrom(clientKey);
    } catch {
      throw new SignInError(
        `The file of --client-key is not a private key. Set one for ES256, RS256 or EdDSA in PEM.`,
      );
    }
  }
  return {
    ...(clientSecret === undefined ? {} : { clientSecret }),
    ...(clientKey === undefined ? {} : { clientKey }),
  };
}

function read(option: string, file: string, log: Log): string {
  try {
    const warn = (words: string) => log.warn(`--${option}: ${words}`);
    return textOf(readPrivate(file, 'secret', warn, MAX_FILE_BYTES));
  } catch (error) {
    if (!(error instanceof UnusableFile)) throw error;
    throw new SignInError(`--${option}: ${error.message}.`);
  }
}
