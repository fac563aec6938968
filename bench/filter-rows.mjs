/** What a filter costs. */
import { keptTools, listedTools } from './long-list.mjs';
import { cpuMs, hasProc } from './proc.mjs';
import { ask, callMany, handshake, NotAvailable, request, Wrong, whole } from './session.mjs';

/** @param {number[]} figures @returns {number} */
const median = (figures) =>
  /** @type {number} */ (figures.toSorted((a, b) => a - b)[figures.length >> 1]);

/**
 * The CPU time of calls in two sessions, with and without a filter, in turns, so that whatever else
 * this computer does meets them alike.
 * @param {import('./rows.mjs').Bench} bench
 * @returns {Promise<Record<string, number>>}
 */
async function cpuOfFilter(bench) {
  if (!hasProc) throw new NotAvailable('there is no /proc here');
  if (bench.program?.filter === undefined) throw new NotAvailable('it has no filters');
  const plain = bench.open();
  const filtered = bench.open({ filtered: true });
  const calls = 1000;
  /** @param {import('./session.mjs').Session} session @param {number} turn */
  const cpuOfTurn = async (session, turn) => {
    const before = cpuMs(session.pid);
    await callMany(session, { firstId: 1 + turn * calls, inFlight: 64, calls });
    return cpuMs(session.pid) - before;
  };
  try {
    await handshake(plain);
    await handshake(filtered);
    /** @type {number[]} */
    const ratios = [];
    for (let turn = 0; turn < 30; turn++) {
      const first = turn % 2 === 0 ? plain : filtered;
      const one = await cpuOfTurn(first, turn);
      const other = await cpuOfTurn(first === plain ? filtered : plain, turn);
      // In the first ones, V8 still compiles.
      if (turn >= 10) ratios.push(first === plain ? other / one : one / other);
    }
    return { 'filtered-calls': median(ratios) };
  } finally {
    await plain.close();
    await filtered.close();
  }
}

/**
 * @param {import('./rows.mjs').Bench} bench
 * @returns {Promise<Record<string, number>>} ms; a program without filters passes the whole list on
 */
async function listMs(bench) {
  const session = bench.open({ filtered: true });
  try {
    await handshake(session);
    /** @type {number[]} */
    const times = [];
    for (let id = 1; id <= 12; id++) {
      const began = performance.now();
      const reply = await ask(session, id, request(id, 'tools/list'));
      // The first ones run code that is not compiled yet.
      if (id > 2) times.push(performance.now() - began);
      const { tools } = JSON.parse(whole(reply).toString()).result;
      const expected = bench.program?.filter === undefined ? listedTools : keptTools;
      if (tools.length !== expected) throw new Wrong(`${tools.length} tools came`);
    }
    return { 'filtered-list': median(times) };
  } finally {
    await session.close();
  }
}

/** @type {import('./rows.mjs').Measurement[]} */
export const filterMeasurements = [
  {
    name: 'filtered-calls',
    rows: [
      {
        key: 'filtered-calls',
        label: 'CPU time of a call with a filter ÷ without',
        digits: 2,
        target: { own: 1.05 },
      },
    ],
    rounds: 5,
    quickRounds: 2,
    limitMs: 120_000,
    run: cpuOfFilter,
  },
  {
    name: 'filtered-list',
    rows: [
      {
        key: 'filtered-list',
        label: 'tools/list of 5 MB, here filtered to 10 tools, ms',
        target: { floor: 1.3 },
      },
    ],
    rounds: 9,
    quickRounds: 3,
    limitMs: 60_000,
    run: listMs,
  },
];
