import { ownCommand } from '../terminal/own-command.ts';
import { shellWord } from '../terminal/shell-word.ts';
import type { Failure, ResourceFacts } from './failure.ts';
import { cleanNetworkText } from './network-text.ts';
import { MASK } from './url-secrets.ts';

/** How much of what the gateway said is in `message`, in characters; `data.detail` has all of it. */
const QUOTED_CHARACTERS = 100;

export const host = (failure: Failure) => new URL(failure.gateway).host;
export const quoted = (text: string) => cleanNetworkText(text, QUOTED_CHARACTERS);
export const because = ({ detail }: { detail?: string | undefined }) =>
  detail === undefined ? '' : `: ${quoted(detail)}`;
/** A sentence about where the key came from, with a space before it; empty where that is unknown. */
export const keySentence = ({ key }: Failure) => {
  if (key === undefined || key.source === 'none') return '';
  const origin = key.origin.replace('the environment variable ', '');
  return `. It is from ${origin}${key.tail === undefined ? '' : ` and ends in ${key.tail}`}`;
};
export const isUnencrypted = (url: string | undefined) => url?.startsWith('http:') === true;
export const seconds = (number: number) => `${number} ${number === 1 ? 'second' : 'seconds'}`;
export const size = (bytes: number) =>
  bytes < 1024 * 1024
    ? `${Math.round(bytes / 1024)} KB`
    : `${Math.round((bytes / 1024 / 1024) * 10) / 10} MB`;
// A URL with a part masked cannot be copied: the user has the whole one.
export const login = ({ gateway, key }: Failure) =>
  `\`${ownCommand()} login ${gateway.includes(MASK) ? 'YOUR_GATEWAY_URL' : shellWord(gateway)}${key?.loginOptions ?? ''}\``;

/** `what`: `a new key` or `only the key`. */
export function newKeyRemedy(failure: Failure, what: string): string {
  switch (failure.key?.source) {
    case 'keychain':
      return `Run ${login(failure)} and enter ${what}. No restart needed.`;
    case 'key-file':
      return `Put ${what} in that file. No restart needed.`;
    case 'key-command':
      return `Make sure that it prints ${what === 'a new key' ? 'a valid key' : what}. No restart needed.`;
    case 'header-file':
      return `Put ${what} in that file, then restart the client.`;
    default:
      return `Set ${what} in the client's config, then restart the client.`;
  }
}

export function firstKeyRemedy(failure: Failure): string {
  switch (failure.key?.source) {
    case 'key-file':
    case 'key-command':
      return 'Fix that, then try again. No restart needed.';
    case 'keychain':
      return `Fix that, or run ${login(failure)}. No restart needed.`;
    default:
      // Without a keychain, login has no place to store a key.
      return failure.key?.keychainError !== undefined
        ? "Set MCP_LATCHKEY_API_KEY in the client's config, then restart the client."
        : `Run ${login(failure)}. No restart needed.`;
  }
}

/** Where the gateway's metadata (RFC 9728) says that a key in the usual header is not accepted. */
export function otherHeaderRemedy({ key, resource }: Failure): string | undefined {
  if (resource?.takesHeader !== false || key?.loginOptions?.includes('--key-header')) {
    return undefined;
  }
  return 'It needs the key in another header. Pass --key-header NAME.';
}

export function howToGetKey(resource: ResourceFacts | undefined): string {
  return resource?.documentation === undefined
    ? ''
    : ` How to get a key: ${resource.documentation}`;
}

/** Whether the credential is an access token. */
export const isSignedIn = ({ key }: Failure) => key?.source === 'sign-in';

export function tokenRemedy(failure: Failure): string {
  const grant = failure.signIn?.grant;
  if (failure.isTransient) return 'Try again later. No restart needed.';
  return grant === undefined
    ? `Run ${login(failure)}. No restart needed.`
    : `Check the options of --grant ${grant} in the client's config, then restart the client.`;
}

export function forbiddenRemedy(failure: Failure): string {
  if (failure.lacksKeyAccess) {
    return 'Ask your administrator to enable Personal API Key Access for one of your groups.';
  }
  if (isSignedIn(failure)) return 'Ask the administrator of the gateway for access.';
  return failure.key?.source === 'none'
    ? `No API key was sent. If the gateway requires one, run ${login(failure)}. No restart needed.`
    : "Ask your administrator or the gateway's operator whether the key or this network is blocked.";
}

export function wrongPathRemedy({ gateway, detail, isNamedByGateway }: Failure): string {
  if (isNamedByGateway) {
    return "The gateway's own event stream sent this address. Contact the gateway's operator.";
  }
  if (detail !== undefined) {
    return 'Check the URL. If the gateway uses Streamable HTTP, remove --transport and restart the client.';
  }
  const { origin, pathname } = new URL(gateway);
  if (pathname === '/v1/mcp') return 'The path looks right, so check the host name in the URL.';
  return `Check the URL. The endpoint is usually at ${origin}/v1/mcp`;
}
