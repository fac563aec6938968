import type { DoctorRun } from '../doctor-run.ts';
import { type Finding, problemOf } from '../finding.ts';

/** One request with the key: whether the gateway grants access. */
export async function checkAuthorization(run: DoctorRun): Promise<Finding> {
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
    const { sentence } = problemOf(failure);
    return {
      ...base,
      ...known,
      status: 'fail',
      line: firstLine(sentence),
      problem: problemOf(failure),
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

/** The catalogue's title: the sentence is in the verdict. */
function firstLine(sentence: string): string {
  return sentence.split(': ', 1)[0] ?? sentence;
}
