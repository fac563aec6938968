import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { isWine, MANAGED } from '../environment.ts';

const isWindows = process.platform === 'win32';

/**
 * Whether a program can have a policy that no other program has. On Linux its /etc is replaced, in a
 * mount namespace, for which these tests need root. On Windows, ProgramData leads to its second place.
 */
export const hasOwnPolicy = (() => {
  if (isWindows) return isWine;
  try {
    execFileSync('unshare', ['-m', 'mount', '--bind', '/etc', '/etc'], { stdio: 'ignore' });
    return process.geteuid?.() === 0;
  } catch {
    return false;
  }
})();

/** What a test of links, owners and file systems of Linux runs with. */
export const hasOwnEtc = hasOwnPolicy && !isWindows;

/** Runs a command with another ProgramData. */
const WITH_PROGRAM_DATA = `
  const { spawn } = require('node:child_process');
  const [programData, command, ...words] = process.argv.slice(1);
  process.env.ProgramData = programData;
  spawn(command, words, { stdio: 'inherit' }).once('exit', (code) => process.exit(code ?? 1));
`;

/** A computer with a policy: see computerWith(). */
interface ManagedComputer {
  /** Where a test can change the policy. */
  readonly folder: string;
  /** Where the program finds it. */
  readonly file: string;
  /** The command that starts a program there. */
  readonly wrapper: readonly string[];
}

/** A computer that has this policy for a program that `wrapper` starts. */
export function computerWith(policy: object | string): ManagedComputer {
  const parent = mkdtempSync(join(tmpdir(), 'latchkey-policy-'));
  const folder = join(parent, 'mcp-latchkey');
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }));
  chmodSync(parent, 0o755);
  mkdirSync(folder, { mode: 0o755 });
  const text = typeof policy === 'string' ? policy : JSON.stringify(policy);
  writeFileSync(join(folder, 'policy.json'), text, { mode: 0o644 });
  if (isWindows) {
    const programData = join(MANAGED, basename(parent));
    const file = join(programData, 'mcp-latchkey', 'policy.json');
    return { folder, file, wrapper: [process.execPath, '-e', WITH_PROGRAM_DATA, programData] };
  }
  for (const name of ['passwd', 'group', 'hosts', 'nsswitch.conf', 'resolv.conf']) {
    if (existsSync(`/etc/${name}`))
      cpSync(`/etc/${name}`, join(parent, name), { dereference: true });
  }
  const mount = 'mount --bind "$0" /etc && exec "$@"';
  const file = '/etc/mcp-latchkey/policy.json';
  return { folder, file, wrapper: ['unshare', '-m', 'sh', '-c', mount, parent] };
}
