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
  integrations: {
    type: 'string',
    requiresArg: true,
    value: 'LIST',
    describe: 'Only offer tools from these integrations: linear,github',
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
    describe: 'Retry the first request for so long at the start [default: 45]',
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
    describe: 'Ping the gateway after so many idle seconds [default: 0, never]',
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
    value: 'NAME',
    describe:
      'Transport: auto, http (Streamable HTTP) or sse (deprecated HTTP+SSE) [default: auto]',
  },
  'elicit-url': {
    type: 'string',
    requiresArg: true,
    value: 'MODE',
    describe: 'Offer reconnect links to clients that support them: auto or off [default: auto]',
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
} as const satisfies Record<string, Option>;

export type OptionName = keyof typeof PROXY_OPTIONS;
