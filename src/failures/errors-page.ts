import { CATALOGUE, toRpcError } from './catalogue.ts';
import type { Failure, Reason } from './failure.ts';
import { NETWORK_CAUSES } from './network-causes.ts';

/** An error that the gateway itself sends; mcp-latchkey adds to its message what mends it. */
interface GatewayErrorEntry {
  readonly code: number;
  /** `data.reason`, or a name of ours where the gateway gives none. */
  readonly reason: string;
  readonly title: string;
  readonly explanation: readonly string[];
}

const GATEWAY_ERRORS: readonly GatewayErrorEntry[] = [
  {
    code: -32000,
    reason: 'credentials_unavailable',
    title: 'Credentials unavailable',
    explanation: [
      'Your API key is fine. The gateway, in turn, signs in to the integration (Linear, GitHub, …) for you, and those credentials were revoked or have expired. Open the link in the message and reconnect the integration; no restart is needed.',
      'A client that can show links (URL-mode elicitation) gets the code -32042 with the link instead. `--elicit-url off` turns that off.',
    ],
  },
  {
    code: -32042,
    reason: 'url_elicitation_required',
    title: 'URL elicitation required',
    explanation: [
      'The same as `credentials_unavailable`, for a client that can show a link: it offers to open the page where the integration is reconnected. Do that, then repeat the call.',
    ],
  },
  {
    code: -32602,
    reason: 'invalid_params',
    title: 'Invalid params',
    explanation: [
      'The tool does not exist for this account, or its arguments are wrong. Tool names are the integration, one underscore and the name: `linear_get_issue`, not `linear:get_issue`. When the tool is unknown, the message names the nearest ones that the gateway has listed.',
      'A tool may be missing because your account may not use it, because its integration is not connected, or because `--integrations` leaves it out.',
    ],
  },
  {
    code: -32601,
    reason: 'method_not_found',
    title: 'Method not found',
    explanation: [
      'The gateway does not have this method. Many gateways have tools and prompts but no resources: clients ask all the same, and may ignore this error. For a tool call it means that the tool’s integration is disabled.',
    ],
  },
  {
    code: -32600,
    reason: 'invalid_request',
    title: 'Invalid request',
    explanation: [
      'What the client wrote to mcp-latchkey is no JSON-RPC message. That is a fault of the client; the message says what is wrong with it.',
    ],
  },
];

/** What each reason means and what to try: Markdown paragraphs. */
const EXPLANATIONS: Readonly<Record<Reason, readonly string[]>> = {
  no_api_key: [
    'The gateway wants an API key, and no place where mcp-latchkey looks for one has it. It looks, in this order, at an `Authorization` header given with `--header` or `--header-file`, `--key-command`, `--key-file`, the environment variable `MCP_LATCHKEY_API_KEY` (or the one that `--key-env` names), and the OS keychain.',
    'Get a key from the gateway’s web interface (often Settings › API), then store it with `npx mcp-latchkey login URL`. A running client finds it with its next request. `npx mcp-latchkey status URL` shows where a key would come from.',
    'A desktop client does not read your shell’s profile: a variable that is set there does not reach it. Set it in the client’s config, under `env`.',
  ],
  malformed_api_key: [
    'A key is one word of plain ASCII. This one has a space, a line break, a quote mark or another character in it that cannot be sent, so nothing was sent at all.',
    'It often means that more than the key was copied, that a placeholder was left in, or that an editor made quotes “curly”.',
  ],
  unauthorized: [
    'The key reached the gateway, and the gateway does not know it: it was mistyped, revoked, has expired, or belongs to another deployment.',
    'The message names the place the key came from and its last four characters: compare them with the key you meant. Make a new key if in doubt and put it where the message says.',
  ],
  forbidden: [
    'The key is right; a new one will not help. The person it belongs to lacks the entitlement to use API keys.',
    'An admin of the gateway has to enable *Personal API Key Access* in the settings of one of that person’s groups. After that it works at once, without a restart.',
  ],
  wrong_path: [
    'A server answered, but not at this path: HTTP 404 or 405. The URL must be that of the MCP endpoint, with its whole path, which is usually `/v1/mcp`.',
  ],
  not_acceptable: [
    'mcp-latchkey sends `Accept: application/json, text/event-stream` with every request, as MCP asks. A 406 all the same means that something on the way changes that header, or that the URL leads to something that is no MCP endpoint.',
  ],
  request_too_large: [
    'The request is larger than the gateway takes. Files passed as arguments are the usual cause: pass a link or a part of it instead.',
  ],
  rate_limited: [
    'Too many requests came in a short time. mcp-latchkey has already waited and tried again, as long as the gateway asked for no more than 30 s. `data.retryAfter` says how many seconds the gateway wants.',
  ],
  gateway_error: [
    'The gateway, or something in front of it, failed: HTTP 5xx. What is safe to repeat has been repeated; `data.attempts` says how often it was tried. A tool call that may have run is not repeated.',
  ],
  unreachable: [
    'No HTTP answer came at all. The message says how far it got, and `data.cause` names it: `dns`, `refused`, `reset`, `timeout`, `tls` or `proxy`.',
    'Without `data.cause`, the client stopped mcp-latchkey before the gateway accepted the request. It did not run.',
  ],
  invalid_response: [
    'Something answered with success, but not with the MCP message that was asked for: a web page, broken or truncated JSON, another content type, an answer to another request.',
    'A web page often means that a single sign-on or a captive portal stands in front of the gateway, or that the URL leads to the web interface instead of the MCP endpoint. Open the URL’s host in a browser on the same machine to see.',
  ],
  interrupted: [
    'The request was on its way, or running, when the connection ended or the client stopped mcp-latchkey. Whether it took effect cannot be known from here, so mcp-latchkey does not send it again: a call could otherwise create two tickets or send two mails.',
    'Look at what the call was to change, then decide. Tools that say in their annotations that they only read, or may safely be repeated, are repeated.',
  ],
  redirected: [
    'The gateway’s URL leads elsewhere. A key is only for the origin it was given for, so it was not sent on. Redirects within the origin that keep the method (307, 308) are followed.',
  ],
  http_error: [
    'The gateway answered with a status that has no reason of its own here. What it said about it stands in the message.',
  ],
  misconfigured: [
    'The command line or the environment in the client’s config says something that cannot be followed: an unknown option, a URL that is none, plain `http://` beyond this machine. The program says so, to the client too, and exits with 2.',
  ],
  internal_error: [
    'The fault is in mcp-latchkey itself. Often its files were replaced or removed while it ran: by an update, by npx, by clearing the npm cache. The running program loads some of them only when it needs them.',
    'Restart the client. If it happens again, set `--log-level info` and `--log-file FILE`, and report what the line that begins with `bug:` says.',
  ],
  sign_in_required: [
    'The gateway requires you to sign in (OAuth), and there is no sign-in yet, or it has expired or was revoked. With a desktop session mcp-latchkey opens your browser by itself and waits for up to `--sign-in-wait` seconds. If you finish later, the next request works.',
    'Over SSH, in a container, with `--no-browser` or with `--sign-in error` no browser is opened. After a sign-in that was closed or failed, none is opened by itself for 10 minutes. Run the command in the message.',
    '`npx mcp-latchkey doctor URL` shows what the gateway and its authorization server say about sign-in.',
  ],
};

const REASONS = Object.keys(CATALOGUE) as Reason[];

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
  forbidden: { status: 403 },
  wrong_path: { status: 404, gateway: 'https://api.kindo.ai/mcp' },
  not_acceptable: { status: 406 },
  request_too_large: { status: 413, limitBytes: 52_428_800 },
  rate_limited: { status: 429, retryAfterSeconds: 60 },
  gateway_error: { status: 503, attempts: 3 },
  unreachable: { networkCause: 'connection-refused', attempts: 3 },
  invalid_response: { status: 200, detail: 'a web page, “Sign in”' },
  interrupted: { networkCause: 'connection-closed' },
  redirected: { status: 302, location: 'https://login.example.com/' },
  http_error: { status: 400, detail: 'unknown team' },
  misconfigured: {
    detail:
      'http://gateway.corp is plain http: the API key would be readable on the way. Use https, or --allow-http if you know the network',
  },
  internal_error: {},
  sign_in_required: { status: 401, key: SIGN_IN, signIn: { server: 'login.kindo.ai' } },
};

function example(reason: Reason): string {
  const gateway = 'https://api.kindo.ai/v1/mcp';
  return toRpcError({ reason, gateway, key: EXAMPLE_KEY, ...EXAMPLES[reason] }).message;
}

/** docs/errors.md: every error in words, for someone who has just seen one. Markdown. */
export function errorsPage(): string {
  const rows = REASONS.map((reason) => {
    const { code, title } = CATALOGUE[reason];
    return `| [\`${reason}\`](#${reason}) | ${code} | ${title} |`;
  });
  const gatewayRows = GATEWAY_ERRORS.map(
    ({ reason, code, title }) => `| [\`${reason}\`](#${reason}) | ${code} | ${title} |`,
  );
  return `${[
    '# Errors',
    'When a request cannot be answered, your client gets one error. Its message says first what happened, then what to do. `npx mcp-latchkey explain CODE` prints the part of this page about a code or reason.',
    'The session goes on after each of them: when the cause is mended, the next request works. Only where the message says so must the client be restarted.',
    '## From mcp-latchkey',
    'The gateway could not be asked, or its answer was none. `data.reason` holds the reason, `data.hint` what to do, `data.retryable` whether the same request may work later with nothing changed.',
    ['| reason | code | |', '|---|---|---|', ...rows].join('\n'),
    '## From the gateway',
    'These are the gateway’s own answers. mcp-latchkey leaves `code` and `data` as they are, except for a secret in them, and adds to `message` what mends it. A tool that fails in its own way answers with a result that has `isError`, which is passed on untouched.',
    ['| reason | code | |', '|---|---|---|', ...gatewayRows].join('\n'),
    ...REASONS.map(reasonSection),
    ...GATEWAY_ERRORS.map((entry) => section(entry.reason, entry)),
  ].join('\n\n')}\n`;
}

function reasonSection(reason: Reason): string {
  const { code, title } = CATALOGUE[reason];
  return section(reason, {
    code,
    title,
    example: example(reason),
    explanation: [...EXPLANATIONS[reason], ...(reason === 'unreachable' ? [causeTable()] : [])],
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

function causeTable(): string {
  return [
    '| cause | what happened | what to do |',
    '|---|---|---|',
    ...Object.values(NETWORK_CAUSES).map(
      ({ cause, what, remedy }) => `| \`${cause}\` | ${what} | ${remedy} |`,
    ),
  ].join('\n');
}

/**
 * The part of the page about a code (`-32012`, `32012`) or a reason (`unauthorized`); undefined
 * when there is none.
 */
export function explainError(codeOrReason: string): string | undefined {
  const wanted = codeOrReason.trim().toLowerCase().replaceAll('-', '_');
  const isWanted = (code: number, reason: string) =>
    wanted === reason || wanted.replace(/^_/, '') === String(-code);
  const sections = [
    ...REASONS.filter((reason) => isWanted(CATALOGUE[reason].code, reason)).map(reasonSection),
    ...GATEWAY_ERRORS.filter(({ code, reason }) => isWanted(code, reason)).map((entry) =>
      section(entry.reason, entry),
    ),
  ];
  return sections.length === 0 ? undefined : sections.join('\n\n');
}

/** Every reason that `explainError` knows. */
export const EXPLAINED_REASONS: readonly string[] = [
  ...REASONS,
  ...GATEWAY_ERRORS.map(({ reason }) => reason),
];
