import { CATALOGUE, type CatalogueEntry, type Reason, wordFailure } from './catalogue.ts';
import type { Failure } from './failure.ts';
import { TROUBLES } from './unreachable.ts';

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

const REASONS = Object.keys(CATALOGUE) as Reason[];

const EXAMPLE_KEY = {
  source: 'keychain',
  origin: 'the keychain',
  tail: 'a1b2',
} satisfies Failure['key'];

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
  unreachable: { trouble: 'connection-refused', attempts: 3 },
  invalid_response: { status: 200, detail: 'an HTML page, “Sign in”' },
  interrupted: { trouble: 'connection-closed' },
  redirected: { status: 302, location: 'https://login.example.com/' },
  http_error: { status: 400, detail: 'unknown team' },
  misconfigured: {
    detail: 'http://gateway.corp is plain http: the API key would be readable on the way',
  },
};

function example(reason: Reason): string {
  const gateway = 'https://api.kindo.ai/v1/mcp';
  return wordFailure({ reason, gateway, key: EXAMPLE_KEY, ...EXAMPLES[reason] }).message;
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
    'These are the gateway’s own answers. mcp-latchkey leaves `code` and `data` as they are and adds to `message` what mends it. A tool that fails in its own way answers with a result that has `isError`, which is passed on untouched.',
    ['| reason | code | |', '|---|---|---|', ...gatewayRows].join('\n'),
    ...REASONS.map((reason) => section(reason, CATALOGUE[reason], reason)),
    ...GATEWAY_ERRORS.map((entry) => section(entry.reason, entry)),
  ].join('\n\n')}\n`;
}

function section(
  reason: string,
  { code, title, explanation }: Pick<CatalogueEntry, 'code' | 'title' | 'explanation'>,
  ofOurs?: Reason,
): string {
  return [
    `### ${reason}`,
    `**${title}**, code ${code}.`,
    ...(ofOurs === undefined ? [] : [`> ${example(ofOurs)}`]),
    ...explanation,
    ...(ofOurs === 'unreachable' ? [troubleTable()] : []),
  ].join('\n\n');
}

function troubleTable(): string {
  return [
    '| cause | what happened | what to do |',
    '|---|---|---|',
    ...Object.values(TROUBLES).map(
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
    ...REASONS.filter((reason) => isWanted(CATALOGUE[reason].code, reason)).map((reason) =>
      section(reason, CATALOGUE[reason], reason),
    ),
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
