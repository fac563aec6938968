/** What is measured. Each measurement is one run of one program, and yields one or more rows. */
import { execFile } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { documentCharacters, isDocument } from './document.mjs';
import { cpuMs, hasProc, peakMB, residentMB } from './proc.mjs';
import { ask, callMany, greet, handshake, idOf, keep, request, Wrong, whole } from './session.mjs';

/** This measurement cannot be made here, or not with this program; the message says why. */
export class NotAvailable extends Error {}

/**
 * @typedef {object} Row
 * @property {string} key for --only and --json
 * @property {string} label with its unit
 * @property {number} [digits] behind the point
 * @property {boolean} [more] true when more is better
 * @property {{remote?: number, floor?: number, own?: number}} [target] the ratio to reach, to mcp-remote and to the floor; the figure itself
 *
 * @typedef {object} Bench what a measurement runs in
 * @property {(how?: How) => import('./session.mjs').Session} open starts the program
 * @property {(how?: How) => string} url
 * @property {import('./programs.mjs').Program | undefined} program undefined for `direct`
 * @property {(command: 'reset' | 'stats') => Promise<Stats>} server
 * @property {NodeJS.ProcessEnv} env
 * @property {string | undefined} withoutTls why there is no certificate
 *
 * @typedef {{tls?: boolean, withoutKey?: boolean}} How
 *
 * @typedef {{methods: Record<string, number>, peakOpen: number, authorization?: string}} Stats
 *
 * @typedef {object} Measurement
 * @property {string} name
 * @property {Row[]} rows
 * @property {number} rounds
 * @property {number} quickRounds
 * @property {number} limitMs for one run; then the program is killed and the row says so
 * @property {boolean} [direct] whether it means something without a program
 * @property {boolean} [together] programs run at the same time: for what does not use the CPU
 * @property {boolean} [warm] one run before the first round, not counted: disk and compile caches
 * @property {(bench: Bench) => Promise<Record<string, number>>} run
 */

/** Until timers, lazy loading and the garbage of starting are done with. */
const settleMs = 2000;
const burstCount = 10_000;

/**
 * Opens a session, runs the measurement in it, and closes it whatever happens.
 * @param {(session: import('./session.mjs').Session, bench: Bench) => Promise<Record<string, number>>} run
 * @returns {(bench: Bench) => Promise<Record<string, number>>}
 */
const inSession = (run) => async (bench) => {
  const session = bench.open();
  try {
    await handshake(session);
    return await run(session, bench);
  } finally {
    await session.close();
  }
};

const needsProc = () => {
  if (!hasProc) throw new NotAvailable('there is no /proc here');
};

/**
 * @param {Bench} bench @param {How} [how]
 * @returns {Promise<number>} ms from before the program was started to its reply to `initialize`
 */
async function startMs(bench, how) {
  const began = performance.now();
  const session = bench.open(how);
  try {
    await greet(session);
    return performance.now() - began;
  } finally {
    await session.close();
  }
}

/**
 * Runs npm: the one that runs this benchmark, or the one on the PATH.
 * @param {string[]} args
 * @returns {Promise<string>} its stdout
 */
export function npm(args) {
  const cli = process.env.npm_execpath;
  const file = cli ? process.execPath : 'npm';
  const options = { timeout: 170_000, shell: !cli && process.platform === 'win32', maxBuffer: 1e8 };
  return new Promise((resolve, reject) => {
    const child = execFile(file, cli ? [cli, ...args] : args, options, (error, stdout, stderr) => {
      if (error) reject(new Wrong(`npm ${args[0]} failed: ${stderr.trim().slice(-300)}`));
      else resolve(stdout);
    });
    keep(child);
  });
}

/**
 * What the files in a folder hold, as npm counts a package's unpacked size. What they take on the
 * disk depends on the file system.
 * @param {string} folder @returns {number} bytes
 */
function folderBytes(folder) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) bytes += lstatSync(join(entry.parentPath, entry.name)).size;
  }
  return bytes;
}

/** @type {Measurement[]} */
export const measurements = [
  {
    name: 'start',
    rows: [
      {
        key: 'start',
        label: 'start → `initialize` reply, ms',
        target: { remote: 0.25, floor: 1.5 },
      },
    ],
    rounds: 15,
    quickRounds: 5,
    limitMs: 20_000,
    warm: true,
    run: async (bench) => ({ start: await startMs(bench) }),
  },
  {
    name: 'start-tls',
    rows: [
      {
        key: 'start-tls',
        label: 'start → `initialize` reply, TLS, 40 ms away, ms',
        target: { floor: 1 },
      },
    ],
    rounds: 21,
    quickRounds: 3,
    limitMs: 30_000,
    warm: true,
    run: async (bench) => {
      if (bench.withoutTls) throw new NotAvailable(bench.withoutTls);
      return { 'start-tls': await startMs(bench, { tls: true }) };
    },
  },
  {
    name: 'start-keychain',
    rows: [{ key: 'start-keychain', label: 'start, key from the keychain, ms' }],
    rounds: 7,
    quickRounds: 3,
    limitMs: 30_000,
    run: startWithKeychain,
  },
  {
    name: 'idle-memory',
    rows: [{ key: 'idle-memory', label: 'idle resident memory, MB', target: { remote: 0.6 } }],
    rounds: 3,
    quickRounds: 1,
    limitMs: 30_000,
    run: inSession(async (session) => {
      needsProc();
      await sleep(settleMs);
      return { 'idle-memory': residentMB(session.pid) };
    }),
  },
  {
    name: 'idle-cpu',
    rows: [{ key: 'idle-cpu', label: 'CPU in 10 idle seconds, ms', digits: 1 }],
    rounds: 1,
    quickRounds: 1,
    limitMs: 60_000,
    together: true,
    run: inSession(async (session) => {
      needsProc();
      // V8 collects what is left of the start once, some 8 s after it.
      await sleep(12_000);
      const before = cpuMs(session.pid);
      await sleep(10_000);
      return { 'idle-cpu': cpuMs(session.pid) - before };
    }),
  },
  {
    name: 'ping',
    rows: [
      { key: 'ping-p50', label: 'ping p50, ms', digits: 2, target: { remote: 0.4, floor: 1.3 } },
      { key: 'ping-p99', label: 'ping p99, ms', digits: 2 },
    ],
    rounds: 3,
    quickRounds: 2,
    limitMs: 60_000,
    direct: true,
    run: inSession(async (session, bench) => {
      const warmUp = 500;
      const count = 2000;
      await bench.server('reset');
      const times = new Float64Array(count);
      for (let n = -warmUp; n < count; n++) {
        const line = request(1000 + n, 'ping');
        const began = performance.now();
        const reply = await ask(session, 1000 + n, line);
        if (n >= 0) times[n] = performance.now() - began;
        if (!whole(reply).toString('latin1').includes('"result":{}')) {
          throw new Wrong(`ping was answered with ${whole(reply).toString().slice(0, 200)}`);
        }
      }
      const { methods } = await bench.server('stats');
      if (methods.ping !== warmUp + count) {
        throw new Wrong(`${methods.ping ?? 0} of ${warmUp + count} pings reached the server`);
      }
      times.sort();
      return {
        'ping-p50': /** @type {number} */ (times[Math.floor(count * 0.5)]),
        'ping-p99': /** @type {number} */ (times[Math.floor(count * 0.99)]),
      };
    }),
  },
  {
    name: 'calls',
    rows: [
      {
        key: 'calls',
        label: 'tools/call a second, 64 in flight',
        more: true,
        target: { remote: 4.5, floor: 0.85 },
      },
    ],
    rounds: 9,
    quickRounds: 2,
    limitMs: 30_000,
    run: inSession(async (session) => {
      const warmUp = await callMany(session, { firstId: 1, inFlight: 64, forMs: 1000 });
      const { calls, ms } = await callMany(session, {
        firstId: 1 + warmUp.calls,
        inFlight: 64,
        forMs: 2000,
      });
      return { calls: (calls / ms) * 1000 };
    }),
  },
  {
    name: 'thousand',
    rows: [{ key: 'thousand', label: '1,000 calls of 250 ms at once, ms' }],
    rounds: 5,
    quickRounds: 2,
    limitMs: 30_000,
    run: inSession(async (session) => {
      const { ms } = await callMany(session, {
        firstId: 1,
        inFlight: 1000,
        calls: 1000,
        waitMs: 250,
      });
      return { thousand: ms };
    }),
  },
  {
    name: 'document',
    rows: [
      {
        key: 'document',
        label: '20 MB result as an event stream, ms',
        target: { remote: 0.1, floor: 1.6 },
      },
      { key: 'document-peak', label: 'peak resident memory for it, MB' },
      {
        key: 'document-above',
        label: '… above idle, in payloads of 20 MB',
        digits: 1,
        target: { own: 4 },
      },
    ],
    rounds: 11,
    quickRounds: 2,
    limitMs: 60_000,
    direct: true,
    run: inSession(async (session) => {
      await sleep(settleMs / 2);
      const idle = hasProc && session.pid > 0 ? residentMB(session.pid) : Number.NaN;
      const line = request(1, 'tools/call', { name: 'document', arguments: {} });
      const began = performance.now();
      const reply = await ask(session, 1, line);
      const ms = performance.now() - began;
      const peak = hasProc && session.pid > 0 ? peakMB(session.pid) : Number.NaN;
      const text = JSON.parse(whole(reply).toString()).result?.content?.[0]?.text;
      if (!isDocument(text)) {
        throw new Wrong(
          `the document came back changed (${text?.length} of ${documentCharacters})`,
        );
      }
      return { document: ms, 'document-peak': peak, 'document-above': (peak - idle) / 20 };
    }),
  },
  {
    name: 'notifications',
    rows: [{ key: 'notifications', label: '10,000 notifications on one stream, ms' }],
    rounds: 5,
    quickRounds: 2,
    limitMs: 30_000,
    run: inSession(
      (session) =>
        new Promise((resolve, reject) => {
          /** @type {import('./session.mjs').Line[]} */
          const lines = [];
          const began = performance.now();
          const finish = () => {
            const ms = performance.now() - began;
            const seen = lines.map((line) => {
              const message = JSON.parse(whole(line).toString());
              return message.method === 'notifications/message' ? message.params?.data?.n : -1;
            });
            const right = seen.length === burstCount && seen.every((n, at) => n === at);
            if (right) resolve({ notifications: ms });
            else
              reject(
                new Wrong(`${seen.length} of ${burstCount} notifications came before the reply`),
              );
          };
          session.onEnd = reject;
          session.onLine = (line) => {
            if (idOf(line) === 1) finish();
            else lines.push(line);
          };
          session.send(
            request(1, 'tools/call', { name: 'burst', arguments: { count: burstCount } }),
          );
        }),
    ),
  },
  {
    name: 'memory-after',
    rows: [{ key: 'memory-after', label: 'resident memory after 50,000 calls, MB' }],
    rounds: 1,
    quickRounds: 1,
    limitMs: 180_000,
    run: inSession(async (session) => {
      needsProc();
      await callMany(session, { firstId: 1, inFlight: 64, calls: 50_000 });
      await sleep(settleMs);
      return { 'memory-after': residentMB(session.pid) };
    }),
  },
  {
    name: 'install',
    rows: [
      { key: 'install-packages', label: 'cold install: packages', target: { own: 3 } },
      { key: 'install-size', label: 'cold install: MB unpacked', digits: 2, target: { own: 3 } },
      { key: 'install-time', label: 'cold install: seconds', digits: 1 },
    ],
    rounds: 3,
    quickRounds: 1,
    limitMs: 180_000,
    run: install,
  },
];

/**
 * @param {Bench} bench
 * @returns {Promise<Record<string, number>>}
 */
async function startWithKeychain(bench) {
  const { program, env } = bench;
  if (program?.name !== 'mcp-latchkey') throw new NotAvailable('keeps no key in the keychain');
  if (process.platform === 'linux' && !env.DBUS_SESSION_BUS_ADDRESS) {
    throw new NotAvailable('neither a session bus nor dbus-daemon and gnome-keyring-daemon');
  }
  const key = `bench-${crypto.randomUUID()}`;
  /** @param {string} command @param {string} input */
  const latchkey = (command, input) =>
    new Promise((resolve, reject) => {
      const child = execFile(
        process.execPath,
        [program.entry, command, bench.url()],
        { env },
        (error, _, stderr) => {
          if (error) reject(new NotAvailable(`${command}: ${stderr.trim().slice(-200)}`));
          else resolve(undefined);
        },
      );
      keep(child).stdin?.end(input);
    });
  await latchkey('login', `${key}\n`);
  try {
    const ms = await startMs(bench, { withoutKey: true });
    const { authorization } = await bench.server('stats');
    if (authorization !== `Bearer ${key}`) throw new Wrong('the key did not reach the server');
    return { 'start-keychain': ms };
  } finally {
    await latchkey('logout', '');
  }
}

/**
 * Installs a program with npm into an empty folder, with an empty cache.
 * @param {Bench} bench
 * @returns {Promise<Record<string, number>>}
 */
async function install(bench) {
  const { program } = bench;
  if (!program?.manifest) throw new NotAvailable('is not a package');
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-bench-install-'));
  try {
    const { name, version } = JSON.parse(readFileSync(program.manifest, 'utf8'));
    let what = `${name}@${version}`;
    if (name === 'mcp-latchkey') {
      const root = join(program.manifest, '..');
      const packed = await npm([
        // Without scripts: `prepack` would rebuild dist/.
        ...['pack', root, '--json', '--ignore-scripts', '--pack-destination', folder],
      ]);
      what = join(folder, JSON.parse(packed.slice(packed.indexOf('[')))[0].filename);
    }
    const began = performance.now();
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
    const cache = join(folder, 'cache');
    const prefix = join(folder, 'installed');
    await npm(['install', what, '--prefix', prefix, '--cache', cache, ...quiet]);
    const seconds = (performance.now() - began) / 1000;
    const modules = join(prefix, 'node_modules');
    const lock = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8'));
    return {
      'install-packages': Object.keys(lock.packages).length,
      'install-size': folderBytes(modules) / 1e6,
      'install-time': seconds,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
