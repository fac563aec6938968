import { LOG_LEVELS } from '../log.ts';

/** The command line or the environment says something that cannot be followed. */
export class UsageError extends Error {}

export interface Option {
  readonly alias?: string;
  readonly type: 'string' | 'boolean';
  readonly array?: true;
  readonly requiresArg?: true;
  /** The value is a path: `install` makes it absolute. */
  readonly path?: true;
  readonly describe: string;
}

/** The proxy's options, as yargs takes them. Each also as `MCP_LATCHKEY_…` in the environment. */
export const PROXY_OPTIONS = {
  header: {
    alias: 'H',
    type: 'string',
    array: true,
    requiresArg: true,
    describe: "a header to send, 'Name: value'; @{VAR} or ${VAR} is an environment variable",
  },
  'header-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: "a file of headers to send, 'Name: value' on each line",
  },
  'key-command': {
    type: 'string',
    requiresArg: true,
    describe: 'a command that prints the API key',
  },
  'key-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'a file that holds the API key',
  },
  'key-env': {
    type: 'string',
    requiresArg: true,
    describe: 'the environment variable that holds the API key (MCP_LATCHKEY_API_KEY)',
  },
  account: {
    type: 'string',
    requiresArg: true,
    describe: 'which of several keys for one gateway to take from the keychain (default)',
  },
  'key-header': {
    type: 'string',
    requiresArg: true,
    describe: 'send the key bare in this header, such as x-api-key, not in Authorization',
  },
  auth: {
    type: 'string',
    requiresArg: true,
    describe: 'what to authenticate with: auto, key, oauth [default: auto]',
  },
  'client-id': {
    type: 'string',
    requiresArg: true,
    describe: 'OAuth: the ID of a client that was registered by hand',
  },
  'client-secret-env': {
    type: 'string',
    requiresArg: true,
    describe: "OAuth: the environment variable with the client's secret",
  },
  'client-secret-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: "OAuth: a file with the client's secret",
  },
  'client-metadata-url': {
    type: 'string',
    requiresArg: true,
    describe: 'OAuth: the URL of a Client ID Metadata Document',
  },
  grant: {
    type: 'string',
    requiresArg: true,
    describe:
      'OAuth: authorization-code, device-code, client-credentials, jwt-bearer, enterprise [default: authorization-code]',
  },
  'client-key': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'OAuth: a PEM file with the private key for private_key_jwt',
  },
  scope: {
    type: 'string',
    requiresArg: true,
    describe: 'OAuth: the scopes to ask for, in place of what the gateway says',
  },
  'callback-port': {
    type: 'string',
    requiresArg: true,
    describe: 'OAuth: a fixed loopback port for the redirect',
  },
  'callback-host': {
    type: 'string',
    requiresArg: true,
    describe: 'OAuth: 127.0.0.1 or localhost in the redirect URI [default: 127.0.0.1]',
  },
  'sign-in-wait': {
    type: 'string',
    requiresArg: true,
    describe: 'longest wait of a request for your sign-in, in seconds [default: 45]',
  },
  'no-browser': {
    type: 'boolean',
    describe: 'never open a browser',
  },
  'sign-in': {
    type: 'string',
    requiresArg: true,
    describe: 'when you must sign in: auto opens a browser, error does not [default: auto]',
  },
  issuer: {
    type: 'string',
    requiresArg: true,
    describe: "OAuth: the issuer, where it differs from its metadata's location",
  },
  'no-resource': {
    type: 'boolean',
    describe: 'OAuth: do not send the resource parameter',
  },
  'authorize-param': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'OAuth: another parameter of the authorization request, name=value',
  },
  'assertion-command': {
    type: 'string',
    requiresArg: true,
    describe: "OAuth: a command that prints the workload's JWT or the user's ID token",
  },
  'idp-issuer': {
    type: 'string',
    requiresArg: true,
    describe: "OAuth: the enterprise's identity provider",
  },
  'idp-client-id': {
    type: 'string',
    requiresArg: true,
    describe: 'OAuth: the client ID at the identity provider',
  },
  'store-key-command': {
    type: 'string',
    requiresArg: true,
    describe: 'a command that prints the key of the stored sign-ins, 32 bytes in Base64',
  },
  'store-key-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'a file with the key of the stored sign-ins',
  },
  integrations: {
    type: 'string',
    requiresArg: true,
    describe: 'offer the tools of these integrations only: linear,github',
  },
  'allow-http': {
    type: 'boolean',
    describe: 'allow plain http:// beyond this machine: the key is then readable on the way',
  },
  timeout: {
    type: 'string',
    requiresArg: true,
    describe: 'longest silence while a reply is due, in seconds; 0 for no limit (600)',
  },
  'connect-timeout': {
    type: 'string',
    requiresArg: true,
    describe: 'longest wait for a connection, in seconds; 0 for no limit (10)',
  },
  ca: {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'a PEM file of certificate authorities to trust as well',
  },
  cert: {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'a PEM file: the client certificate to show',
  },
  'key-pem': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: "a PEM file: the client certificate's private key",
  },
  transport: {
    type: 'string',
    requiresArg: true,
    describe:
      'how to speak to the gateway: http (Streamable HTTP), sse (the deprecated HTTP+SSE), or auto, which finds out (auto)',
  },
  'elicit-url': {
    type: 'string',
    requiresArg: true,
    describe:
      'offer a link to reconnect an integration to clients that can show one: auto, off (auto)',
  },
  'max-message-bytes': {
    type: 'string',
    requiresArg: true,
    describe: 'the largest message to carry, either way (67108864)',
  },
  'log-level': {
    type: 'string',
    requiresArg: true,
    describe: `how much to log to stderr: ${LOG_LEVELS.join(', ')} (warn)`,
  },
  'log-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    describe: 'append the log to this file as well',
  },
} as const satisfies Record<string, Option>;

export type OptionName = keyof typeof PROXY_OPTIONS;
