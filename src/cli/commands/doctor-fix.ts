import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { Examination, Target } from '../../doctor/doctor.ts';
import { type Fix, fixesOf } from '../../doctor/fixes.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import { canAsk, confirms } from '../../terminal/ask.ts';
import type { Printer } from '../../terminal/printer.ts';
import { sayDiff, tildePath } from './install-text.ts';

// The commands run from dist/, below the package's folder.
const packageRoot = resolve(__dirname, '..');
const launcher = resolve(packageRoot, 'bin/mcp-latchkey.js');

/**
 * Shows what can be fixed by itself, and fixes it where the user says so or has said so with
 * `--yes`. Without a terminal nothing is asked. `mask` hides what is private, where that is to be hidden.
 * Resolves with whether anything was changed.
 */
export async function fixAll(
  targets: readonly Target[],
  examined: readonly Examination[],
  isTold: boolean,
  mask: (text: string) => string,
  out: Printer,
): Promise<boolean> {
  let [found, done] = [0, 0];
  const seen = new Set<string>();
  for (const [index, target] of targets.entries()) {
    const { configuredIn } = target;
    const where =
      configuredIn === undefined ? '' : `${configuredIn.client}: ${configuredIn.entry}: `;
    const report = examined[index]?.screen;
    if (report === undefined) continue;
    try {
      for await (const own of fixesOf(target, report, packageRoot)) {
        const diff = own.diff.map(({ sign, text }) => ({ sign, text: mask(text) }));
        const fix = { ...own, changes: own.changes.map(mask), diff };
        const key = JSON.stringify([configuredIn?.file, own.changes]);
        if (seen.has(key)) continue;
        seen.add(key);
        if (found === 0) out.line();
        found++;
        if (await isFixed(fix, where, isTold, mask, out)) done++;
      }
    } catch (error) {
      out.failure(mask(`${where}${(error as Error).message}`));
    }
  }
  if (found === 0) out.text('\nThere is nothing that --fix can fix.');
  else if (done === 0) {
    out.text(
      isTold || canAsk()
        ? 'Nothing was changed.'
        : 'Nothing was changed. To make these changes, add --yes.',
    );
  }
  return done > 0;
}

async function isFixed(
  fix: Fix,
  where: string,
  isTold: boolean,
  mask: (text: string) => string,
  out: Printer,
): Promise<boolean> {
  const { changes, diff, loginUrl } = fix;
  for (const change of changes) out.marked('warn', `${where}${change}`);
  sayDiff(out, diff);
  if (loginUrl !== undefined) out.command(['login', displayUrl(loginUrl)]);
  // A login asks for what only the user knows.
  const isAnswered = isTold && loginUrl === undefined;
  if (!isAnswered && (isTold || !canAsk() || !(await confirms('Fix this?')))) return false;
  if (loginUrl !== undefined) {
    const words = [launcher, 'login', loginUrl.href];
    const child = spawn(process.execPath, words, { stdio: 'inherit' });
    const [code] = await once(child, 'exit');
    return code === 0;
  }
  try {
    const backup = await fix.apply();
    out.marked('ok', 'Fixed.');
    if (backup !== undefined) out.text(mask(`Backup: ${tildePath(backup)}`), 2);
    return true;
  } catch (error) {
    out.failure(mask((error as Error).message));
    return false;
  }
}
