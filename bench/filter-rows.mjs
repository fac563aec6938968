/** What a filter costs. */

import { median, ratioInTurns } from './in-turns.mjs';
import { keptTools, listedTools } from './long-list.mjs';
import { cpuMs, hasProc } from './proc.mjs';
import { ask, handshake, NotAvailable, request, Wrong, whole } from './session.mjs';

/**
 * The CPU time of a call with a filter by that of one without.
 * @param {import('./rows.mjs').Bench} bench
 * @returns {Promise<Record<string, number>>}
 */
async function cpuOfFilter(bench) {
  if (!hasProc) throw new NotAvailable('there is no /proc here');
  if (bench.program?.filter === undefined) throw new NotAvailable('it has no filters');
  const ratio = await ratioInTurns(
    [bench.open(), bench.open({ filtered: true })],
    async (session, call) => {
      const before = cpuMs(session.pid);
      await call();
      return cpuMs(session.pid) - before;
    },
  );
  return { 'filtered-calls': ratio };
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
