import { cleanNetworkText } from '../../failures/network-text.ts';
import { METHOD_NOT_FOUND } from '../../jsonrpc/error-codes.ts';
import { itemsOf, memberOf, stringOf, valueIn } from '../../jsonrpc/json-members.ts';
import type { Answer, DoctorRun } from '../doctor-run.ts';
import { count, type Finding, problemOf } from '../finding.ts';
import { notifyInitialized } from '../key-trial.ts';

/** A list may go on for ever. */
const MOST_PAGES = 50;
const MOST_MS = 5_000;
const MOST_NAMES = 4;

/** What a reply says, as JSON. */
interface Envelope {
  readonly result: Buffer | undefined;
  readonly error: Buffer | undefined;
}

/** MCP itself: the handshake, a ping, and what there is to use. */
export async function checkProtocol(run: DoctorRun): Promise<Finding[]> {
  const authorization = await run.authorize();
  if ('skipped' in authorization || authorization.failure !== undefined) {
    const line = 'no access';
    return [{ check: 'protocol', name: 'initialize', status: 'skipped', line }];
  }
  const hello = helloFinding(run, authorization);
  const failure = await notifyInitialized(run.gateway);
  const findings = [failure === undefined ? hello : { ...hello, ...failed(failure) }];
  // One after the other, on the connection that is open: others would cost more than they save.
  for (const check of [ping, tools, prompts]) {
    const next = await check(run);
    findings.push(next);
    if (next.problem?.reason === 'unreachable') break;
  }
  return findings;
}

function helloFinding(run: DoctorRun, answer: Answer): Finding {
  const base = { check: 'protocol', name: 'initialize', ...msOf(answer) } as const;
  const { result, error } = envelopeOf(answer);
  if (error) return { ...base, ...refused(run, 'initialize', error) };
  const posted = answer.requests.findLast(({ method }) => method === 'POST');
  const { headers = {} } = posted ?? {};
  const serverInfo = memberOf(result, 'serverInfo');
  const [name, version] = [stringOf(serverInfo, 'name'), stringOf(serverInfo, 'version')];
  const { translatedRevision } = run.gateway;
  const revision =
    translatedRevision ?? cleanNetworkText(stringOf(result, 'protocolVersion') ?? '', 40);
  const isStream = /^text\/event-stream/i.test(headers['content-type'] ?? '');
  const hasSession = headers['mcp-session-id'] !== undefined;
  // Else the reply came on the stream of the other transport, maybe before the POST's answer.
  const isHttpSse = posted?.status !== 200;
  const parts = [
    revision === '' ? 'no protocol version' : `MCP ${revision}`,
    ...(translatedRevision === undefined ? [] : ['translated for older clients']),
    ...(isHttpSse
      ? ['over HTTP+SSE, which is deprecated']
      : [
          isStream ? 'event-stream replies' : 'JSON replies',
          // Revisions that are translated know none.
          ...(translatedRevision === undefined
            ? [hasSession ? 'with a session' : 'no session']
            : []),
        ]),
  ];
  return {
    ...base,
    status: revision === '' ? 'warn' : 'ok',
    line: parts.join(', '),
    details: {
      protocolVersion: revision,
      server: cleanNetworkText(`${name ?? ''} ${version ?? ''}`, 100),
      replies: isHttpSse ? 'HTTP+SSE' : isStream ? 'event stream' : 'JSON',
      session: hasSession,
      ...(translatedRevision === undefined ? {} : { translated: true }),
    },
  };
}

async function ping(run: DoctorRun): Promise<Finding> {
  const { pingMethod } = run;
  const answer = await run.ask(run.gateway, pingMethod, {});
  const base = { check: 'protocol', name: 'ping', ...msOf(answer) } as const;
  if (answer.failure) return { ...base, ...failed(answer.failure) };
  const { error } = envelopeOf(answer);
  if (error) return { ...base, status: 'warn', line: `error: ${saidIn(error)}` };
  const { translatedRevision } = run.gateway;
  const line =
    translatedRevision === undefined
      ? 'ok'
      : `ok (${pingMethod}, MCP ${translatedRevision} has no ping)`;
  return { ...base, status: 'ok', line };
}

async function tools(run: DoctorRun): Promise<Finding> {
  const before = run.logged.length;
  const { names, hasMore, answer } = await list(run, 'tools/list', 'tools');
  const base = { check: 'protocol', name: 'tools', ...msOf(answer) } as const;
  if (answer.failure) return { ...base, ...failed(answer.failure) };
  const { error } = envelopeOf(answer);
  if (error) return { ...base, ...refused(run, 'tools/list', error) };
  const byIntegration = numbersBy(names.map(integrationOf));
  const details = {
    tools: names.length,
    integrations: byIntegration.map(([name, number]) => `${name} ${number}`),
  };
  if (names.length > 0) {
    const shown = details.integrations.slice(0, MOST_NAMES).join(', ');
    const others = byIntegration.length - MOST_NAMES;
    const line = [
      `${hasMore ? 'more than ' : ''}${count(names.length, 'tool')}: ${shown}`,
      ...(others > 0 ? [`and ${others} more`] : []),
    ].join(', ');
    return { ...base, status: 'ok', line, details };
  }
  const { settings, logged } = run;
  const isFiltered = settings.url.searchParams.has('integrations');
  // What the proxy makes of it.
  const warning = logged.slice(before).find(({ level }) => level === 'warn')?.line;
  return {
    ...base,
    status: 'fail',
    line: 'no tools',
    details,
    problem: {
      sentence: `${capitalized(warning ?? 'the gateway offers no tools')}.`,
      remedy: isFiltered
        ? "Fix or remove the integrations in --integrations or in the URL. Names must match the gateway's exactly."
        : "Connect an integration in the gateway's web interface, or use the key of an account that has one.",
    },
  };
}

async function prompts(run: DoctorRun): Promise<Finding> {
  const { names, hasMore, answer } = await list(run, 'prompts/list', 'prompts');
  const base = { check: 'protocol', name: 'prompts', ...msOf(answer) } as const;
  if (answer.failure) return { ...base, ...failed(answer.failure) };
  const { error } = envelopeOf(answer);
  if (valueIn(memberOf(error, 'code')) === METHOD_NOT_FOUND) {
    return { ...base, status: 'ok', line: 'no prompts' };
  }
  if (error) return { ...base, status: 'warn', line: `error: ${saidIn(error)}` };
  const line = `${hasMore ? 'more than ' : ''}${count(names.length, 'prompt')}`;
  return { ...base, status: 'ok', line, details: { prompts: names.length } };
}

/** The names in a list, page by page, and the last answer, or the one that failed. */
async function list(
  run: DoctorRun,
  method: string,
  member: string,
): Promise<{ names: string[]; hasMore: boolean; answer: Answer }> {
  const names: string[] = [];
  const start = performance.now();
  let cursor: string | undefined;
  for (let page = 1; ; page++) {
    const params = cursor === undefined ? {} : { cursor };
    const answer = await run.ask(run.gateway, method, params);
    const { result } = envelopeOf(answer);
    for (const entry of itemsOf(memberOf(result, member)) ?? []) {
      names.push(stringOf(entry, 'name') ?? '');
    }
    cursor = stringOf(result, 'nextCursor');
    const hasMore = cursor !== undefined;
    const isLong = page === MOST_PAGES || performance.now() - start > MOST_MS;
    if (!hasMore || isLong) return { names, hasMore, answer };
  }
}

/** `linear` for `linear_get_issue`: the gateway's tools have one underscore after it. */
function integrationOf(tool: string): string {
  const end = tool.indexOf('_');
  return (end > 0 ? cleanNetworkText(tool.slice(0, end), 40) : '') || 'other';
}

/** Each word and how often it is there, the most frequent first. */
function numbersBy(words: readonly string[]): (readonly [string, number])[] {
  const numbers = new Map<string, number>();
  for (const word of words) numbers.set(word, (numbers.get(word) ?? 0) + 1);
  return [...numbers].sort((a, b) => b[1] - a[1]);
}

function envelopeOf({ reply }: Answer): Envelope {
  return { result: memberOf(reply?.bytes, 'result'), error: memberOf(reply?.bytes, 'error') };
}

function saidIn(error: Buffer): string {
  const said = cleanNetworkText(stringOf(error, 'message') ?? '', 200).replace(/\.$/, '');
  return said || `code ${String(valueIn(memberOf(error, 'code')))}`;
}

function failed(failure: NonNullable<Answer['failure']>) {
  const problem = problemOf(failure);
  const line = problem.sentence.split(': ', 1)[0] ?? '';
  return { status: 'fail', line, problem } as const;
}

/** An error of the gateway's own, which the proxy passes on. */
function refused({ settings }: DoctorRun, method: string, error: Buffer) {
  const said = saidIn(error);
  return {
    status: 'fail',
    line: `error: ${said}`,
    problem: {
      sentence: `${settings.url.host} returned an error for ${method}: ${said}.`,
      remedy: "Send this report to the gateway's operator.",
    },
  } as const;
}

const capitalized = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;

function msOf({ requests }: Answer): { ms?: number } {
  const { startMs, endMs } = requests.at(-1) ?? {};
  return startMs === undefined || endMs === undefined ? {} : { ms: endMs - startMs };
}
