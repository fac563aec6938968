import { lstatSync, statSync } from 'node:fs';
import type * as Policies from './policy.ts';

/**
 * Where the organization's policy may be on this computer, most important first. No environment
 * variable moves the first one. On Windows, the others are for another system drive than C; clients
 * may pass SystemDrive and not ProgramData, as the SDK does.
 */
export function policyPaths(
  platform: NodeJS.Platform = process.platform,
  env: NodeJS.ProcessEnv = process.env,
): readonly string[] {
  if (platform === 'darwin') return ['/Library/Application Support/mcp-latchkey/policy.json'];
  if (platform !== 'win32') return ['/etc/mcp-latchkey/policy.json'];
  const folders = new Set(['C:\\ProgramData']);
  if (env.ProgramData) folders.add(env.ProgramData);
  if (env.SystemDrive) folders.add(`${env.SystemDrive}\\ProgramData`);
  return [...folders].map((folder) => `${folder}\\mcp-latchkey\\policy.json`);
}

/**
 * The policy of this computer; undefined where there is none. `why`: it cannot be used, in words that
 * fit before a full stop; then nothing may be sent.
 */
export function readPolicy(): { readonly policy: Policies.Policy } | { why: string } | undefined {
  const path = policyPaths().find(isThere);
  if (path === undefined) return undefined;
  // Not import(): what follows depends on it.
  const { loadPolicy }: typeof Policies = require('./policy.ts');
  return loadPolicy(path);
}

/** Whether anything is there: a file that cannot be read, or a link to nowhere, is not "no policy". */
function isThere(path: string): boolean {
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return true;
    const folder = path.slice(0, -'/policy.json'.length);
    const isLink = lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink() === true;
    return isLink && statSync(folder, { throwIfNoEntry: false }) === undefined;
  } catch {
    return true;
  }
}
