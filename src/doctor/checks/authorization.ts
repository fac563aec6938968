import type { DoctorRun } from '../doctor-run.ts';
import { type Finding, problemOf } from '../finding.ts';

/** One request with the key: whether it opens. */
export async function checkDoor(examination: DoctorRun): Promise<Finding> {
  const base = { check: 'door', name: 'door' } as const;
  const door = await examination.door();
  if ('skipped' in door) return { ...base, status: 'skipped', line: door.skipped };
  const { failure, requests } = door;
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
  const { finding } = await examination.key();
  const how = finding.kind === 'none' ? 'without a key' : 'with the key';
  const tries = requests.length > 1 ? `, after ${requests.length} requests` : '';
  return { ...base, ...known, status: 'ok', line: `opens ${how}: HTTP ${status}${tries}` };
}

/** The catalogue's title: the sentence stands in the verdict. */
function firstLine(sentence: string): string {
  return sentence.split(': ', 1)[0] ?? sentence;
}
