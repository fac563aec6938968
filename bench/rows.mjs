/** What is measured. Each measurement is one run of one program, and yields one or more rows. */
import { setTimeout as sleep } from 'node:timers/promises';
import { documentCharacters, isDocument } from './document.mjs';
import { filterMeasurements } from './filter-rows.mjs';
import { coldInstall, installedCommand, storeKey, storeSignIn } from './installed.mjs';
import { cpuMs, hasProc, peakMB, residentMB } from './proc.mjs';
import {
  ask,
  callMany,
  greet,
  handshake,
  idOf,
  NotAvailable,
  request,
  Wrong,
  whole,
} from './session.mjs';
import { traceMeasurements } from './trace-rows.mjs';

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
 * @typedef {{tls?: boolean, withoutKey?: boolean, command?: string[], filtered?: boolean, options?: string[]}} How `command`: in place of node and the program's entry; `filtered`: with a filter, where the program has filters; `options`: more of them
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
 * @param {(bench: Bench) => Promise<How>} [how]
 * @returns {(bench: Bench) => Promise<Record<string, number>>}
 */
const inSession =
  (run, how = async () => ({})) =>
  async (bench) => {
    const session = bench.open(await how(bench));
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

/** The command of the entry in a client's config. @param {Bench} bench @returns {Promise<How>} */
async function asInstalled(bench) {
  return { command: await installedCommand(bench) };
}

/**
 * @param {Bench} bench @param {typeof storeKey} store
 * @returns {Promise<number>} as `startMs`, with what `store` has stored
 */
async function startStored(bench, store) {
  const { credential, remove } = await store(bench);
  try {
    const ms = await startMs(bench, { withoutKey: true });
    const { authorization } = await bench.server('stats');
    if (authorization !== `Bearer ${credential}`) throw new Wrong('it did not reach the server');
    return ms;
  } finally {
    await remove();
  }
}

/**
 * Calls a tool whose result has 20 MB, and checks that nothing in it is changed.
 * @param {import('./session.mjs').Session} session @param {'document' | 'document-json'} name
 * @returns {Promise<{ms: number, idle: number, peak: number}>} resident memory in MB, before and at most
 */
async function fetchDocument(session, name) {
  await sleep(settleMs / 2);
  const idle = hasProc && session.pid > 0 ? residentMB(session.pid) : Number.NaN;
  const line = request(1, 'tools/call', { name, arguments: {} });
  const began = performance.now();
  const reply = await ask(session, 1, line);
  const ms = performance.now() - began;
  const peak = hasProc && session.pid > 0 ? peakMB(session.pid) : Number.NaN;
  const text = JSON.parse(whole(reply).toString()).result?.content?.[0]?.text;
  if (!isDocument(text)) {
    throw new Wrong(`the document came back changed (${text?.length} of ${documentCharacters})`);
  }
  return { ms, idle, peak };
}

/** @type {Measurement[]} */
export const measurements = [
  {
    name: 'start',
    rows: [
      {
        key: 'start',
        label: 'start → `initialize` reply, ms',
        target: { remote: 0.2, floor: 1.25 },
      },
    ],
    rounds: 15,
    quickRounds: 5,
    limitMs: 20_000,
    warm: true,
    run: async (bench) => ({ start: await startMs(bench) }),
  },
  {
    name: 'installed-start',
    rows: [
      {
        key: 'installed-start',
        label: 'as installed: start → `initialize` reply, ms',
        target: { remote: 0.15, floor: 1.5 },
      },
    ],
    rounds: 15,
    quickRounds: 5,
    limitMs: 120_000,
    warm: true,
    run: async (bench) => ({ 'installed-start': await startMs(bench, await asInstalled(bench)) }),
  },
  {
    name: 'start-tls',
    rows: [
      {
        key: 'start-tls',
        label: 'start → `initialize` reply, TLS, 40 ms away, ms',
        target: { floor: 0.95 },
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
    name: 'burst-tls',
    rows: [
      {
        key: 'burst-tls',
        label: '16 calls at once, TLS, 40 ms away, ms',
        target: { floor: 0.7 },
      },
    ],
    rounds: 15,
    quickRounds: 3,
    limitMs: 30_000,
    run: inSession(
      async (session) => {
        // The handshake is over, and its connection is idle.
        await sleep(settleMs / 4);
        const { ms } = await callMany(session, { firstId: 1, inFlight: 16, calls: 16 });
        return { 'burst-tls': ms };
      },
      async (bench) => {
        if (bench.withoutTls) throw new NotAvailable(bench.withoutTls);
        return { tls: true };
      },
    ),
  },
  {
    name: 'start-keychain',
    rows: [
      { key: 'start-keychain', label: 'start, key from the keychain, ms' },
      { key: 'start-sign-in', label: 'start, stored sign-in, ms' },
    ],
    rounds: 7,
    quickRounds: 3,
    limitMs: 30_000,
    run: async (bench) => ({
      'start-keychain': await startStored(bench, storeKey),
      'start-sign-in': await startStored(bench, storeSignIn),
    }),
  },
  {
    name: 'idle-memory',
    rows: [{ key: 'idle-memory', label: 'idle resident memory, MB', target: { remote: 0.5 } }],
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
    name: 'installed-memory',
    rows: [
      {
        key: 'installed-memory',
        label: 'as installed: idle resident memory of all processes, MB',
        target: { remote: 0.3, floor: 1.15 },
      },
    ],
    rounds: 3,
    quickRounds: 1,
    limitMs: 120_000,
    run: inSession(async (session) => {
      needsProc();
      await sleep(settleMs);
      return { 'installed-memory': residentMB(session.pid) };
    }, asInstalled),
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
      { key: 'ping-p50', label: 'ping p50, ms', digits: 2, target: { remote: 0.4, floor: 1.08 } },
      { key: 'ping-p99', label: 'ping p99, ms', digits: 2, target: { floor: 1.15 } },
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
        target: { remote: 7, floor: 1 },
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
  ...filterMeasurements,
  ...traceMeasurements,
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
        target: { remote: 0.05, floor: 1.25 },
      },
      { key: 'document-peak', label: 'peak resident memory for it, MB' },
      {
        key: 'document-above',
        label: '… above idle, in payloads of 20 MB',
        digits: 1,
        target: { own: 2.2 },
      },
    ],
    rounds: 11,
    quickRounds: 2,
    limitMs: 60_000,
    direct: true,
    run: inSession(async (session) => {
      const { ms, idle, peak } = await fetchDocument(session, 'document');
      return { document: ms, 'document-peak': peak, 'document-above': (peak - idle) / 20 };
    }),
  },
  {
    name: 'document-json',
    rows: [{ key: 'document-json', label: '20 MB result as JSON, ms', target: { floor: 1.25 } }],
    rounds: 11,
    quickRounds: 2,
    limitMs: 60_000,
    direct: true,
    run: inSession(async (session) => {
      const { ms } = await fetchDocument(session, 'document-json');
      return { 'document-json': ms };
    }),
  },
  {
    name: 'notifications',
    rows: [
      {
        key: 'notifications',
        label: '10,000 notifications on one stream, ms',
        target: { floor: 1.25 },
      },
    ],
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
    rows: [
      {
        key: 'memory-after',
        label: 'resident memory after 50,000 calls, MB',
        target: { floor: 1.05 },
      },
    ],
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
      { key: 'install-size', label: 'cold install: MB unpacked', digits: 2, target: { own: 3.5 } },
      { key: 'install-time', label: 'cold install: seconds', digits: 1 },
    ],
    rounds: 3,
    quickRounds: 1,
    limitMs: 180_000,
    run: coldInstall,
  },
];
