import type { Failure, UnreachableCause } from './failure.ts';

/** A JSON-RPC error object (JSON-RPC 2.0 §5.1). */
export interface RpcError {
  readonly code: number;
  readonly message: string;
  readonly data: Record<string, unknown>;
}

interface Entry {
  readonly code: number;
  /** Whether the same request may work later with nothing changed. */
  readonly retryable: boolean;
  /** What happened: one sentence, without its full stop. */
  what(failure: Failure): string;
  /** What to do about it: whole sentences. */
  remedy(failure: Failure): string;
}

const host = (failure: Failure) => new URL(failure.gateway).host;
const because = (failure: Failure) => (failure.detail === undefined ? '' : `: ${failure.detail}`);
const keyInWords = ({ key }: Failure) => {
  const origin = key?.origin ?? 'the configuration';
  return key?.tail === undefined ? `from ${origin}` : `from ${origin} (…${key.tail})`;
};
const size = (bytes: number) =>
  bytes < 1024 * 1024
    ? `${Math.round(bytes / 1024)} KB`
    : `${Math.round((bytes / 1024 / 1024) * 10) / 10} MB`;

const UNREACHABLE: Record<UnreachableCause, { what: string; remedy: string }> = {
  dns: {
    what: 'the name could not be resolved',
    remedy: 'Check the spelling of the host in the URL and that this machine is online.',
  },
  refused: {
    what: 'the connection was refused',
    remedy: 'Check the host and port in the URL, and that the gateway is running.',
  },
  reset: {
    what: 'the connection was closed before an answer came',
    remedy: 'Try again; if it stays, a firewall or proxy on the way may be cutting the connection.',
  },
  timeout: {
    what: 'no answer came in time',
    remedy: 'Check the network or VPN, or allow more time with --timeout or --connect-timeout.',
  },
  tls: {
    what: 'the TLS connection could not be trusted',
    remedy:
      'If this machine trusts a private certificate authority, name its certificate in NODE_EXTRA_CA_CERTS.',
  },
  proxy: {
    what: 'the HTTP proxy on the way did not let it through',
    remedy: 'Check the proxy settings of this machine.',
  },
};

/** A command line or environment that cannot be followed: `why`, without a full stop. */
export function wordMisconfiguration(why: string): RpcError {
  const hint = "Correct the arguments in the client's config, then restart the client.";
  return {
    code: -32005,
    message: `Misconfigured: ${why}. ${hint}`,
    data: { reason: 'misconfigured', hint, retryable: false },
  };
}

/** Every way in which a request can fail here, with its code, sentence and remedy. */
export const CATALOGUE = {
  no_api_key: {
    code: -32010,
    retryable: false,
    what: (failure) =>
      failure.detail === undefined
        ? `No API key (HTTP 401): ${host(failure)} wants an API key and none was found`
        : `No API key${because(failure)}`,
    remedy: () =>
      "Put your key into the environment variable MCP_LATCHKEY_API_KEY in the client's config (or name a file with --key-file), then restart the client.",
  },
  malformed_api_key: {
    code: -32011,
    retryable: false,
    what: (failure) =>
      `Malformed API key: the key ${keyInWords(failure)} holds white space or characters that no key has, so nothing was sent`,
    remedy: () => 'Copy the key again, whole and alone, then restart the client.',
  },
  unauthorized: {
    code: -32012,
    retryable: false,
    what: (failure) =>
      `Unauthorized (HTTP 401): ${host(failure)} rejected the API key ${keyInWords(failure)}${because(failure)}`,
    remedy: () =>
      'The key may be mistyped or revoked: put a new one in its place, then restart the client.',
  },
  forbidden: {
    code: -32013,
    retryable: false,
    what: (failure) =>
      `Forbidden (HTTP 403): the API key ${keyInWords(failure)} is valid, but its holder may not use ${host(failure)} with an API key${because(failure)}`,
    remedy: () =>
      'Ask your admin to enable Personal API Key Access in the settings of one of your groups.',
  },
  wrong_path: {
    code: -32014,
    retryable: false,
    what: (failure) =>
      `Wrong path (HTTP ${failure.status}): there is no MCP endpoint at ${failure.gateway}`,
    remedy: (failure) => {
      const { origin, pathname } = new URL(failure.gateway);
      return pathname === '/v1/mcp'
        ? 'Check the URL: it must be the one of the MCP endpoint.'
        : `Check the URL: the endpoint is usually ${origin}/v1/mcp.`;
    },
  },
  not_acceptable: {
    code: -32015,
    retryable: false,
    what: (failure) =>
      `Not acceptable (HTTP 406): ${host(failure)} refused the formats offered, application/json and text/event-stream${because(failure)}`,
    remedy: () =>
      'A proxy on the way may be changing the Accept header: check what stands between this machine and the gateway.',
  },
  request_too_large: {
    code: -32016,
    retryable: false,
    what: (failure) =>
      `Request too large (HTTP 413): ${
        failure.limitBytes === undefined
          ? `${host(failure)} does not take a request of this size`
          : `${host(failure)} takes at most ${size(failure.limitBytes)}`
      }`,
    remedy: () => 'Send less in one request.',
  },
  rate_limited: {
    code: -32017,
    retryable: true,
    what: (failure) =>
      `Rate limited (HTTP 429): ${host(failure)} takes no more requests for now${because(failure)}`,
    remedy: ({ retryAfterSeconds }) =>
      retryAfterSeconds === undefined
        ? 'Wait a little, then try again.'
        : `Wait ${retryAfterSeconds} s, then try again.`,
  },
  gateway_error: {
    code: -32018,
    retryable: true,
    what: (failure) =>
      `Gateway error (HTTP ${failure.status}): ${host(failure)} failed${because(failure)}`,
    remedy: () =>
      'The fault is at the gateway: try again in a minute, and tell its operator if it stays.',
  },
  unreachable: {
    code: -32019,
    retryable: true,
    what: (failure) =>
      `Unreachable: no answer from ${host(failure)}; ${UNREACHABLE[failure.cause ?? 'reset'].what}${because(failure)}`,
    remedy: ({ cause = 'reset' }) => UNREACHABLE[cause].remedy,
  },
  invalid_response: {
    code: -32009,
    retryable: false,
    what: (failure) =>
      `Invalid response: what ${host(failure)} answered is no MCP message${because(failure)}`,
    remedy: () =>
      'Check that the URL is the one of the MCP endpoint and that no login page or proxy stands in between.',
  },
  interrupted: {
    code: -32008,
    retryable: false,
    what: (failure) =>
      `Interrupted: the connection to ${host(failure)} ended before the reply, and the request may have run${because(failure)}`,
    remedy: () =>
      'It was not repeated, the outcome is unknown: check what it did before you try again.',
  },
  redirected: {
    code: -32007,
    retryable: false,
    what: (failure) =>
      `Redirected (HTTP ${failure.status}): ${host(failure)} points to ${failure.location ?? 'another address'}; the API key was not sent there`,
    remedy: () => "If you trust that address, put it into the client's config as the URL.",
  },
  http_error: {
    code: -32006,
    retryable: false,
    what: (failure) =>
      `HTTP ${failure.status}: ${host(failure)} refused the request${because(failure)}`,
    remedy: () => "Check the URL and what was asked; the gateway's operator can say more.",
  },
} satisfies Record<string, Entry>;

export type Reason = keyof typeof CATALOGUE;

/**
 * The JSON-RPC error for a failure. `message` is one line, what happened and then what to do,
 * because many clients show nothing else; `data.reason` is the stable name, `data.hint` the remedy
 * alone.
 */
export function wordFailure(failure: Failure): RpcError {
  const entry: Entry = CATALOGUE[failure.reason];
  const hint = entry.remedy(failure);
  const optional = {
    status: failure.status,
    cause: failure.cause,
    limitBytes: failure.limitBytes,
    retryAfter: failure.retryAfterSeconds,
    attempts: failure.attempts,
    location: failure.location,
    keySource: failure.key?.source,
  };
  return {
    code: entry.code,
    message: `${entry.what(failure)}. ${hint}`,
    data: {
      reason: failure.reason,
      gateway: failure.gateway,
      hint,
      retryable: entry.retryable,
      ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
    },
  };
}
