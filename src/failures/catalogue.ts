import { withOwnCommand } from '../terminal/own-command.ts';
import type { Failure, Reason } from './failure.ts';
import { NETWORK_CAUSES, type UnreachableCause } from './network-causes.ts';
import {
  because,
  firstKeyRemedy,
  forbiddenRemedy,
  host,
  howToGetKey,
  isSignedIn,
  isUnencrypted,
  keySentence,
  login,
  newKeyRemedy,
  otherHeaderRemedy,
  quoted,
  seconds,
  size,
  tokenRemedy,
  wrongPathRemedy,
} from './remedies.ts';

/** A JSON-RPC error object (JSON-RPC 2.0 §5.1). */
export interface RpcError {
  readonly code: number;
  readonly message: string;
  readonly data: Record<string, unknown>;
}

/** A reason for which the gateway does not answer a request, and its words. */
export interface CatalogueEntry {
  readonly code: number;
  readonly title: string;
  /** Whether the same request may work later with nothing changed. */
  readonly retryable: boolean;
  /** What happened, to follow the title and a colon; without a full stop at the end. */
  what(failure: Failure): string;
  /** What to do about it: whole sentences. */
  remedy(failure: Failure): string;
}

/** Every reason for which a request can fail here. */
export const CATALOGUE = {
  no_api_key: {
    code: -32010,
    title: 'No API key',
    retryable: false,
    what: (failure) => {
      if (failure.status === undefined) return failure.detail ?? 'no API key was found';
      const { keychainError, nearMiss } = failure.key ?? {};
      const found = keychainError ?? nearMiss;
      const more = found === undefined ? '' : `. ${found.charAt(0).toUpperCase()}${found.slice(1)}`;
      return `${host(failure)} requires one, but none is set${more || because(failure)}`;
    },
    remedy: (failure) => firstKeyRemedy(failure) + howToGetKey(failure.resource),
  },
  malformed_api_key: {
    code: -32011,
    title: 'Invalid API key',
    retryable: false,
    what: (failure) =>
      `${
        failure.isPlaceholder
          ? 'it is a placeholder that was not filled in, so it was not sent'
          : 'it contains spaces or invalid characters, so it was not sent'
      }${keySentence(failure)}`,
    remedy: (failure) => newKeyRemedy(failure, failure.isPlaceholder ? 'the key' : 'only the key'),
  },
  unauthorized: {
    code: -32012,
    title: 'API key rejected',
    retryable: false,
    what: (failure) => {
      if (failure.signIn !== undefined) return failure.detail ?? 'no access token was given';
      return `${host(failure)} does not accept it${because(failure)}${keySentence(failure)}`;
    },
    remedy: (failure) =>
      isSignedIn(failure)
        ? tokenRemedy(failure)
        : (otherHeaderRemedy(failure) ?? newKeyRemedy(failure, 'a new key')),
  },
  forbidden: {
    code: -32013,
    title: 'Access denied',
    retryable: false,
    what: (failure) =>
      failure.lacksKeyAccess
        ? 'the API key is valid, but its owner may not use API keys'
        : isSignedIn(failure)
          ? `your sign-in to ${host(failure)} is not enough${because(failure)}`
          : `${host(failure)} refused it${because(failure)}`,
    remedy: forbiddenRemedy,
  },
  wrong_path: {
    code: -32014,
    title: 'Wrong URL',
    retryable: false,
    what: ({ detail = 'MCP endpoint', gateway, target = gateway }) =>
      `${target} is not an ${detail}`,
    remedy: wrongPathRemedy,
  },
  not_acceptable: {
    code: -32015,
    title: 'Format rejected',
    retryable: false,
    what: (failure) => `${host(failure)} refused the Accept header${because(failure)}`,
    remedy: () =>
      'A proxy may be changing it. Check any proxy between this computer and the gateway.',
  },
  request_too_large: {
    code: -32016,
    title: 'Request too large',
    retryable: false,
    what: (failure) =>
      failure.status === undefined
        ? `it exceeds mcp-latchkey's limit of ${size(failure.limitBytes ?? 0)}`
        : failure.limitBytes === undefined
          ? `${host(failure)} does not accept it${because(failure)}`
          : `${host(failure)} accepts at most ${size(failure.limitBytes)}`,
    remedy: ({ status }) =>
      status === undefined
        ? 'Send less data, or raise --max-message-bytes.'
        : 'Send less data, for example a link instead of a file.',
  },
  rate_limited: {
    code: -32017,
    title: 'Rate limited',
    retryable: true,
    what: (failure) => `too many requests to ${host(failure)}${because(failure)}`,
    remedy: ({ retryAfterSeconds }) =>
      retryAfterSeconds === undefined
        ? 'Wait a moment, then try again.'
        : `Try again in ${seconds(retryAfterSeconds)}.`,
  },
  gateway_error: {
    code: -32018,
    title: 'Gateway error',
    retryable: true,
    what: (failure) => {
      const { attempts = 1 } = failure;
      return `${host(failure)} failed${attempts > 1 ? ` ${attempts} times` : ''}${because(failure)}`;
    },
    remedy: ({ retryAfterSeconds }) =>
      `Try again in ${retryAfterSeconds === undefined ? 'a minute' : seconds(retryAfterSeconds)}. If it persists, contact the gateway's operator.`,
  },
  unreachable: {
    code: -32019,
    title: 'Cannot reach the gateway',
    retryable: true,
    what: (failure) => {
      const { networkCause = 'connection-closed', attempts = 1 } = failure;
      const what = failure.detail ?? NETWORK_CAUSES[networkCause].what(host(failure));
      return `${what}${attempts > 1 ? `. Tried ${attempts} times` : ''}`;
    },
    remedy: ({ networkCause = 'connection-closed' }) => NETWORK_CAUSES[networkCause].remedy,
  },
  invalid_response: {
    code: -32009,
    title: 'Not an MCP response',
    retryable: false,
    what: (failure) =>
      failure.limitBytes === undefined
        ? `${host(failure)} sent ${quoted(failure.detail ?? 'no reply')}`
        : `the reply exceeds the limit of ${size(failure.limitBytes)}`,
    remedy: ({ limitBytes, networkCause }) =>
      limitBytes !== undefined
        ? 'The request did run. Ask for less data, or raise --max-message-bytes.'
        : networkCause !== undefined
          ? "Try again. If it persists, contact the gateway's operator."
          : 'Check that the URL is the MCP endpoint, or sign in to the network first.',
  },
  interrupted: {
    code: -32008,
    title: 'Connection lost',
    retryable: false,
    what: (failure) => {
      const closed = `the connection to ${host(failure)} closed early`;
      return `${failure.detail ?? closed}. The request may have run`;
    },
    remedy: () => 'It was not retried. Check whether it took effect before you try again.',
  },
  redirected: {
    code: -32007,
    title: 'Redirect not followed',
    retryable: false,
    what: (failure) =>
      `${host(failure)} redirects to ${
        failure.isDowngrade ? 'plain http' : `${failure.location} instead`
      }. The API key was not sent there`,
    remedy: ({ status, isDowngrade, location, gateway }) =>
      status === undefined
        ? "Messages only go to the gateway's own origin. Contact the gateway's operator."
        : isDowngrade
          ? `Set the URL in the client's config to ${location} and restart the client.`
          : isUnencrypted(location) && !isUnencrypted(gateway)
            ? "That address is not encrypted. Ask the gateway's operator for its https URL."
            : "If you trust that address, use it as the URL in the client's config.",
  },
  http_error: {
    code: -32006,
    title: 'Request rejected',
    retryable: false,
    what: (failure) => `${host(failure)} refused it${because(failure)}`,
    remedy: () =>
      "Check the URL and the request. If they are right, contact the gateway's operator.",
  },
  misconfigured: {
    code: -32005,
    title: 'Invalid configuration',
    retryable: false,
    what: (failure) => failure.detail ?? 'the command line is invalid',
    remedy: () => "Fix the arguments in the client's config, then restart the client.",
  },
  internal_error: {
    code: -32004,
    title: 'Internal error',
    retryable: false,
    what: ({ detail = 'mcp-latchkey hit a bug' }) => `${detail}. The request may have run`,
    remedy: () => 'Restart the client. If it happens again, report it and attach the log.',
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
  audit_failed: {
    code: -32001,
    title: 'Audit log not written',
    retryable: true,
    what: ({ detail = 'the log cannot be written. Nothing was sent' }) => detail,
    remedy: () => 'Free disk space, or check the permissions of the file. No restart needed.',
  },
  sign_in_required: {
    code: -32003,
    title: 'Sign-in required',
    retryable: true,
    what: (failure) => {
      const { server, link } = failure.signIn ?? {};
      if (link !== undefined) return `${host(failure)} is waiting for your sign-in`;
      // A whole detail: its last sentence may be what to set.
      if (failure.detail !== undefined) return failure.detail;
      const where = server === undefined ? '' : `. You sign in at ${server}`;
      return `${host(failure)} requires you to sign in${where}`;
    },
    remedy: (failure) => {
      if (failure.isTransient) return 'Your sign-in is kept. Try again later. No restart needed.';
      return failure.signIn?.link === undefined
        ? `Run ${login(failure)}. No restart needed.`
        : 'Finish it in your browser, then try again. No restart needed.';
    },
  },
} satisfies Record<Reason, CatalogueEntry>;

/** What happened, whatever the status means; without a full stop. */
function whatOf(failure: Failure): string {
  return failure.isIntermediary
    ? `${host(failure)} sent ${quoted(failure.detail ?? 'no reason')}`
    : CATALOGUE[failure.reason].what(failure);
}

function remedyOf(failure: Failure): string {
  if (failure.offersHttpSse) {
    return "Add --transport sse to the arguments in the client's config, then restart the client.";
  }
  if (failure.isIntermediary) {
    return 'A firewall or sign-in page may block it. Open the URL in a browser, or ask your administrator.';
  }
  if (failure.networkCause === 'http2-only') return NETWORK_CAUSES['http2-only'].remedy;
  return CATALOGUE[failure.reason].remedy(failure);
}

function titleOf(failure: Failure, { title }: CatalogueEntry): string {
  if (failure.isIntermediary) return 'Access blocked';
  if (failure.reason === 'sign_in_required' && failure.isTransient) return 'Sign-in outage';
  if (failure.reason !== 'unauthorized') return title;
  if (failure.signIn !== undefined) return 'No access token';
  return isSignedIn(failure) ? 'Access token rejected' : title;
}

/**
 * The JSON-RPC error for a failure. `message` is one line, what happened and then what to do,
 * because many clients show nothing else: at most 200 characters, without URLs, commands and what
 * the network said. `data.reason` is the stable name, `data.hint` only the remedy, `data.detail` what
 * exactly happened.
 */
export function toRpcError(failure: Failure): RpcError {
  const entry: CatalogueEntry = CATALOGUE[failure.reason];
  const title = titleOf(failure, entry);
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
    detail: failure.detail,
    documentation: failure.resource?.documentation,
    authorizationServers: failure.resource?.authorizationServers,
  };
  return {
    code: entry.code,
    message: `${title}${status}: ${asSentence(whatOf(failure))} ${hint}`,
    data: {
      reason: failure.reason,
      gateway: failure.gateway,
      hint,
      retryable: entry.retryable,
      ...Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)),
    },
  };
}

/** An invalid command line or environment: `why`, without a full stop. */
export function misconfiguredError(why: string): RpcError {
  return localError({ reason: 'misconfigured', detail: withOwnCommand(why) });
}

/** A message from the client that exceeds `limitBytes`. */
export function tooLargeError(limitBytes: number): RpcError {
  return localError({ reason: 'request_too_large', limitBytes });
}

/** A bug, or a file of this program that no longer exists. */
export function internalError(bug: Error): RpcError {
  const isGone = (bug as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
  const detail = "some of mcp-latchkey's files are missing, probably after an update";
  return localError({ reason: 'internal_error', ...(isGone ? { detail } : {}) });
}

/** With a full stop where it has no mark at its end. */
function asSentence(text: string): string {
  return text.endsWith('?') ? text : `${text}.`;
}

/** A failure without a gateway. */
function localError(failure: Omit<Failure, 'gateway'>): RpcError {
  const { code, message, data } = toRpcError({ ...failure, gateway: 'https://none.invalid' });
  const { gateway: _none, ...rest } = data;
  return { code, message, data: rest };
}
