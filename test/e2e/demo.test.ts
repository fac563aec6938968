import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { notPlainEnglish } from '../plain-english.ts';

const root = resolve(import.meta.dirname, '../..');
const launcher = join(root, 'bin/mcp-latchkey.js');
const linux = process.platform === 'linux';
/** Within what time the demo ends, in ms: under Wine, each process takes a second to start. */
const LIMIT_MS = process.platform === 'win32' ? 60_000 : 10_000;
const options = { timeout: LIMIT_MS + 10_000 };
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'latchkey-demo-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function start(command: string, args: string[], extra: NodeJS.ProcessEnv = {}) {
  // On Windows, only a newer terminal is shown ✓ and ✗.
  const env = { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1', WT_SESSION: 'x', ...extra };
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]).then(
    ([stdout, stderr, [code]]) => ({ stdout, stderr, code }),
  );
  return { child, ended };
}

/** IDs of the processes whose command line or environment names the text. Linux only. */
function processesThatName(needle: string): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      try {
        return ['cmdline', 'environ'].some((file) =>
          readFileSync(`/proc/${pid}/${file}`, 'latin1').includes(needle),
        );
      } catch {
        return false;
      }
    });
}

it('passes every check in time, and leaves nothing behind', options, async () => {
  const home = join(folder, 'home');
  const temporary = join(folder, 'tmp');
  mkdirSync(home);
  mkdirSync(temporary);
  const places = { HOME: home, USERPROFILE: home, TMPDIR: temporary, TEMP: temporary };
  const began = performance.now();
  const { stdout, stderr, code } = await start(process.execPath, [launcher, 'demo'], {
    ...places,
    FORCE_COLOR: undefined,
    MCP_LATCHKEY_API_KEY: 'a-key-of-the-user-that-must-not-be-used',
  }).ended;
  expect({ code, stderr, stdout }).toMatchObject({
    code: 0,
    stderr: '',
    stdout: expect.stringMatching(/^All \d+ checks passed\. [\d.]+ s$/m),
  });
  expect(performance.now() - began).toBeLessThan(LIMIT_MS);
  for (const outcome of [
    'no_api_key -32010',
    'malformed_api_key -32011',
    'unauthorized -32012',
    'forbidden -32013',
    'sign_in_required -32003',
    'tool_not_allowed -32002',
    'wrong_path -32014',
    'request_too_large -32016',
    'gateway_error -32018',
    'unreachable -32019',
    'credentials_unavailable -32000',
    ' -32601',
    ' -32602',
  ]) {
    expect(stdout).toContain(`${outcome}\n`);
  }
  expect(stdout).toContain('7 tools are left: linear_get_issue');
  // An error that is expected is marked as an error, and as expected.
  const failures = stdout.split('\n').filter((line) => line.startsWith('✗'));
  expect(failures.length).toBeGreaterThan(8);
  for (const line of failures) expect(line).toContain(' as expected: ');
  expect(stdout).not.toContain('\x1b');
  expect(notPlainEnglish(stdout)).toEqual([]);
  expect(stdout).not.toMatch(/sandbox-\S+-key-\d{4}/);
  for (const line of stdout.split('\n').filter((each) => !each.includes('http://'))) {
    expect(line.length).toBeLessThanOrEqual(80);
  }
  expect(readdirSync(home)).toEqual([]);
  expect(readdirSync(temporary)).toEqual([]);
  if (linux) expect(processesThatName(home)).toEqual([]);
});

it.skipIf(!linux)(
  'uses color on a terminal, but not under NO_COLOR',
  async () => {
    const onTerminal = (extra: NodeJS.ProcessEnv) =>
      start('script', ['-qec', `'${process.execPath}' '${launcher}' demo`, '/dev/null'], {
        TERM: 'xterm-256color',
        // Node.js uses no color on a terminal under CI.
        CI: undefined,
        ...extra,
      }).ended;
    const [coloured, plain] = await Promise.all([
      onTerminal({ NO_COLOR: undefined }),
      onTerminal({ NO_COLOR: '1' }),
    ]);
    expect(coloured.code).toBe(0);
    expect(coloured.stdout).toContain('\x1b[32m✓');
    expect(plain.code).toBe(0);
    expect(plain.stdout).toContain('✓');
    expect(plain.stdout).not.toContain('\x1b');
  },
  20_000,
);

it.skipIf(!linux)(
  'leaves no proxy behind when it is killed',
  async () => {
    const { child, ended } = start(process.execPath, [launcher, 'demo'], { HOME: folder });
    await once(child.stdout, 'data');
    await expect.poll(() => processesThatName(folder).length).toBeGreaterThan(1);
    child.kill('SIGKILL');
    await ended;
    await expect.poll(() => processesThatName(folder), { timeout: 3000 }).toEqual([]);
  },
  20_000,
);

it.skipIf(!linux)(
  'ends without a word when its reader leaves',
  async () => {
    const pipe = `'${process.execPath}' '${launcher}' demo | head -n 2`;
    const { stdout, stderr } = await start('sh', ['-c', pipe], { HOME: folder }).ended;
    expect(stdout).toMatch(/^mcp-latchkey demo\n/);
    expect(stderr).toBe('');
    await expect.poll(() => processesThatName(folder), { timeout: 3000 }).toEqual([]);
  },
  20_000,
);

it('marks what came out wrong and exits 1', options, async () => {
  mkdirSync(join(folder, 'bin'));
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
  const broken = join(folder, 'bin/mcp-latchkey.js');
  // The demo as it is, around a proxy that answers every request with an error of its own.
  writeFileSync(
    broken,
    `if (process.argv[2] === 'demo') require('../dist/main.js');
     else require('node:readline').createInterface(process.stdin).on('line', (line) => {
       const { id } = JSON.parse(line);
       const error = { code: -32012, message: 'ends in 0002', data: { reason: 'unauthorized' } };
       if (id !== undefined) console.log(JSON.stringify({ jsonrpc: '2.0', id, error }));
     });`,
  );
  const { stdout, code } = await start(process.execPath, [broken, 'demo']).ended;
  expect(code).toBe(1);
  const marked = stdout.split('\n').filter((line) => /^[✓✗] /.test(line));
  const right = marked.filter((line) => line.startsWith('✓') || line.includes(' as expected: '));
  expect(right).toEqual([expect.stringMatching(/^✗ A revoked key /)]);
  expect(stdout).toContain(`\n${marked.length - 1} of ${marked.length} checks failed`);
});
