import { GRANTS, type OAuthSettings } from '../auth/oauth/oauth-settings.ts';
import { isLoopbackHost } from '../http/loopback.ts';
import { type OptionName, UsageError } from './options.ts';

/** Where a browser may come back to after a sign-in. */
export const CALLBACK_HOSTS: readonly OAuthSettings['callbackHost'][] = ['127.0.0.1', 'localhost'];

/** The options of OAuth. `all`: every value that was given for one. Throws UsageError. */
export function readOAuthSettings(all: (name: OptionName) => string[]): OAuthSettings {
  const last = (name: OptionName): string | undefined => {
    const value = all(name).at(-1);
    if (value === '') throw new UsageError(`--${name} needs a value`);
    return value;
  };
  const optional = (setting: string, name: OptionName) => {
    const value = last(name);
    return value === undefined ? {} : { [setting]: value };
  };
  const isSet = (name: OptionName) => last(name) === 'true';
  const port = last('callback-port');
  return {
    auth: oneOf('auth', ['auto', 'key', 'oauth'], last('auth') ?? 'auto'),
    grant: oneOf('grant', GRANTS, last('grant') ?? 'authorization-code'),
    ...optional('clientId', 'client-id'),
    ...optional('clientSecretEnv', 'client-secret-env'),
    ...optional('clientSecretFile', 'client-secret-file'),
    ...optional('clientKeyFile', 'client-key'),
    ...url('clientMetadataUrl', 'client-metadata-url', last('client-metadata-url')),
    ...optional('scope', 'scope'),
    ...(port === undefined ? {} : { callbackPort: portNumber(port) }),
    callbackHost: oneOf('callback-host', CALLBACK_HOSTS, last('callback-host') ?? '127.0.0.1'),
    signInWaitMs: milliseconds('sign-in-wait', last('sign-in-wait') ?? '45'),
    opensBrowser: !isSet('no-browser'),
    signIn: oneOf('sign-in', ['auto', 'error'], last('sign-in') ?? 'auto'),
    ...url('issuer', 'issuer', last('issuer')),
    sendsResource: !isSet('no-resource'),
    authorizeParameters: all('authorize-param').map(parameter),
    ...optional('assertionCommand', 'assertion-command'),
    ...url('idpIssuer', 'idp-issuer', last('idp-issuer')),
    ...optional('idpClientId', 'idp-client-id'),
    ...optional('storeKeyCommand', 'store-key-command'),
    ...optional('storeKeyFile', 'store-key-file'),
  };
}

/** Throws UsageError unless `given` is one of `choices`. */
export function oneOf<Choice extends string>(
  name: OptionName,
  choices: readonly Choice[],
  given: string,
): Choice {
  const choice = choices.find((known) => known === given);
  if (choice === undefined)
    throw new UsageError(
      `--${name} must be ${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`,
    );
  return choice;
}

/** Throws UsageError for what is not a number of seconds. */
export function milliseconds(name: OptionName, seconds: string): number {
  const value = Number(seconds);
  if (!(value >= 0 && value <= 2_000_000))
    throw new UsageError(`--${name} must be a number of seconds`);
  return Math.round(value * 1000);
}

function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65_535) {
    throw new UsageError('--callback-port needs a port from 1 to 65535');
  }
  return port;
}

/** Kept as it was written: issuers are compared byte by byte. */
function url(setting: string, name: OptionName, text: string | undefined) {
  if (text === undefined) return {};
  const isUrl = /^https?:\/\/\S+$/i.test(text) && URL.canParse(text);
  const { protocol, hostname } = isUrl ? new URL(text) : { protocol: '', hostname: '' };
  if (protocol !== 'https:' && !isLoopbackHost(hostname)) {
    throw new UsageError(`--${name} needs a URL that starts with https://`);
  }
  return { [setting]: text };
}

function parameter(text: string): readonly [string, string] {
  const [, name, value] = /^([\w.-]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new UsageError('--authorize-param needs name=value');
  }
  return [name, value];
}
