import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const script = fileURLToPath(new URL('run.mjs', import.meta.url));

it.skipIf(process.platform === 'win32').each([
  ['', 0],
  ['required', 1],
])(
  'test:windows says that it is skipped where Wine cannot be set up: WINDOWS=%s',
  (demand, code) => {
    // A folder below a file cannot be made.
    const env = { ...process.env, WINDOWS: demand, WINDOWS_FOLDER: `${script}/folder` };
    const { status, stdout } = spawnSync(process.execPath, [script], { env, encoding: 'utf8' });
    expect(stdout).toMatch(/^Windows: skipped/);
    expect(status).toBe(code);
  },
);
