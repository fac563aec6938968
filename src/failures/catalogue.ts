import { shellWord } from '../terminal/shell-word.ts';
import type { Failure, Reason } from './failure.ts';
import { NETWORK_CAUSES, type UnreachableCause } from './network-causes.ts';
import { MASK } from './url-secrets.ts';

/** A JSON-RPC error object (JSON-RPC 2.0 §5.1). */
export interface RpcError {
  readonly code: number;
  readonly message: string;
  readonly data: Record<string, unknown>;
}

/** A reason for which a request is not answered by the gateway, and all that is said about it. */
export interface CatalogueEntry {
  readonly code: number;
  readonly title: string;
  /** Whether the same request may work later with nothing changed. */
  readonly retryable: boolean;
  /** What happened, to follow the title and a colon; without a full stop. */
  what(failure: Failure): string;
  /** What to do about it: whole sentences. */
  remedy(failure: Failure): string;
}

const host = (failure: Failure) => new URL(failure.gateway).host;
const because = ({ detail }: { detail?: string | undefined }) =>
  detail === undefined ? '' : `: ${detail}`;
const keyInWords = ({ key }: Failure) => {
  const origin = key?.origin ?? 'the configuration';
  return key?.tail === undefined ? `from ${origin}` : `from ${origin} (…${key.tail})`;
};
const isUnencrypted = (url: string | undefined) => url?.startsWith('http:') === true;
const size = (bytes: number) =>
  bytes < 1024 * 1024
    ? `${Math.round(bytes / 1024)} KB`
    : `${Math.round((bytes / 1024 / 1024) * 10) / 10} MB`;
// A URL with a part masked cannot be copied: the user has the whole one.
const login = ({ gateway, key }: Failure) =>
  `\`npx mcp-latchkey login ${gateway.includes(MASK) ? 'YOUR_GATEWAY_URL' : shellWord(gateway)}${key?.loginOptions ?? ''}\``;
const sentences = (...parts: (string | undefined)[]) =>
  parts.filter((part) => part !== undefined).join(' ');

function newKeyRemedy(failure: Failure): string {
  const origin = failure.key?.origin;
  switch (failure.key?.source) {
    case 'keychain':
      return `Run ${login(failure)} with a new key; no restart needed.`;
    case 'key-file':
      return `Write a new key into ${origin}; no restart needed.`;
    case 'key-command':
      return `Make ${origin} print a valid key; no restart needed.`;
    default:
      return `Put a new key into ${origin}, or take it out there and run ${login(failure)}; then restart the client.`;
  }
}

function firstKeyRemedy(failure: Failure): string {
  const { source, origin } = failure.key ?? {};
  switch (source) {
    case 'key-file':
    case 'key-command':
      return `Mend ${origin}; no restart needed.`;
    case 'keychain':
      return `Mend that, or run ${login(failure)}; no restart needed.`;
    default:
      // Without a keychain there is nothing that login could store into.
      return failure.key?.keychainTrouble !== undefined
        ? 'Set MCP_LATCHKEY_API_KEY in the client’s config and restart the client.'
        : `Run ${login(failure)}; no restart needed. Or set MCP_LATCHKEY_API_KEY in the client’s config and restart the client.`;
  }
}

/** Whether the credential is an access token. */
const isSignedIn = ({ key }: Failure) => key?.source === 'sign-in';

function tokenRemedy(failure: Failure): string {
  const grant = failure.signIn?.grant;
  return grant === undefined
    ? `Run ${login(failure)}. No restart needed.`
    : `Check the options of --grant ${grant} in the client's config, then restart the client.`;
}

// What the RFC 9728 document knows: where keys are explained, and what this program cannot do.
function fromResource({ resource, ...failure }: Failure): string | undefined {
  if (resource === undefined) return undefined;
  const { name, documentation, authorizationServers = [], takesHeader } = resource;
  const issuers = authorizationServers.map((url) => new URL(url).host).join(', ');
  return (
    sentences(
      documentation && `${name ?? 'The gateway'} explains its keys at ${documentation} .`,
      takesHeader ? undefined : 'It says that it takes no key in the Authorization header.',
      issuers === '' ? undefined : `You can also sign in at ${issuers}: run ${login(failure)}.`,
    ) || undefined
  );
}

function forbiddenRemedy(failure: Failure): string {
  if (failure.lacksKeyAccess) {
    return 'Ask your admin to enable Personal API Key Access in the settings of one of your groups.';
  }
  if (isSignedIn(failure)) return 'Ask the administrator of the gateway for access.';
  return failure.key?.source === 'none'
    ? `No API key was sent. If the gateway requires one, run ${login(failure)}; no restart needed.`
    : "Ask your administrator or the gateway's operator what is not allowed: the key, this computer or this network.";
}

function wrongPathRemedy({ gateway, detail, isNamedByGateway }: Failure): string {
  if (isNamedByGateway) {
    return "The gateway's own event stream names that address: tell its operator.";
  }
  if (detail !== undefined) {
    return 'Check the URL; if the gateway speaks Streamable HTTP, leave --transport out and restart the client.';
  }
  const { origin, pathname } = new URL(gateway);
  if (pathname === '/v1/mcp')
    return 'Check the URL: its path is the usual one, so look at the host.';
  return `Check the URL: the endpoint is usually ${origin}/v1/mcp .`;
}

/** Every reason for which a request can fail here. */
export const CATALOGUE = {
  no_api_key: {
    code: -32010,
    title: 'No API key',
    retryable: false,
    what: (failure) =>
      failure.status === undefined
        ? (failure.detail ?? 'none was found')
        : `${host(failure)} wants an API key, and none was found${because({ detail: failure.key?.keychainTrouble ?? failure.key?.nearMiss ?? failure.detail })}`,
    remedy: (failure) => sentences(firstKeyRemedy(failure), fromResource(failure)),
  },
  malformed_api_key: {
    code: -32011,
    title: 'Malformed API key',
    retryable: false,
    what: (failure) =>
      failure.isPlaceholder
        ? `the key ${keyInWords(failure)} is a placeholder that the client did not fill in, so nothing was sent`
        : `the key ${keyInWords(failure)} holds white space or characters that no key has, so nothing was sent`,
    remedy: (failure) =>
      failure.isPlaceholder
        ? newKeyRemedy(failure)
        : `Copy the key again, whole and alone. ${newKeyRemedy(failure)}`,
  },
  unauthorized: {
    code: -32012,
    title: 'Unauthorized',
    retryable: false,
    what: (failure) => {
      if (failure.signIn !== undefined) return failure.detail ?? 'no access token was given';
      const what = isSignedIn(failure) ? 'access token' : 'API key';
      return `${host(failure)} rejected the ${what} ${keyInWords(failure)}${because(failure)}`;
    },
    remedy: (failure) =>
      isSignedIn(failure)
        ? tokenRemedy(failure)
        : sentences(newKeyRemedy(failure), fromResource(failure)),
  },
  forbidden: {
    code: -32013,
    title: 'Forbidden',
    retryable: false,
    what: (failure) =>
      failure.lacksKeyAccess
        ? `the API key ${keyInWords(failure)} is valid, but its holder may not use ${host(failure)} with it${because(failure)}`
        : isSignedIn(failure)
          ? `your sign-in to ${host(failure)} does not allow this${because(failure)}`
          : `${host(failure)} refused access${because(failure)}`,
    remedy: forbiddenRemedy,
  },
  wrong_path: {
    code: -32014,
    title: 'Wrong path',
    retryable: false,
    what: ({ detail = 'MCP endpoint', gateway, target = gateway }) =>
      `there is no ${detail} at ${target}`,
    remedy: wrongPathRemedy,
  },
  not_acceptable: {
    code: -32015,
    title: 'Not acceptable',
    retryable: false,
    what: (failure) =>
      `${host(failure)} refused the formats offered, application/json and text/event-stream${because(failure)}`,
    remedy: () =>
      'A proxy on the way may be changing the Accept header: check what stands between this machine and the gateway.',
  },
  request_too_large: {
    code: -32016,
    title: 'Request too large',
    retryable: false,
    what: (failure) =>
      failure.status === undefined
        ? `it is larger than ${size(failure.limitBytes ?? 0)}, the most that mcp-latchkey carries in one message`
        : failure.limitBytes === undefined
          ? `${host(failure)} does not take a request of this size${because(failure)}`
          : `${host(failure)} takes at most ${size(failure.limitBytes)} in one request`,
    remedy: ({ status }) =>
      status === undefined
        ? 'Send less in one request, or allow more with --max-message-bytes.'
        : 'Send less in one request.',
  },
  rate_limited: {
    code: -32017,
    title: 'Rate limited',
    retryable: true,
    what: (failure) => `${host(failure)} takes no more requests for now${because(failure)}`,
    remedy: ({ retryAfterSeconds }) =>
      retryAfterSeconds === undefined
        ? 'Wait a little, then try again.'
        : `Wait ${retryAfterSeconds} s, then try again.`,
  },
  gateway_error: {
    code: -32018,
    title: 'Gateway error',
    retryable: true,
    what: (failure) => `${host(failure)} failed${because(failure)}${times(failure)}`,
    remedy: ({ retryAfterSeconds }) =>
      `The fault is at the gateway: try again in ${retryAfterSeconds === undefined ? 'a minute' : `${retryAfterSeconds} s`}, and tell its operator if it stays.`,
  },
  unreachable: {
    code: -32019,
    title: 'Unreachable',
    retryable: true,
    what: (failure) =>
      `no answer from ${host(failure)}: ${failure.detail ?? NETWORK_CAUSES[failure.networkCause ?? 'connection-closed'].what}${times(failure)}`,
    remedy: ({ networkCause = 'connection-closed' }) => NETWORK_CAUSES[networkCause].remedy,
  },
  invalid_response: {
    code: -32009,
    title: 'Invalid response',
    retryable: false,
    what: (failure) =>
      failure.limitBytes === undefined
        ? `what ${host(failure)} answered is no MCP message${because(failure)}`
        : `${host(failure)} answered with a message larger than ${size(failure.limitBytes)}, the most that mcp-latchkey carries`,
    remedy: ({ limitBytes }) =>
      limitBytes === undefined
        ? 'Check that the URL is the one of the MCP endpoint and that no login page or proxy stands in between.'
        : 'Ask for less, or allow more with --max-message-bytes. The request itself has run.',
  },
  interrupted: {
    code: -32008,
    title: 'Interrupted',
    retryable: false,
    what: (failure) =>
      `the connection to ${host(failure)} ended before the reply, and the request may have run${because(failure)}`,
    remedy: () =>
      'It was not repeated, the outcome is unknown: check what it did before you try again.',
  },
  redirected: {
    code: -32007,
    title: 'Redirected',
    retryable: false,
    what: (failure) =>
      failure.isDowngrade
        ? `${host(failure)} points from https to unencrypted http; the API key was not sent there`
        : `${host(failure)} points to ${failure.location}; the API key was not sent there`,
    remedy: ({ status, isDowngrade, location, gateway }) =>
      status === undefined
        ? 'Messages must go to the origin of the URL: tell the operator of the gateway.'
        : isDowngrade
          ? `Set the URL in the client's config to ${location} , then restart the client.`
          : isUnencrypted(location) && !isUnencrypted(gateway)
            ? "That address is not encrypted: ask the gateway's operator for its https URL."
            : "If you trust that address, put it into the client's config as the URL.",
  },
  http_error: {
    code: -32006,
    title: 'HTTP error',
    retryable: false,
    what: (failure) => `${host(failure)} refused the request${because(failure)}`,
    remedy: () => "Check the URL and what was asked; the gateway's operator can say more.",
  },
  misconfigured: {
    code: -32005,
    title: 'Misconfigured',
    retryable: false,
    what: (failure) => failure.detail ?? 'the command line cannot be followed',
    remedy: () => "Correct the arguments in the client's config, then restart the client.",
  },
  internal_error: {
    code: -32004,
    title: 'Internal error',
    retryable: false,
    what: ({ detail = 'mcp-latchkey failed in itself' }) =>
      `${detail}, and whether the request has run is unknown`,
    remedy: () => 'Restart the client. If it happens again, report it with what the log says.',
  },
  tool_not_allowed: {
    code: -32002,
    title: 'Not allowed',
    retryable: false,
    what: ({ detail = 'it', rule }) =>
      rule === undefined
        ? detail
        : `${detail} is blocked by ${rule.words}${rule.isManaged ? " in your organization's policy" : ''}`,
    remedy: ({ rule, contact = 'your administrator' }) =>
      rule === undefined
        ? 'Nothing was sent. Report this to the maker of the client.'
        : rule.isManaged
          ? `Nothing was sent. Use something else, or ask ${contact}.`
          : "Nothing was sent. Use something else, or change the option in the client's config.",
  },
  sign_in_required: {
    code: -32003,
    title: 'Sign-in required',
    retryable: true,
    what: (failure) => {
      const { server, link } = failure.signIn ?? {};
      if (link !== undefined) return `the sign-in to ${host(failure)} is open in your browser`;
      const where = server === undefined ? '' : ` at ${server}`;
      return `${host(failure)} requires you to sign in${where}${because(failure)}`;
    },
    remedy: (failure) =>
      failure.signIn?.link === undefined
        ? `Run ${login(failure)}. No restart needed.`
        : 'Finish it there, then try again. No restart needed.',
  },
} satisfies Record<Reason, CatalogueEntry>;

/** What happened, whatever the status makes of it; without a full stop. */
function whatOf(failure: Failure): string {
  return failure.isIntermediary
    ? `${host(failure)} answered with ${failure.detail}`
    : CATALOGUE[failure.reason].what(failure);
}

function remedyOf(failure: Failure): string {
  if (failure.offersHttpSse) {
    return "The gateway offers HTTP+SSE: add --transport sse to the arguments in the client's config, then restart the client.";
  }
  if (failure.isIntermediary) {
    return 'A firewall, VPN or sign-in page may be in front of it. Open its address in a browser to see, or ask your administrator.';
  }
  if (failure.networkCause === 'http2-only') return NETWORK_CAUSES['http2-only'].remedy;
  return CATALOGUE[failure.reason].remedy(failure);
}

function times({ attempts = 1 }: Failure): string {
  return attempts > 1 ? `, tried ${attempts} times` : '';
}

/**
 * The JSON-RPC error for a failure. `message` is one line, what happened and then what to do,
 * because many clients show nothing else; `data.reason` is the stable name, `data.hint` the remedy
 * alone.
 */
export function toRpcError(failure: Failure): RpcError {
  const entry: CatalogueEntry = CATALOGUE[failure.reason];
  const title = failure.isIntermediary ? 'Access blocked' : entry.title;
  const hint = remedyOf(failure);
  const hasCause = failure.reason === 'unreachable' || failure.reason === 'interrupted';
  const cause: UnreachableCause | undefined =
    hasCause && failure.networkCause ? NETWORK_CAUSES[failure.networkCause].cause : undefined;
  const status = failure.status === undefined ? '' : ` (HTTP ${failure.status})`;
  const optional = {
    status: failure.status,
    cause,
    limitBytes: failure.limitBytes,
    retryAfter: failure.retryAfterSeconds,
    attempts: failure.attempts,
    location: failure.location,
    cachedAt: failure.cachedAt && new Date(failure.cachedAt).toISOString(),
    target: failure.target,
    keySource: failure.key?.source,
    rule: failure.rule?.words,
  };
  return {
    code: entry.code,
    message: `${title}${status}: ${whatOf(failure)}. ${hint}`,
    data: {
      reason: failure.reason,
      gateway: failure.gateway,
      hint,
      retryable: entry.retryable,
      ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
    },
  };
}

/** A command line or environment that cannot be followed: `why`, without a full stop. */
export function misconfiguredError(why: string): RpcError {
  return localError({ reason: 'misconfigured', detail: why });
}

/** A message from the client that is larger than this program carries. */
export function tooLargeError(limitBytes: number): RpcError {
  return localError({ reason: 'request_too_large', limitBytes });
}

/** A bug, or a file of this program that is there no more. */
export function internalError(bug: Error): RpcError {
  const isGone = (bug as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
  const detail = 'files of mcp-latchkey are gone, as after an update while it ran';
  return localError({ reason: 'internal_error', ...(isGone ? { detail } : {}) });
}

/** A failure that no gateway has a part in. */
function localError(failure: Omit<Failure, 'gateway'>): RpcError {
  const { code, message, data } = toRpcError({ ...failure, gateway: 'https://none.invalid' });
  const { gateway: _none, ...rest } = data;
  return { code, message, data: rest };
}
