import { CATALOGUE, toRpcError } from './catalogue.ts';
import type { Failure, Reason } from './failure.ts';
import { nearestNames } from './nearest-name.ts';
import { NETWORK_CAUSES, type UnreachableCause } from './network-causes.ts';

/** An error that the gateway itself sends; mcp-latchkey adds the fix to its message. */
interface GatewayErrorEntry {
  readonly code: number;
  /** `data.reason`, or a name of ours where the gateway gives none. */
  readonly reason: string;
  readonly actor: Actor;
  readonly title: string;
  readonly explanation: readonly string[];
}

const GATEWAY_ERRORS: readonly GatewayErrorEntry[] = [
  {
    code: -32000,
    reason: 'credentials_unavailable',
    actor: 'you',
    title: 'Credentials unavailable',
    explanation: [
      "Your API key is fine. The gateway's own sign-in to the integration (Linear, GitHub, …) has expired or was revoked. Open the link in the message and reconnect the integration. No restart needed.",
      'Clients that support URL elicitation receive code -32042 with the link instead. To turn this off, use `--elicit-url off`.',
    ],
  },
  {
    code: -32042,
    reason: 'url_elicitation_required',
    actor: 'you',
    title: 'URL elicitation required',
    explanation: [
      'The same problem as `credentials_unavailable`, for clients that can open links. The client offers to open the page where you reconnect the integration. Reconnect, then try again.',
      'If `data.reason` is `sign_in_required`, the error is from mcp-latchkey: a sign-in waits for you in your browser, and the link opens it again.',
    ],
  },
  {
    code: -32602,
    reason: 'invalid_params',
    actor: 'you',
    title: 'Invalid params',
    explanation: [
      'This account has no such tool, or its arguments are wrong. Tool names have the form integration_tool, with one underscore: `linear_get_issue`, not `linear:get_issue`. For an unknown tool, the message suggests similar names.',
      'A tool may be missing because your account has no access to it, its integration is not connected, or `--integrations` filters it out.',
    ],
  },
  {
    code: -32601,
    reason: 'method_not_found',
    actor: 'later',
    title: 'Method not found',
    explanation: [
      "The gateway does not have this method. Many gateways offer tools and prompts but no resources. Clients ask for resources anyway and can ignore this error. For a tool call, it means that the tool's integration is disabled.",
    ],
  },
  {
    code: -32600,
    reason: 'invalid_request',
    actor: 'developer',
    title: 'Invalid request',
    explanation: [
      'The client sent something that is not a JSON-RPC message. This is a bug in the client. The message says what is wrong.',
    ],
  },
];

/** What each reason means and what to try: Markdown paragraphs. */
const EXPLANATIONS: Readonly<Record<Reason, readonly string[]>> = {
  no_api_key: [
    'The gateway requires an API key, but mcp-latchkey did not find one. It looks in these places, in this order: an `Authorization` header from `--header` or `--header-file`, `--key-command`, `--key-file`, the environment variable `MCP_LATCHKEY_API_KEY` (or the one that `--key-env` selects), and the OS keychain.',
    "Get a key from the gateway's web interface (often Settings › API), then store it with `npx mcp-latchkey login URL`. A running client uses the key from its next request on. `npx mcp-latchkey status URL` shows which key would be used.",
    "Desktop apps do not read your shell profile, so variables set there do not reach them. Set the variable under `env` in the client's config.",
    'Without a keychain, as in a container or over SSH, use `--key-command`, `--key-file` or an environment variable.',
  ],
  malformed_api_key: [
    'A key is a single word of ASCII characters. This one contains a space, a line break, a quotation mark or another invalid character, so nothing was sent.',
    'Usually extra text was copied with the key, or an editor replaced straight quotes with curly ones. Straight quotes around the whole key are removed.',
    'A placeholder such as `${NAME}`, `${env:NAME}`, `${input:key}`, `%NAME%` or `<your key>` is not sent either. Not every client fills these in: check which form yours supports, or store the key with `npx mcp-latchkey login URL` and remove it from the config.',
  ],
  unauthorized: [
    'The gateway received the key but does not recognize it. The key may be mistyped, revoked, expired, or meant for another deployment.',
    'If the message begins with "Access blocked", a sign-in page or a firewall in front of the gateway answered: see `forbidden`.',
    'The message says where the key came from and shows its last four characters. Compare them with the key you meant to use. If in doubt, create a new key and store it where the message says.',
    'If the gateway does not accept keys in the `Authorization` header, pass `--key-header NAME` with the header that it expects. `data.authorizationServers` lists the OAuth sign-in that it offers.',
  ],
  forbidden: [
    'The gateway, or something in front of it, refused the request. The message includes the reason that it gave, and its `Server`.',
    "If the message says that the key is valid, a new one will not help: its owner is not allowed to use API keys. A gateway administrator must enable *Personal API Key Access* for one of the owner's groups. This takes effect immediately. No restart needed.",
    'If the message begins with "Access blocked" and shows a web page, a firewall, a VPN portal or a sign-in page answered instead of the gateway, and the key does not matter. Open the address in a browser on the same computer, sign in to the network, or ask your administrator to allow this connection.',
  ],
  wrong_path: [
    'A server answered, but it has no MCP endpoint at this path (HTTP 404 or 405). Use the full URL of the MCP endpoint. Its path is usually `/v1/mcp`.',
    'With HTTP+SSE, the gateway itself names the address for messages: `data.target` is the one that does not exist.',
  ],
  not_acceptable: [
    'mcp-latchkey sends `Accept: application/json, text/event-stream` with every request, as MCP requires. If the gateway still answers 406, a proxy is changing the header, or the URL is not an MCP endpoint.',
  ],
  request_too_large: [
    'The request is larger than the gateway accepts. The usual cause is a file passed as an argument. Pass a link, or only part of the file.',
  ],
  rate_limited: [
    'There were too many requests in a short time. If the gateway asked for 30 seconds or less, mcp-latchkey has already waited and retried. `data.retryAfter` is the requested wait in seconds.',
  ],
  gateway_error: [
    'The gateway, or something in front of it, failed (HTTP 5xx). mcp-latchkey has already retried the request if that was safe. `data.attempts` is the number of attempts. It does not retry a tool call that may have run.',
  ],
  unreachable: [
    'mcp-latchkey received no HTTP response. The message says how far the connection got. `data.cause` is one of `dns`, `refused`, `reset`, `timeout`, `tls` or `proxy`.',
    'Without `data.cause`, the client stopped mcp-latchkey before the gateway accepted the request. It did not run.',
  ],
  invalid_response: [
    'The server answered with a success status but did not return the expected MCP message. It returned, for example, a web page, broken or truncated JSON, another content type, or a reply to another request.',
    'A web page usually means that a sign-in page or captive portal is in front of the gateway, or that the URL points to the web interface instead of the MCP endpoint. To check, open the host in a browser on the same computer.',
  ],
  interrupted: [
    'The request was in transit, or running, when the connection ended or the client stopped mcp-latchkey. mcp-latchkey cannot tell whether it took effect, so it does not send it again. Sending it twice could create two tickets or send two emails.',
    'Check whether the change was made, then decide. Tools that are annotated as read-only or idempotent are retried automatically.',
  ],
  redirected: [
    'The gateway redirects to another address. A key is sent only to the origin it was stored for, so mcp-latchkey did not follow. It does follow 307 and 308 redirects within the same origin.',
    'A redirect from `https://` to `http://` of the same host often comes from a gateway that does not know of the proxy in front of it. Use the https URL in the message.',
  ],
  http_error: [
    'The gateway answered with an HTTP status that has no section of its own on this page. The message includes what the gateway said.',
  ],
  misconfigured: [
    "The command line or the environment in the client's config is invalid: for example, an unknown option, a malformed URL, or `http://` to another computer. mcp-latchkey reports this to the client and exits with code 2.",
  ],
  internal_error: [
    'This is a bug in mcp-latchkey, or its files were replaced or deleted while it was running: by an update, by npx, or by clearing the npm cache.',
    'Restart the client. If it happens again, set `--log-level info` and `--log-file FILE`, and include the line that starts with `bug:` in your report.',
  ],
  tool_not_allowed: [
    "A filter blocks this tool, prompt or resource, so mcp-latchkey did not send the request. `data.rule` is the rule. Filters are options in the client's config, such as `--deny-tool` and `--read-only`, or are set by your organization's policy, which you can only narrow.",
    'Run `npx mcp-latchkey tools URL` with the options of your config to see which tools are left, and which rule blocks each of the others.',
    'If the message says that it can be read in more than one way, the client sent a message with a repeated member, or with a method that mcp-latchkey does not know. Two programs may read such a message differently, so no rule can allow it.',
  ],
  audit_failed: [
    "Your organization's policy requires a log of every call, and the log cannot be written. So mcp-latchkey did not send the call. If the message says that the call has run, only its reply is withheld: check whether it took effect before you try again.",
    'The message says which file it is, and why it cannot be written: the disk is full, the folder is missing, another user can write to it, or it is not a file.',
  ],
  sign_in_required: [
    'The gateway requires you to sign in (OAuth), and there is no sign-in yet, or it has expired or was revoked. With a desktop session mcp-latchkey opens your browser by itself and waits for up to `--sign-in-wait` seconds. If you finish later, the next request works.',
    'Over SSH, in a container, with `--no-browser` or with `--sign-in error` no browser is opened. After a sign-in that was closed or failed, none is opened by itself for 10 minutes. Run the command in the message.',
    'If the title is "Sign-in outage", the authorization server is down or sends invalid responses. Your sign-in is kept, and no browser is opened. The next request works once the server does. If it stays so, run `npx mcp-latchkey login URL`.',
    'Clients that support URL elicitation receive the link of a sign-in that waits for you: code -32042, or an input request in revision 2026-07-28. To turn this off, use `--elicit-url off`.',
    '`npx mcp-latchkey doctor URL` shows what the gateway and its authorization server say about sign-in.',
  ],
};

const REASONS = Object.keys(CATALOGUE) as Reason[];

/** Who has to do something about an error: the headings of the page, in this order. */
const ACTORS = {
  you: {
    heading: 'What you can fix',
    introduction: "On your computer, in the client's config, or in your account at the gateway.",
  },
  administrator: {
    heading: 'What your administrator can fix',
    introduction: "Your organization's administrator, for the gateway or for your network.",
  },
  operator: {
    heading: "What the gateway's operator can fix",
    introduction:
      'Check the URL first. If it is right, send the operator the message, or the report of `npx mcp-latchkey doctor --report doctor.html`.',
  },
  later: {
    heading: 'Try again',
    introduction: 'There is nothing to fix. Read what the section says before you try again.',
  },
  developer: {
    heading: 'Bugs',
    introduction: 'A program does something that it must not do. Report it to its developers.',
  },
} as const;

type Actor = keyof typeof ACTORS;

const ACTOR_OF: Readonly<Record<Reason, Actor>> = {
  no_api_key: 'you',
  malformed_api_key: 'you',
  unauthorized: 'you',
  forbidden: 'administrator',
  wrong_path: 'you',
  not_acceptable: 'administrator',
  request_too_large: 'you',
  rate_limited: 'later',
  gateway_error: 'operator',
  unreachable: 'you',
  invalid_response: 'you',
  interrupted: 'later',
  redirected: 'operator',
  http_error: 'operator',
  misconfigured: 'you',
  internal_error: 'developer',
  tool_not_allowed: 'you',
  audit_failed: 'you',
  sign_in_required: 'you',
};

const EXAMPLE_KEY = {
  source: 'keychain',
  origin: 'the keychain',
  tail: 'a1b2',
} satisfies Failure['key'];

const SIGN_IN = { source: 'sign-in', origin: 'the sign-in' } satisfies Failure['key'];

const EXAMPLES: { readonly [reason in Reason]: Partial<Failure> } = {
  no_api_key: { status: 401, key: { source: 'none', origin: 'no source' } },
  malformed_api_key: {},
  unauthorized: { status: 401 },
  forbidden: { status: 403, lacksKeyAccess: true },
  wrong_path: { status: 404, gateway: 'https://api.kindo.ai/mcp' },
  not_acceptable: { status: 406 },
  request_too_large: { status: 413, limitBytes: 52_428_800 },
  rate_limited: { status: 429, retryAfterSeconds: 60 },
  gateway_error: { status: 503, attempts: 3 },
  unreachable: { networkCause: 'connection-refused', attempts: 3 },
  invalid_response: { status: 200, detail: 'a web page, "Sign in"' },
  interrupted: { networkCause: 'connection-closed' },
  redirected: { status: 302, location: 'https://login.example.com/' },
  http_error: { status: 400, detail: 'unknown team' },
  misconfigured: {
    detail:
      'http://gateway.corp is unencrypted and would expose the API key. Use https, or pass --allow-http',
  },
  internal_error: {},
  tool_not_allowed: {
    detail: 'the tool linear_delete_issue',
    rule: { words: '--deny-tool *_delete_*', isManaged: false },
  },
  audit_failed: {
    detail: '/home/kim/audit.jsonl cannot be written (ENOSPC). Nothing was sent',
  },
  sign_in_required: { status: 401, key: SIGN_IN, signIn: { server: 'login.kindo.ai' } },
};

function example(reason: Reason): string {
  const gateway = 'https://api.kindo.ai/v1/mcp';
  return toRpcError({ reason, gateway, key: EXAMPLE_KEY, ...EXAMPLES[reason] }).message;
}

/** docs/errors.md: every error in words, for someone who has just seen one. Markdown. */
export function errorsPage(): string {
  return `${[
    '# Errors',
    'When a request fails, your client receives one error. Its message says what happened, then what to do. `npx mcp-latchkey explain CODE` prints the section of this page for that code or reason.',
    'An error does not end the session: once the cause is fixed, the next request works. Restart the client only if the message says so.',
    'Errors from mcp-latchkey have `data`: `data.reason` is the reason, `data.hint` says what to do, and `data.retryable` says whether the same request may succeed later. `data.detail` says what exactly happened, often in the words of the gateway. `data.cachedAt` means that the gateway was down at the start, and says from when the lists are that your client has. The codes -32000, -32042, -32601 and -32602 are from the gateway, but for the -32042 of a sign-in. mcp-latchkey leaves their `code` and `data` unchanged, except for secrets in them, and appends the fix to `message`. When a tool itself fails, its result has `isError` set and is passed through unchanged.',
    ...(Object.keys(ACTORS) as Actor[]).map(actorGroup),
  ].join('\n\n')}\n`;
}

/** The errors that one actor has to do something about: a table, then a section for each. */
function actorGroup(actor: Actor): string {
  const reasons = REASONS.filter((reason) => ACTOR_OF[reason] === actor);
  const fromGateway = GATEWAY_ERRORS.filter((entry) => entry.actor === actor);
  const { heading, introduction } = ACTORS[actor];
  const rows = [...reasons.map((reason) => ({ reason, ...CATALOGUE[reason] })), ...fromGateway].map(
    ({ reason, code, title }) => `| [\`${reason}\`](#${reason}) | ${code} | ${title} |`,
  );
  return [
    `## ${heading}`,
    introduction,
    ['| reason | code | title |', '|---|---|---|', ...rows].join('\n'),
    ...reasons.map((reason) => reasonSection(reason)),
    ...fromGateway.map((entry) => section(entry.reason, entry)),
  ].join('\n\n');
}

function reasonSection(reason: Reason, cause?: UnreachableCause): string {
  const { code, title } = CATALOGUE[reason];
  return section(reason, {
    code,
    title,
    example: example(reason),
    explanation: [
      ...EXPLANATIONS[reason],
      ...(reason === 'unreachable' ? [causeTable(cause)] : []),
    ],
  });
}

interface Section {
  readonly code: number;
  readonly title: string;
  /** What mcp-latchkey says. */
  readonly example?: string;
  readonly explanation: readonly string[];
}

function section(reason: string, { code, title, example: said, explanation }: Section): string {
  return [
    `### ${reason}`,
    `**${title}**, code ${code}.`,
    ...(said === undefined ? [] : [`> ${said}`]),
    ...explanation,
  ].join('\n\n');
}

/** What leads to no response, of one cause or of all. */
function causeTable(only?: UnreachableCause): string {
  return [
    '| cause | what happened | what to do |',
    '|---|---|---|',
    ...Object.values(NETWORK_CAUSES)
      .filter(({ cause }) => only === undefined || cause === only)
      .map(({ cause, what, remedy }) => `| \`${cause}\` | ${what('the host')} | ${remedy} |`),
  ].join('\n');
}

/** What people find in a log in place of a reason, and the cause that it stands for. */
const CAUSE_OF: readonly (readonly [code: RegExp, cause: UnreachableCause])[] = [
  [/^(?:DNS|ENOTFOUND|EAI_\w+)$/, 'dns'],
  [/^(?:REFUSED|ECONNREFUSED|EHOSTUNREACH|ENETUNREACH)$/, 'refused'],
  [/^(?:RESET|ECONNRESET|EPIPE)$/, 'reset'],
  [/^(?:TIMEOUT|ETIMEDOUT|ESOCKETTIMEDOUT)$/, 'timeout'],
  [/^(?:PROXY|ERR_PROXY_\w+)$/, 'proxy'],
  [/^(?:TLS|SSL|CERTIFICATE|EPROTO|\w*CERT\w*|\w*SIGNATURE|ERR_(?:TLS|SSL)_\w+)$/, 'tls'],
];

/** The reasons that an HTTP status can lead to. */
function reasonsOfStatus(status: number): readonly Reason[] {
  if (status === 401) return ['no_api_key', 'unauthorized'];
  if (status === 405) return ['wrong_path'];
  if (status >= 300 && status < 400) return ['redirected'];
  if (status >= 500 && status < 600) return ['gateway_error'];
  if (status < 400 || status >= 600) return [];
  const own = REASONS.filter((reason) => EXAMPLES[reason].status === status);
  return own.length > 0 ? own : ['http_error'];
}

/**
 * The part of the page about a code (`-32012`, `32012`), a reason (`unauthorized`), an HTTP status
 * (`401`), a title, a cause or a system's error code (`dns`, `ENOTFOUND`); undefined when there is none.
 */
export function explainError(asked: string): string | undefined {
  const text = asked.trim();
  const wanted = text.toLowerCase().replaceAll(/[- ]/g, '_');
  const isWanted = ({ code, title }: Pick<Section, 'code' | 'title'>, reason: string) =>
    wanted === reason ||
    wanted.replace(/^_/, '') === String(-code) ||
    text.toLowerCase() === title.toLowerCase();
  const [, cause] = CAUSE_OF.find(([code]) => code.test(text.toUpperCase())) ?? [];
  const ofStatus = /^(?:http )?\d{3}$/i.test(text) ? reasonsOfStatus(Number(text.slice(-3))) : [];
  const sections = [
    ...REASONS.filter(
      (reason) => isWanted(CATALOGUE[reason], reason) || ofStatus.includes(reason),
    ).map((reason) => reasonSection(reason)),
    ...GATEWAY_ERRORS.filter((entry) => isWanted(entry, entry.reason)).map((entry) =>
      section(entry.reason, entry),
    ),
    ...(cause === undefined ? [] : [reasonSection('unreachable', cause)]),
  ];
  return sections.length === 0 ? undefined : sections.join('\n\n');
}

/** Every reason that `explainError` knows. */
export const EXPLAINED_REASONS: readonly string[] = [
  ...REASONS,
  ...GATEWAY_ERRORS.map(({ reason }) => reason),
];

/** The reasons that `asked` was most likely meant to be, nearest first. */
export function nearestReasons(asked: string): string[] {
  return nearestNames(asked, [...EXPLAINED_REASONS, 'dns', 'timeout', 'proxy', 'certificate']);
}
