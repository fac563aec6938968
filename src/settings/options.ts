import { LOG_LEVELS } from '../log.ts';

/** The command line or the environment is invalid; `message`: why, without a full stop. */
export class UsageError extends Error {}

export interface Option {
  readonly alias?: string;
  readonly type: 'string' | 'boolean';
  readonly array?: true;
  readonly requiresArg?: true;
  /** The value is a path: `install` makes it absolute. */
  readonly path?: true;
  /** What the help and docs/reference.md call the value; the option's own name where it is left out. */
  readonly value?: string;
  readonly describe: string;
}

/** The proxy's options, as yargs expects them. Each also as `MCP_LATCHKEY_…` in the environment. */
export const PROXY_OPTIONS = {
  header: {
    alias: 'H',
    type: 'string',
    array: true,
    requiresArg: true,
    value: "'Name: value'",
    describe: 'Header to send (repeatable); @{VAR} is an environment variable',
  },
  'header-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: "File with one 'Name: value' header per line",
  },
  'key-command': {
    type: 'string',
    requiresArg: true,
    value: 'COMMAND',
    describe: 'Command that prints the API key',
  },
  'key-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'File that contains the API key',
  },
  'key-env': {
    type: 'string',
    requiresArg: true,
    value: 'NAME',
    describe: 'Environment variable with the API key [default: MCP_LATCHKEY_API_KEY]',
  },
  account: {
    type: 'string',
    requiresArg: true,
    value: 'NAME',
    describe: 'Keychain account, if you store several keys [default: default]',
  },
  'key-header': {
    type: 'string',
    requiresArg: true,
    value: 'NAME',
    describe: 'Send the key in this header instead of Authorization',
  },
  auth: {
    type: 'string',
    requiresArg: true,
    value: 'auto|key|oauth',
    describe: 'What to authenticate with [default: auto]',
  },
  'client-id': {
    type: 'string',
    requiresArg: true,
    value: 'ID',
    describe: 'OAuth: ID of a client that is registered already',
  },
  'client-secret-env': {
    type: 'string',
    requiresArg: true,
    value: 'NAME',
    describe: "OAuth: environment variable with the client's secret",
  },
  'client-secret-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: "OAuth: file with the client's secret",
  },
  'client-metadata-url': {
    type: 'string',
    requiresArg: true,
    value: 'URL',
    describe: 'OAuth: URL of a Client ID Metadata Document',
  },
  grant: {
    type: 'string',
    requiresArg: true,
    value: 'NAME',
    describe: 'OAuth: grant type [default: authorization-code]',
  },
  'client-key': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'OAuth: PEM file with the private key for private_key_jwt',
  },
  scope: {
    type: 'string',
    requiresArg: true,
    value: "'a b'",
    describe: 'OAuth: scopes to ask for instead of those of the gateway',
  },
  'callback-port': {
    type: 'string',
    requiresArg: true,
    value: 'PORT',
    describe: 'OAuth: fixed loopback port for the redirect',
  },
  'callback-host': {
    type: 'string',
    requiresArg: true,
    value: 'NAME',
    describe: 'OAuth: 127.0.0.1 or localhost in the redirect URI [default: 127.0.0.1]',
  },
  'sign-in-wait': {
    type: 'string',
    requiresArg: true,
    value: 'SECONDS',
    describe: 'Longest wait of a request for your sign-in [default: 45]',
  },
  'no-browser': {
    type: 'boolean',
    describe: 'Never open a browser',
  },
  'sign-in': {
    type: 'string',
    requiresArg: true,
    value: 'auto|error',
    describe: 'Open a browser when you must sign in, or fail [default: auto]',
  },
  issuer: {
    type: 'string',
    requiresArg: true,
    value: 'URL',
    describe: "OAuth: issuer, if it differs from its metadata's location",
  },
  'no-resource': {
    type: 'boolean',
    describe: 'OAuth: do not send the resource parameter',
  },
  'authorize-param': {
    type: 'string',
    array: true,
    requiresArg: true,
    value: 'NAME=VALUE',
    describe: 'OAuth: extra authorization parameter (repeatable)',
  },
  'assertion-command': {
    type: 'string',
    requiresArg: true,
    value: 'COMMAND',
    describe: 'OAuth: command that prints the JWT or ID token',
  },
  'idp-issuer': {
    type: 'string',
    requiresArg: true,
    value: 'URL',
    describe: "OAuth: your organization's identity provider",
  },
  'idp-client-id': {
    type: 'string',
    requiresArg: true,
    value: 'ID',
    describe: 'OAuth: client ID at the identity provider',
  },
  'store-key-command': {
    type: 'string',
    requiresArg: true,
    value: 'COMMAND',
    describe: 'Command that prints the key of stored sign-ins (Base64)',
  },
  'store-key-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'File with the key of stored sign-ins',
  },
  integrations: {
    type: 'string',
    requiresArg: true,
    value: 'LIST',
    describe: 'Offer only tools from these integrations: linear,github',
  },
  'allow-tool': {
    type: 'string',
    array: true,
    requiresArg: true,
    value: 'GLOB',
    describe: 'Offer only these tools (repeatable): linear_get_*',
  },
  'deny-tool': {
    type: 'string',
    array: true,
    requiresArg: true,
    value: 'GLOB',
    describe: 'Block these tools (repeatable)',
  },
  allow: {
    type: 'string',
    array: true,
    requiresArg: true,
    value: "'KIND:GLOB'",
    describe: 'As --allow-tool, for a tool:, prompt: or resource: (by URI)',
  },
  deny: {
    type: 'string',
    array: true,
    requiresArg: true,
    value: "'KIND:GLOB'",
    describe: 'As --deny-tool, for a tool:, prompt: or resource: (by URI)',
  },
  'read-only': {
    type: 'boolean',
    describe: 'Offer only tools that are annotated as read-only',
  },
  'no-destructive': {
    type: 'boolean',
    describe: 'Block tools that are annotated as destructive',
  },
  'allow-http': {
    type: 'boolean',
    describe: 'Allow unencrypted http:// to other hosts (exposes the key)',
  },
  timeout: {
    type: 'string',
    requiresArg: true,
    value: 'SECONDS',
    describe: 'Longest silence while a reply is due, 0 = no limit [default: 600]',
  },
  'start-patience': {
    type: 'string',
    requiresArg: true,
    value: 'SECONDS',
    describe: 'Longest retry of the first request at the start [default: 45]',
  },
  'no-cache': {
    type: 'boolean',
    describe: "Do not cache the gateway's lists for a start without it",
  },
  'connect-timeout': {
    type: 'string',
    requiresArg: true,
    value: 'SECONDS',
    describe: 'Longest wait for a connection, 0 = no limit [default: 10]',
  },
  'ping-interval': {
    type: 'string',
    requiresArg: true,
    value: 'SECONDS',
    describe: 'Ping the gateway when idle for so long, 0 = never [default: 0]',
  },
  ca: {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'PEM file with additional CA certificates',
  },
  cert: {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'PEM file with the client certificate (mTLS)',
  },
  'key-pem': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: "PEM file with the client certificate's private key",
  },
  'key-pem-passphrase-env': {
    type: 'string',
    requiresArg: true,
    value: 'NAME',
    describe: 'Environment variable with the passphrase of --key-pem',
  },
  transport: {
    type: 'string',
    requiresArg: true,
    value: 'auto|http|sse',
    describe: 'Streamable HTTP, or deprecated HTTP+SSE [default: auto]',
  },
  'elicit-url': {
    type: 'string',
    requiresArg: true,
    value: 'auto|off',
    describe: 'Offer sign-in and reconnect links to clients [default: auto]',
  },
  'no-server-stream': {
    type: 'boolean',
    describe: 'Do not open a stream for messages from the gateway itself',
  },
  'max-message-bytes': {
    type: 'string',
    requiresArg: true,
    value: 'BYTES',
    describe: 'Largest message in either direction [default: 67108864]',
  },
  'log-level': {
    type: 'string',
    requiresArg: true,
    value: 'LEVEL',
    describe: `Log level on stderr: ${LOG_LEVELS.join(', ')} [default: warn]`,
  },
  'log-file': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'Also append the log to this file',
  },
  'audit-log': {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'Append a line about each call to this file, as JSON',
  },
  trace: {
    type: 'string',
    requiresArg: true,
    path: true,
    value: 'FILE',
    describe: 'Record the session in this file',
  },
  'trace-bodies': {
    type: 'string',
    requiresArg: true,
    value: 'none|heads|all',
    describe: 'How much of each message to record, heads = 4 KiB [default: heads]',
  },
  'trace-max-bytes': {
    type: 'string',
    requiresArg: true,
    value: 'BYTES',
    describe: 'Largest size of the record; the oldest part is deleted [default: 67108864]',
  },
} as const satisfies Record<string, Option>;

export type OptionName = keyof typeof PROXY_OPTIONS;

/** How many words yargs may take for each option that can be repeated: without it, all that follow. */
export function oneValueEach(): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries<Option>(PROXY_OPTIONS).flatMap(([name, { array }]) =>
      array ? [[name, 1]] : [],
    ),
  );
}

/** Those that say how to sign in, wherever that is done. */
export const SIGN_IN_OPTIONS = [
  'auth',
  'client-id',
  'client-secret-env',
  'client-secret-file',
  'client-metadata-url',
  'grant',
  'client-key',
  'scope',
  'callback-port',
  'callback-host',
  'no-browser',
  'issuer',
  'no-resource',
  'authorize-param',
  'store-key-command',
  'store-key-file',
] as const satisfies readonly OptionName[];

/** Some of the proxy's options, for a command that has them too. */
export function pickOptions<Name extends OptionName>(names: readonly Name[]): Record<Name, Option> {
  const picked: [string, Option][] = names.map((name) => [name, PROXY_OPTIONS[name]]);
  return Object.fromEntries(picked) as Record<Name, Option>;
}
