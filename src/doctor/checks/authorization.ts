import type { DoctorRun } from '../doctor-run.ts';
import { type Finding, problemOf } from '../finding.ts';

/** One request with the key: whether the gateway grants access. */
export async function checkAuthorization(
  run: DoctorRun,
  earlier: readonly Finding[],
): Promise<Finding> {
  const base = { check: 'authorization', name: 'authorization' } as const;
  const answer = await run.authorize();
  if ('skipped' in answer) return { ...base, status: 'skipped', line: answer.skipped };
  const { failure, requests } = answer;
  const posted = requests.findLast(({ method }) => method === 'POST');
  const { status, startMs = 0, endMs } = posted ?? {};
  const known = {
    ...(endMs === undefined ? {} : { ms: endMs - startMs }),
    ...(status === undefined ? {} : { details: { status } }),
  };
  if (failure !== undefined) {
    const problem = problemOf(failure);
    const named = failure.reason === 'wrong_path' ? namedEndpoint(run, earlier) : undefined;
    return {
      ...base,
      ...known,
      status: 'fail',
      line: firstLine(problem.sentence),
      problem: named === undefined ? problem : { ...problem, remedy: useUrl(named) },
    };
  }
  const { finding } = await run.key();
  const isSignedIn = await run.isSignedIn();
  const how = isSignedIn
    ? 'with the sign-in'
    : finding.kind === 'none'
      ? 'without a key'
      : 'with the key';
  const tries = requests.length > 1 ? `, after ${requests.length} requests` : '';
  return { ...base, ...known, status: 'ok', line: `granted ${how}: HTTP ${status}${tries}` };
}

/** The endpoint that the gateway's own metadata names, at the same origin: better than any guess. */
function namedEndpoint(run: DoctorRun, earlier: readonly Finding[]): string | undefined {
  const { resource } = earlier.find(({ name }) => name === 'metadata')?.details ?? {};
  if (typeof resource !== 'string' || !URL.canParse(resource)) return undefined;
  const { url } = run.settings;
  const { origin, pathname, username, password } = new URL(resource);
  const isElsewhere = origin !== url.origin || username !== '' || password !== '';
  return isElsewhere || pathname === '/' || pathname === url.pathname ? undefined : resource;
}

const useUrl = (url: string) =>
  `The gateway's own metadata names its MCP endpoint: use ${url} as the URL in the client's config, then restart the client.`;

/** The catalogue's title: the sentence is in the verdict. */
function firstLine(sentence: string): string {
  return sentence.split(': ', 1)[0] ?? sentence;
}
