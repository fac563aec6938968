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
  'start-patience': {
    type: 'string',
    requiresArg: true,
    describe:
      'how long the first request is tried again while the gateway cannot be reached, in seconds (45)',
  },
  'no-cache': {
    type: 'boolean',
    describe: "do not keep the gateway's lists for a start without it",
  },
  'connect-timeout': {
    type: 'string',
    requiresArg: true,
    describe: 'longest wait for a connection, in seconds; 0 for no limit (10)',
  },
  'ping-interval': {
    type: 'string',
    requiresArg: true,
    describe: 'ping the gateway after so many idle seconds; 0 for never (0)',
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
  'key-pem-passphrase-env': {
    type: 'string',
    requiresArg: true,
    describe: 'environment variable with the passphrase of --key-pem',
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
  'no-server-stream': {
    type: 'boolean',
    describe: 'open no stream for what belongs to no request, which some gateways cannot serve',
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
