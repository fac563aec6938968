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
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** Why tests are skipped: /etc is replaced for the program alone, in a mount namespace. */
export const isEtcReplaceable = (() => {
  try {
    execFileSync('unshare', ['-m', 'mount', '--bind', '/etc', '/etc'], { stdio: 'ignore' });
    return process.geteuid?.() === 0;
  } catch {
    return false;
  }
})();

/** An /etc with this policy, and what starts a program that has it. */
export function etcWith(policy: object | string): { folder: string; wrapper: string[] } {
  const etc = mkdtempSync(join(tmpdir(), 'latchkey-etc-'));
  onTestFinished(() => rmSync(etc, { recursive: true, force: true }));
  chmodSync(etc, 0o755);
  for (const name of ['passwd', 'group', 'hosts', 'nsswitch.conf', 'resolv.conf']) {
    if (existsSync(`/etc/${name}`)) cpSync(`/etc/${name}`, join(etc, name), { dereference: true });
  }
  const folder = join(etc, 'mcp-latchkey');
  mkdirSync(folder, { mode: 0o755 });
  const text = typeof policy === 'string' ? policy : JSON.stringify(policy);
  writeFileSync(join(folder, 'policy.json'), text, { mode: 0o644 });
  const mount = 'mount --bind "$0" /etc && exec "$@"';
  return { folder, wrapper: ['unshare', '-m', 'sh', '-c', mount, etc] };
}
