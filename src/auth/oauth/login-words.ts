import { optionWords, shellWord } from '../../terminal/shell-word.ts';
import type { CredentialSources } from '../credential-sources.ts';
import { type KeyOrigin, loginOptions } from '../key.ts';
import type { OAuthSettings } from './oauth-settings.ts';

/** Where tokens come from, and how the user signs in again. */
export function signInOrigin(sources: CredentialSources): KeyOrigin {
  const words = loginOptions(sources) + loginWords(sources.oauth);
  return { source: 'sign-in', origin: 'the sign-in', loginOptions: words };
}

/** What `login` needs after the URL to sign in as the proxy would, with a space before each word. */
function loginWords(settings: OAuthSettings): string {
  const { clientId, clientSecretEnv, clientSecretFile, clientKeyFile, clientMetadataUrl } =
    settings;
  const named = {
    'client-id': clientId,
    'client-secret-env': clientSecretEnv,
    'client-secret-file': clientSecretFile,
    'client-key': clientKeyFile,
    'client-metadata-url': clientMetadataUrl,
    issuer: settings.issuer,
    scope: settings.scope,
    'callback-port': settings.callbackPort?.toString(),
    'callback-host': settings.callbackHost === 'localhost' ? 'localhost' : undefined,
  };
  const words = Object.entries(named).flatMap(([name, value]) =>
    value === undefined ? [] : optionWords(name, value),
  );
  const parameters = settings.authorizeParameters.flatMap(([name, value]) =>
    optionWords('authorize-param', `${name}=${value}`),
  );
  return [
    ...words,
    ...parameters,
    ...(settings.sendsResource ? [] : ['--no-resource']),
    ...(settings.grant === 'device-code' ? ['--device'] : []),
  ]
    .map((word) => ` ${shellWord(word)}`)
    .join('');
}
