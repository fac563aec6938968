/** What a trace costs. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ratioInTurns } from './in-turns.mjs';
import { NotAvailable } from './session.mjs';

/**
 * The time of calls with `--trace` by that without.
 * @param {import('./rows.mjs').Bench} bench
 * @returns {Promise<Record<string, number>>}
 */
async function timeOfTrace(bench) {
  if (bench.program?.name !== 'mcp-latchkey') throw new NotAvailable('it has no trace');
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-trace-'));
  try {
    const trace = ['--trace', join(folder, 'trace.jsonl')];
    const ratio = await ratioInTurns(
      [bench.open(), bench.open({ options: trace })],
      async (_, call) => {
        const began = performance.now();
        await call();
        return performance.now() - began;
      },
    );
    return { 'traced-calls': ratio };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** @type {import('./rows.mjs').Measurement[]} */
export const traceMeasurements = [
  {
    name: 'traced-calls',
    rows: [
      {
        key: 'traced-calls',
        label: 'time of a call with a trace ÷ without, 64 in flight',
        digits: 2,
        // 15 % fewer calls a second.
        target: { own: 1.18 },
      },
    ],
    rounds: 5,
    quickRounds: 2,
    limitMs: 120_000,
    run: timeOfTrace,
  },
];
