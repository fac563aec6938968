import type { KeyResult } from '../../auth/key.ts';
import { tailInWords } from '../../terminal/printer.ts';
import { failureOfCredential } from '../../transport/classify-outcome.ts';
import { type DoctorRun, isWaitedFor } from '../doctor-run.ts';
import { count, type Finding, problemOf } from '../finding.ts';
import { offersSignIn } from './sign-in.ts';

/** What people leave in a config where a key should be. The proxy sends it: it may be a key. */
const PLACEHOLDER = /^(?:\$\w+|x{4,}|\.{3,}|your[-_ ].*)$/i;

/** Where the key comes from, and its shape. Never the key. */
export async function checkKey(run: DoctorRun, earlier: readonly Finding[]): Promise<Finding> {
  const [key, contact] = await Promise.all([run.key(), run.contact()]);
  const { finding } = key;
  const { source, origin, tail, keychainError, nearMiss } = finding.origin;
  const ms = isWaitedFor(key) ? { ms: key.endMs - key.startMs } : {};
  const base = { check: 'key', name: 'key', ...ms } as const;
  if (run.keyHolder !== undefined) {
    const line = `${run.keyHolder} asks you for the key, so it cannot be checked here`;
    return { ...base, status: 'skipped', line };
  }
  const details = { source, ...(tail === undefined ? {} : { tail }) };
  switch (finding.kind) {
    case 'found':
    case 'in-header': {
      const shape = finding.kind === 'found' ? shapeOf(finding) : undefined;
      const line = `from ${origin}${tailInWords(finding.origin)}${shape === undefined ? '' : `: ${shape.words}`}`;
      return { ...base, status: shape?.isOdd ? 'warn' : 'ok', line, details };
    }
    case 'unusable': {
      const failure = failureOfCredential(run.displayUrl, finding);
      const what = finding.isPlaceholder
        ? 'a placeholder that was not filled in'
        : 'contains spaces or invalid characters';
      const line = finding.detail ?? `from ${origin}: ${what}`;
      return { ...base, status: 'fail', line, details, problem: problemOf(failure) };
    }
    case 'none': {
      if (offersSignIn(earlier)) {
        const line = 'none found, the sign-in is used';
        return { ...base, status: 'skipped', line, details };
      }
      const reason = keychainError ?? nearMiss;
      const why = reason === undefined ? '' : `: ${reason}`;
      const known = { ...details, ...(keychainError === undefined ? {} : { keychainError }) };
      const { failure } = contact;
      if (failure?.reason !== 'no_api_key') {
        const line = failure === undefined ? 'not found, and not needed' : 'not found';
        return { ...base, status: 'skipped', line: `${line}${why}`, details: known };
      }
      const problem = problemOf({ ...failure, key: finding.origin });
      return { ...base, status: 'fail', line: `not found${why}`, details: known, problem };
    }
  }
}

function shapeOf({ key, keyHeader }: Extract<KeyResult, { kind: 'found' }>) {
  const header = keyHeader === undefined ? '' : `, sent in ${keyHeader}`;
  return PLACEHOLDER.test(key)
    ? { isOdd: true, words: 'looks like a placeholder' }
    : { isOdd: false, words: `${count(key.length, 'character')}${header}` };
}
