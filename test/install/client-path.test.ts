import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { clientPath, findOnPath } from '../../src/install/client-path.ts';
import { tryEntry } from '../../src/install/entry-trial.ts';

describe('the PATH of a client', () => {
  const env = { PATH: '/opt/homebrew/bin:/usr/bin' };

  it('is launchd’s for Claude Desktop on macOS, and else that of the shell', () => {
    expect(clientPath('Claude Desktop', 'darwin', env)).toBe('/usr/bin:/bin:/usr/sbin:/sbin');
    expect(clientPath('Claude Desktop', 'linux', env)).toBe(env.PATH);
    expect(clientPath('Cursor', 'darwin', env)).toBe(env.PATH);
  });

  it.skipIf(process.platform === 'win32')('decides whether a command is found', async () => {
    const tree = mkdtempSync(join(tmpdir(), 'latchkey-path-'));
    onTestFinished(() => rmSync(tree, { recursive: true }));
    const [system, homebrew] = [join(tree, 'usr/bin'), join(tree, 'opt/homebrew/bin')];
    for (const folder of [system, homebrew]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(homebrew, 'npx'), '#!/bin/sh\necho started >&2\nexit 3\n', { mode: 0o755 });
    writeFileSync(join(system, 'npx'), 'not a program', { mode: 0o644 });
    expect(findOnPath('npx', `${system}:${homebrew}`)).toBe(join(homebrew, 'npx'));
    expect(findOnPath('npx', system)).toBeUndefined();
    expect(findOnPath('npx', undefined)).toBeUndefined();
    expect(findOnPath(join(homebrew, 'npx'), system)).toBe(join(homebrew, 'npx'));

    const launch = { command: 'npx', args: [] };
    expect(await tryEntry(launch, homebrew)).toMatchObject({
      message: expect.stringContaining('started'),
    });
    expect(await tryEntry(launch, system)).toMatchObject({
      outcome: 'failed',
      message: expect.stringMatching(/could not start it: spawn npx E(?:NOENT|ACCES)/),
    });
  });
});
